package admin

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix/id"
)

const (
	selectNoticeRoom = `SELECT room_id FROM notice_rooms WHERE user_id = $1`
	// The row stands for a room that the one who replaces it has found unusable.
	upsertNoticeRoom = `INSERT INTO notice_rooms (user_id, room_id) VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE SET room_id = excluded.room_id WHERE notice_rooms.room_id = $3`
)

// readNoticeRoom gives the room of a user's notices, empty if there is none.
func (a *Admin) readNoticeRoom(ctx context.Context, user id.UserID) (room id.RoomID, err error) {
	err = a.db.QueryRow(ctx, selectNoticeRoom, user).Scan(&room)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return room, doing("reading the room of notices", err)
}

// writeNoticeRoom notes a user's room, unless somebody else has replaced the old one meanwhile. It gives the one that is
// noted in the end.
func (a *Admin) writeNoticeRoom(ctx context.Context, user id.UserID, room, old id.RoomID) (id.RoomID, error) {
	if _, err := a.db.Exec(ctx, upsertNoticeRoom, user, room, old); err != nil {
		return "", doing("writing the room of notices", err)
	}
	return a.readNoticeRoom(ctx, user)
}
