package room

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const sqlStripped = `SELECT s.state FROM stripped_states s JOIN rooms r ON r.room_nid = s.room_nid WHERE r.room_id = $1 AND s.user_id = $2`

func newStrippedTable() *database.Table {
	return database.NewTable("stripped_states", `ON CONFLICT (room_nid, user_id) DO UPDATE SET state = excluded.state`,
		database.Int("room_nid"), database.Text("user_id"), database.Text("state"))
}

// readStripped is the state that came with an invitation or a knock from outside, nil if none did.
func (r *Rooms) readStripped(ctx context.Context, roomID id.RoomID, user id.UserID) ([]json.RawMessage, error) {
	var raw []byte
	err := r.db.QueryRow(ctx, sqlStripped, string(roomID), string(user)).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stripped state of %s: %w", roomID, err)
	}
	var list []json.RawMessage
	return list, json.Unmarshal(raw, &list)
}
