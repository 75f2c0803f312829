package database

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ColKind is the kind of a column.
type ColKind uint8

// The kinds. Booleans are KindInt with 0 and 1.
const (
	KindText ColKind = iota + 1
	KindInt
	KindBlob
)

// array is how PostgreSQL is told that a parameter is an array of this kind.
func (k ColKind) array() string {
	switch k {
	case KindInt:
		return "::bigint[]"
	case KindBlob:
		return "::bytea[]"
	}
	return "::text[]"
}

// Col is a column of a Table.
type Col struct {
	Name string
	Kind ColKind
	null bool
}

// Text is a column of text that is never NULL. Strings, bytes and json.RawMessage fit.
func Text(name string) Col { return Col{Name: name, Kind: KindText} }

// Int is a column of numbers that is never NULL. Booleans become 0 and 1, times milliseconds.
func Int(name string) Col { return Col{Name: name, Kind: KindInt} }

// NullText is a column of text where nil, a nil pointer and a nil slice are NULL.
func NullText(name string) Col { return Col{Name: name, Kind: KindText, null: true} }

// NullInt is a column of numbers where nil and a nil pointer are NULL.
func NullInt(name string) Col { return Col{Name: name, Kind: KindInt, null: true} }

// Blob is a column of bytes (BYTEA in the schema); nil is NULL.
func Blob(name string) Col { return Col{Name: name, Kind: KindBlob, null: true} }

// Table is what Insert needs to know about a table. It does not change and may be shared.
type Table struct {
	Name     string
	Columns  []string
	Kinds    []ColKind
	Conflict string // "", or for example ON CONFLICT (a) DO UPDATE SET b=excluded.b

	cols     []Col
	single   string // inserts one row
	arrays   string // inserts many rows given as one array a column
	updates  bool   // the conflict clause updates: two rows of one statement must not meet
	key      []int  // the columns of the conflict target; nil if not understood
	lastWins bool   // of rows with the same key only the last one matters
}

var updateClause = regexp.MustCompile(`(?is)^\s*ON\s+CONFLICT\s*\(([^)]*)\)\s*(WHERE\s.*?)?\s*DO\s+UPDATE\s+SET\s+(.*)$`)

// NewTable describes a table for Insert; conflict is "" or an ON CONFLICT clause.
func NewTable(name, conflict string, cols ...Col) *Table {
	t := &Table{Name: name, Conflict: conflict, cols: cols}
	marks, arrays := make([]string, len(cols)), make([]string, len(cols))
	for i, c := range cols {
		t.Columns = append(t.Columns, c.Name)
		t.Kinds = append(t.Kinds, c.Kind)
		marks[i] = "$" + strconv.Itoa(i+1)
		arrays[i] = marks[i] + c.Kind.array()
	}
	into := "INSERT INTO " + name + " (" + strings.Join(t.Columns, ", ") + ") "
	t.single = into + "VALUES (" + strings.Join(marks, ", ") + ") " + conflict
	t.arrays = into + "SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ") " + conflict
	t.understand()
	return t
}

// understand reads the conflict clause.
func (t *Table) understand() {
	t.updates = strings.Contains(strings.ToUpper(t.Conflict), "DO UPDATE")
	m := updateClause.FindStringSubmatch(t.Conflict)
	if m == nil {
		return
	}
	for _, name := range strings.Split(m[1], ",") {
		i := t.column(strings.TrimSpace(name))
		if i < 0 {
			t.key = nil
			return
		}
		t.key = append(t.key, i)
	}
	if m[2] != "" {
		return
	}
	set := make(map[string]bool)
	for _, part := range strings.Split(m[3], ",") {
		left, right, _ := strings.Cut(part, "=")
		left = strings.TrimSpace(left)
		if !strings.EqualFold(strings.TrimSpace(right), "excluded."+left) {
			return
		}
		set[left] = true
	}
	for _, i := range t.key {
		set[t.Columns[i]] = true
	}
	t.lastWins = true
	for _, name := range t.Columns {
		t.lastWins = t.lastWins && set[name]
	}
}

func (t *Table) column(name string) int {
	for i, c := range t.Columns {
		if c == name {
			return i
		}
	}
	return -1
}

// maxRows bounds the rows of one statement.
const maxRows = 2000

// Insert writes rows, each with a value for every column, in the transaction of ctx or in one of its own: one statement on
// PostgreSQL, a prepared statement for each row on SQLite. Rows take effect as if inserted one after the other.
func (db *DB) Insert(ctx context.Context, t *Table, rows ...[]any) error {
	if len(rows) == 0 {
		return nil
	}
	if !db.InTx(ctx) && len(rows) > 1 {
		return db.Tx(ctx, func(ctx context.Context) error { return db.Insert(ctx, t, rows...) })
	}
	db.stats.inserted(len(rows))
	if len(rows) > 1 && t.updates {
		return db.insertMeeting(ctx, t, rows)
	}
	return db.insert(ctx, t, rows)
}

