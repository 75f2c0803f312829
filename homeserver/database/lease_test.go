package database_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// handles opens a database as often as it may be: twice on PostgreSQL.
func handles(t *testing.T, opts database.Options, n int) []*database.DB {
	t.Helper()
	opts.LeaseTTL = 500 * time.Millisecond
	out := make([]*database.DB, n)
	for i := range out {
		db, err := database.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		out[i] = db
	}
	return out
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestLease_IsHeldByOneAtATime(t *testing.T) {
	for name, dbs := range map[string][]*database.DB{
		"SQLite": handles(t, dbtest.SQLiteOptions(t), 1), "PostgreSQL": handles(t, dbtest.PostgresOptions(t), 2),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 60*time.Second)
			var inside atomic.Int32
			var wg sync.WaitGroup
			for _, db := range dbs {
				for range 3 {
					wg.Go(func() {
						for range 3 {
							lease := db.Lease("work")
							held, err := lease.Acquire(ctx)
							if err != nil {
								t.Error(err)
								return
							}
							if inside.Add(1) != 1 {
								t.Error("two at a time")
							}
							if err := db.QueryRow(held, `SELECT 1`).Scan(new(int)); err != nil {
								t.Error(err)
							}
							inside.Add(-1)
							lease.Release()
							if held.Err() == nil {
								t.Error("the context goes on after the end of the lease")
							}
						}
					})
				}
			}
			wg.Wait()
			last := dbs[len(dbs)-1]
			a, b := dbs[0].Lease("x"), last.Lease("x")
			if _, ok, err := a.TryAcquire(ctx); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if _, ok, err := b.TryAcquire(ctx); ok || err != nil {
				t.Fatal(ok, err)
			}
			if _, ok, err := last.Lease("y").TryAcquire(ctx); !ok || err != nil {
				t.Fatal(ok, err)
			}
			a.Release()
			if _, ok, err := b.TryAcquire(ctx); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if err := dbtest.Invariants(ctx, last); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLease_LastsLongerThanItsTermAndIsLostWithTheOwner(t *testing.T) {
	dbs := handles(t, dbtest.PostgresOptions(t), 2)
	ctx := within(t, 60*time.Second)
	first, err := dbs[0].Lease("x").Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(ctx, 1500*time.Millisecond) // three terms
	defer cancel()
	if _, err = dbs[1].Lease("x").Acquire(impatient); !errors.Is(err, context.DeadlineExceeded) || first.Err() != nil {
		t.Fatal("the lease was not renewed", err, first.Err())
	}
	if _, err = dbs[0].Exec(ctx, `UPDATE replicas SET expires = 0`); err != nil { // as if nobody had renewed it
		t.Fatal(err)
	}
	if _, err = dbs[1].Lease("x").Acquire(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
	case <-ctx.Done():
		t.Fatal("the old holder goes on")
	}
	if context.Cause(first) != database.ErrLeaseLost {
		t.Fatal(context.Cause(first))
	}
	other, err := dbs[0].Lease("z").Acquire(ctx) // under a new name
	if err != nil || other.Err() != nil {
		t.Fatal(err)
	}
	if err := dbs[1].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err = dbs[0].Lease("x").Acquire(ctx); err != nil {
		t.Fatal(err)
	}
}

// A process that knows to be alone does not wait for the terms of one that died.
func TestLease_OfADeadProcessEndsAtOnceForOneThatIsAlone(t *testing.T) {
	opts := dbtest.PostgresOptions(t)
	opts.LeaseTTL = time.Hour
	dead, err := database.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dead.Close() })
	if _, err := dead.Lease("work").Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	opts.Alone = true
	alone, err := database.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alone.Close() })
	if _, err := alone.Lease("work").Acquire(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
}
