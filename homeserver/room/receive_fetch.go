package room

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

// fetchBefore asks the sender for what an event rests on and is not known here. Whoever sends an event must know what comes
// before it: if that cannot be had, the event is dropped. spec: ss#post_matrixfederationv1get_missing_eventsroomid
func (in *intake) fetchBefore(ctx context.Context, ev *event.Event) error {
	if in.r.Remote == nil {
		return errPrevMissing
	}
	missing, err := in.missingPrev(ctx, ev, nil)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := in.pull(ctx, ev); err != nil {
			return err
		}
		if missing, err = in.missingPrev(ctx, ev, nil); err != nil {
			return err
		}
		if len(missing) > 0 {
			return errPrevMissing
		}
	}
	return in.fetchAuth(ctx, ev)
}

// pull gets the events between what is known here and one that arrived, and takes them in.
func (in *intake) pull(ctx context.Context, ev *event.Event) error {
	h, err := in.e.committed(ctx)
	if err != nil {
		return err
	}
	ends := slices.Clone(h.extremities)
	slices.SortStableFunc(ends, func(x, y extremity) int { return int(y.depth - x.depth) })
	earliest := make([]id.EventID, 0, maxPrevEvents)
	for _, x := range ends[:min(len(ends), maxPrevEvents)] {
		earliest = append(earliest, x.id)
	}
	q := MissingQuery{Earliest: earliest, Latest: []id.EventID{ev.ID()}, Limit: askMissing}
	if q.MinDepth, err = in.firstDepth(ctx); err != nil {
		return err
	}
	raw, err := in.r.Remote.MissingEvents(ctx, in.origin, in.e.id, q)
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Str("origin", in.origin).Msg("Missing events were not given")
		return errPrevMissing
	}
	pulled, err := in.unknown(ctx, in.parse(raw, maxPulled))
	if err != nil {
		return err
	}
	in.takePulled(ctx, in.signed(ctx, behindOf(pulled, ev.PrevEvents())))
	return nil
}

const sqlFirstLive = `SELECT depth FROM events WHERE room_nid = $1 AND ord > 0 AND pos IS NOT NULL ORDER BY ord LIMIT 1`

// firstDepth is the depth of the oldest event that was news here: what comes before it is history.
func (in *intake) firstDepth(ctx context.Context) (int64, error) {
	list, err := database.Rows(ctx, in.r.db, scanInt, sqlFirstLive, in.e.nid)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0], nil
}

// takePulled takes in events that were asked for, older ones first. Where the history before them is not known, another
// server's word is taken for the state there.
func (in *intake) takePulled(ctx context.Context, pulled []*event.Event) {
	sortByHistory(pulled)
	for _, ev := range pulled {
		a := &arrival{ev: ev}
		if err := in.prepare(ctx, a); err != nil {
			in.refuse(ctx, ev, err)
			continue
		}
		in.commit(ctx, []*arrival{a})
	}
}

// prepare fetches all that a pulled event rests on.
func (in *intake) prepare(ctx context.Context, a *arrival) error {
	missing, err := in.missingPrev(ctx, a.ev, nil)
	if err != nil {
		return err
	}
	for _, p := range missing {
		places, err := in.stateBehind(ctx, p)
		if err != nil {
			return err
		}
		if a.behind == nil {
			a.behind = map[id.EventID][]place{}
		}
		a.behind[p] = places
	}
	return in.fetchAuth(ctx, a.ev)
}

// parse reads events of this room; the others are left out.
func (in *intake) parse(raw []json.RawMessage, most int) []*event.Event {
	out := make([]*event.Event, 0, min(len(raw), most))
	seen := make(map[id.EventID]bool, len(raw))
	for _, r := range raw {
		if len(out) >= most {
			break
		}
		ev, err := event.ParseUntrusted(in.version, r)
		if err != nil || ev.RoomID() != in.e.id || seen[ev.ID()] {
			continue
		}
		seen[ev.ID()] = true
		out = append(out, ev)
	}
	return out
}

