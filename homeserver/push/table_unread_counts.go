package push

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

var unreadCountsTable = database.NewTable("unread_counts",
	`ON CONFLICT (user_id, room_id) DO UPDATE SET pos = excluded.pos, rules = excluded.rules, cell = excluded.cell`,
	database.Text("user_id"), database.Text("room_id"), database.Int("pos"), database.Text("rules"), database.Text("cell"))

const (
	selectCells = `SELECT room_id, pos, rules, cell FROM unread_counts WHERE user_id = $1 AND room_id IN LIST($2)`
	deleteCells = `DELETE FROM unread_counts WHERE user_id = $1`
)

type cellRow struct {
	room id.RoomID
	pos  stream.Pos
	key  string
	cell string
}

func (p *Push) readCells(ctx context.Context, user id.UserID, rooms []id.RoomID) ([]cellRow, error) {
	rows, err := database.Rows(ctx, p.db, func(s database.Scanner) (r cellRow, err error) {
		return r, s.Scan(&r.room, &r.pos, &r.key, &r.cell)
	}, selectCells, string(user), database.List(rooms))
	if err != nil {
		return nil, fmt.Errorf("reading unread counts: %w", err)
	}
	return rows, nil
}

func (p *Push) writeCells(ctx context.Context, rows [][]any) error {
	if err := p.db.Insert(ctx, unreadCountsTable, rows...); err != nil {
		return fmt.Errorf("writing unread counts: %w", err)
	}
	return nil
}
