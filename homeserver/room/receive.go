package room

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Errors that a sending server is told.
var (
	errNotTogether    = mautrix.MForbidden.WithMessage("This server has nobody in the room")
	errNobodyHere     = mautrix.MNotFound.WithMessage("This server has nobody in the room")
	errOtherRoom      = errors.New("the event belongs to another room")
	errNoPrev         = errors.New("the event follows nothing")
	errPrevMissing    = errors.New("events that it follows cannot be found")
	errAuthMissing    = errors.New("events that authorise it cannot be found")
	errPrevElsewhere  = errors.New("the event follows one of another room")
	errTooManyAtOnce  = errors.New("too much is missing before it")
	errNoKeySource    = errors.New("signatures cannot be checked")
	errStateUncertain = errors.New("the state before it cannot be found")
)

// Bounds of what one call fetches from others.
const (
	maxPulled     = 100     // events between what we know and what arrived
	askMissing    = 20      // asked for at once
	maxAuthFetch  = 400     // authorising events fetched for one event
	maxStateFetch = 200_000 // entries of a state that another server describes
	maxEdges      = 8       // states asked for in one call
	unitSize      = 60      // events committed at once
)

// Receive takes events of one room that another server sent, whatever their order, and says of each what became of it: nil
// if it is stored now (accepted, soft-failed or rejected) or was before. One bad event spoils no other.
// spec: ss#checks-performed-on-receipt-of-a-pdu
func (r *Rooms) Receive(ctx context.Context, origin string, roomID id.RoomID, evs []*event.Event) map[id.EventID]error {
	out := make(map[id.EventID]error, len(evs))
	e, err := r.acquire(ctx, roomID)
	if err == nil {
		defer r.release(e)
		var h *head
		if h, err = e.committed(ctx); err == nil {
			if h.inside() {
				in := r.newIntake(e, origin)
				in.out = out
				in.receive(ctx, evs)
				return out
			}
			r.receiveOutside(ctx, e, origin, evs, out)
			return out
		}
	}
	for _, ev := range evs {
		out[ev.ID()] = err
	}
	return out
}

// intake is one call of Receive, a backfill or a join: what is fetched meanwhile, and from whom.
type intake struct {
	r       *Rooms
	e       *roomEntry
	version event.Version
	origin  string
	out     map[id.EventID]error
	wrong   bool                   // what is stored of the room has to go before it is entered
	edges   int                    // states asked for
	behind  map[id.EventID][]place // states behind events whose history is not known here
}

func (r *Rooms) newIntake(e *roomEntry, origin string) *intake {
	return &intake{r: r, e: e, version: e.version, origin: origin, out: map[id.EventID]error{}}
}

func (in *intake) receive(ctx context.Context, evs []*event.Event) {
	fresh, err := in.fresh(ctx, evs)
	if err != nil {
		for _, ev := range evs {
			in.out[ev.ID()] = err
		}
		return
	}
	fresh = in.verified(ctx, fresh)
	sortByHistory(fresh)
	var run []*arrival
	inRun := map[id.EventID]bool{}
	flush := func() {
		in.commit(ctx, run)
		run = nil
		clear(inRun)
	}
	for _, ev := range fresh {
		ready, err := in.ready(ctx, ev, inRun)
		if err != nil {
			in.out[ev.ID()] = err
			continue
		}
		if !ready {
			flush()
			if err := in.fetchBefore(ctx, ev); err != nil {
				in.refuse(ctx, ev, err)
				continue
			}
		}
		run = append(run, &arrival{ev: ev})
		inRun[ev.ID()] = true
		if len(run) >= unitSize {
			flush()
		}
	}
	flush()
}

// refuse notes that an event was dropped.
func (in *intake) refuse(ctx context.Context, ev *event.Event, err error) {
	in.out[ev.ID()] = err
	metricRefused.Inc()
	zerolog.Ctx(ctx).Debug().Err(err).Str("room_id", string(in.e.id)).Str("event_id", string(ev.ID())).Str("origin", in.origin).
		Msg("An event was dropped")
}

