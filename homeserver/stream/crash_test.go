package stream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

// TestCommit_NothingIsLostOrHalfWrittenWhateverFails fails each statement and each commit in turn, while units, chained
// units and an Append are written.
func TestCommit_NothingIsLostOrHalfWrittenWhateverFails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		ctx := within(t, 60*time.Second)
		seen := make(map[string]int)
		s := streamtest.New(t, db, func(s *stream.Stream) {
			s.Observe(stream.All, func(changes []stream.Change) {
				for _, c := range changes {
					seen[c.Ref]++
				}
			})
		})
		acknowledged := make(map[string]bool)
		version := int64(0)
		run := func(k int) {
			var pending []*stream.Pending
			names := make([]string, 4)
			for i := range names {
				names[i] = fmt.Sprintf("%d/%d", k, i)
				pending = append(pending, s.CommitAsync(&stream.Unit{
					Guard:   &stream.Guard{Table: boxes, Key: "box", Expect: version + int64(i), Next: version + int64(i) + 1, Row: []any{names[i], 0}},
					Writes:  []stream.Write{{marks, []any{names[i]}}, {notes, []any{names[i], stream.PosOf(0), nil}}},
					Changes: []stream.Change{eventIn("!r", names[i])},
				}))
			}
			for i, p := range pending {
				if _, err := p.Wait(ctx); err == nil {
					acknowledged[names[i]] = true
				}
			}
			name := fmt.Sprintf("%d/tx", k)
			if err := db.Tx(ctx, func(ctx context.Context) error {
				if err := db.Insert(ctx, marks, []any{name}); err != nil {
					return err
				}
				first, err := s.Append(ctx, eventIn("!r", name))
				if err != nil {
					return err
				}
				_ = first
				return nil
			}); err == nil {
				acknowledged[name] = true
			}
		}
		check := func(k int) {
			written, err := database.Rows(ctx, db, database.Scan1[string], `SELECT name FROM marks`)
			if err != nil {
				t.Fatal(err)
			}
			is := make(map[string]bool)
			for _, name := range written {
				is[name] = true
			}
			for name := range acknowledged {
				if !is[name] {
					t.Fatalf("fault %d: %s was acknowledged and is gone", k, name)
				}
			}
			if n := number(t, db, `SELECT count(*) FROM changes WHERE ref NOT IN (SELECT name FROM marks)`); n != 0 {
				t.Fatalf("fault %d: changes without rows", k)
			}
			if n := number(t, db, `SELECT count(*) FROM marks WHERE name NOT IN (SELECT ref FROM changes)`); n != 0 {
				t.Fatalf("fault %d: rows without changes", k)
			}
			if n := number(t, db, `SELECT count(*) FROM marks m WHERE name NOT LIKE '%tx' AND NOT EXISTS
				(SELECT 1 FROM notes n JOIN changes c ON c.pos = n.at WHERE n.name = m.name AND c.ref = m.name)`); n != 0 {
				t.Fatalf("fault %d: half a unit", k)
			}
			if n := number(t, db, `SELECT count(*) FROM notes`); number(t, db, `SELECT COALESCE(max(version), 0) FROM boxes`) != n {
				t.Fatalf("fault %d: the guarded row does not fit the units", k)
			}
			version = number(t, db, `SELECT COALESCE(max(version), 0) FROM boxes`)
			head := stream.Pos(number(t, db, `SELECT pos FROM stream_head`))
			if err := s.Reach(ctx, head); err != nil {
				t.Fatalf("fault %d: published up to %d of %d", k, s.Head(), head)
			}
			for _, name := range written {
				if seen[name] != 1 {
					t.Fatalf("fault %d: %s published %d times", k, name, seen[name])
				}
			}
		}
		dbtest.CrashPoints(t, db, run, check)
	})
}
