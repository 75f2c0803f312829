package room

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	sqlMemberColumns = `
		SELECT r.room_id, m.user_id, m.membership, m.event_nid, m.event_id, m.sender, m.pos, m.forgotten, m.displayname, m.avatar_url
		FROM members m JOIN rooms r ON r.room_nid = m.room_nid`
	sqlMember        = sqlMemberColumns + ` WHERE r.room_id = $1 AND m.user_id = $2`
	sqlMembersOfRoom = sqlMemberColumns + ` WHERE r.room_id = $1 ORDER BY m.user_id`
	sqlMembersByKind = sqlMemberColumns + ` WHERE r.room_id = $1 AND m.membership = $2 ORDER BY m.user_id`
	sqlMembersOfUser = sqlMemberColumns + ` WHERE m.user_id = $1`
	sqlJoinedUsers   = `SELECT user_id FROM members WHERE room_nid = $1 AND membership = 'join'`
	sqlForget        = `UPDATE members SET forgotten = 1 WHERE room_nid = $1 AND user_id = $2 AND membership NOT IN ('join', 'invite')`
)

func newMemberTable() *database.Table {
	return database.NewTable("members",
		`ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = excluded.membership, event_nid = excluded.event_nid,
			event_id = excluded.event_id, sender = excluded.sender, pos = excluded.pos, displayname = excluded.displayname,
			avatar_url = excluded.avatar_url, forgotten = excluded.forgotten`,
		database.Int("room_nid"), database.Text("user_id"), database.Text("membership"), database.Int("event_nid"),
		database.Text("event_id"), database.Text("sender"), database.Int("pos"), database.NullText("displayname"),
		database.NullText("avatar_url"), database.Int("forgotten"))
}

func memberRow(roomNID int64, m Member, pos any) []any {
	forgotten := int64(0)
	if m.Forgotten {
		forgotten = 1
	}
	return []any{roomNID, string(m.UserID), m.Membership, m.EventNID, string(m.EventID), string(m.Sender), pos,
		nullable(m.DisplayName), nullable(m.AvatarURL), forgotten}
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func scanMember(s database.Scanner) (m Member, err error) {
	var forgotten, pos int64
	var name, avatar sql.NullString
	err = s.Scan(&m.RoomID, &m.UserID, &m.Membership, &m.EventNID, &m.EventID, &m.Sender, &pos, &forgotten, &name, &avatar)
	m.Pos, m.Forgotten, m.DisplayName, m.AvatarURL = stream.Pos(pos), forgotten != 0, name.String, avatar.String
	return m, err
}

func scanUser(s database.Scanner) (u id.UserID, err error) { return u, s.Scan(&u) }

func (r *Rooms) readMember(ctx context.Context, roomID id.RoomID, user id.UserID) (Member, bool, error) {
	m, err := scanMember(r.db.QueryRow(ctx, sqlMember, string(roomID), string(user)))
	if errors.Is(err, sql.ErrNoRows) {
		return Member{}, false, nil
	}
	if err != nil {
		return Member{}, false, fmt.Errorf("member of %s: %w", roomID, err)
	}
	return m, true, nil
}

func (r *Rooms) readMembers(ctx context.Context, roomID id.RoomID, membership string) (list []Member, err error) {
	if membership == "" {
		list, err = database.Rows(ctx, r.db, scanMember, sqlMembersOfRoom, string(roomID))
	} else {
		list, err = database.Rows(ctx, r.db, scanMember, sqlMembersByKind, string(roomID), membership)
	}
	if err != nil {
		return nil, fmt.Errorf("members of %s: %w", roomID, err)
	}
	return list, nil
}
