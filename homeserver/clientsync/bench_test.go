package clientsync

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

func (w *world) benchSync(b *testing.B, req request) int {
	a, err := w.syncs.Sync(w.ctx, nil, req)
	if err != nil {
		b.Fatal(err)
	}
	n := len(a.buf)
	a.release()
	return n
}

// An incremental sync of somebody in 100 rooms where nothing happened.
func BenchmarkSync_NothingIn100Rooms(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	u := w.user("u")
	for range 100 {
		w.create(u)
	}
	r := w.request(u, syncOptions{since: stream.Token(w.stream.Head()), device: "DEV"})
	w.benchSync(b, r)
	b.ReportAllocs()
	for b.Loop() {
		w.benchSync(b, r)
	}
}

// One message reaches 200 members of a room: per delivery.
func BenchmarkSync_OneMessageTo200Members(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	first := w.user("u")
	room := w.create(first)
	users := []id.UserID{first}
	for i := range 199 {
		u := w.user(fmt.Sprint("u", i))
		w.join(u, room)
		users = append(users, u)
	}
	since := stream.Token(w.stream.Head())
	w.say(first, room, "hello, this is a message of a usual length")
	reqs := make([]request, len(users))
	for i, u := range users {
		reqs[i] = w.request(u, syncOptions{since: since, device: "DEV"})
		w.benchSync(b, reqs[i])
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		w.benchSync(b, reqs[n%len(reqs)])
		n++
	}
}

// An initial sync of 100 rooms with 20 messages each.
func BenchmarkSync_Initial100Rooms20Messages(b *testing.B) {
	for _, lazy := range []bool{false, true} {
		b.Run(fmt.Sprint("lazy=", lazy), func(b *testing.B) {
			w := newWorld(b, dbtest.SQLite(b))
			u := w.user("u")
			for range 100 {
				r := w.create(u)
				for i := range 20 {
					w.say(u, r, fmt.Sprint("message number ", i))
				}
			}
			r := w.request(u, syncOptions{device: "DEV", filter: fmt.Sprintf(`{"room":{"timeline":{"limit":20},"state":{"lazy_load_members":%v}}}`, lazy)})
			size := w.benchSync(b, r)
			b.ReportAllocs()
			for b.Loop() {
				w.benchSync(b, r)
			}
			b.ReportMetric(float64(size)/1024, "KiB")
		})
	}
}

// Sliding sync of somebody in 100 rooms, one of which got a message.
func BenchmarkSlide_OneMessageIn100Rooms(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	u := w.user("u")
	var rooms []id.RoomID
	for range 100 {
		rooms = append(rooms, w.create(u))
	}
	const body = `{"lists":{"all_rooms":{"ranges":[[0,99]],"timeline_limit":1,"required_state":[["m.room.name",""],["m.room.member","$LAZY"],["m.room.member","$ME"],["m.space.child","*"]]}},"extensions":{"account_data":{"enabled":true}}}`
	x := w.slide(u, "", body, 0)
	x = w.slide(u, x.Pos, body, 0)
	w.say(u, rooms[50], "hello, this is a message of a usual length")
	var in SlidingIn
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		b.Fatal(err)
	}
	in.Pos = x.Pos
	b.ReportAllocs()
	for b.Loop() {
		a, err := w.syncs.PostSlidingSync(w.ctx, web.Requester{UserID: u, DeviceID: "DEV"}, in)
		if err != nil {
			b.Fatal(err)
		}
		a.release()
	}
}

// 50 members wait, a message wakes them, and they wait again: per delivery, with the send.
func BenchmarkSync_FiftyWaitersWoken(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	first := w.user("u")
	room := w.create(first)
	users := []id.UserID{first}
	for i := range 49 {
		u := w.user(fmt.Sprint("u", i))
		w.join(u, room)
		users = append(users, u)
	}
	got := make(chan error)
	stop, end := context.WithCancel(w.ctx)
	var all sync.WaitGroup
	for _, u := range users {
		since := stream.Token(w.stream.Head())
		all.Go(func() {
			for stop.Err() == nil {
				a, err := w.syncs.GetSync(stop, web.Requester{UserID: u, DeviceID: "DEV"}, SyncIn{Since: since, Timeout: 30_000})
				if stop.Err() != nil {
					return
				}
				if err == nil {
					since = gjson.GetBytes(a.buf, "next_batch").Str
					if !gjson.GetBytes(a.buf, "rooms.join").Exists() {
						continue
					}
				}
				got <- err
			}
		})
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%len(users) == 0 {
			w.say(first, room, "wake up")
			for range users {
				if err := <-got; err != nil {
					b.Fatal(err)
				}
			}
		}
		n++
	}
	end()
	all.Wait()
}
