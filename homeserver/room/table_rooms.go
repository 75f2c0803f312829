package room

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	sqlRoom = `SELECT room_nid, version, room_version, state_id, extremities, joined, joined_local, invited FROM rooms WHERE room_id = $1`

	sqlRoomList = `SELECT room_id FROM rooms WHERE room_id > $1 ORDER BY room_id LIMIT $2`
)

func newRoomTable() *stream.GuardTable {
	return stream.NewGuardTable("rooms", database.Int("room_nid"), "version",
		database.Text("room_id"), database.Text("room_version"), database.Int("state_id"), database.Text("extremities"),
		database.Int("joined"), database.Int("joined_local"), database.Int("invited"))
}

// roomRow lists the columns behind key and version in the order of newRoomTable.
func roomRow(roomID id.RoomID, v event.Version, h *head) []any {
	var stateID int64
	if h.state != nil {
		stateID = h.state.id
	}
	return []any{string(roomID), v.ID(), stateID, formatExtremities(h.extremities), h.joined, h.joinedLocal, h.invited}
}

type roomRead struct {
	nid     int64
	version event.Version
	head    *head
}

// readRoom reads the row of a room and its state.
func (r *Rooms) readRoom(ctx context.Context, roomID id.RoomID) (roomRead, error) {
	var (
		out          roomRead
		stateID      int64
		version, ext string
		h            = head{chain: &chain{}}
	)
	ctx = r.fresh(ctx) // what is kept must not be older than memory thinks
	err := r.db.QueryRow(ctx, sqlRoom, string(roomID)).
		Scan(&out.nid, &h.version, &version, &stateID, &ext, &h.joined, &h.joinedLocal, &h.invited)
	if errors.Is(err, sql.ErrNoRows) {
		return out, errNoRoom(roomID)
	}
	if err != nil {
		return out, fmt.Errorf("row of %s: %w", roomID, err)
	}
	if out.version, err = event.Lookup(version); err != nil {
		return out, err
	}
	if h.extremities, err = parseExtremities(ext); err != nil {
		return out, fmt.Errorf("row of %s: %w", roomID, err)
	}
	if stateID != 0 {
		if h.state, err = r.stateByID(ctx, stateID); err != nil {
			return out, err
		}
	}
	out.head = &h
	return out, nil
}

func errNoRoom(roomID id.RoomID) error {
	return mautrix.MNotFound.WithMessage("Room %s is not known here", roomID)
}

// extremity is an event that no other one known here follows.
type extremity struct {
	nid        int64
	id         id.EventID
	depth      int64
	stateAfter int64
}

// [[nid, "id", depth, state after], …]
func formatExtremities(list []extremity) string {
	rows := make([][4]any, len(list))
	for i, x := range list {
		rows[i] = [4]any{x.nid, x.id, x.depth, x.stateAfter}
	}
	raw, _ := json.Marshal(rows) // numbers and strings only: cannot fail
	return string(raw)
}

func parseExtremities(raw string) ([]extremity, error) {
	var rows [][4]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &rows); err != nil {
		return nil, err
	}
	list := make([]extremity, len(rows))
	for i, row := range rows {
		x := &list[i]
		for j, into := range []any{&x.nid, &x.id, &x.depth, &x.stateAfter} {
			if err := json.Unmarshal(row[j], into); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}
