package room

import (
	"context"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Order is an event's place in its room's history. A live event stands at its position times 2^20; what arrives later as
// older history takes the free places below the event that it precedes, and may be negative.
type Order int64

const orderShift = 20

// orderOf is the place of the live event at a position.
func orderOf(p stream.Pos) Order { return Order(p) << orderShift }

// OrderAt is the greatest order an event with a position up to pos can have.
func OrderAt(p stream.Pos) Order { return orderOf(p) + 1<<orderShift - 1 }

// OrderAt is the greatest order of the room at a position.
func (r *Rooms) OrderAt(_ context.Context, _ id.RoomID, p stream.Pos) (Order, error) {
	return OrderAt(p), nil
}

// History pages through what happened in the room: backwards gives events with order up to from, newest first; forwards
// those behind it, oldest first. Rejected, soft-failed and outlying events are no part of it.
func (r *Rooms) History(ctx context.Context, roomID id.RoomID, from Order, backwards bool, limit int) ([]*Stored, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	var nids []int64
	if backwards {
		nids, err = database.Rows(ctx, r.db, scanInt, sqlBackwards, e.nid, int64(from), int64(minOrder), limit)
	} else {
		nids, err = database.Rows(ctx, r.db, scanInt, sqlForwards, e.nid, int64(from), limit)
	}
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", roomID, err)
	}
	return r.eventsInOrder(ctx, nids)
}

const minOrder = Order(-1 << 62)

// Live returns the newest events of the room with a position in (since, upTo], at most limit, oldest first; limited says
// that there were more. The newest part of each busy room is answered from memory.
func (r *Rooms) Live(ctx context.Context, roomID id.RoomID, since, upTo stream.Pos, limit int) (list []*Stored, limited bool, err error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, false, err
	}
	defer r.release(e)
	if list, limited, ok := e.live(since, upTo, limit); ok {
		return list, limited, nil
	}
	nids, err := database.Rows(ctx, r.db, scanInt, sqlLiveBetween, e.nid, int64(OrderAt(upTo)), int64(OrderAt(since)), limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("live events of %s: %w", roomID, err)
	}
	if limited = len(nids) > limit; limited {
		nids = nids[:limit]
	}
	slices.Reverse(nids)
	list, err = r.eventsInOrder(ctx, nids)
	return list, limited, err
}

// StateAt is the room's current state as it was once everything up to a position had been committed; empty if nothing of
// the room was known here then.
func (r *Rooms) StateAt(ctx context.Context, roomID id.RoomID, pos stream.Pos) (*State, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	if s, ok := e.stateAt(pos); ok {
		return s, nil
	}
	ids, err := database.Rows(ctx, r.db, scanInt, sqlNewestLive, e.nid, int64(OrderAt(pos)))
	if err != nil {
		return nil, fmt.Errorf("state of %s at %d: %w", roomID, pos, err)
	}
	if len(ids) == 0 || ids[0] == 0 {
		return &State{r: r}, nil
	}
	return r.stateByID(ctx, ids[0])
}

// EventAt is the event of the history nearest to a time (ms): the first at or after it, or the last at or before it; nil if none.
func (r *Rooms) EventAt(ctx context.Context, roomID id.RoomID, ts int64, forward bool) (*Stored, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	query := sqlUntil
	if forward {
		query = sqlSince
	}
	nids, err := database.Rows(ctx, r.db, scanInt, query, e.nid, ts)
	if err != nil || len(nids) == 0 {
		return nil, err
	}
	return r.eventByNID(ctx, nids[0])
}
