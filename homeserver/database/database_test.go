package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

func exec(t *testing.T, ctx context.Context, db *database.DB, q string, args ...any) {
	t.Helper()
	if _, err := db.Exec(ctx, q, args...); err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, ctx context.Context, db *database.DB, q string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(ctx, q, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return n
}

// things makes a table to play with.
func things(t *testing.T, db *database.DB) {
	exec(t, t.Context(), db, `CREATE TABLE things (name TEXT PRIMARY KEY, size BIGINT, body TEXT)`)
}

func TestOpen_FreshSQLiteIsQuickAndRefusesASecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%?.db")
	if _, err := database.Open(t.Context(), database.Options{URL: path}); err == nil {
		t.Fatal("a path with a question mark was accepted")
	}
	path = filepath.Join(t.TempDir(), "a b%.db")
	start := time.Now()
	db, err := database.Open(t.Context(), database.Options{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %s", time.Since(start))
	if _, err = database.Open(t.Context(), database.Options{URL: path}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second opening: %v", err)
	}
	exec(t, t.Context(), db, `INSERT INTO ids (name, next) VALUES ('x', 1)`)
	if err = db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = database.Open(t.Context(), database.Options{URL: path}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n := number(t, t.Context(), db, `SELECT next FROM ids WHERE name = 'x'`); n != 1 {
		t.Fatal(n)
	}
}

func TestOpen_RefusesNewerSchema(t *testing.T) {
	for _, opts := range []database.Options{dbtest.SQLiteOptions(t), dbtest.PostgresOptions(t)} {
		db, err := database.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, t.Context(), db, `UPDATE version SET version = 999, compat = 1`)
		db.Close()
		if db, err = database.Open(t.Context(), opts); err != nil {
			t.Fatalf("a compatible newer schema was refused: %v", err)
		}
		exec(t, t.Context(), db, `UPDATE version SET version = 999, compat = 998`)
		db.Close()
		if _, err = database.Open(t.Context(), opts); !errors.Is(err, database.ErrNewerSchema) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestValues_AreTheSameOnBothEngines(t *testing.T) {
	type name string
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		things(t, db)
		at := time.UnixMilli(1234567890123)
		exec(t, ctx, db, `INSERT INTO things (name, size, body) VALUES ($2, $1, $3)`, true, name("n'\"\\"), json.RawMessage(`{"a":"ü"}`))
		exec(t, ctx, db, `INSERT INTO things (name, size, body) VALUES ($1, $2, $3)`, "t", at, nil)
		if n := number(t, ctx, db, `SELECT size FROM things WHERE name = $1 AND body = $2 AND $1 = name`, name("n'\"\\"), `{"a":"ü"}`); n != 1 {
			t.Fatal(n)
		}
		var body *string
		var size int64
		if err := db.QueryRow(ctx, `SELECT body, size FROM things WHERE name = 't'`).Scan(&body, &size); err != nil || body != nil || size != at.UnixMilli() {
			t.Fatal(body, size, err)
		}
		if err := db.QueryRow(ctx, `SELECT body FROM things WHERE name = 'x'`).Scan(&body); !errors.Is(err, database.ErrNoRows) {
			t.Fatal(err)
		}
	})
}

func TestList_FindsMembers(t *testing.T) {
	type name string
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		things(t, db)
		odd := []name{`a`, `b"`, `c\`, `d,{}`, `NULL`, ``, "ü\n"}
		for i, n := range odd {
			exec(t, ctx, db, `INSERT INTO things (name, size) VALUES ($1, $2)`, n, i)
		}
		get := func(q string, args ...any) string {
			t.Helper()
			out, err := database.Rows(ctx, db, database.Scan1[string], q, args...)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(out, "|")
		}
		for _, n := range odd {
			if got := get(`SELECT name FROM things WHERE name IN LIST($1)`, database.List([]name{n, "zz"})); got != string(n) {
				t.Errorf("%q: got %q", n, got)
			}
		}
		if got := get(`SELECT name FROM things WHERE size IN LIST($1) ORDER BY size`, database.List([]int{0, 2})); got != `a|c\` {
			t.Error(got)
		}
		if got := get(`SELECT name FROM things WHERE size NOT IN LIST($1)`, database.List([]int64{1, 2, 3, 4, 5, 6})); got != `a` {
			t.Error(got)
		}
		if got := get(`SELECT name FROM things WHERE name IN LIST($1)`, database.List[name](nil)); got != `` {
			t.Error(got)
		}
		if got := get(`SELECT r.value FROM TEXTS($1) r, INTS($2) AS k, things WHERE name = r.value AND size = k.value`,
			database.List(odd), database.List([]int{1})); got != `b"` {
			t.Error(got)
		}
	})
}