// insertMeeting inserts rows of which several may have the same key, where the conflict clause updates.
func (db *DB) insertMeeting(ctx context.Context, t *Table, rows [][]any) error {
	if db.engine == sqlite && !t.lastWins {
		return db.insert(ctx, t, rows) // they come one after the other anyway
	}
	waves, err := t.waves(rows)
	if err != nil {
		return err
	}
	for _, wave := range waves {
		if err := db.insert(ctx, t, wave); err != nil {
			return err
		}
	}
	return nil
}

// waves splits rows so that no two of a wave have the same key; written one wave after the other they give what the rows give
// one after the other. Where only the last row of a key matters, there is one wave.
func (t *Table) waves(rows [][]any) ([][][]any, error) {
	var waves [][][]any
	seen := make(map[string]int, len(rows)) // the wave of the next row with this key, or its place in the only wave
	var key []byte
	for i, row := range rows {
		n := i // a key that is not understood may be any other's
		if t.key != nil {
			var err error
			if key, err = t.rowKey(key[:0], row); err != nil {
				return nil, err
			}
			at, again := seen[string(key)]
			switch {
			case again && t.lastWins:
				waves[0][at] = row
				continue
			case t.lastWins:
				n = 0
				if waves != nil {
					at = len(waves[0])
				}
				seen[string(key)] = at
			default:
				n = at
				seen[string(key)] = at + 1
			}
		}
		for len(waves) <= n {
			waves = append(waves, nil)
		}
		waves[n] = append(waves[n], row)
	}
	return waves, nil
}

// rowKey appends the values of the conflict target.
func (t *Table) rowKey(b []byte, row []any) ([]byte, error) {
	if err := t.fits(row); err != nil {
		return nil, err
	}
	for _, i := range t.key {
		v, err := t.value(i, row[i])
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case string:
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		case []byte:
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		case int64:
			b = binary.AppendVarint(b, v)
		default:
			b = append(b, 0xff)
		}
	}
	return b, nil
}

func (t *Table) fits(row []any) error {
	if len(row) != len(t.cols) {
		return &ValueError{t.Name, "*", fmt.Errorf("%d values for %d columns", len(row), len(t.cols))}
	}
	return nil
}

// value brings a value into the form of its column: string, int64, []byte or nil.
func (t *Table) value(i int, a any) (any, error) {
	c := t.cols[i]
	var v any
	var ok bool
	var err error
	switch c.Kind {
	case KindText:
		v, ok, err = wrap(asText(a))
	case KindInt:
		v, ok, err = wrap(asInt(a))
	default:
		var b []byte
		b, err = asBlob(a)
		v, ok = b, b != nil
	}
	switch {
	case err != nil:
		return nil, &ValueError{t.Name, c.Name, err}
	case ok:
		return v, nil
	case c.null:
		return nil, nil
	}
	return nil, &ValueError{t.Name, c.Name, fmt.Errorf("NULL is not allowed")}
}

func wrap[T any](v T, ok bool, err error) (any, bool, error) { return v, ok, err }

func (db *DB) insert(ctx context.Context, t *Table, rows [][]any) error {
	if db.engine == postgres && len(rows) > 1 {
		for len(rows) > 0 {
			n := min(len(rows), maxRows)
			args, err := t.columnArrays(rows[:n])
			if err != nil {
				return err
			}
			if _, err = db.Exec(ctx, t.arrays, args...); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	}
	args := make([]any, len(t.cols))
	for _, row := range rows {
		if err := t.fits(row); err != nil {
			return err
		}
		for i, a := range row {
			v, err := t.value(i, a)
			if err != nil {
				return err
			}
			args[i] = v
		}
		if _, err := db.Exec(ctx, t.single, args...); err != nil {
			return err
		}
	}
	return nil
}

// columnArrays gives the rows as one PostgreSQL array a column.
func (t *Table) columnArrays(rows [][]any) ([]any, error) {
	for _, row := range rows {
		if err := t.fits(row); err != nil {
			return nil, err
		}
	}
	args := make([]any, len(t.cols))
	for i := range t.cols {
		var a array
		a.grow(24 * len(rows))
		for _, row := range rows {
			v, err := t.value(i, row[i])
			if err != nil {
				return nil, err
			}
			switch v := v.(type) {
			case string:
				a.text(v)
			case int64:
				a.int(v)
			case []byte:
				a.bytes(v)
			default:
				a.null()
			}
		}
		args[i] = a.done()
	}
	return args, nil
}
