package room

import (
	"context"
	"fmt"
	"slices"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// sqlRoomLock makes other replicas wait until the transaction ends.
const sqlRoomLock = `SELECT version FROM rooms WHERE room_id = $1 FOR UPDATE`

// newRoomUpdate is the table that newRoomTable guards, for a transaction that holds the row.
func newRoomUpdate() *database.Table {
	return database.NewTable("rooms", `ON CONFLICT (room_nid) DO UPDATE SET version = excluded.version, room_id = excluded.room_id,
			room_version = excluded.room_version, state_id = excluded.state_id, extremities = excluded.extremities,
			joined = excluded.joined, joined_local = excluded.joined_local, invited = excluded.invited`,
		database.Int("room_nid"), database.Int("version"), database.Text("room_id"), database.Text("room_version"),
		database.Int("state_id"), database.Text("extremities"), database.Int("joined"), database.Int("joined_local"),
		database.Int("invited"))
}

// writeLocked is writeOnce in a transaction of its own that locks the room's row before it decides: nobody can be faster. It
// is for rooms into which several replicas write so much that one of them keeps losing.
func (r *Rooms) writeLocked(ctx context.Context, e *roomEntry, v event.Version, decide decider) (*batch, error) {
	e.write.Lock()
	defer e.write.Unlock()
	var b *batch
	var next *head
	err := r.db.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
		rows, err := database.Rows(ctx, r.db, scanInt, sqlRoomLock, string(e.id))
		if err != nil {
			return err
		}
		if b != nil {
			b.discard() // of an attempt before
		}
		e.outdated(0)
		e.next = nil
		if b, err = r.decide(ctx, e, v, decide); err != nil || b == nil {
			return err
		}
		if len(rows) == 0 {
			return fmt.Errorf("%s: %w", e.id, stream.ErrConflict) // the row is new: the committer makes it
		}
		var unit *stream.Unit
		if next, unit, err = b.seal(ctx); err != nil {
			return err
		}
		return r.writeHere(ctx, unit)
	})
	if b == nil {
		return nil, err
	}
	if err != nil {
		if next == nil {
			next = &b.now
		}
		b.failed(next)
		return b, err
	}
	e.next = next
	return b, nil
}

// writeHere does in the transaction what the committer does with a unit.
func (r *Rooms) writeHere(ctx context.Context, u *stream.Unit) error {
	row := append([]any{u.Guard.Key, u.Guard.Next}, u.Guard.Row...)
	if err := r.db.Insert(ctx, r.tables.roomUpdate, row); err != nil {
		return err
	}
	var pos stream.Pos
	r.db.AfterCommit(ctx, func() { u.After(pos) }) // before the stream tells anybody
	if len(u.Changes) > 0 {
		var err error
		if pos, err = r.stream.Append(ctx, u.Changes...); err != nil {
			return err
		}
	}
	for _, w := range u.Writes {
		values := slices.Clone(w.Row)
		for i, v := range values {
			switch n := v.(type) {
			case stream.PosOf:
				values[i] = int64(pos) + int64(n)
			case stream.OrderOf:
				values[i] = int64(orderOf(pos + stream.Pos(n)))
			}
		}
		if err := r.db.Insert(ctx, w.Table, values); err != nil {
			return err
		}
	}
	return nil
}
