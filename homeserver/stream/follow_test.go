package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

// collector is a follower that remembers.
type collector struct {
	mu   sync.Mutex
	got  []string
	seen chan struct{}
}

func newCollector() *collector { return &collector{seen: make(chan struct{}, 1)} }

func (c *collector) follow(_ context.Context, changes []stream.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range changes {
		c.got = append(c.got, x.Ref)
	}
	select {
	case c.seen <- struct{}{}:
	default:
	}
	return nil
}

// until waits for a number of changes.
func (c *collector) until(t *testing.T, ctx context.Context, n int) []string {
	t.Helper()
	for {
		c.mu.Lock()
		got := append([]string(nil), c.got...)
		c.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-c.seen:
		case <-ctx.Done():
			t.Fatalf("followed %d of %d", len(got), n)
		}
	}
}

func send(t *testing.T, ctx context.Context, s *stream.Stream, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := s.Commit(ctx, &stream.Unit{Changes: []stream.Change{
			eventIn("!r", fmt.Sprint(i)), {Kind: stream.Typing, RoomID: "!r"},
		}}); err != nil {
			t.Fatal(err)
		}
	}
}

func inOrder(t *testing.T, got []string, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("followed %v, want %d to %d", got, from, to-1)
	}
	for i, ref := range got {
		if ref != fmt.Sprint(from+i) {
			t.Fatalf("followed %v", got)
		}
	}
}

func TestFollow_GoesOnAfterARestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := within(t, 60*time.Second)
		events := stream.Kinds(stream.Event)
		first := stream.New(db)
		c := newCollector()
		first.Follow("f", events, c.follow)
		stop := streamtest.Run(t, first)
		send(t, ctx, first, 0, 20)
		c.until(t, ctx, 20)
		stop()
		inOrder(t, c.got, 0, 20)

		between := stream.New(db) // runs without followers
		stop = streamtest.Run(t, between)
		send(t, ctx, between, 20, 30)
		stop()
		if _, err := between.Commit(ctx, &stream.Unit{Changes: []stream.Change{eventIn("!r", "x")}}); !errors.Is(err, stream.ErrClosed) {
			t.Fatal(err)
		}

		c, late, start := newCollector(), newCollector(), newCollector()
		last := stream.New(db, stream.Options{Tail: 4})
		last.Follow("f", events, c.follow, stream.Batch(3))
		last.Follow("late", events, late.follow)
		last.Follow("start", events, start.follow, stream.FromStart(), stream.Batch(7))
		streamtest.Run(t, last)
		send(t, ctx, last, 30, 40)
		inOrder(t, c.until(t, ctx, 20), 20, 40)
		inOrder(t, late.until(t, ctx, 10), 30, 40)
		inOrder(t, start.until(t, ctx, 40), 0, 40)
	})
}

func TestFollow_FailuresAreTriedAgainAndSavedCursorsCountOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		tables(t, db)
		ctx := within(t, 60*time.Second)
		c := newCollector()
		calls := 0
		fn := func(ctx context.Context, changes []stream.Change) error {
			calls++
			if calls == 2 {
				panic("at the second batch")
			}
			err := db.Tx(ctx, func(ctx context.Context) error {
				for _, x := range changes {
					if err := db.Insert(ctx, marks, []any{x.Ref}); err != nil { // would fail the second time
						return err
					}
				}
				if calls%3 == 0 {
					return errors.New("this time not")
				}
				return stream.SaveCursor(ctx)
			})
			if err != nil {
				return err
			}
			_ = c.follow(ctx, changes)
			if calls%4 == 0 {
				return errors.New("after the transaction")
			}
			return nil
		}
		for round := range 2 {
			s := stream.New(db)
			s.Follow("f", stream.Kinds(stream.Event), fn, stream.Batch(2))
			stop := streamtest.Run(t, s)
			send(t, ctx, s, 12*round, 12*round+12)
			inOrder(t, c.until(t, ctx, 12*round+12), 0, 12*round+12)
			stop()
			if n := number(t, db, `SELECT pos FROM cursors WHERE name = 'f'`); n < int64(s.Head())-1 {
				t.Fatalf("the cursor is at %d of %d", n, s.Head())
			}
		}
	})
}

func TestFollow_RunsOnOneReplicaAndMovesWhenItEnds(t *testing.T) {
	opts := dbtest.PostgresOptions(t)
	opts.LeaseTTL = 400 * time.Millisecond
	ctx := within(t, 60*time.Second)
	collectors := [2]*collector{newCollector(), newCollector()}
	var dbs [2]*database.DB
	var streams [2]*stream.Stream
	var stops [2]func()
	for i := range 2 {
		var err error
		if dbs[i], err = database.Open(ctx, opts); err != nil {
			t.Fatal(err)
		}
		defer dbs[i].Close()
		streams[i] = stream.New(dbs[i])
		streams[i].Follow("f", stream.Kinds(stream.Event), collectors[i].follow)
		stops[i] = streamtest.Run(t, streams[i])
		defer stops[i]()
		if i == 0 {
			send(t, ctx, streams[0], 0, 1)
			collectors[0].until(t, ctx, 1)
		}
	}
	send(t, ctx, streams[1], 1, 10)
	inOrder(t, collectors[0].until(t, ctx, 10), 0, 10)
	stops[0]()
	send(t, ctx, streams[1], 10, 20)
	inOrder(t, collectors[1].until(t, ctx, 10), 10, 20)
}
