package database

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// step is one migration file. The first line says what it does:
//
//	-- v0 -> v1: Latest schema
//	-- v3 -> v4 (compatible with v2+): Devices remember their address
//
// "compatible with" names the oldest program that still works with the result. A line that ends in "-- only: postgres" or
// "-- only: sqlite" is for that engine; a line that consists of "-- only: sqlite for next 3 lines" is about those.
type step struct {
	file             string
	from, to, compat int
	body             string
}

var stepHeader = regexp.MustCompile(`^-- v(\d+) -> v(\d+)(?: \(compatible with v(\d+)\+\))?: .+$`)

func loadSteps(dir fs.FS) ([]step, error) {
	files, err := fs.Glob(dir, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, name := range files {
		raw, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		first, body, _ := strings.Cut(string(raw), "\n")
		m := stepHeader.FindStringSubmatch(strings.TrimSpace(first))
		if m == nil {
			return nil, fmt.Errorf("%s: the first line must be like -- v1 -> v2: What it does", name)
		}
		s := step{file: name, body: body}
		s.from, _ = strconv.Atoi(m[1])
		s.to, _ = strconv.Atoi(m[2])
		s.compat = s.to
		if m[3] != "" {
			s.compat, _ = strconv.Atoi(m[3])
		}
		if s.to <= s.from || s.compat > s.to {
			return nil, fmt.Errorf("%s: the versions in the first line make no sense", name)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// migrate brings the schema to the newest version, in one transaction.
func (db *DB) migrate(ctx context.Context) error {
	steps, err := loadSteps(migrations)
	if err != nil {
		return err
	}
	return db.Tx(ctx, func(ctx context.Context) error {
		c := db.tx(ctx).conn
		if db.engine == postgres {
			// Replicas that start together take turns; large tables take time.
			if err := c.plain(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
				return err
			}
			if err := c.plain(ctx, `SELECT pg_advisory_xact_lock(814002771)`); err != nil {
				return err
			}
		}
		if err := c.plain(ctx, `CREATE TABLE IF NOT EXISTS version (version INTEGER, compat INTEGER)`); err != nil {
			return err
		}
		var version, compat int
		rows, err := c.query(ctx, `SELECT version, COALESCE(compat, version) FROM version`, nil)
		if err = (Row{rows: rows, err: err}).Scan(&version, &compat); err != nil && !errors.Is(err, ErrNoRows) {
			return err
		}
		return db.climb(ctx, c, steps, version, compat)
	})
}

// climb runs the steps from a version upwards.
func (db *DB) climb(ctx context.Context, c *conn, steps []step, version, compat int) error {
	newest := 0
	for _, s := range steps {
		newest = max(newest, s.to)
	}
	if version > newest {
		if compat > newest {
			return fmt.Errorf("%w: schema version %d, usable from %d on, this program knows %d", ErrNewerSchema, version, compat, newest)
		}
		return nil
	}
	start := version
	for version < newest {
		var next *step
		for i := range steps {
			if s := &steps[i]; s.from == version && (next == nil || s.to > next.to) {
				next = s
			}
		}
		if next == nil {
			return fmt.Errorf("no migration leads on from schema version %d", version)
		}
		if err := c.plain(ctx, db.engine.dialect(next.body)); err != nil {
			return fmt.Errorf("%s: %w", next.file, err)
		}
		version, compat = next.to, next.compat
	}
	if version == start {
		return nil
	}
	if err := c.plain(ctx, `DELETE FROM version`); err != nil {
		return err
	}
	return c.plain(ctx, fmt.Sprintf(`INSERT INTO version (version, compat) VALUES (%d, %d)`, version, compat))
}

var (
	onlyNext    = regexp.MustCompile(`^\s*-- only: (postgres|sqlite) for next (\d+) lines\s*$`)
	onlyLine    = regexp.MustCompile(`-- only: (postgres|sqlite)\s*$`)
	bigintKey   = regexp.MustCompile(`(?i)\bBIGINT(\s+NOT\s+NULL)?\s+PRIMARY\s+KEY\b`)
	noRowID     = regexp.MustCompile(`(?i)\)\s*WITHOUT\s+ROWID\b`)
	byteaColumn = regexp.MustCompile(`(?i)\bBYTEA\b`)
)

// dialect makes the engine's text out of a migration: its own lines, and a few spellings that let one text give the best
// table on both: BIGINT PRIMARY KEY is SQLite's row number, WITHOUT ROWID is dropped for PostgreSQL.
func (e engine) dialect(body string) string {
	name := map[engine]string{sqlite: "sqlite", postgres: "postgres"}[e]
	var out strings.Builder
	skip := 0
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, len(body)+1)
	for lines.Scan() {
		line := lines.Text()
		if m := onlyNext.FindStringSubmatch(line); m != nil {
			if m[1] != name {
				skip, _ = strconv.Atoi(m[2])
			}
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if m := onlyLine.FindStringSubmatch(line); m != nil && m[1] != name {
			continue
		}
		out.WriteString(line)
		out.WriteByte('\n')
	}
	if e == sqlite {
		return byteaColumn.ReplaceAllString(bigintKey.ReplaceAllString(out.String(), "INTEGER PRIMARY KEY"), "BLOB")
	}
	return noRowID.ReplaceAllString(out.String(), ")")
}

// Schema is the text of the newest schema.
func Schema() string {
	raw, err := migrations.ReadFile("migrations/00-latest.sql")
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(raw)
}
