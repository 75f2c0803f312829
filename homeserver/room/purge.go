package room

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// What operators do with rooms. Nothing here asks whether somebody may.

const (
	sqlBlocked     = `SELECT blocked_by FROM blocked_rooms WHERE room_id = $1`
	sqlBlock       = `INSERT INTO blocked_rooms (room_id, blocked_by, ts) VALUES ($1, $2, $3) ON CONFLICT (room_id) DO NOTHING`
	sqlUnblock     = `DELETE FROM blocked_rooms WHERE room_id = $1`
	sqlPurgeBefore = `DELETE FROM events WHERE room_nid = $1 AND ord IS NOT NULL AND ord < $2 AND state_key IS NULL AND nid NOT IN LIST($3)`
)

// sqlPurge removes a room; each statement gets its number or its ID.
var sqlPurge = []struct {
	byID bool
	text string
}{
	{false, `DELETE FROM state_snapshots WHERE id IN (SELECT state_id FROM events WHERE room_nid = $1 UNION SELECT current_id FROM events WHERE room_nid = $1
		UNION SELECT state_id FROM rooms WHERE room_nid = $1)`},
	{false, `DELETE FROM redactions WHERE event_id IN (SELECT event_id FROM events WHERE room_nid = $1)`},
	{false, `DELETE FROM events WHERE room_nid = $1`},
	{false, `DELETE FROM members WHERE room_nid = $1`},
	{false, `DELETE FROM stripped_states WHERE room_nid = $1`},
	{false, `DELETE FROM room_looks WHERE room_nid = $1`},
	{true, `DELETE FROM aliases WHERE room_id = $1`},
	{false, `DELETE FROM rooms WHERE room_nid = $1`},
}

// OnPurge registers what else is to be removed with a room, inside the transaction. It is called while the server is built.
func (r *Rooms) OnPurge(fn func(ctx context.Context, roomID id.RoomID) error) {
	r.purgers = append(r.purgers, fn)
}

// Block keeps local users from entering a room, or lets them again.
func (r *Rooms) Block(ctx context.Context, roomID id.RoomID, by id.UserID, blocked bool) error {
	var err error
	if blocked {
		_, err = r.db.Exec(ctx, sqlBlock, string(roomID), string(by), r.now())
	} else {
		_, err = r.db.Exec(ctx, sqlUnblock, string(roomID))
	}
	if err != nil {
		return fmt.Errorf("blocking %s: %w", roomID, err)
	}
	return nil
}

// Blocked says whether a room is blocked, and by whom.
func (r *Rooms) Blocked(ctx context.Context, roomID id.RoomID) (by id.UserID, blocked bool, err error) {
	err = r.db.QueryRow(ctx, sqlBlocked, string(roomID)).Scan(&by)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("is %s blocked: %w", roomID, err)
	}
	return by, true, nil
}

// notBlocked refuses to let anybody into a blocked room.
func (r *Rooms) notBlocked(ctx context.Context, roomID id.RoomID) error {
	_, blocked, err := r.Blocked(ctx, roomID)
	if err == nil && blocked {
		return mautrix.MForbidden.WithMessage("This room has been blocked on this server")
	}
	return err
}

// Evict makes all local users leave a room; failed lists those who could not be made to.
func (r *Rooms) Evict(ctx context.Context, roomID id.RoomID) (left, failed []id.UserID, err error) {
	members, err := r.Members(ctx, roomID, "")
	if err != nil {
		return nil, nil, err
	}
	for _, m := range members {
		if !r.local(m.UserID) || m.Membership != Joined && m.Membership != Invited && m.Membership != Knocked {
			continue
		}
		if err := r.Leave(ctx, MemberInput{RoomID: roomID, Sender: m.UserID, SkipPolicy: true}); err != nil {
			if ctx.Err() != nil {
				return left, failed, err
			}
			failed = append(failed, m.UserID)
			continue
		}
		left = append(left, m.UserID)
	}
	return left, failed, nil
}

// Purge removes all that is stored of a room here, also for those who are still in it.
func (r *Rooms) Purge(ctx context.Context, roomID id.RoomID) error {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return err
	}
	defer r.release(e)
	members, err := r.Members(ctx, roomID, "")
	if err != nil {
		return err
	}
	e.write.Lock()
	defer e.write.Unlock()
	err = r.db.Tx(ctx, func(ctx context.Context) error {
		for _, fn := range r.purgers {
			if err := fn(ctx, roomID); err != nil {
				return err
			}
		}
		for _, s := range sqlPurge {
			var key any = e.nid
			if s.byID {
				key = string(roomID)
			}
			if _, err := r.db.Exec(ctx, s.text, key); err != nil {
				return err
			}
		}
		changes := []stream.Change{{Kind: stream.Forgotten, RoomID: roomID}}
		for _, m := range members {
			if r.local(m.UserID) {
				changes = append(changes, stream.Change{Kind: stream.Forgotten, RoomID: roomID, UserID: m.UserID})
			}
		}
		_, err := r.stream.Append(ctx, changes...)
		return err
	})
	if err != nil {
		return fmt.Errorf("purging %s: %w", roomID, err)
	}
	e.next = nil
	r.events.dropRoom(e.nid)
	return nil
}

// PurgeHistory removes the messages of a room older than an order. State stays, and the newest events.
func (r *Rooms) PurgeHistory(ctx context.Context, roomID id.RoomID, before Order) (int64, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return 0, err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return 0, err
	}
	keep := make([]int64, len(h.extremities))
	for i, x := range h.extremities {
		keep[i] = x.nid
	}
	res, err := r.db.Exec(ctx, sqlPurgeBefore, e.nid, int64(before), database.List(keep))
	if err != nil {
		return 0, fmt.Errorf("purging the history of %s: %w", roomID, err)
	}
	e.outdated(0)
	r.events.dropRoom(e.nid)
	return res.RowsAffected()
}

// dropRoom forgets the events of a room.
func (c events) dropRoom(roomNID int64) {
	for _, nid := range c.byNID.keys(func(s *Stored) bool { return s.RoomNID == roomNID }) {
		c.byNID.remove(nid)
	}
}

// keys lists the keys of the values that pass the filter.
func (c *lru[K, V]) keys(filter func(V) bool) []K {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []K
	for k, it := range c.m {
		if filter(it.val) {
			list = append(list, k)
		}
	}
	return slices.Clip(list)
}
