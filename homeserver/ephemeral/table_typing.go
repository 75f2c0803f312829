package ephemeral

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

var typingTable = database.NewTable("typing", "ON CONFLICT (room_id, user_id) DO UPDATE SET until_ts = excluded.until_ts",
	database.Text("room_id"), database.Text("user_id"), database.Int("until_ts"))

const (
	typingSelect = `SELECT user_id, until_ts FROM typing WHERE room_id = $1 AND until_ts > 0 ORDER BY user_id`
	typingPurge  = `DELETE FROM typing WHERE room_id = $1`
	typingEnded  = `SELECT room_id, user_id FROM typing WHERE until_ts > 0 AND until_ts <= $1 LIMIT 500`
)

func (e *Ephemeral) loadTyping(ctx context.Context, roomID id.RoomID) ([]typist, error) {
	return database.Rows(ctx, e.db, func(s database.Scanner) (t typist, err error) {
		return t, s.Scan(&t.User, &t.Until)
	}, typingSelect, string(roomID))
}

type endedTyping struct {
	room id.RoomID
	user id.UserID
}

func (e *Ephemeral) takeEndedTyping(ctx context.Context, now int64) ([]endedTyping, error) {
	return database.Rows(ctx, e.db, func(s database.Scanner) (t endedTyping, err error) {
		return t, s.Scan(&t.room, &t.user)
	}, typingEnded, now)
}
