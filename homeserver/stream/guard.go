package stream

import (
	"context"

	"github.com/viaduc/viaduc/homeserver/database"
)

// guarded row of a group.
type guardedRow struct {
	version int64
	exists  bool
	last    *Pending // whose guard gives the values to write
	late    bool     // they contain a position
}

// guardRows are the guarded rows of a group in one table.
type guardRows struct {
	table *GuardTable
	keys  []any
	rows  map[any]*guardedRow
}

// checkGuards locks the guarded rows, leaves out the units whose guard fails, and writes the rows of the others, except those
// that need positions.
func (g *writing) checkGuards(ctx context.Context) (err error) {
	if g.guards, err = g.guardedRows(); err != nil {
		return err
	}
	for _, t := range g.guards {
		if err := t.load(ctx, g.s.db); err != nil {
			return err
		}
	}
	g.alive = make([]*Pending, 0, len(g.group))
	for _, p := range g.group {
		p.err, p.first = nil, 0
		if gd := p.unit.Guard; gd != nil {
			key, _ := gd.key() // was asked before
			row := find(g.guards, gd.Table).rows[key]
			if row.version != gd.Expect {
				p.err = ErrConflict
				continue
			}
			row.version, row.last, row.late = gd.Next, p, needsPosition(gd.Row)
		}
		g.alive = append(g.alive, p)
	}
	return g.saveGuards(ctx, false)
}

// saveGuards writes the guarded rows that moved: those that contain a position, or the others.
func (g *writing) saveGuards(ctx context.Context, late bool) error {
	for _, t := range g.guards {
		if err := t.save(ctx, g.s.db, late); err != nil {
			return err
		}
	}
	return nil
}

// guardedRows collects the keys of the group.
func (g *writing) guardedRows() ([]*guardRows, error) {
	var tables []*guardRows
	for _, p := range g.group {
		gd := p.unit.Guard
		if gd == nil {
			continue
		}
		key, err := gd.key()
		if err != nil {
			return nil, &database.ValueError{Table: gd.Table.name, Column: "key", Err: err}
		}
		t := find(tables, gd.Table)
		if t == nil {
			t = &guardRows{table: gd.Table, rows: make(map[any]*guardedRow)}
			tables = append(tables, t)
		}
		if t.rows[key] == nil {
			t.rows[key] = &guardedRow{}
			t.keys = append(t.keys, key)
		}
	}
	return tables, nil
}

func find(tables []*guardRows, t *GuardTable) *guardRows {
	if i := indexOf(tables, t); i >= 0 {
		return tables[i]
	}
	return nil
}

// list gives the keys as a parameter.
func (t *guardRows) list() any {
	if t.table.number {
		numbers := make([]int64, len(t.keys))
		for i, k := range t.keys {
			numbers[i] = k.(int64)
		}
		return database.List(numbers)
	}
	texts := make([]string, len(t.keys))
	for i, k := range t.keys {
		texts[i] = k.(string)
	}
	return database.List(texts)
}

// load locks the rows that exist and reads their versions.
func (t *guardRows) load(ctx context.Context, db *database.DB) error {
	type version struct {
		key any
		n   int64
	}
	scan := func(r database.Scanner) (v version, err error) {
		var key string
		err = r.Scan(&key, &v.n)
		v.key = key
		return v, err
	}
	if t.table.number {
		scan = func(r database.Scanner) (v version, err error) {
			var key int64
			err = r.Scan(&key, &v.n)
			v.key = key
			return v, err
		}
	}
	found, err := database.Rows(ctx, db, scan, t.table.load, t.list())
	if err != nil {
		return err
	}
	for _, v := range found {
		row := t.rows[v.key]
		row.version, row.exists = v.n, true
	}
	return nil
}

// save writes the last version of each row that moved.
func (t *guardRows) save(ctx context.Context, db *database.DB, late bool) error {
	var fresh, moved [][]any
	for _, key := range t.keys {
		row := t.rows[key]
		if row.last == nil || row.late != late {
			continue
		}
		guard := row.last.unit.Guard
		values := positioned([]any{key, guard.Next}, guard.Row, row.last.first)
		if row.exists {
			moved = append(moved, values)
		} else {
			// Not an upsert: another replica may have inserted the row meanwhile.
			fresh = append(fresh, values)
		}
	}
	if err := db.Insert(ctx, t.table.insert, fresh...); err != nil {
		return err
	}
	return db.Insert(ctx, t.table.upsert, moved...)
}
