package stream

import (
	"context"

	"github.com/viaduc/viaduc/homeserver/database"
)

// changesTable is the log. A row of a kind that keeps only the newest takes the place of the older one.
var changesTable = database.NewTable("changes",
	"ON CONFLICT (kind, room_id, user_id, ref) WHERE kind > 2 DO UPDATE SET pos = excluded.pos",
	database.Int("pos"), database.Int("kind"), database.Text("room_id"), database.Text("user_id"), database.Text("ref"))

const (
	headQuery    = `SELECT pos FROM stream_head WHERE one = 1`
	advanceQuery = `UPDATE stream_head SET pos = pos + $1 WHERE one = 1 RETURNING pos`

	columns = `SELECT pos, kind, room_id, user_id, ref FROM changes `

	rangeQuery  = columns + `WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`
	kindsQuery  = columns + `WHERE pos > $1 AND pos <= $2 AND kind IN LIST($3) ORDER BY pos LIMIT $4`
	newestQuery = columns + `WHERE pos > $1 AND pos <= $2 ORDER BY pos DESC LIMIT $3`

	roomsQuery = `SELECT c.pos, c.kind, c.room_id, c.user_id, c.ref FROM TEXTS($1) r, INTS($2) k, changes c
		WHERE c.room_id = r.value AND c.room_id <> '' AND c.kind = k.value AND c.pos > $3 AND c.pos <= $4`
	usersQuery = `SELECT c.pos, c.kind, c.room_id, c.user_id, c.ref FROM TEXTS($1) r, INTS($2) k, changes c
		WHERE c.user_id = r.value AND c.user_id <> '' AND c.kind = k.value AND c.pos > $3 AND c.pos <= $4`

	touchedRoomsQuery = `SELECT r.value, k.value FROM TEXTS($1) r, INTS($2) k WHERE EXISTS (SELECT 1 FROM changes c
		WHERE c.room_id = r.value AND c.room_id <> '' AND c.kind = k.value AND c.pos > $3 AND c.pos <= $4)`
	touchedUsersQuery = `SELECT r.value, k.value FROM TEXTS($1) r, INTS($2) k WHERE EXISTS (SELECT 1 FROM changes c
		WHERE c.user_id = r.value AND c.user_id <> '' AND c.kind = k.value AND c.pos > $3 AND c.pos <= $4)`

	cursorQuery     = `SELECT pos FROM cursors WHERE name = $1`
	newCursorQuery  = `INSERT INTO cursors (name, pos) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`
	moveCursorQuery = `UPDATE cursors SET pos = $2 WHERE name = $1 AND pos = $3`
)

func scanChange(r database.Scanner) (c Change, err error) {
	err = r.Scan(&c.Pos, &c.Kind, &c.RoomID, &c.UserID, &c.Ref)
	return c, err
}

func (s *Stream) readHead(ctx context.Context) (p Pos, err error) {
	err = s.db.QueryRow(ctx, headQuery).Scan(&p)
	return p, err
}

// advance takes n positions and returns the first. The row stays locked until the transaction ends.
func (s *Stream) advance(ctx context.Context, n int) (first Pos, err error) {
	var last Pos
	if err = s.db.QueryRow(ctx, advanceQuery, n).Scan(&last); err != nil {
		return 0, err
	}
	return last - Pos(n) + 1, nil
}

// writeLog writes the rows of changes that have their positions.
func (s *Stream) writeLog(ctx context.Context, changes []Change) error {
	return s.db.Insert(ctx, changesTable, logRows(newestOnly(changes), func(p Pos) any { return int64(p) })...)
}

func logRows(changes []Change, pos func(Pos) any) [][]any {
	rows := make([][]any, len(changes))
	cells := make([]any, 5*len(changes))
	for i := range changes {
		c, row := &changes[i], cells[5*i:5*i+5:5*i+5]
		row[0], row[1], row[2], row[3], row[4] = pos(c.Pos), int64(c.Kind), string(c.RoomID), string(c.UserID), c.Ref
		rows[i] = row
	}
	return rows
}

// newestOnly leaves out changes that a later one of the same transaction replaces.
func newestOnly(changes []Change) []Change {
	replaceable := 0
	for i := range changes {
		if changes[i].Kind > Membership {
			replaceable++
		}
	}
	if replaceable < 2 {
		return changes
	}
	last := make(map[Change]int, replaceable)
	for i, c := range changes {
		if c.Kind > Membership {
			c.Pos = 0
			last[c] = i
		}
	}
	if len(last) == replaceable {
		return changes
	}
	out := make([]Change, 0, len(changes))
	for i, c := range changes {
		key := c
		key.Pos = 0
		if c.Kind <= Membership || last[key] == i {
			out = append(out, c)
		}
	}
	return out
}
