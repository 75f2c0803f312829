package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

var (
	notes = database.NewTable("notes", "", database.Text("name"), database.Int("at"), database.NullText("body"))
	marks = database.NewTable("marks", "", database.Text("name"))
	boxes = stream.NewGuardTable("boxes", database.Text("name"), "version", database.Text("body"), database.Int("at"))
)

// tables makes the tables that the tests write to.
func tables(t testing.TB, db *database.DB) {
	t.Helper()
	for _, q := range []string{
		`CREATE TABLE notes (name TEXT PRIMARY KEY, at BIGINT, body TEXT)`,
		`CREATE TABLE marks (name TEXT PRIMARY KEY)`,
		`CREATE TABLE boxes (name TEXT PRIMARY KEY, version BIGINT, body TEXT, at BIGINT)`,
	} {
		if _, err := db.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
}

func number(t testing.TB, db *database.DB, q string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(context.Background(), q, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return n
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func eventIn(room, ref string) stream.Change {
	return stream.Change{Kind: stream.Event, RoomID: id.RoomID(room), Ref: ref}
}

func TestCommit_WritesRowsWithTheirPositions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		s := streamtest.New(t, db)
		ctx := within(t, 20*time.Second)
		called := stream.Pos(0)
		first, err := s.Commit(ctx, &stream.Unit{
			Writes: []stream.Write{
				{notes, []any{"a", stream.PosOf(1), nil}}, {marks, []any{"m"}}, {notes, []any{"b", stream.PosOf(0), "body"}},
			},
			Changes: []stream.Change{eventIn("!r", "$1"), eventIn("!r", "$2")},
			After:   func(first stream.Pos) { called = first },
		})
		if err != nil || first != 1 || called != 1 || s.Head() != 2 {
			t.Fatal(first, called, s.Head(), err)
		}
		if number(t, db, `SELECT at FROM notes WHERE name = 'a'`) != 2 || number(t, db, `SELECT at FROM notes WHERE name = 'b'`) != 1 {
			t.Fatal("wrong positions in the rows")
		}
		if first, err = s.Commit(ctx, &stream.Unit{Writes: []stream.Write{{marks, []any{"n"}}}}); err != nil || first != 0 || s.Head() != 2 {
			t.Fatal("a unit without changes", first, err)
		}
		got, err := s.Changes(ctx, 0, s.Head(), stream.All, nil)
		if err != nil || len(got) != 2 || got[1].Ref != "$2" || got[1].Pos != 2 {
			t.Fatal(got, err)
		}
	})
}

func TestCommit_GuardsChainAndConflictsStayAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		s := stream.New(db)
		unit := func(key string, expect, next int64, name string) *stream.Pending {
			return s.CommitAsync(&stream.Unit{
				Guard:   &stream.Guard{Table: boxes, Key: key, Expect: expect, Next: next, Row: []any{name, stream.PosOf(0)}},
				Writes:  []stream.Write{{notes, []any{name, stream.PosOf(0), nil}}},
				Changes: []stream.Change{eventIn("!"+key, name)},
			})
		}
		// All wait before the committer runs, so they are one group.
		pending := []*stream.Pending{
			unit("a", 0, 1, "a1"), unit("b", 0, 1, "b1"), unit("a", 1, 2, "a2"), unit("a", 1, 2, "late"), unit("a", 2, 3, "a3"),
			unit("c", 7, 8, "absent"), unit("c", 8, 9, "after absent"), unit("b", 1, 2, "b2"),
		}
		streamtest.Run(t, s)
		ctx := within(t, 20*time.Second)
		for i, p := range pending {
			first, err := p.Wait(ctx)
			if bad := i == 3 || i == 5 || i == 6; bad != errors.Is(err, stream.ErrConflict) || bad != (first == 0) || !bad && err != nil {
				t.Fatal(i, first, err)
			}
		}
		if n := number(t, db, `SELECT count(*) FROM notes`); n != 5 || s.Head() != 5 {
			t.Fatal(n, s.Head())
		}
		if number(t, db, `SELECT version FROM boxes WHERE name = 'a' AND body = 'a3' AND at = 4`) != 3 || number(t, db, `SELECT version FROM boxes WHERE name = 'b'`) != 2 {
			t.Fatal("wrong versions")
		}
		if _, err := unit("a", 3, 4, "a4").Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := unit("a", 3, 4, "a5").Wait(ctx); !errors.Is(err, stream.ErrConflict) {
			t.Fatal(err)
		}
	})
}

