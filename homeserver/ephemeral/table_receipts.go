package ephemeral

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

var receiptsTable = database.NewTable("receipts", `ON CONFLICT (room_id, user_id, receipt_type, thread_id) DO UPDATE
	SET event_id = excluded.event_id, ts = excluded.ts, ord = excluded.ord, pos = excluded.pos`,
	database.Text("room_id"), database.Text("user_id"), database.Text("receipt_type"), database.Text("thread_id"),
	database.Text("event_id"), database.Int("ts"), database.Int("ord"), database.Int("pos"))

// recentMax is how many of a room's newest receipts are kept in memory.
const recentMax = 200

const (
	receiptColumns = `room_id, user_id, receipt_type, thread_id, event_id, ts, ord, pos`
	receiptPurge   = `DELETE FROM receipts WHERE room_id = $1`
	receiptFind    = `SELECT ` + receiptColumns + ` FROM receipts WHERE room_id = $1 AND user_id = $2 AND receipt_type = $3 AND thread_id = $4`
	receiptOwn     = `SELECT ` + receiptColumns + ` FROM receipts WHERE room_id = $1 AND user_id = $2`
	receiptRecent  = `SELECT ` + receiptColumns + ` FROM receipts WHERE room_id = $1 ORDER BY pos DESC LIMIT $2`
	receiptList    = `SELECT ` + receiptColumns + ` FROM receipts WHERE room_id IN LIST($1) AND pos > $2 AND pos <= $3 ORDER BY room_id, pos`
)

func scanReceipt(s database.Scanner) (r Receipt, err error) {
	return r, s.Scan(&r.RoomID, &r.UserID, &r.Type, &r.ThreadID, &r.EventID, &r.Time, &r.Order, &r.Pos)
}

func (e *Ephemeral) findReceipt(ctx context.Context, r *Receipt) (*Receipt, error) {
	old, err := scanReceipt(e.db.QueryRow(ctx, receiptFind, string(r.RoomID), string(r.UserID), r.Type, r.ThreadID))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find receipt: %w", err)
	}
	return &old, nil
}

func (e *Ephemeral) listOwn(ctx context.Context, roomID id.RoomID, user id.UserID) ([]Receipt, error) {
	return database.Rows(ctx, e.db, scanReceipt, receiptOwn, string(roomID), string(user))
}

func (e *Ephemeral) loadRecent(ctx context.Context, roomID id.RoomID) (recentReceipts, error) {
	rows, err := database.Rows(ctx, e.db, scanReceipt, receiptRecent, string(roomID), recentMax)
	if err != nil {
		return recentReceipts{}, err
	}
	slices.Reverse(rows)
	r := recentReceipts{all: rows}
	if len(rows) == recentMax {
		r.floor = rows[0].Pos
	}
	return r, nil
}

// listReceipts gives rows ordered by room, then position.
func (e *Ephemeral) listReceipts(ctx context.Context, rooms []id.RoomID, since, upTo stream.Pos) ([]Receipt, error) {
	return database.Rows(ctx, e.db, scanReceipt, receiptList, database.List(rooms), int64(since), int64(upTo))
}
