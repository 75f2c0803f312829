package timeline

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

func each(t *testing.T, test func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { test(t, newWorld(t, db)) })
}

func who(u id.UserID) web.Requester { return web.Requester{UserID: u, DeviceID: "DEV"} }

// ev is a rendered event.
type ev struct {
	ID       id.EventID                 `json:"event_id"`
	Type     string                     `json:"type"`
	StateKey *string                    `json:"state_key"`
	Sender   id.UserID                  `json:"sender"`
	RoomID   id.RoomID                  `json:"room_id"`
	Redacts  id.EventID                 `json:"redacts"`
	TS       int64                      `json:"origin_server_ts"`
	Content  map[string]json.RawMessage `json:"content"`
	Unsigned struct {
		Membership string          `json:"membership"`
		Txn        string          `json:"transaction_id"`
		Prev       json.RawMessage `json:"prev_content"`
		Replaces   id.EventID      `json:"replaces_state"`
		Redacted   *ev             `json:"redacted_because"`
		Relations  struct {
			Replace   *ev `json:"m.replace"`
			Reference *struct {
				Chunk []ev `json:"chunk"`
			} `json:"m.reference"`
			Thread *struct {
				Latest ev   `json:"latest_event"`
				Count  int  `json:"count"`
				Mine   bool `json:"current_user_participated"`
			} `json:"m.thread"`
		} `json:"m.relations"`
	} `json:"unsigned"`
}

type chunk struct {
	Chunk []ev   `json:"chunk"`
	State []ev   `json:"state"`
	Start string `json:"start"`
	End   string `json:"end"`
	Next  string `json:"next_batch"`
	Prev  string `json:"prev_batch"`
}

func decode[T any](tb testing.TB, raw web.Bytes, err error) (out T) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		tb.Fatalf("%v in %s", err, raw)
	}
	return out
}

func ids(evs []ev) (out []id.EventID) {
	for _, e := range evs {
		out = append(out, e.ID)
	}
	return out
}

func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return web.StatusOf(err)
}

func limit(n int) *int { return &n }

func (w *world) messages(u id.UserID, in MessagesIn) chunk {
	w.tb.Helper()
	raw, err := w.times.GetMessages(w.ctx, who(u), in)
	return decode[chunk](w.tb, raw, err)
}

// Walking in either direction with any page size gives every event once, while somebody else writes.
func TestMessages_NothingIsSkippedOrRepeatedWhileOthersWrite(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 60 {
				w.say(b, r, fmt.Sprint("b", i))
			}
		})
		var sent []id.EventID
		for i := range 60 {
			sent = append(sent, w.say(a, r, fmt.Sprint("a", i)))
		}
		wg.Wait()
		for _, dir := range []string{"b", "f"} {
			for _, n := range []int{1, 7, 100} {
				var got []id.EventID
				from := ""
				for range 1000 {
					p := w.messages(a, MessagesIn{RoomID: r, Dir: dir, Limit: limit(n), From: from})
					got = append(got, ids(p.Chunk)...)
					if dir == "b" && n == 7 {
						w.say(b, r, "more") // what comes later does not move what was before
					}
					if from = p.End; from == "" {
						break
					}
				}
				if dir == "b" {
					slices.Reverse(got)
				}
				mine := slices.DeleteFunc(slices.Clone(got), func(e id.EventID) bool { return !slices.Contains(sent, e) })
				same(t, fmt.Sprint("dir ", dir, " limit ", n), mine, sent)
				slices.Sort(got)
				if len(slices.Compact(slices.Clone(got))) != len(got) {
					t.Errorf("dir %s limit %d: repeated events", dir, n)
				}
			}
		}
	})
}

func TestMessages_SyncTokensArePlaces(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		one := w.say(a, r, "one")
		token := stream.Token(w.stream.Head())
		two := w.say(a, r, "two")
		end := stream.Token(w.stream.Head())
		w.say(a, r, "three")
		same(t, "forwards", ids(w.messages(a, MessagesIn{RoomID: r, Dir: "f", From: token, To: end}).Chunk), []id.EventID{two})
		same(t, "backwards", ids(w.messages(a, MessagesIn{RoomID: r, Dir: "b", From: token, Limit: limit(1)}).Chunk), []id.EventID{one})
		if _, err := w.times.GetMessages(w.ctx, who(a), MessagesIn{RoomID: r, Dir: "b", From: "x1"}); status(err) != 400 {
			t.Errorf("malformed token: %v", err)
		}
	})
}