// signed leaves out events without proper signatures.
func (in *intake) signed(ctx context.Context, evs []*event.Event) []*event.Event {
	if len(evs) == 0 {
		return nil
	}
	errs := in.r.verify(ctx, evs)
	good := make([]*event.Event, 0, len(evs))
	for i, ev := range evs {
		if errs[i] == nil {
			good = append(good, ev)
		}
	}
	return good
}

// unknown leaves out events that have their place here.
func (in *intake) unknown(ctx context.Context, evs []*event.Event) ([]*event.Event, error) {
	ids := make([]id.EventID, len(evs))
	for i, ev := range evs {
		ids[i] = ev.ID()
	}
	known, err := in.r.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(evs, func(ev *event.Event) bool {
		s := known[ev.ID()]
		return s != nil && !s.Outlier
	}), nil
}

// behindOf keeps the events that are reached from some IDs through the prev_events of the others.
func behindOf(evs []*event.Event, from []id.EventID) []*event.Event {
	byID := make(map[id.EventID]*event.Event, len(evs))
	for _, ev := range evs {
		byID[ev.ID()] = ev
	}
	out := make([]*event.Event, 0, len(evs))
	queue := slices.Clone(from)
	for len(queue) > 0 {
		ev := byID[queue[0]]
		queue = queue[1:]
		if ev == nil {
			continue
		}
		delete(byID, ev.ID())
		out = append(out, ev)
		queue = append(queue, ev.PrevEvents()...)
	}
	return out
}

// fetchAuth gets the events that authorise one, and those that authorise them, and stores them beside the history.
func (in *intake) fetchAuth(ctx context.Context, ev *event.Event) error {
	missing, err := in.missingAuth(ctx, ev, nil)
	if err != nil || len(missing) == 0 {
		return err
	}
	if in.r.Remote == nil {
		return errAuthMissing
	}
	if raw, err := in.r.Remote.EventAuth(ctx, in.origin, in.e.id, ev.ID()); err == nil {
		if err := in.storeBeside(ctx, in.signed(ctx, in.parse(raw, maxStateFetch))); err != nil {
			return err
		}
	}
	var got []*event.Event
	asked := map[id.EventID]bool{}
	want, err := in.missingAuth(ctx, ev, nil)
	if err != nil {
		return err
	}
	for len(want) > 0 && len(asked) < maxAuthFetch {
		var next []id.EventID
		for _, found := range in.signed(ctx, in.getEvents(ctx, want, asked)) {
			got = append(got, found)
			more, err := in.missingAuth(ctx, found, asked)
			if err != nil {
				return err
			}
			next = append(next, more...)
		}
		slices.Sort(next)
		want = slices.Compact(next)
	}
	if err := in.storeBeside(ctx, got); err != nil {
		return err
	}
	if missing, err = in.missingAuth(ctx, ev, nil); err == nil && len(missing) > 0 {
		err = errAuthMissing
	}
	return err
}

// storeBeside stores events beside the history. Those whose authorising events are not stored are left out.
func (in *intake) storeBeside(ctx context.Context, evs []*event.Event) error {
	sortByAuth(evs)
	for len(evs) > 0 {
		part := evs[:min(len(evs), outlierUnit)]
		evs = evs[len(part):]
		err := in.r.writeRoom(ctx, in.e, in.version, func(ctx context.Context, b *batch) error {
			if err := b.look(ctx, idsOfEvents(part)); err != nil {
				return err
			}
			for _, ev := range part {
				if _, err := b.beside(ctx, ev); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const outlierUnit = 300 // events beside the history committed at once

// beside adds an event that has no place in the history, unless it is known. nil: what authorises it is not stored.
func (b *batch) beside(ctx context.Context, ev *event.Event) (*Stored, error) {
	old, err := b.known(ctx, ev.ID())
	if err != nil || old != nil {
		return old, err
	}
	bad, err := b.r.rejection(ctx, ev)
	if err == errAuthMissing {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return b.add(ctx, placed{ev: ev, outlier: true, rejected: bad != nil})
}