func TestTx_CommitsOrNot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		things(t, db)
		boom := errors.New("boom")
		var after []string
		count := func(ctx context.Context) int64 { return number(t, ctx, db, `SELECT count(*) FROM things`) }
		err := db.Tx(ctx, func(ctx context.Context) error {
			db.AfterCommit(ctx, func() { after = append(after, fmt.Sprint("first ", count(t.Context()))) })
			exec(t, ctx, db, `INSERT INTO things (name) VALUES ('a')`)
			err := db.Tx(ctx, func(ctx context.Context) error {
				db.AfterCommit(ctx, func() { after = append(after, "second") })
				exec(t, ctx, db, `INSERT INTO things (name) VALUES ('b')`)
				return nil
			})
			if count(ctx) != 2 || len(after) != 0 {
				t.Error("inside", count(ctx), after)
			}
			return err
		})
		if err != nil || strings.Join(after, ",") != "first 2,second" {
			t.Fatal(err, after)
		}
		undone := false
		if err = db.Tx(ctx, func(ctx context.Context) error {
			db.AfterCommit(ctx, func() { t.Error("called") })
			db.AfterRollback(ctx, func() { undone = true })
			exec(t, ctx, db, `INSERT INTO things (name) VALUES ('c')`)
			return boom
		}); err != boom || !undone {
			t.Fatal(err, undone)
		}
		if err = db.Tx(ctx, func(ctx context.Context) error {
			exec(t, ctx, db, `INSERT INTO things (name) VALUES ('c')`)
			_ = db.Tx(ctx, func(context.Context) error { return boom })
			return nil
		}); !errors.Is(err, boom) {
			t.Fatalf("a swallowed failure of a part: %v", err)
		}
		if err = db.Tx(ctx, func(ctx context.Context) error {
			_, err := db.Exec(ctx, `INSERT INTO things (name) VALUES ('a')`)
			if !database.IsUnique(err) || !database.BlamesRows(err) {
				t.Error(err)
			}
			_, _ = db.Exec(ctx, `INSERT INTO things (name) VALUES ('c')`)
			return nil
		}); !database.IsUnique(err) {
			t.Fatalf("a swallowed failure of a statement: %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Tx(ctx, func(ctx context.Context) error {
				exec(t, ctx, db, `INSERT INTO things (name) VALUES ('c')`)
				panic("oh")
			})
		}()
		if n := count(ctx); n != 2 {
			t.Fatal(n)
		}
	})
}

func TestTx_CancelledContextRollsBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		things(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Tx(ctx, func(ctx context.Context) error {
			exec(t, ctx, db, `INSERT INTO things (name) VALUES ('a')`)
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if n := number(t, t.Context(), db, `SELECT count(*) FROM things`); n != 0 {
			t.Fatal(n)
		}
	})
}

func TestQueryRow_ReturningAloneIsCommitted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		things(t, db)
		exec(t, t.Context(), db, `INSERT INTO things (name, size) VALUES ('a', 1)`)
		if n := number(t, t.Context(), db, `UPDATE things SET size = size + 1 WHERE name = 'a' RETURNING size`); n != 2 {
			t.Fatal(n)
		}
		if n := number(t, t.Context(), db, `SELECT size FROM things`); n != 2 {
			t.Fatal(n)
		}
	})
}

