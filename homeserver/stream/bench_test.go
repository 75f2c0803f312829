package stream_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

var (
	benchEvents = database.NewTable("b_events", "", database.Int("nid"), database.Text("event_id"), database.Text("room_id"), database.Int("pos"), database.Text("json"))
	benchEdges  = database.NewTable("b_edges", "", database.Int("nid"), database.Int("prev"))
	benchTxns   = database.NewTable("b_txns", "", database.Text("user_id"), database.Text("txn_id"), database.Int("nid"))
	benchRooms  = stream.NewGuardTable("b_rooms", database.Text("room_id"), "version", database.Int("last"), database.Int("pos"))
)

// BenchmarkCommit writes what a sent message needs: event with two indexes, edge, transaction ID, room row, log row.
func BenchmarkCommit(b *testing.B) {
	for _, flying := range []int{1, 16, 100} {
		dbtest.Both(b, func(name string, db *database.DB) {
			b.Run(fmt.Sprintf("%s/%d", name, flying), func(b *testing.B) { benchCommit(b, db, flying) })
		})
	}
}

func benchCommit(b *testing.B, db *database.DB, flying int) {
	ctx := context.Background()
	for _, q := range []string{
		`CREATE TABLE IF NOT EXISTS b_events (nid BIGINT PRIMARY KEY, event_id TEXT UNIQUE, room_id TEXT, pos BIGINT, json TEXT)`,
		`CREATE INDEX IF NOT EXISTS b_events_pos ON b_events (room_id, pos)`,
		`CREATE TABLE IF NOT EXISTS b_edges (nid BIGINT, prev BIGINT, PRIMARY KEY (nid, prev))`,
		`CREATE TABLE IF NOT EXISTS b_txns (user_id TEXT, txn_id TEXT, nid BIGINT, PRIMARY KEY (user_id, txn_id))`,
		`CREATE TABLE IF NOT EXISTS b_rooms (room_id TEXT PRIMARY KEY, version BIGINT, last BIGINT, pos BIGINT)`,
	} {
		if _, err := db.Exec(ctx, q); err != nil {
			b.Fatal(err)
		}
	}
	s := stream.New(db)
	stop := streamtest.Run(b, s)
	defer stop()
	body := `{"content":{"body":"` + strings.Repeat("x", 560) + `"}}`
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := db.Stats().Transactions
	start := time.Now()
	for w := range flying {
		wg.Go(func() {
			room := fmt.Sprintf("!%s-%d-%d:example.org", b.Name(), b.N, w)
			for version := int64(0); left.Add(-1) >= 0; version++ {
				nid, err := db.NextID(ctx, "event")
				if err != nil {
					b.Error(err)
					return
				}
				eventID := fmt.Sprintf("$%043d", nid)
				_, err = s.Commit(ctx, &stream.Unit{
					Guard: &stream.Guard{Table: benchRooms, Key: room, Expect: version, Next: version + 1, Row: []any{nid, stream.PosOf(0)}},
					Writes: []stream.Write{
						{benchEvents, []any{nid, eventID, room, stream.PosOf(0), body}},
						{benchEdges, []any{nid, nid - 1}},
						{benchTxns, []any{room, eventID, nid}},
					},
					Changes: []stream.Change{eventIn(room, eventID)},
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/float64(db.Stats().Transactions-before), "units/tx")
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "units/s")
}

func BenchmarkTail(b *testing.B) {
	db := dbtest.SQLite(b)
	s := streamtest.New(b, db)
	ctx := context.Background()
	topics := make([]stream.Topic, 100)
	for i := range topics {
		topics[i] = stream.Topic(fmt.Sprintf("!room-number-%d:example.org", i))
	}
	for i := range 2000 {
		if _, err := s.Commit(ctx, &stream.Unit{Changes: []stream.Change{eventIn(string(topics[i%100]), fmt.Sprint(i))}}); err != nil {
			b.Fatal(err)
		}
	}
	head := s.Head()
	b.Run("Touched/100Topics/Nothing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m, err := s.Touched(ctx, head, head, topics); err != nil || len(m) != 0 {
				b.Fatal(m, err)
			}
		}
	})
	b.Run("Touched/100Topics/20Changes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m, err := s.Touched(ctx, head-20, head, topics); err != nil || len(m) != 20 {
				b.Fatal(m, err)
			}
		}
	})
	over, cancel := context.WithCancel(ctx)
	cancel()
	b.Run("Wait/100Topics/RegisterAndLeave", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Wait(over, head, topics...)
		}
	})
	b.Run("Wake/200Waiters", func(b *testing.B) {
		since := s.Head()
		for b.Loop() {
			var ready, woken sync.WaitGroup
			for range 200 {
				ready.Add(1)
				woken.Go(func() {
					ready.Done()
					_, _ = s.Wait(ctx, since, topics...)
				})
			}
			ready.Wait()
			if _, err := s.Commit(ctx, &stream.Unit{Changes: []stream.Change{eventIn(string(topics[0]), "x")}}); err != nil {
				b.Fatal(err)
			}
			woken.Wait()
			since = s.Head()
		}
	})
}
