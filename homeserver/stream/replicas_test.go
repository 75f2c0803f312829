package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

// replica is one process on a database.
type replica struct {
	db   *database.DB
	s    *stream.Stream
	mu   sync.Mutex
	seen []stream.Change
}

func replicas(t *testing.T, n int) []*replica {
	opts := dbtest.PostgresOptions(t)
	out := make([]*replica, n)
	for i := range out {
		db, err := database.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		r := &replica{db: db}
		t.Cleanup(func() { db.Close() })
		r.s = streamtest.New(t, db, func(s *stream.Stream) {
			s.Observe(stream.All, func(changes []stream.Change) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.seen = append(r.seen, changes...)
			})
		})
		out[i] = r
	}
	return out
}

func TestReplicas_WakeEachOtherQuickly(t *testing.T) {
	rs := replicas(t, 2)
	tables(t, rs[0].db)
	ctx := within(t, 30*time.Second)
	// The first messages may come before the other listens; the poll behind is slow.
	since := stream.Pos(0)
	var worst time.Duration
	for i := range 10 {
		from, to := rs[i%2], rs[(i+1)%2]
		start := time.Now()
		pos, err := from.s.Commit(ctx, &stream.Unit{Changes: []stream.Change{eventIn("!r", fmt.Sprint(i))}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = to.s.Wait(ctx, since, "!r"); err != nil {
			t.Fatal(err)
		}
		if err = to.s.Reach(ctx, pos); err != nil {
			t.Fatal(err)
		}
		if i > 1 {
			worst = max(worst, time.Since(start))
		}
		since = pos
	}
	if worst > 2*time.Second {
		t.Fatalf("took up to %s", worst)
	}
	t.Logf("woken after at most %s", worst)
}

func TestReplicas_PublishTheSameInTheSameOrder(t *testing.T) {
	rs := replicas(t, 3)
	tables(t, rs[0].db)
	ctx := within(t, 60*time.Second)
	var wg sync.WaitGroup
	conflicts := make([]int, len(rs))
	for i, r := range rs {
		curious, enough := context.WithCancel(ctx)
		go func() { // reads the log all the time
			for curious.Err() == nil {
				soon, cancel := context.WithTimeout(curious, time.Millisecond)
				_ = r.s.Reach(soon, r.s.Head()+1)
				cancel()
			}
		}()
		t.Cleanup(enough)
		wg.Go(func() {
			for n := range 30 {
				name := fmt.Sprint(i, "-", n)
				for {
					var version int64
					err := r.db.QueryRow(ctx, `SELECT version FROM boxes WHERE name = 'shared'`).Scan(&version)
					if err != nil && !errors.Is(err, database.ErrNoRows) {
						t.Error(err)
						return
					}
					told := false
					_, err = r.s.Commit(ctx, &stream.Unit{
						After: func(first stream.Pos) {
							if r.s.Head() >= first {
								t.Errorf("%d was published before it was told to who made it", first)
							}
							told = true
						},
						Guard:   &stream.Guard{Table: boxes, Key: "shared", Expect: version, Next: version + 1, Row: []any{name, stream.PosOf(0)}},
						Writes:  []stream.Write{{notes, []any{name, stream.PosOf(0), nil}}},
						Changes: []stream.Change{eventIn("!r", name)},
					})
					if err == nil && !told {
						t.Error("After was not called")
					}
					if err == nil {
						break
					}
					// Two replicas may insert the first version at once.
					if !errors.Is(err, stream.ErrConflict) && !database.IsUnique(err) {
						t.Error(err)
						return
					}
					conflicts[i]++
				}
				if err := r.db.Tx(ctx, func(ctx context.Context) error {
					_, err := r.s.Append(ctx, stream.Change{Kind: stream.Typing, RoomID: "!r"})
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Log("conflicts", conflicts)
	head := stream.Pos(number(t, rs[0].db, `SELECT pos FROM stream_head`))
	if n := number(t, rs[0].db, `SELECT version FROM boxes`); n != 90 || head != 180 {
		t.Fatal(n, head)
	}
	var lists [][]string
	for _, r := range rs {
		if err := r.s.Reach(ctx, head); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		var refs []string
		last := stream.Pos(0)
		for _, c := range r.seen {
			if c.Pos <= last {
				t.Fatalf("%d came after %d", c.Pos, last)
			}
			last = c.Pos
			if c.Kind == stream.Event {
				refs = append(refs, c.Ref)
			}
		}
		r.mu.Unlock()
		lists = append(lists, refs)
	}
	if len(lists[0]) != 90 || !slices.Equal(lists[0], lists[1]) || !slices.Equal(lists[0], lists[2]) {
		t.Fatal("the replicas saw different things")
	}
	if err := dbtest.Invariants(ctx, rs[0].db); err != nil {
		t.Fatal(err)
	}
}

func TestCommit_IsNotTakenForAnotherReplicas(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		s := streamtest.New(t, db)
		ctx := within(t, 30*time.Second)
		learnt := make(chan error, 1)
		db.SetFault(func(at database.Point, _ string) error {
			if at == database.CommitUnheard { // committed, but the process does not know it yet
				go func() { learnt <- s.Learn(ctx) }()
				select {
				case err := <-learnt:
					learnt <- err
				case <-time.After(20 * time.Millisecond): // it waits until the process knows
				}
			}
			return nil
		})
		told := false
		first, err := s.Commit(ctx, &stream.Unit{
			Guard:   &stream.Guard{Table: boxes, Key: "a", Next: 1, Row: []any{"", stream.PosOf(0)}},
			Changes: []stream.Change{eventIn("!r", "$1")},
			After:   func(first stream.Pos) { told = s.Head() < first },
		})
		if err != nil || !told || s.Head() != first {
			t.Fatal(first, s.Head(), told, err)
		}
		if err = <-learnt; err != nil {
			t.Fatal(err)
		}
	})
}