func TestCommit_OnlyTheGuiltyUnitFails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		s := stream.New(db)
		var order []int
		var pending []*stream.Pending
		for i := range 9 {
			name, at := fmt.Sprint("n", i), any(stream.PosOf(0))
			switch i {
			case 3:
				name = "n1" // a duplicate
			case 5:
				at = "not a number"
			}
			pending = append(pending, s.CommitAsync(&stream.Unit{
				Writes:  []stream.Write{{marks, []any{fmt.Sprint("m", i)}}, {notes, []any{name, at, nil}}},
				Changes: []stream.Change{eventIn("!r", fmt.Sprint("$", i))},
				After:   func(stream.Pos) { order = append(order, i) },
			}))
		}
		streamtest.Run(t, s)
		ctx := within(t, 20*time.Second)
		for i, p := range pending {
			_, err := p.Wait(ctx)
			switch i {
			case 3:
				if !database.IsUnique(err) {
					t.Error(i, err)
				}
			case 5:
				var v *database.ValueError
				if !errors.As(err, &v) {
					t.Error(i, err)
				}
			default:
				if err != nil {
					t.Error(i, err)
				}
			}
		}
		if fmt.Sprint(order) != "[0 1 2 4 6 7 8]" || number(t, db, `SELECT count(*) FROM marks`) != 7 || s.Head() != 7 {
			t.Fatal(order, s.Head())
		}
	})
}

func TestCommit_ManySendersAndAppendsArePublishedInOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		var mu sync.Mutex
		var seen []stream.Pos
		s := streamtest.New(t, db, func(s *stream.Stream) {
			s.Observe(stream.All, func(changes []stream.Change) {
				mu.Lock()
				defer mu.Unlock()
				for _, c := range changes {
					seen = append(seen, c.Pos)
				}
			})
		})
		ctx := within(t, 60*time.Second)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 40 {
					name := fmt.Sprint(w, "-", i)
					var first stream.Pos
					var err error
					if w%4 == 0 {
						err = db.Tx(ctx, func(ctx context.Context) (err error) {
							if err = db.Insert(ctx, marks, []any{name}); err == nil {
								first, err = s.Append(ctx, eventIn("!r", name))
							}
							return err
						})
					} else {
						first, err = s.Commit(ctx, &stream.Unit{
							Writes:  []stream.Write{{notes, []any{name, stream.PosOf(0), nil}}},
							Changes: []stream.Change{eventIn("!r", name), eventIn("!s", name)},
						})
					}
					if err != nil || s.Head() < first {
						t.Error("not published when acknowledged", first, s.Head(), err)
						return
					}
				}
			})
		}
		wg.Wait()
		mu.Lock()
		defer mu.Unlock()
		if want := 2*40 + 6*40*2; len(seen) != want {
			t.Fatalf("%d published, want %d", len(seen), want)
		}
		for i, p := range seen {
			if p != stream.Pos(i+1) {
				t.Fatalf("position %d came as number %d", p, i+1)
			}
		}
		if err := dbtest.Invariants(ctx, db); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAppend_KeepsOnlyTheNewestOfAKind(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		s := streamtest.New(t, db)
		ctx := within(t, 20*time.Second)
		receipt := func(user, ref string) stream.Change {
			return stream.Change{Kind: stream.Receipt, RoomID: "!r", UserID: id.UserID(user), Ref: ref}
		}
		add := func(changes ...stream.Change) {
			t.Helper()
			if err := db.Tx(ctx, func(ctx context.Context) error {
				_, err := s.Append(ctx, changes...)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		add(receipt("@a", "read"), receipt("@a", "private"), receipt("@b", "read"), receipt("@a", "read"))
		add(receipt("@b", "read"), eventIn("!r", "$1"))
		add(eventIn("!r", "$1"))
		if n := number(t, db, `SELECT count(*) FROM changes WHERE kind > 2`); n != 3 {
			t.Fatal(n)
		}
		if n := number(t, db, `SELECT count(*) FROM changes`); n != 5 || s.Head() != 7 {
			t.Fatal(n, s.Head())
		}
		if n := number(t, db, `SELECT pos FROM changes WHERE user_id = '@b'`); n != 5 {
			t.Fatal(n)
		}
		if _, err := s.Append(ctx, eventIn("!r", "$2")); err == nil {
			t.Fatal("Append outside of a transaction")
		}
	})
}
