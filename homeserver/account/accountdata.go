package account

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const maxAccountData = 1 << 20

// AccountDatum is something a user keeps on the server, for a room or for themselves. Content "{}" means deleted.
type AccountDatum struct {
	RoomID  id.RoomID // empty: global
	Type    string
	Content json.RawMessage
	Pos     stream.Pos
}

// Rows are written by the committer and in transactions that hold the head of the stream, nowhere else: so the lock
// on the head always comes first.
var tableAccountData = database.NewTable("account_data",
	`ON CONFLICT (user_id, room_id, type) DO UPDATE SET content = excluded.content, pos = excluded.pos`,
	database.Text("user_id"), database.Text("room_id"), database.Text("type"), database.Text("content"), database.Int("pos"))

const (
	selectAccountData      = `SELECT content FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3`
	selectAccountDataAll   = `SELECT room_id, type, content, pos FROM account_data WHERE user_id = $1 AND pos <= $2 AND content <> '{}' ORDER BY pos`
	selectAccountDataSince = `SELECT room_id, type, content, pos FROM account_data WHERE user_id = $1 AND pos > $2 AND pos <= $3 ORDER BY pos`
	selectAccountDataRooms = `SELECT room_id, type, content, pos FROM account_data WHERE user_id = $1 AND room_id IN LIST($2) AND content <> '{}' ORDER BY pos`
	deleteUserAccountData  = `DELETE FROM account_data WHERE user_id = $1`
)

func scanAccountDatum(row database.Scanner) (d AccountDatum, err error) {
	var content string
	err = row.Scan(&d.RoomID, &d.Type, &content, &d.Pos)
	d.Content = json.RawMessage(content)
	return d, err
}

// AccountData gives the content of one datum, or nil.
//
// spec: cs#client-config
func (a *Accounts) AccountData(ctx context.Context, user id.UserID, room id.RoomID, eventType string) (json.RawMessage, error) {
	var content string
	err := a.db.QueryRow(ctx, selectAccountData, user, room, eventType).Scan(&content)
	if errors.Is(err, sql.ErrNoRows) || err == nil && content == "{}" {
		return nil, nil
	}
	return json.RawMessage(content), doing("reading account data", err)
}

// AccountDataSince gives what has changed for a user in (since, upTo], in order of change. Since 0 gives all there is.
func (a *Accounts) AccountDataSince(ctx context.Context, user id.UserID, since, upTo stream.Pos) ([]AccountDatum, error) {
	var ds []AccountDatum
	var err error
	if since == 0 {
		ds, err = database.Rows(ctx, a.db, scanAccountDatum, selectAccountDataAll, user, int64(upTo))
	} else {
		ds, err = database.Rows(ctx, a.db, scanAccountDatum, selectAccountDataSince, user, int64(since), int64(upTo))
	}
	return ds, doing("reading account data", err)
}

// AccountDataOfRooms gives all that a user keeps for the rooms (for rooms a client hears of anew).
func (a *Accounts) AccountDataOfRooms(ctx context.Context, user id.UserID, rooms []id.RoomID) ([]AccountDatum, error) {
	if len(rooms) == 0 {
		return nil, nil
	}
	ds, err := database.Rows(ctx, a.db, scanAccountDatum, selectAccountDataRooms, user, database.List(rooms))
	return ds, doing("reading account data", err)
}

// SetAccountData writes one datum through the committer, whatever the type: what clients may not write is refused by
// the handlers.
func (a *Accounts) SetAccountData(ctx context.Context, user id.UserID, room id.RoomID, eventType string, content json.RawMessage) error {
	content, err := checkAccountData(room, eventType, content)
	if err != nil {
		return err
	}
	_, err = a.stream.Commit(ctx, AccountDataUnit(user, room, eventType, content))
	if room == "" && eventType == ignoredUsers {
		a.ignored.drop(user)
	}
	return doing("writing account data", err)
}

// AccountDataUnit is the same as rows by value, for whoever writes other things along (a read marker with receipts).
// The content must be compact JSON.
func AccountDataUnit(user id.UserID, room id.RoomID, eventType string, content json.RawMessage) *stream.Unit {
	return &stream.Unit{
		Writes:  []stream.Write{{Table: tableAccountData, Row: []any{user, room, eventType, content, stream.PosOf(0)}}},
		Changes: []stream.Change{{Kind: stream.AccountData, RoomID: room, UserID: user, Ref: eventType}},
	}
}

// UpdateAccountData changes one datum depending on what it was (nil if nothing). fn gives the new content, or nil to
// leave it; it may be called again. Two updates of a user's data never lose each other.
func (a *Accounts) UpdateAccountData(ctx context.Context, user id.UserID, room id.RoomID, eventType string,
	fn func(old json.RawMessage) (json.RawMessage, error)) error {
	err := a.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := a.db.Exec(ctx, lockUser, user); err != nil {
			return doing("locking a user", err)
		}
		old, err := a.AccountData(ctx, user, room, eventType)
		if err != nil {
			return err
		}
		content, err := fn(old)
		if err != nil || content == nil {
			return err
		}
		if content, err = checkAccountData(room, eventType, content); err != nil {
			return err
		}
		pos, err := a.stream.Append(ctx, stream.Change{Kind: stream.AccountData, RoomID: room, UserID: user, Ref: eventType})
		if err != nil {
			return doing("announcing a change", err)
		}
		return doing("writing account data", a.db.Insert(ctx, tableAccountData, []any{user, room, eventType, content, int64(pos)}))
	})
	if room == "" && eventType == ignoredUsers {
		a.ignored.drop(user)
	}
	return err
}

// DeleteAccountData removes one datum. Clients hear of it as empty content.
//
// msc: 3391
func (a *Accounts) DeleteAccountData(ctx context.Context, user id.UserID, room id.RoomID, eventType string) error {
	old, err := a.AccountData(ctx, user, room, eventType)
	if err != nil || old == nil {
		return err
	}
	return a.SetAccountData(ctx, user, room, eventType, json.RawMessage("{}"))
}

func checkAccountData(room id.RoomID, eventType string, content json.RawMessage) (json.RawMessage, error) {
	switch {
	case eventType == "" || !plain(eventType, maxType):
		return nil, mautrix.MInvalidParam.WithMessage("Not a type of account data")
	case room != "" && !validRoomID(string(room)):
		return nil, mautrix.MInvalidParam.WithMessage("Not a room ID")
	case len(content) > maxAccountData:
		return nil, mautrix.MTooLarge.WithMessage("Account data has at most %d bytes", maxAccountData)
	}
	return compactObject(content)
}

func validRoomID(s string) bool {
	return len(s) > 1 && s[0] == '!' && plain(s, maxUserID)
}

func validUserID(s string) bool {
	localpart, server, ok := splitUser(s)
	return ok && plain(s, maxUserID) && ValidHistoricalLocalpart(localpart) && server != ""
}