func TestMessages_Filter(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		token := stream.Token(w.stream.Head())
		root := w.say(a, r, "root")
		thread := w.send(a, r, "m.room.message", nil, fmt.Sprintf(`{"body":"t","m.relates_to":{"rel_type":"m.thread","event_id":%q}}`, root))
		ref := w.send(a, r, "m.room.message", nil, fmt.Sprintf(`{"body":"r","url":"mxc://x/y","m.relates_to":{"rel_type":"m.reference","event_id":%q}}`, root))
		for filter, want := range map[string][]id.EventID{
			`{"org.matrix.msc3874.rel_types":["m.thread"]}`:               {thread},
			`{"org.matrix.msc3874.rel_types":["m.thread","m.reference"]}`: {thread, ref},
			`{"org.matrix.msc3874.not_rel_types":["m.thread"]}`:           {root, ref},
			`{"contains_url":true}`:                                       {ref},
			`{"contains_url":false,"types":["m.room.*"]}`:                 {root, thread},
			`{"types":["m.*.message"],"not_types":["*"]}`:                 nil,
			`{"senders":["@nobody:hs1"]}`:                                 nil,
			`{"not_senders":["@nobody:hs1"],"not_rooms":["!else:hs1"]}`:   {root, thread, ref},
		} {
			same(t, filter, ids(w.messages(a, MessagesIn{RoomID: r, Dir: "f", From: token, Filter: filter}).Chunk), want)
		}
		if _, err := w.times.GetMessages(w.ctx, who(a), MessagesIn{RoomID: r, Dir: "f", Filter: `[]`}); status(err) != 400 {
			t.Errorf("bad filter: %v", err)
		}
	})
}

func TestMessages_LazyMembersAreThoseWhoSpoke(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		token := stream.Token(w.stream.Head())
		w.say(b, r, "hi")
		p := w.messages(a, MessagesIn{RoomID: r, Dir: "f", From: token, Filter: `{"lazy_load_members":true}`})
		if len(p.State) != 1 || *p.State[0].StateKey != string(b) {
			t.Errorf("state %+v", p.State)
		}
	})
}

func TestMessages_WhoMayRead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		read := func(r id.RoomID) int {
			_, err := w.times.GetMessages(w.ctx, who(b), MessagesIn{RoomID: r, Dir: "b"})
			return status(err)
		}
		if s := read("!nowhere:hs1"); s != 403 {
			t.Errorf("unknown room: %d", s)
		}
		if s := read(r); s != 403 {
			t.Errorf("never in it: %d", s)
		}
		w.invite(a, r, b)
		if s := read(r); s != 403 {
			t.Errorf("invited: %d", s)
		}
		w.leave(b, r)
		if s := read(r); s != 403 {
			t.Errorf("invite rejected: %d", s)
		}
		w.join(b, r)
		w.leave(b, r)
		if s := read(r); s != 200 {
			t.Errorf("left: %d", s)
		}
		w.must(w.rooms.Forget(w.ctx, r, b))
		if s := read(r); s != 403 {
			t.Errorf("forgotten: %d", s)
		}
		open := w.create(a, room.CreateInput{Preset: "public_chat", InitialState: []room.InitialState{
			{Type: typeVisibility, Content: json.RawMessage(`{"history_visibility":"world_readable"}`)}}})
		if s := read(open); s != 200 {
			t.Errorf("world readable: %d", s)
		}
	})
}