// fresh leaves out what is known, and what cannot be meant for this room.
func (in *intake) fresh(ctx context.Context, evs []*event.Event) ([]*event.Event, error) {
	ids := make([]id.EventID, len(evs))
	for i, ev := range evs {
		ids[i] = ev.ID()
	}
	known, err := in.r.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]*event.Event, 0, len(evs))
	for _, ev := range evs {
		if _, twice := in.out[ev.ID()]; twice {
			continue
		}
		in.out[ev.ID()] = nil
		old := known[ev.ID()]
		switch {
		case ev.RoomID() != in.e.id || ev.Version() != in.version:
			in.out[ev.ID()] = errOtherRoom
		case old != nil && !old.Outlier:
		default:
			out = append(out, ev)
		}
	}
	return out, nil
}

// verified leaves out what is not properly signed.
func (in *intake) verified(ctx context.Context, evs []*event.Event) []*event.Event {
	if len(evs) == 0 {
		return nil
	}
	errs := in.r.verify(ctx, evs)
	good := evs[:0:len(evs)]
	for i, ev := range evs {
		if errs[i] != nil {
			in.refuse(ctx, ev, fmt.Errorf("signatures: %w", errs[i]))
			continue
		}
		good = append(good, ev)
	}
	return good
}

// verify checks the signatures of events from other servers.
func (r *Rooms) verify(ctx context.Context, evs []*event.Event) []error {
	errs := make([]error, len(evs))
	if r.Keys == nil {
		for i := range errs {
			errs[i] = errNoKeySource
		}
		return errs
	}
	parts := min(runtime.GOMAXPROCS(0), 1+len(evs)/verifiedAtOnce)
	var wg sync.WaitGroup
	for p := range parts {
		from, to := p*len(evs)/parts, (p+1)*len(evs)/parts
		wg.Go(func() { copy(errs[from:to], event.VerifySignatures(ctx, r.Keys, evs[from:to])) })
	}
	wg.Wait()
	return errs
}

const verifiedAtOnce = 200 // more are shared among processors

// ready says that all an event rests on is stored, or comes right before it.
func (in *intake) ready(ctx context.Context, ev *event.Event, inRun map[id.EventID]bool) (bool, error) {
	prev, err := in.missingPrev(ctx, ev, inRun)
	if err != nil || len(prev) > 0 {
		return false, err
	}
	missing, err := in.missingAuth(ctx, ev, inRun)
	return len(missing) == 0, err
}

// missingPrev lists the events before this one that have no place in the history known here.
func (in *intake) missingPrev(ctx context.Context, ev *event.Event, also map[id.EventID]bool) ([]id.EventID, error) {
	prev := ev.PrevEvents()
	if len(prev) == 0 && !ev.Is(typeCreate, "") {
		return nil, errNoPrev
	}
	known, err := in.r.Events(ctx, prev)
	if err != nil {
		return nil, err
	}
	var missing []id.EventID
	for _, p := range prev {
		s := known[p]
		switch {
		case s != nil && s.RoomID() != in.e.id:
			return nil, errPrevElsewhere
		case also[p] || s != nil && s.placed():
		default:
			missing = append(missing, p)
		}
	}
	return missing, nil
}

// placed says that the state before the event is known.
func (s *Stored) placed() bool { return !s.Outlier && (s.StateID != 0 || s.Is(typeCreate, "")) }

func (in *intake) missingAuth(ctx context.Context, ev *event.Event, also map[id.EventID]bool) ([]id.EventID, error) {
	ids := ev.AuthEvents()
	known, err := in.r.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	var missing []id.EventID
	for _, a := range ids {
		if known[a] == nil && !also[a] {
			missing = append(missing, a)
		}
	}
	return missing, nil
}

// commit decides and writes events whose foundations are stored, as one unit. An event that cannot be decided is left out.
func (in *intake) commit(ctx context.Context, run []*arrival) {
	if len(run) == 0 {
		return
	}
	err := in.r.write(ctx, in.e, func(ctx context.Context, b *batch) error {
		if !b.now.inside() {
			return errNotTogether
		}
		ids := make([]id.EventID, len(run))
		for i, a := range run {
			ids[i] = a.ev.ID()
		}
		if err := b.look(ctx, ids); err != nil {
			return err
		}
		if err := b.readWaiting(ctx, ids); err != nil {
			return err
		}
		for _, a := range run {
			if a.err = b.arrive(ctx, a); a.err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	for _, a := range run {
		if err == nil && a.err != nil {
			in.refuse(ctx, a.ev, a.err)
		} else if err != nil {
			in.out[a.ev.ID()] = err
		}
	}
}
