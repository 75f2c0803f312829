package room

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

const (
	maxHelpers  = 4       // servers asked about the past before giving up
	leapOfPlace = 1 << 18 // places left free above history that was leapt to
)

// Past fetches history from other servers; it fits the socket of package timeline.
type Past struct{ Rooms *Rooms }

// Backfill is Rooms.Backfill.
func (p Past) Backfill(ctx context.Context, roomID id.RoomID, before []id.EventID, limit int) (int, error) {
	return p.Rooms.Backfill(ctx, roomID, before, limit)
}

// EventAt is Rooms.FetchEventAt.
func (p Past) EventAt(ctx context.Context, roomID id.RoomID, ts int64, forward bool) (id.EventID, error) {
	return p.Rooms.FetchEventAt(ctx, roomID, ts, forward)
}

// Backfill fetches up to limit events that come before some of the history known here, and says how many it stored. The room's
// other servers are asked in turn. spec: ss#backfilling-and-retrieving-missing-events
func (r *Rooms) Backfill(ctx context.Context, roomID id.RoomID, before []id.EventID, limit int) (int, error) {
	if r.Remote == nil {
		return 0, nil
	}
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return 0, err
	}
	defer r.release(e)
	leave, err := r.past.enter(ctx, roomID) // two who scroll back at once want the same
	if err != nil {
		return 0, err
	}
	defer leave()
	from, at, err := r.edgesBefore(ctx, e, before)
	if err != nil || len(from) == 0 {
		return 0, err
	}
	servers, err := r.helpers(ctx, e, before)
	if err != nil {
		return 0, err
	}
	limit = min(max(limit, 1), maxBackfill)
	for _, server := range servers {
		n, err := r.backfillFrom(ctx, e, server, from, at, limit)
		if err == nil && n > 0 {
			return n, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			zerolog.Ctx(ctx).Info().Err(err).Str("server", server).Str("room_id", string(roomID)).Msg("A server did not help with history")
		}
	}
	return 0, nil
}

// edgesBefore lists the events before some that are not part of the history, and the order that they must stay below.
func (r *Rooms) edgesBefore(ctx context.Context, e *roomEntry, before []id.EventID) ([]id.EventID, Order, error) {
	known, err := r.Events(ctx, before)
	if err != nil {
		return nil, 0, err
	}
	at := Order(math.MaxInt64)
	var prev []id.EventID
	for _, eventID := range before {
		s := known[eventID]
		if s == nil || s.RoomID() != e.id || s.Order == 0 {
			continue
		}
		at = min(at, s.Order)
		prev = append(prev, s.PrevEvents()...)
	}
	found, err := r.Events(ctx, prev)
	if err != nil {
		return nil, 0, err
	}
	var edges []id.EventID
	for _, p := range prev {
		if s := found[p]; (s == nil || s.RoomID() == e.id && s.Outlier) && !slices.Contains(edges, p) {
			edges = append(edges, p)
		}
	}
	return edges, at, nil
}

// helpers lists servers that may know a room's past: those of the events' senders first, then others in the room.
func (r *Rooms) helpers(ctx context.Context, e *roomEntry, near []id.EventID) ([]string, error) {
	ro, err := e.members(ctx)
	if err != nil {
		return nil, err
	}
	known, err := r.Events(ctx, near)
	if err != nil {
		return nil, err
	}
	var first []string
	for _, s := range known {
		if _, inside := ro.servers.get(nameKey(s.SenderServer())); inside {
			first = append(first, s.SenderServer())
		}
	}
	if server := event.ServerOf(string(e.id)); server != "" {
		if _, inside := ro.servers.get(nameKey(server)); inside {
			first = append(first, server)
		}
	}
	all := ro.names.get(ro.servers.len(), keysOf(ro.servers))
	list := r.viaOf(first, all[:min(len(all), 2*maxHelpers)])
	return list[:min(len(list), maxHelpers)], nil
}

