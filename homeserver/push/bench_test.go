package push

import (
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
)

func BenchmarkJudge_Message(b *testing.B) {
	j := newJudge("@somebody:example.org")
	j.rules = newSharedRules().set
	s := scene{name: "Some Body", count: 200}
	for name, content := range map[string]string{
		"legacy":   `{"body":"Good morning, shall we have a look at the report before the meeting?","msgtype":"m.text"}`,
		"mentions": `{"body":"Good morning, shall we have a look at the report before the meeting?","m.mentions":{"user_ids":["@other:example.org"]},"msgtype":"m.text"}`,
	} {
		ev := build(b, "m.room.message", nil, content)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c, err := newSubject(ev, s).judge(j); err != nil || c == nil {
					b.Fatal(c, err)
				}
			}
		})
	}
}

func BenchmarkCounts_NothingNewIn100Rooms(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b), nil)
	alice, bob := w.user("alice"), w.user("bob")
	var rooms []id.RoomID
	for i := range 100 {
		r := w.create(alice, bob)
		if i%5 == 0 {
			w.say(alice, r, fmt.Sprint("number ", i))
		}
		rooms = append(rooms, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		m, err := w.push.Counts(w.ctx, bob, rooms, w.stream.Head())
		if err != nil || len(m) != 20 {
			b.Fatal(len(m), err)
		}
	}
}

// A restart: nothing is in memory of what is counted.
func BenchmarkCounts_FirstTimeIn100Rooms(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b), nil)
	alice, bob := w.user("alice"), w.user("bob")
	var rooms []id.RoomID
	for range 100 {
		r := w.create(alice, bob)
		for range 20 {
			w.say(alice, r, "hello")
		}
		rooms = append(rooms, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.forget()
		if m, err := w.push.Counts(w.ctx, bob, rooms, w.stream.Head()); err != nil || len(m) != 100 {
			b.Fatal(len(m), err)
		}
	}
}

// One message reaches somebody who syncs.
func BenchmarkCounts_OneNewEvent(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b), nil)
	alice, bob := w.user("alice"), w.user("bob")
	r := w.create(alice, bob)
	w.counts(bob, r)
	head := w.stream.Head()
	w.say(alice, r, "hello")
	rooms := []id.RoomID{r}
	u := w.push.person(bob)
	before := *u.cells[r]
	b.ReportAllocs()
	for b.Loop() {
		c := before
		c.upTo = head
		u.cells[r] = &c
		if m, err := w.push.Counts(w.ctx, bob, rooms, w.stream.Head()); err != nil || m[r].Notifications != 1 {
			b.Fatal(m, err)
		}
	}
}

// One message in a room where all members have a phone: judging and queueing.
func BenchmarkFollow_OneMessageTo500Phones(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b), nil)
	alice := w.user("alice")
	r := w.create(alice)
	for i := range 500 {
		u := w.user(fmt.Sprint("u", i))
		w.join(u, r)
		n := w.pusher(u, &phone{}, fmt.Sprint("key", i), `{"url":"https://push.example.org/_matrix/push/v1/notify"}`)
		w.must(w.push.SetPusher(w.ctx, n))
	}
	ev := w.say(alice, r, "a message of a usual length, with nobody named in it")
	w.must(w.push.settleTargets(w.ctx))
	b.ReportAllocs()
	for b.Loop() {
		n := notes{p: w.push, ctx: w.ctx}
		if err := n.event(&stream.Change{Kind: stream.Event, RoomID: r, Ref: string(ev), Pos: w.stream.Head()}); err != nil || len(n.rows) != 500 {
			b.Fatal(len(n.rows), err)
		}
	}
}
