package stream

import (
	"context"
	"errors"

	"github.com/viaduc/viaduc/homeserver/database"
)

// writeOnce writes and commits a group in one statement, where the engine can. done is false, and nothing written, if the group
// must be written step by step: a guard fails, or rows must be written one after the other.
//
// The positions are known only after the commit. Until they are promised nobody may read the log in order to publish it, lest
// our own changes be taken for another replica's: that is what blind is for.
func (g *writing) writeOnce(ctx context.Context) (done bool, err error) {
	b := &database.Batch{Counter: database.Counter{Table: "stream_head", Column: "pos", Where: "one = 1"}}
	if !g.guardsOnce(b) {
		return false, nil
	}
	n := 0
	for _, p := range g.group {
		for _, w := range p.unit.Writes {
			g.tables = add(g.tables, w.Table, relative(w.Row, n))
		}
		for i, c := range p.unit.Changes {
			c.Pos = Pos(n + i)
			g.changes = append(g.changes, c)
		}
		n += len(p.unit.Changes)
	}
	if n == 0 {
		return false, nil
	}
	b.Counter.Take = int64(n)
	for _, t := range g.tables {
		b.Rows = append(b.Rows, database.BatchRows{Table: t.table, Rows: t.rows})
	}
	b.Rows = append(b.Rows, database.BatchRows{Table: changesTable, Rows: logRows(newestOnly(g.changes), func(p Pos) any { return database.Relative(p) })})

	g.s.blind.Lock()
	defer g.s.blind.Unlock()
	first, ok, err := g.s.db.WriteBatch(ctx, b)
	if errors.Is(err, database.ErrNotOneStatement) {
		return false, nil
	}
	if err != nil || !ok {
		return false, err
	}
	g.s.promise(Pos(first))
	g.settle(Pos(first))
	return true, nil
}

// settle gives everything its position after the fact.
func (g *writing) settle(first Pos) {
	g.first, g.alive = first, g.group
	for i := range g.changes {
		g.changes[i].Pos += first
	}
	next := first
	for _, p := range g.group {
		p.err, p.first = nil, 0
		if len(p.unit.Changes) > 0 {
			p.first = next
		}
		next += Pos(len(p.unit.Changes))
	}
}

// guardsOnce puts the guards of the group into a batch. It is false if they do not even fit each other.
func (g *writing) guardsOnce(b *database.Batch) bool {
	tables, err := g.guardedRows()
	if err != nil {
		return false // the step by step way says what is wrong
	}
	type start struct {
		expect int64
		offset int
	}
	starts := make([]map[any]start, len(tables))
	n := 0
	for _, p := range g.group {
		if gd := p.unit.Guard; gd != nil {
			key, _ := gd.key() // was asked before
			i := indexOf(tables, gd.Table)
			row := tables[i].rows[key]
			if row.last == nil {
				if starts[i] == nil {
					starts[i] = make(map[any]start)
				}
				starts[i][key] = start{expect: gd.Expect}
				row.version = gd.Expect
			}
			if row.version != gd.Expect {
				return false
			}
			row.version, row.last = gd.Next, p
			st := starts[i][key]
			st.offset = n
			starts[i][key] = st
		}
		n += len(p.unit.Changes)
	}
	for i, t := range tables {
		bg := database.BatchGuard{Table: t.table.name, Key: t.table.key, Version: t.table.version, Keys: t.list(), Numbers: t.table.number}
		bg.Fresh.Table, bg.Moved.Table = t.table.insert, t.table.upsert
		for _, key := range t.keys {
			guard, st := t.rows[key].last.unit.Guard, starts[i][key]
			bg.Expect = append(bg.Expect, st.expect)
			row := append([]any{key, guard.Next}, relative(guard.Row, st.offset)...)
			if st.expect == 0 {
				bg.Fresh.Rows = append(bg.Fresh.Rows, row)
			} else {
				bg.Moved.Rows = append(bg.Moved.Rows, row)
			}
		}
		b.Guards = append(b.Guards, bg)
	}
	return true
}

// relative gives a row in which PosOf and OrderOf count from the first position of the group.
func relative(row []any, offset int) []any {
	if !needsPosition(row) {
		return row
	}
	out := make([]any, len(row))
	for i, v := range row {
		switch of := v.(type) {
		case PosOf:
			v = database.Relative(int(of) + offset)
		case OrderOf:
			v = database.RelativeScaled(int(of) + offset)
		}
		out[i] = v
	}
	return out
}

func indexOf(tables []*guardRows, t *GuardTable) int {
	for i, x := range tables {
		if x.table == t {
			return i
		}
	}
	return -1
}
