package database

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Batch is a transaction given as values: rows of several tables, guarded by versions, with numbers taken from a counter.
// Where the engine can do that in one statement (OneStatement), WriteBatch spares all round trips but one.
type Batch struct {
	Guards  []BatchGuard
	Rows    []BatchRows // in the order of locking; tables that need no number come first anyway
	Counter Counter
}

// BatchRows are rows of a table. A cell may be Relative or RelativeScaled.
type BatchRows struct {
	Table *Table
	Rows  [][]any
}

// BatchGuard says which versions rows must have, 0 standing for a row that does not exist.
type BatchGuard struct {
	Table, Key, Version string
	Keys                any // List
	Numbers             bool
	Expect              []int64
	Fresh, Moved        BatchRows // what is written
}

// Counter is a row that numbers are taken from: Take of them are added to Column.
type Counter struct {
	Table, Column, Where string
	Take                 int64
}

// Relative as a cell becomes the first number taken plus this.
type Relative int64

// RelativeScaled as a cell becomes the first number taken plus this, times Scale.
type RelativeScaled int64

// Scale is what RelativeScaled cells are multiplied with.
const Scale = 1 << 20

// ErrNotOneStatement says that a batch needs several statements. Nothing was written.
var ErrNotOneStatement = errors.New("database: the batch needs several statements")

// OneStatement says whether WriteBatch works here. On SQLite a transaction costs no round trips, so it does not.
func (db *DB) OneStatement() bool { return db.engine == postgres }

// WriteBatch writes and commits a batch, and returns the first number. ok is false, and nothing written, if a guard failed. A
// CommitError says that the outcome is unknown; after any other error nothing was written.
func (db *DB) WriteBatch(ctx context.Context, b *Batch) (first int64, ok bool, err error) {
	if db.engine != postgres || b.Counter.Take <= 0 {
		return 0, false, ErrNotOneStatement
	}
	w := &batchText{}
	if err = w.build(b); err != nil {
		return 0, false, err
	}
	c, err := db.write.get(ctx)
	if err != nil {
		return 0, false, err
	}
	defer db.write.put(c)
	text, start := w.sql.String(), time.Now()
	if err = db.strike(BeforeStatement, text); err != nil {
		return 0, false, err
	}
	if _, err = c.prepare(ctx, text); err != nil {
		return 0, false, err
	}
	rows, err := c.query(context.WithoutCancel(ctx), text, w.args)
	if err == nil {
		err = Row{rows: rows}.Scan(&first)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrNoRows):
		return 0, false, nil
	case c.check(err) != nil && c.broken:
		return 0, false, &CommitError{err}
	default:
		return 0, false, describe(err, text)
	}
	db.stats.inserted(w.rows)
	db.stats.committed(time.Since(start))
	if err = db.strike(CommitUnheard, text); err != nil {
		return 0, false, &CommitError{err}
	}
	return first, true, nil
}

// batchText writes the statement of a batch: the guards lock and check their rows; the tables without numbers are written if
// all guards hold; then the counter moves; then the tables with numbers follow. Each part reads something of those that
// must come before it, which fixes the order.
type batchText struct {
	sql    strings.Builder
	args   []any
	parts  int
	rows   int
	before []string // parts that must run before the counter moves
	holds  string   // condition: all guards hold
}

func (w *batchText) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// part begins a part of the statement and returns its name.
func (w *batchText) part() string {
	word := ", "
	if w.parts == 0 {
		word = "WITH "
	}
	w.parts++
	name := "p" + strconv.Itoa(w.parts)
	w.sql.WriteString(word + name)
	return name
}

func (w *batchText) build(b *Batch) error {
	var conditions []string
	for i := range b.Guards {
		conditions = append(conditions, w.guard(&b.Guards[i]))
	}
	if len(conditions) > 0 {
		w.holds = strings.Join(conditions, " AND ")
	}
	var late []*writable
	all := make([]BatchRows, 0, len(b.Rows)+2*len(b.Guards))
	for _, g := range b.Guards {
		all = append(all, g.Fresh, g.Moved)
	}
	for _, r := range append(all, b.Rows...) {
		if len(r.Rows) == 0 {
			continue
		}
		t, err := prepareRows(r)
		if err != nil {
			return err
		}
		w.rows += len(r.Rows)
		if t.relative != nil {
			late = append(late, t)
			continue
		}
		w.before = append(w.before, w.insert(t, ""))
	}
	counter := w.counter(&b.Counter)
	for _, t := range late {
		w.insert(t, counter)
	}
	w.sql.WriteString(" SELECT first FROM " + counter)
	return nil
}