// Somebody who left sees what was before, and not what came after: messages, state, members, single events.
func TestDepartedRoom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.user("a"), w.user("b"), w.user("c")
		r := w.create(a)
		w.join(b, r)
		w.set(a, r, "m.room.name", "", `{"name":"before"}`)
		one, two := w.say(a, r, "one"), w.say(a, r, "two")
		w.leave(b, r)
		since := stream.Token(w.stream.Head())
		w.set(a, r, "m.room.name", "", `{"name":"after"}`)
		later := w.say(a, r, "later")
		w.join(c, r)
		p := w.messages(b, MessagesIn{RoomID: r, Dir: "b", Limit: limit(3), From: since})
		same(t, "messages", ids(p.Chunk)[1:], []id.EventID{two, one})
		if p.Chunk[0].Type != typeMember {
			t.Errorf("no leave: %+v", p.Chunk[0])
		}
		if p := w.messages(b, MessagesIn{RoomID: r, Dir: "b", Limit: limit(1)}); p.Chunk[0].Type != typeMember {
			t.Errorf("the newest is %+v", p.Chunk[0])
		}
		if p := w.messages(b, MessagesIn{RoomID: r, Dir: "f", From: since}); len(p.Chunk) != 0 {
			t.Errorf("forwards: %v", ids(p.Chunk))
		}
		raw, err := w.times.GetStateEvent(w.ctx, who(b), StateEventIn{RoomID: r, Type: "m.room.name"})
		if w.must(err); string(raw) != `{"name":"before"}` {
			t.Errorf("name %s", raw)
		}
		raw, err = w.times.GetMembers(w.ctx, who(b), MembersIn{RoomID: r})
		if m := decode[chunk](t, raw, err); len(m.Chunk) != 2 {
			t.Errorf("%d members", len(m.Chunk))
		}
		if _, err := w.times.GetJoinedMembers(w.ctx, who(b), RoomIn{r}); status(err) != 403 {
			t.Errorf("joined_members: %v", err)
		}
		if _, err := w.times.GetEvent(w.ctx, who(b), EventIn{r, later}); status(err) != 404 {
			t.Errorf("later event: %v", err)
		}
		if _, err := w.times.GetEvent(w.ctx, who(b), EventIn{r, two}); err != nil {
			t.Error(err)
		}
	})
}

func TestHistoryVisibility(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		for i, c := range []struct {
			rule                  string
			before, invited, none int // status of an event before the invite, after it, and for somebody who never joins
		}{{"joined", 404, 404, 404}, {"invited", 404, 200, 404}, {"shared", 200, 200, 404}, {"world_readable", 200, 200, 200}} {
			b, n := w.user(fmt.Sprint("b", i)), w.user(fmt.Sprint("n", i))
			r := w.create(a, room.CreateInput{Preset: "public_chat", InitialState: []room.InitialState{
				{Type: typeVisibility, Content: json.RawMessage(fmt.Sprintf(`{"history_visibility":%q}`, c.rule))}}})
			before := w.say(a, r, "before")
			w.invite(a, r, b)
			invited := w.say(a, r, "invited")
			w.join(b, r)
			after := w.say(a, r, "after")
			for _, x := range []struct {
				u    id.UserID
				e    id.EventID
				want int
			}{{b, before, c.before}, {b, invited, c.invited}, {b, after, 200}, {n, before, c.none}, {a, before, 200}} {
				if _, err := w.times.GetEvent(w.ctx, who(x.u), EventIn{r, x.e}); status(err) != x.want {
					t.Errorf("%s: %s reads %s: %v, want %d", c.rule, x.u, x.e, err, x.want)
				}
			}
		}
	})
}

func TestEvent_Unsigned(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		w.set(a, r, "m.room.topic", "", `{"topic":"one"}`)
		two := w.set(a, r, "m.room.topic", "", `{"topic":"two"}`)
		raw, err := w.times.GetEvent(w.ctx, who(a), EventIn{r, two})
		e := decode[ev](t, raw, err)
		if string(e.Unsigned.Prev) != `{"topic":"one"}` || e.Unsigned.Replaces == "" || e.Unsigned.Membership != memberJoin ||
			e.Unsigned.Txn == "" || e.RoomID != r || e.TS == 0 {
			t.Errorf("event %s", raw)
		}
		_, err = w.rooms.Redact(w.ctx, room.SendInput{RoomID: r, Sender: a, Redacts: e.Unsigned.Replaces, Content: json.RawMessage(`{}`)})
		w.must(err)
		raw, err = w.times.GetEvent(w.ctx, who(a), EventIn{r, two})
		if w.must(err); strings.Contains(string(raw), `"one"`) {
			t.Errorf("redacted content shines through: %s", raw)
		}
	})
}