// backfillFrom asks one server for events and what precedes them, and gives them places below an order.
func (r *Rooms) backfillFrom(ctx context.Context, e *roomEntry, server string, from []id.EventID, below Order, limit int) (int, error) {
	raw, err := r.Remote.Backfill(ctx, server, e.id, from, limit)
	if err != nil {
		return 0, err
	}
	in := r.newIntake(e, server)
	evs, err := in.unknown(ctx, in.parse(raw, limit))
	if err != nil {
		return 0, err
	}
	if evs = in.signed(ctx, behindOf(evs, from)); len(evs) == 0 {
		return 0, nil
	}
	sortByHistory(evs)
	top, err := r.placesBelow(ctx, e, below, len(evs))
	if err != nil {
		return 0, err
	}
	stored := 0
	var run []*arrival
	flush := func() {
		in.commit(ctx, run)
		for _, a := range run {
			if a.stored != nil {
				stored++
			}
		}
		run = nil
	}
	inRun := map[id.EventID]bool{}
	for i, ev := range evs {
		a := &arrival{ev: ev, historic: true, order: top - Order(len(evs)-1-i)}
		ready, err := in.ready(ctx, ev, inRun)
		if err == nil && !ready {
			flush()
			clear(inRun)
			err = in.prepare(ctx, a)
		}
		if err != nil {
			in.refuse(ctx, ev, err)
			continue
		}
		run, inRun[ev.ID()] = append(run, a), true
		if len(run) >= unitSize {
			flush()
			clear(inRun)
		}
	}
	flush()
	return stored, nil
}

// FetchEventAt asks other servers for the event nearest to a time (ms) and makes it part of the history here, with some of
// what precedes it; "" if nobody knows one. spec: ss#get_matrixfederationv1timestamp_to_eventroomid
func (r *Rooms) FetchEventAt(ctx context.Context, roomID id.RoomID, ts int64, forward bool) (id.EventID, error) {
	if r.Remote == nil {
		return "", nil
	}
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return "", err
	}
	defer r.release(e)
	leave, err := r.past.enter(ctx, roomID)
	if err != nil {
		return "", err
	}
	defer leave()
	servers, err := r.helpers(ctx, e, nil)
	if err != nil {
		return "", err
	}
	for _, server := range servers {
		eventID, err := r.Remote.TimestampToEvent(ctx, server, roomID, ts, !forward)
		if err == nil && eventID != "" {
			err = r.leapTo(ctx, e, server, eventID, ts)
		}
		if err == nil && eventID != "" {
			return eventID, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	return "", nil
}

// leapTo fetches an event somewhere in the unknown past and leaves room above it for what lies between.
func (r *Rooms) leapTo(ctx context.Context, e *roomEntry, server string, eventID id.EventID, ts int64) error {
	s, err := r.Event(ctx, eventID)
	if err != nil || s != nil && !s.Outlier {
		return err
	}
	at := Order(math.MaxInt64)
	next, err := r.EventAt(ctx, e.id, ts, true)
	if err != nil {
		return err
	}
	if next != nil {
		at = next.Order
	} else if newest, err := r.History(ctx, e.id, math.MaxInt64, true, 1); err != nil {
		return err
	} else if len(newest) > 0 {
		at = newest[0].Order
	}
	n, err := r.backfillFrom(ctx, e, server, []id.EventID{eventID}, at-leapOfPlace, askMissing)
	if err == nil && n == 0 {
		err = errNoEvent
	}
	return err
}

const sqlOrderBelow = `SELECT MAX(ord) FROM events WHERE room_nid = $1 AND ord < $2`

// placesBelow finds room for n older events just below an event: the order of the newest of them; the others follow downwards.
func (r *Rooms) placesBelow(ctx context.Context, e *roomEntry, at Order, n int) (Order, error) {
	var found sql.NullInt64
	if err := r.db.QueryRow(ctx, sqlOrderBelow, e.nid, int64(at)).Scan(&found); err != nil {
		return 0, fmt.Errorf("order below %d: %w", at, err)
	}
	if found.Valid && at-Order(found.Int64) <= Order(n) {
		return 0, fmt.Errorf("no place for %d events below order %d", n, at)
	}
	return at - 1, nil
}
