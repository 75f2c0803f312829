package stream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

// model is a log that answers slowly and surely.
type model struct {
	all      []stream.Change
	rough    bool // kinds with an audience may be named too often
	audience func(c stream.Change) []stream.Topic
}

func (m *model) topics(c stream.Change) []stream.Topic {
	var out []stream.Topic
	switch c.Kind {
	case stream.Event, stream.Receipt:
		out = append(out, stream.RoomTopic(c.RoomID))
	case stream.AccountData:
		out = append(out, stream.UserTopic(c.UserID))
	default:
		if c.RoomID != "" {
			out = append(out, stream.RoomTopic(c.RoomID))
		}
		if c.UserID != "" {
			out = append(out, stream.UserTopic(c.UserID))
		}
	}
	if c.Kind == stream.Presence {
		out = append(out, m.audience(c)...)
	}
	return out
}

// kept says whether the change is still in the log.
func (m *model) kept(i int) bool {
	c := m.all[i]
	if c.Kind <= stream.Membership {
		return true
	}
	for _, d := range m.all[i+1:] {
		if c.Kind == d.Kind && c.RoomID == d.RoomID && c.UserID == d.UserID && c.Ref == d.Ref {
			return false
		}
	}
	return true
}

// touched gives what must be named, and what may be.
func (m *model) touched(since, upTo stream.Pos, name stream.Topic) (must, may stream.KindSet) {
	for i, c := range m.all {
		if c.Pos <= since || c.Pos > upTo {
			continue
		}
		for _, x := range m.topics(c) {
			if x == name {
				may |= stream.Kinds(c.Kind)
				if m.kept(i) {
					must |= stream.Kinds(c.Kind)
				}
			}
		}
	}
	if m.rough {
		may |= stream.Kinds(stream.Presence)
	}
	return must, may
}

func TestTouchedAndWait_AgreeWithASlowModel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { agree(t, db, rand.New(rand.NewPCG(seed, 7)), 4+int(seed)*13) })
		}
	})
}

func agree(t *testing.T, db *database.DB, r *rand.Rand, tail int) {
	ctx := within(t, 60*time.Second)
	m := &model{audience: func(c stream.Change) []stream.Topic {
		return []stream.Topic{stream.Topic("!of" + c.UserID), "!a"}
	}}
	s := stream.New(db, stream.Options{Tail: tail})
	if m.rough = tail > 20; m.rough {
		s.NeverScan()
	}
	s.Audience(stream.Presence, func(_ context.Context, c stream.Change) []stream.Topic { return m.audience(c) })
	base := s.Head()
	streamtest.Run(t, s)
	// Somebody who waits for a topic must not make it look known.
	patient, leave := context.WithCancel(ctx)
	var gone sync.WaitGroup
	defer gone.Wait()
	defer leave()
	rooms, users := []id.RoomID{"!a", "!b", "!c", "!rare"}, []id.UserID{"@a", "@b", "@rare"}
	topics := []stream.Topic{"!a", "!b", "!c", "!rare", "!never", "!of@a", "!of@b", "@a", "@b", "@rare", "@never"}
	random := func() stream.Change {
		room, user := rooms[r.IntN(3)], users[r.IntN(2)]
		if r.IntN(40) == 0 {
			room, user = rooms[3], users[2]
		}
		switch r.IntN(5) {
		case 0:
			return stream.Change{Kind: stream.Membership, RoomID: room, UserID: user, Ref: fmt.Sprint("$", r.Int())}
		case 1:
			return stream.Change{Kind: stream.Receipt, RoomID: room, UserID: user}
		case 2:
			return stream.Change{Kind: stream.AccountData, RoomID: room, UserID: user, Ref: "t"}
		case 3:
			return stream.Change{Kind: stream.Presence, UserID: user}
		}
		return stream.Change{Kind: stream.Event, RoomID: room, UserID: user, Ref: fmt.Sprint("$", r.Int())}
	}
	for round := range 60 {
		if round > 20 {
			gone.Go(func() { _, _ = s.Wait(patient, 1<<40, topics[round%len(topics)]) })
		}
		batch := make([]stream.Change, 1+r.IntN(6))
		for i := range batch {
			batch[i] = random()
		}
		first, err := s.Commit(ctx, &stream.Unit{Changes: batch})
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			batch[i].Pos = first + stream.Pos(i)
			m.all = append(m.all, batch[i])
		}
		for range 4 {
			since := base + stream.Pos(r.Int64N(int64(s.Head()-base)+1))
			upTo := since + stream.Pos(r.Int64N(int64(s.Head()-since)+1))
			checkTouched(t, ctx, s, m, since, upTo, topics)
			checkChanges(t, ctx, s, m, since, upTo, topics[r.IntN(len(topics))])
			checkWait(t, ctx, s, m, since, topics[r.IntN(len(topics))], topics[r.IntN(len(topics))])
		}
	}
}

func checkTouched(t *testing.T, ctx context.Context, s *stream.Stream, m *model, since, upTo stream.Pos, topics []stream.Topic) {
	t.Helper()
	got, err := s.Touched(ctx, since, upTo, topics)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range topics {
		must, may := m.touched(since, upTo, name)
		if k := got[name]; k&must != must || k&^may != 0 {
			t.Fatalf("(%d, %d] of %d, %s: got %b, must have %b, may have %b", since, upTo, s.Head(), name, k, must, may)
		}
		if k, there := got[name]; there && k == 0 {
			t.Fatalf("%s is named without a kind", name)
		}
	}
}