func TestSnapshot_SeesOneStateAndCannotWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		things(t, db)
		err := db.Snapshot(t.Context(), func(ctx context.Context) error {
			before := number(t, ctx, db, `SELECT count(*) FROM things`)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := db.Exec(t.Context(), `INSERT INTO things (name) VALUES ('a')`); err != nil {
					t.Error(err)
				}
			}()
			<-done
			if n := number(t, ctx, db, `SELECT count(*) FROM things`); n != before {
				t.Error("the snapshot moved")
			}
			if n := number(t, t.Context(), db, `SELECT count(*) FROM things`); n != before+1 {
				t.Error("reads outside see old data")
			}
			_, err := db.Exec(ctx, `DELETE FROM things`)
			return err
		})
		if !errors.Is(err, database.ErrReadOnly) {
			t.Fatal(err)
		}
	})
}

func TestStrict_RefusesUseBesideTheTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		_ = db.Tx(t.Context(), func(context.Context) error {
			if err := db.QueryRow(t.Context(), `SELECT 1`).Scan(new(int)); err == nil {
				t.Error("a read beside the transaction")
			}
			if _, err := db.Exec(t.Context(), `DELETE FROM ids`); err == nil {
				t.Error("a write beside the transaction")
			}
			if err := db.Tx(t.Context(), func(context.Context) error { return nil }); err == nil {
				t.Error("a transaction beside the transaction")
			}
			return nil
		})
	})
}

func TestTx_DeadlocksRunAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		things(t, db)
		exec(t, ctx, db, `INSERT INTO things (name, size) VALUES ('a', 0), ('b', 0)`)
		var wg sync.WaitGroup
		for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
			wg.Go(func() {
				for range 6 {
					if err := db.Tx(ctx, func(ctx context.Context) error {
						for _, name := range order {
							if _, err := db.Exec(ctx, `UPDATE things SET size = size + 1 WHERE name = $1`, name); err != nil {
								return err
							}
						}
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := number(t, ctx, db, `SELECT sum(size) FROM things`); n != 24 {
			t.Fatal(n)
		}
	})
}

func TestInsert_MeansOneRowAfterTheOther(t *testing.T) {
	newest := database.NewTable("things", "ON CONFLICT (name) DO UPDATE SET size=excluded.size, body = excluded.body",
		database.Text("name"), database.NullInt("size"), database.NullText("body"))
	adding := database.NewTable("things", "ON CONFLICT (name) DO UPDATE SET size = things.size + excluded.size",
		database.Text("name"), database.Int("size"), database.NullText("body"))
	first := database.NewTable("things", "ON CONFLICT DO NOTHING", database.Text("name"), database.Int("size"))
	plain := database.NewTable("things", "", database.Text("name"), database.NullInt("size"), database.NullText("body"))
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		things(t, db)
		insert := func(table *database.Table, want string, rows ...[]any) {
			t.Helper()
			if err := db.Insert(ctx, table, rows...); err != nil {
				t.Fatal(err)
			}
			got, err := database.Rows(ctx, db, func(s database.Scanner) (string, error) {
				var name string
				var size *int64
				var body *string
				err := s.Scan(&name, &size, &body)
				for _, p := range []any{size, body} {
					switch p := p.(type) {
					case *int64:
						if p != nil {
							name += fmt.Sprint(" ", *p)
						}
					case *string:
						if p != nil {
							name += " " + *p
						}
					}
				}
				return name, err
			}, `SELECT name, size, body FROM things ORDER BY name`)
			if err != nil || strings.Join(got, ", ") != want {
				t.Fatal(err, strings.Join(got, ", "))
			}
		}
		odd := `{"a":"\"\\,{}NULL"}`
		insert(plain, "a 1, b "+odd+", c 3", []any{"a", 1, nil}, []any{"b", nil, json.RawMessage(odd)}, []any{"c", int64(3), (*string)(nil)})
		insert(newest, "a 5 x, b "+odd+", c", []any{"a", 4, "w"}, []any{"c", nil, nil}, []any{"a", 5, "x"})
		insert(adding, "a 10 x, b "+odd+", c, d 7", []any{"a", 1, nil}, []any{"a", 4, nil}, []any{"d", 3, nil}, []any{"d", 4, nil})
		insert(first, "a 10 x, b "+odd+", c, d 7, e 1", []any{"a", 1}, []any{"e", true}, []any{"e", 2})
		var bad *database.ValueError
		if err := db.Insert(ctx, plain, []any{"q", "one", nil}); !errors.As(err, &bad) || bad.Column != "size" || !database.BlamesRows(err) {
			t.Fatal(err)
		}
		if err := db.Insert(ctx, plain, []any{"q"}); !errors.As(err, &bad) {
			t.Fatal(err)
		}
		if err := db.Insert(ctx, plain, []any{"q", 1, nil}, []any{nil, 1, nil}); !errors.As(err, &bad) {
			t.Fatal(err)
		}
		if n := number(t, ctx, db, `SELECT count(*) FROM things WHERE name = 'q'`); n != 0 {
			t.Fatal("half an insert")
		}
		many := make([][]any, 4500)
		for i := range many {
			many[i] = []any{fmt.Sprint("m", i), i, nil}
		}
		if err := db.Insert(ctx, plain, many...); err != nil {
			t.Fatal(err)
		}
		if n := number(t, ctx, db, `SELECT sum(size) FROM things WHERE name LIKE 'm%'`); n != 4500*4499/2 {
			t.Fatal(n)
		}
	})
}