// guard locks the rows of a guard and returns the condition that all have the versions expected.
func (w *batchText) guard(g *BatchGuard) (condition string) {
	typ := "text[]"
	if g.Numbers {
		typ = "bigint[]"
	}
	keys := w.arg(g.Keys)
	locked := w.part()
	fmt.Fprintf(&w.sql, " AS MATERIALIZED (SELECT %s AS k, %s AS v FROM %s WHERE %[1]s = ANY(%[4]s::%[5]s) ORDER BY %[1]s FOR UPDATE)",
		g.Key, g.Version, g.Table, keys, typ)
	right := w.part()
	fmt.Fprintf(&w.sql, " AS MATERIALIZED (SELECT count(*) AS n FROM unnest(%s::%s, %s::bigint[]) AS e(k, v) LEFT JOIN %s l ON l.k = e.k WHERE COALESCE(l.v, 0) = e.v)",
		keys, typ, w.arg(List(g.Expect)), locked)
	return "(SELECT n FROM " + right + ") = " + w.arg(int64(len(g.Expect))) + "::bigint"
}

func (w *batchText) counter(c *Counter) string {
	take := w.arg(c.Take)
	name := w.part()
	fmt.Fprintf(&w.sql, " AS (UPDATE %s SET %s = %[2]s + %s::bigint WHERE %s", c.Table, c.Column, take, c.Where)
	if w.holds != "" {
		w.sql.WriteString(" AND " + w.holds)
	}
	for _, p := range w.before {
		w.sql.WriteString(" AND (SELECT count(*) FROM " + p + ") >= 0")
	}
	fmt.Fprintf(&w.sql, " RETURNING %s - %s::bigint + 1 AS first)", c.Column, take)
	return name
}

// insert writes rows; with a counter, its first number is added to the relative columns.
func (w *batchText) insert(t *writable, counter string) string {
	name := w.part()
	var arrays, names, values strings.Builder
	for i, c := range t.table.cols {
		if i > 0 {
			arrays.WriteString(", ")
			names.WriteString(", ")
			values.WriteString(", ")
		}
		n := "c" + strconv.Itoa(i)
		arrays.WriteString(w.arg(t.args[i]) + c.Kind.array())
		names.WriteString(n)
		switch {
		case t.relative == nil || t.relative[i] == 0:
			values.WriteString("u." + n)
		case t.relative[i] == 1:
			values.WriteString("u." + n + " + h.first")
		default:
			values.WriteString("(u." + n + " + h.first) * " + strconv.FormatInt(t.relative[i], 10))
		}
	}
	fmt.Fprintf(&w.sql, " AS (INSERT INTO %s (%s) SELECT %s FROM unnest(%s) AS u(%s)", t.table.Name,
		strings.Join(t.table.Columns, ", "), values.String(), arrays.String(), names.String())
	switch {
	case counter != "":
		w.sql.WriteString(", " + counter + " h WHERE true ")
	case w.holds != "":
		w.sql.WriteString(" WHERE " + w.holds + " ")
	default:
		w.sql.WriteString(" WHERE true ")
	}
	w.sql.WriteString(t.table.Conflict + " RETURNING 1)")
	return name
}

// writable are rows in the form of arrays.
type writable struct {
	table    *Table
	args     []any
	relative []int64 // 1 for columns whose cells are Relative, Scale for those that are RelativeScaled
}

// prepareRows brings rows into arrays; rows that must be written one after the other are ErrNotOneStatement.
func prepareRows(r BatchRows) (*writable, error) {
	rows := r.Rows
	if len(rows) > maxRows {
		return nil, ErrNotOneStatement
	}
	if r.Table.updates && len(rows) > 1 {
		waves, err := r.Table.waves(rows)
		if err != nil {
			return nil, err
		}
		if len(waves) != 1 {
			return nil, ErrNotOneStatement
		}
		rows = waves[0]
	}
	t := &writable{table: r.Table}
	for i := range r.Table.cols {
		n, scaled := 0, 0
		for _, row := range rows {
			if i < len(row) {
				switch row[i].(type) {
				case Relative:
					n++
				case RelativeScaled:
					scaled++
				}
			}
		}
		if n+scaled == 0 {
			continue
		}
		if n < len(rows) && scaled < len(rows) {
			return nil, ErrNotOneStatement
		}
		if t.relative == nil {
			t.relative = make([]int64, len(r.Table.cols))
		}
		t.relative[i] = 1
		if scaled > 0 {
			t.relative[i] = Scale
		}
	}
	var err error
	t.args, err = r.Table.columnArrays(rows)
	return t, err
}