func TestContext(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		var sent []id.EventID
		for i := range 9 {
			sent = append(sent, w.say(a, r, fmt.Sprint(i)))
		}
		var out struct {
			Event  ev     `json:"event"`
			Before []ev   `json:"events_before"`
			After  []ev   `json:"events_after"`
			State  []ev   `json:"state"`
			Start  string `json:"start"`
			End    string `json:"end"`
		}
		raw, err := w.times.GetContext(w.ctx, who(a), ContextIn{EventIn: EventIn{r, sent[4]}, Limit: limit(4)})
		w.must(err)
		w.must(json.Unmarshal(raw, &out))
		same(t, "before", ids(out.Before), []id.EventID{sent[3], sent[2]})
		same(t, "after", ids(out.After), []id.EventID{sent[5], sent[6]})
		same(t, "further back", ids(w.messages(a, MessagesIn{RoomID: r, Dir: "b", From: out.Start, Limit: limit(2)}).Chunk), []id.EventID{sent[1], sent[0]})
		same(t, "further on", ids(w.messages(a, MessagesIn{RoomID: r, Dir: "f", From: out.End, Limit: limit(2)}).Chunk), []id.EventID{sent[7], sent[8]})
		raw, err = w.times.GetContext(w.ctx, who(a), ContextIn{EventIn: EventIn{r, sent[4]}, Limit: limit(0)})
		w.must(err)
		w.must(json.Unmarshal(raw, &out))
		same(t, "limit 0, back", ids(w.messages(a, MessagesIn{RoomID: r, Dir: "b", From: out.Start, Limit: limit(1)}).Chunk), []id.EventID{sent[3]})
		same(t, "limit 0, on", ids(w.messages(a, MessagesIn{RoomID: r, Dir: "f", From: out.End, Limit: limit(1)}).Chunk), []id.EventID{sent[5]})
	})
}

func TestTimestampToEvent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		at := func(ts int64, body string) id.EventID {
			e, err := w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: a, Type: "m.room.message", Timestamp: ts, Content: json.RawMessage(`{"body":"` + body + `"}`)})
			w.must(err)
			return e
		}
		early := at(1000, "early")
		find := func(ts int64, dir string) (id.EventID, int) {
			raw, err := w.times.GetTimestampToEvent(w.ctx, who(a), TimestampIn{RoomID: r, TS: &ts, Dir: dir})
			var out struct {
				ID id.EventID `json:"event_id"`
			}
			_ = json.Unmarshal(raw, &out)
			return out.ID, status(err)
		}
		if e, s := find(999, "f"); e != early || s != 200 {
			t.Errorf("forwards: %s %d", e, s)
		}
		if e, s := find(5000, "b"); e != early || s != 200 {
			t.Errorf("backwards: %s %d", e, s)
		}
		if _, s := find(999, "b"); s != 404 {
			t.Errorf("nothing before: %d", s)
		}
	})
}

func TestRender_KeepsServersSecretsOut(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		e := w.say(a, r, "x")
		s, err := w.rooms.Event(context.Background(), e)
		w.must(err)
		out, err := w.times.Render(w.ctx, []*room.Stored{s}, RenderOptions{ForUser: a})
		w.must(err)
		for _, k := range []string{"hashes", "signatures", "auth_events", "prev_events", "depth"} {
			if strings.Contains(string(out[0]), `"`+k+`"`) {
				t.Errorf("%s in %s", k, out[0])
			}
		}
		fed, err := w.times.Render(w.ctx, []*room.Stored{s}, RenderOptions{Federation: true})
		if w.must(err); string(fed[0]) != string(s.JSON()) {
			t.Errorf("federation format %s", fed[0])
		}
		some, err := w.times.Render(w.ctx, []*room.Stored{s}, RenderOptions{Fields: []string{"content.body"}})
		if w.must(err); strings.Contains(string(some[0]), "origin_server_ts") || !strings.Contains(string(some[0]), "body") {
			t.Errorf("fields: %s", some[0])
		}
	})
}