func checkChanges(t *testing.T, ctx context.Context, s *stream.Stream, m *model, since, upTo stream.Pos, name stream.Topic) {
	t.Helper()
	kinds := stream.Kinds(stream.Event, stream.Presence, stream.AccountData)
	for _, topics := range [][]stream.Topic{{name}, nil} {
		got, err := s.Changes(ctx, since, upTo, kinds, topics)
		if err != nil {
			t.Fatal(err)
		}
		have := make(map[stream.Pos]bool)
		last := since
		for _, c := range got {
			if c.Pos <= last || c.Pos > upTo || !kinds.Has(c.Kind) || m.all[c.Pos-m.all[0].Pos] != c {
				t.Fatalf("wrong change %v", c)
			}
			last = c.Pos
			have[c.Pos] = true
		}
		for i, c := range m.all {
			if must, _ := m.touched(c.Pos-1, c.Pos, name); (topics == nil || must != 0) && c.Pos > since && c.Pos <= upTo && kinds.Has(c.Kind) && m.kept(i) && !have[c.Pos] {
				t.Fatalf("(%d, %d] of %d, %v: missing %v", since, upTo, s.Head(), topics, c)
			}
		}
	}
}

func checkWait(t *testing.T, ctx context.Context, s *stream.Stream, m *model, since stream.Pos, a, b stream.Topic) {
	t.Helper()
	mustA, mayA := m.touched(since, s.Head(), a)
	mustB, mayB := m.touched(since, s.Head(), b)
	patience := time.Millisecond
	if mustA|mustB != 0 {
		patience = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := s.Wait(ctx, since, a, b)
	if mustA|mustB != 0 && err != nil {
		t.Fatalf("waited for %s %s after %d of %d in vain", a, b, since, s.Head())
	}
	if mayA|mayB == 0 && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("did not wait for %s %s after %d of %d: %v", a, b, since, s.Head(), err)
	}
}

func TestTail_StaysSmall(t *testing.T) {
	db := dbtest.SQLite(t)
	const size = 100
	s := stream.New(db, stream.Options{Tail: size})
	streamtest.Run(t, s)
	ctx := within(t, 60*time.Second)
	for i := range 60 {
		batch := make([]stream.Change, 50)
		for j := range batch {
			batch[j] = stream.Change{Kind: stream.Membership, RoomID: "!busy", UserID: id.UserID(fmt.Sprint("@", i*50+j)), Ref: fmt.Sprint("$", i*50+j)}
		}
		over, cancel := context.WithTimeout(ctx, time.Millisecond)
		_, _ = s.Wait(over, s.Head(), stream.Topic(fmt.Sprint("!never", i)), "!busy")
		cancel()
		if _, err := s.Commit(ctx, &stream.Unit{Changes: batch}); err != nil {
			t.Fatal(err)
		}
	}
	if topics, marks, waiters := s.TailSize(); topics > 2*size+1 || marks != 2*size || waiters != 0 {
		t.Fatal(topics, marks, waiters)
	}
}

func TestWait_NoWakeUpIsLost(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		s := streamtest.New(t, db)
		ctx := within(t, 60*time.Second)
		const rooms, each = 5, 30
		var wg sync.WaitGroup
		for w := range 40 {
			wg.Go(func() {
				sign := "!@"[w%2 : w%2+1] // rooms or users
				mine := []stream.Topic{stream.Topic(fmt.Sprint(sign, w%rooms)), stream.Topic(fmt.Sprint(sign, (w+1)%rooms)), "@me"}
				found, since := 0, stream.Pos(0)
				for found < 2*each {
					head, err := s.Wait(ctx, since, mine...)
					if err != nil {
						t.Error(err)
						return
					}
					changes, err := s.Changes(ctx, since, head, stream.All, mine)
					if err != nil || len(changes) == 0 {
						t.Error("woken for nothing", since, head, err)
						return
					}
					found, since = found+len(changes), head
				}
			})
		}
		for room := range rooms {
			wg.Go(func() {
				for i := range each {
					if _, err := s.Commit(ctx, &stream.Unit{Changes: []stream.Change{
						{Kind: stream.Membership, RoomID: id.RoomID(fmt.Sprint("!", room)), UserID: id.UserID(fmt.Sprint("@", room)), Ref: fmt.Sprint(i)},
					}}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestToken_RoundTripAndNothingElse(t *testing.T) {
	for _, p := range []stream.Pos{0, 1, 42, 1<<63 - 1} {
		if got, err := stream.ParseToken(stream.Token(p)); err != nil || got != p {
			t.Error(p, got, err)
		}
	}
	for _, bad := range []string{"", "s", "1", "t1", "s-1", "s+1", "s01", "s1 ", "s9223372036854775808", "s99999999999999999999999", "s1_2", "s٣"} {
		if p, err := stream.ParseToken(bad); err == nil {
			t.Errorf("%q gave %d", bad, p)
		}
	}
}