func TestInsert_Bytes(t *testing.T) {
	table := database.NewTable("bins", "", database.Int("n"), database.Blob("b"))
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		typ := "BLOB"
		if db.Replicated() {
			typ = "BYTEA"
		}
		exec(t, ctx, db, `CREATE TABLE bins (n BIGINT, b `+typ+`)`)
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		if err := db.Insert(ctx, table, []any{1, all}, []any{2, nil}, []any{3, []byte{0, '\\', '"'}}); err != nil {
			t.Fatal(err)
		}
		if err := db.Insert(ctx, table, []any{4, all}); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 4} {
			var got []byte
			if err := db.QueryRow(ctx, `SELECT b FROM bins WHERE n = $1`, n).Scan(&got); err != nil || !slices.Equal(got, all) {
				t.Fatal(n, err, got)
			}
		}
		if n := number(t, ctx, db, `SELECT count(*) FROM bins WHERE b IS NULL`); n != 1 {
			t.Fatal(n)
		}
	})
}

func TestNextID_NeverGivesANumberTwice(t *testing.T) {
	for name, opts := range map[string]database.Options{"SQLite": dbtest.SQLiteOptions(t), "PostgreSQL": dbtest.PostgresOptions(t)} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[int64]bool)
			var mu sync.Mutex
			take := func(ctx context.Context, db *database.DB, n int) {
				for range n {
					id, err := db.NextID(ctx, "x")
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if seen[id] || id < 1 {
						t.Errorf("%d given twice", id)
					}
					seen[id] = true
					mu.Unlock()
				}
			}
			for range 3 {
				db, err := database.Open(t.Context(), opts)
				if err != nil {
					t.Fatal(err)
				}
				if db.Replicated() {
					other, err := database.Open(t.Context(), opts)
					if err != nil {
						t.Fatal(err)
					}
					take(t.Context(), other, 1500)
					defer other.Close()
				}
				_ = db.Tx(t.Context(), func(ctx context.Context) error { // inside of a transaction that is rolled back
					take(ctx, db, 1500)
					return errors.New("no")
				})
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() { take(t.Context(), db, 1500) })
				}
				wg.Wait()
				if err := db.Tx(t.Context(), func(ctx context.Context) error { take(ctx, db, 1500); return nil }); err != nil {
					t.Fatal(err)
				}
				take(t.Context(), db, 5000)
				id, err := db.NextID(t.Context(), "x")
				if err != nil {
					t.Fatal(err)
				}
				seen[id] = true
				exec(t, t.Context(), db, `INSERT INTO cursors (name, pos) VALUES ($1, $2)`, fmt.Sprint("used ", id), id)
				db.Close()
			}
		})
	}
}

func TestInterruptible_LongReadsEndWithTheirContext(t *testing.T) {
	const forever = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000000000) SELECT count(*) FROM n`
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := db.QueryRow(database.Interruptible(ctx), forever).Scan(new(int64))
		if err == nil || time.Since(start) > 20*time.Second {
			t.Fatal(err, time.Since(start))
		}
		if err = db.QueryRow(ctx, `SELECT 1`).Scan(new(int64)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if n := number(t, t.Context(), db, `SELECT 1`); n != 1 {
			t.Fatal(n)
		}
	})
}
