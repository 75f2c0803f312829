package clientsync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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

func types(evs []ev) (out []string) {
	for _, e := range evs {
		out = append(out, e.Type)
	}
	return out
}

func bodies(evs []ev) (out []string) {
	for _, e := range evs {
		var c struct{ Body string }
		_ = json.Unmarshal(e.Content, &c)
		out = append(out, c.Body)
	}
	return out
}

func find(evs []ev, evType, key string) *ev {
	for i, e := range evs {
		if e.Type == evType && e.StateKey != nil && *e.StateKey == key {
			return &evs[i]
		}
	}
	return nil
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestSync_UnchangedRoomIsNotThere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		first := w.sync(a, syncOptions{})
		if _, ok := first.Rooms.Join[r]; !ok {
			t.Fatal("no room in the initial sync")
		}
		second := w.sync(a, syncOptions{since: first.NextBatch})
		if len(second.Rooms.Join) != 0 {
			t.Errorf("unchanged room in %+v", second.Rooms)
		}
		full := w.sync(a, syncOptions{since: first.NextBatch, full: true})
		if find(full.Rooms.Join[r].State.Events, "m.room.create", "") == nil {
			t.Error("full_state has no create event")
		}
		if len(full.Rooms.Join[r].Timeline.Events) != 0 {
			t.Error("full_state repeats the timeline")
		}
	})
}

func TestSync_WaitsForAMessage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		since := w.sync(b, syncOptions{}).NextBatch
		got := make(chan reply)
		go func() { got <- w.sync(b, syncOptions{since: since, wait: 10 * time.Second}) }()
		w.say(a, r, "wake up")
		select {
		case x := <-got:
			equal(t, "messages", bodies(x.Rooms.Join[r].Timeline.Events), []string{"wake up"})
		case <-time.After(9 * time.Second):
			t.Fatal("did not wake")
		}
	})
}

func TestSync_WaitsForARoomJoinedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		since := w.sync(b, syncOptions{}).NextBatch
		got := make(chan reply)
		go func() { got <- w.sync(b, syncOptions{since: since, wait: 10 * time.Second}) }()
		w.join(b, r)
		x := <-got
		if find(x.Rooms.Join[r].Timeline.Events, typeMember, string(b)) == nil {
			t.Errorf("no join in %+v", x.Rooms.Join[r])
		}
	})
}

func TestSync_AnswersEmptyAtTimeout(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		w.create(a)
		since := w.sync(a, syncOptions{}).NextBatch
		w.create(b) // none of a's business
		x := w.sync(a, syncOptions{since: since, wait: 20 * time.Millisecond})
		if len(x.Rooms.Join) != 0 {
			t.Errorf("rooms in %+v", x.Rooms)
		}
		if x.NextBatch != stream.Token(w.stream.Head()) {
			t.Errorf("next_batch %s, head %d", x.NextBatch, w.stream.Head())
		}
	})
}

func TestSync_CancelledRequestEnds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		w.create(a)
		since := w.sync(a, syncOptions{}).NextBatch
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		req := w.request(a, syncOptions{since: since})
		if _, err := w.syncs.Sync(ctx, ctx, req); err == nil {
			t.Error("no error for a request that nobody waits for")
		}
	})
}

func TestSync_NewlyJoinedRoomSaysThatThereWasMore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		for i := range 4 {
			w.say(a, r, fmt.Sprint(i))
		}
		since := w.sync(b, syncOptions{}).NextBatch
		for i := range 4 {
			w.say(a, r, fmt.Sprint(i+4))
		}
		w.join(b, r)
		f := `{"room":{"timeline":{"limit":10,"types":["m.room.message"]},"state":{"types":[]}}}`
		x := w.sync(b, syncOptions{since: since, filter: f}).Rooms.Join[r]
		if len(x.Timeline.Events) != 8 || !x.Timeline.Limited {
			t.Errorf("%d events, limited %v", len(x.Timeline.Events), x.Timeline.Limited)
		}
		if len(x.State.Events) != 0 {
			t.Errorf("state %v", types(x.State.Events))
		}
	})
}

func TestSync_JoinLeaveJoinIsNotLeft(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		since := w.sync(b, syncOptions{}).NextBatch
		w.join(b, r)
		w.leave(b, r)
		w.join(b, r)
		x := w.sync(b, syncOptions{since: since})
		if _, ok := x.Rooms.Leave[r]; ok {
			t.Error("room in leave")
		}
		if find(x.Rooms.Join[r].State.Events, "m.room.create", "") == nil && find(x.Rooms.Join[r].Timeline.Events, "m.room.create", "") == nil {
			t.Error("newly joined room without its state")
		}
	})
}

func TestSync_RejectedInviteIsInLeave(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		since := w.sync(b, syncOptions{}).NextBatch
		w.invite(a, r, b)
		x := w.sync(b, syncOptions{since: since})
		own := find(x.Rooms.Invite[r].State.Events, typeMember, string(b))
		if own == nil || find(x.Rooms.Invite[r].State.Events, "m.room.join_rules", "") == nil {
			t.Errorf("invite_state %v", types(x.Rooms.Invite[r].State.Events))
		}
		w.leave(b, r)
		y := w.sync(b, syncOptions{since: x.NextBatch})
		equal(t, "timeline", types(y.Rooms.Leave[r].Timeline.Events), []string{typeMember})
		if len(y.Rooms.Leave[r].State.Events) != 0 {
			t.Error("somebody who was never in is told the state")
		}
		w.join(b, r)
		z := w.sync(b, syncOptions{since: y.NextBatch, full: true})
		if _, ok := z.Rooms.Leave[r]; ok {
			t.Error("room in leave after joining")
		}
	})
}

func TestSync_InvitesOfIgnoredUsersAreHidden(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.user("a"), w.user("b"), w.user("c")
		w.must(w.accounts.SetAccountData(w.ctx, a, "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{"`+string(b)+`":{}}}`)))
		since := w.sync(a, syncOptions{}).NextBatch
		bad, good := w.create(b), w.create(c)
		w.invite(b, bad, a)
		w.invite(c, good, a)
		x := w.sync(a, syncOptions{since: since})
		if _, ok := x.Rooms.Invite[bad]; ok {
			t.Error("invite of an ignored user")
		}
		if _, ok := x.Rooms.Invite[good]; !ok {
			t.Error("no invite")
		}
	})
}

func TestSync_UnwantedInvitesAreHidden(t *testing.T) {
	for eventType, content := range map[string]string{
		"m.invite_permission_config":                  `{"default_action":"block"}`,
		"org.matrix.msc4155.invite_permission_config": `{"ignored_users":["@b:*"]}`,
	} {
		each(t, func(t *testing.T, w *world) {
			a, b := w.user("a"), w.user("b")
			since := w.sync(a, syncOptions{}).NextBatch
			r := w.create(b)
			w.invite(b, r, a)
			const body = `{"lists":{"l":{"ranges":[[0,9]]}},"room_subscriptions":{"ROOM":{"timeline_limit":1}}}`
			seen := func() (in int) {
				for _, s := range []string{"", since} {
					in += len(w.sync(a, syncOptions{since: s}).Rooms.Invite)
				}
				raw, err := w.syncs.GetInitialSync(w.ctx, web.Requester{UserID: a}, InitialSyncIn{})
				w.must(err)
				if strings.Contains(string(raw), string(r)) {
					in++
				}
				return in + len(w.slide(a, "", strings.Replace(body, "ROOM", string(r), 1), 0).Rooms)
			}
			if n := seen(); n != 4 {
				t.Fatalf("before, the invite is seen %d times", n)
			}
			w.must(w.accounts.SetAccountData(w.ctx, a, "", eventType, json.RawMessage(content)))
			if n := seen(); n != 0 {
				t.Errorf("%s: the invite is seen %d times", eventType, n)
			}
			w.must(w.accounts.DeleteAccountData(w.ctx, a, "", eventType))
			if n := seen(); n != 4 {
				t.Errorf("%s: afterwards, the invite is seen %d times", eventType, n)
			}
		})
	}
}

func TestSync_IgnoredUsersMessagesAreHiddenButNotTheirState(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.must(w.accounts.SetAccountData(w.ctx, a, "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{"`+string(b)+`":{}}}`)))
		since := w.sync(a, syncOptions{}).NextBatch
		w.join(b, r)
		w.say(b, r, "hello?")
		x := w.sync(a, syncOptions{since: since})
		equal(t, "timeline", types(x.Rooms.Join[r].Timeline.Events), []string{typeMember})
	})
}

func TestSync_LeaveSection(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a, room.CreateInput{Preset: "public_chat",
			InitialState: []room.InitialState{{Type: "m.room.history_visibility", Content: json.RawMessage(`{"history_visibility":"joined"}`)}}})
		w.join(b, r)
		since := w.sync(b, syncOptions{}).NextBatch
		w.leave(b, r)
		w.say(a, r, "without b")
		x := w.sync(b, syncOptions{since: since})
		left := x.Rooms.Leave[r]
		equal(t, "timeline", types(left.Timeline.Events), []string{typeMember})
		if len(left.State.Events) != 0 {
			t.Errorf("state %v", types(left.State.Events))
		}
		if y := w.sync(b, syncOptions{since: x.NextBatch, filter: `{"room":{"include_leave":true}}`}); len(y.Rooms.Leave) != 0 {
			t.Error("a room left before is repeated")
		}
		if y := w.sync(b, syncOptions{}); len(y.Rooms.Leave) != 0 {
			t.Error("initial sync has rooms that were left")
		}
		if y := w.sync(b, syncOptions{filter: `{"room":{"include_leave":true}}`}); len(y.Rooms.Leave) != 1 {
			t.Error("include_leave does not include them")
		}
	})
}

func TestSync_FirstSyncTellsOfRoomsThatTheUserWasPutOutOf(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.user("a"), w.user("b"), w.user("c")
		r := w.create(a, room.CreateInput{Preset: "public_chat"})
		w.join(b, r)
		w.join(c, r)
		w.must(w.rooms.Ban(w.ctx, room.MemberInput{RoomID: r, Sender: a, Target: b}))
		w.must(w.rooms.Kick(w.ctx, room.MemberInput{RoomID: r, Sender: a, Target: c}))
		for _, u := range []id.UserID{b, c} {
			left, ok := w.sync(u, syncOptions{}).Rooms.Leave[r]
			if !ok || len(left.Timeline.Events) == 0 {
				t.Errorf("%s does not learn of it", u)
			}
		}
	})
}

func TestSync_ForgottenRoomStillTellsOfTheLeave(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		since := w.sync(b, syncOptions{}).NextBatch
		w.leave(b, r)
		w.must(w.rooms.Forget(w.ctx, r, b))
		f := `{"room":{"include_leave":true}}`
		if x := w.sync(b, syncOptions{since: since, filter: f}); len(x.Rooms.Leave) != 1 {
			t.Error("other clients of the user do not hear of the leave")
		}
		if x := w.sync(b, syncOptions{filter: f}); len(x.Rooms.Leave)+len(x.Rooms.Join) != 0 {
			t.Error("forgotten room in an initial sync")
		}
	})
}

// A room left shows its past only, also where the timeline is filtered or empty.
func TestSync_ArchivedRoom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		since := w.sync(b, syncOptions{}).NextBatch
		w.say(a, r, "before")
		w.set(a, r, "org.example.state", "", `{"my_key":"before"}`)
		w.leave(b, r)
		w.say(a, r, "after")
		w.set(a, r, "org.example.state", "", `{"my_key":"after"}`)
		f := `{"room":{"timeline":{"types":["m.room.message","org.example.state"]},"state":{"types":["org.example.state"]},"include_leave":true}}`
		for _, s := range []string{"", since} {
			x := w.sync(b, syncOptions{since: s, filter: f}).Rooms.Leave[r]
			equal(t, "timeline", types(x.Timeline.Events), []string{"m.room.message", "org.example.state"})
			if len(x.State.Events) != 0 {
				t.Errorf("since %q: state %v", s, types(x.State.Events))
			}
			x = w.sync(b, syncOptions{since: s, filter: `{"room":{"timeline":{"limit":0},"include_leave":true}}`}).Rooms.Leave[r]
			if len(x.Timeline.Events) != 0 {
				t.Error("timeline is not empty")
			}
			made := find(x.State.Events, "org.example.state", "")
			if made == nil || !strings.Contains(string(made.Content), "before") {
				t.Errorf("since %q: state %v", s, made)
			}
			if find(x.State.Events, typeMember, string(b)) == nil {
				t.Error("no leave in the state")
			}
		}
	})
}

func TestSync_LimitedTimelineGivesTheStateBetween(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		since := w.sync(a, syncOptions{}).NextBatch
		topic := w.set(a, r, "m.room.topic", "", `{"topic":"new"}`)
		for i := range 5 {
			w.say(a, r, fmt.Sprint(i))
		}
		name := w.set(a, r, "m.room.name", "", `{"name":"new"}`)
		x := w.sync(a, syncOptions{since: since, filter: `{"room":{"timeline":{"limit":3}}}`}).Rooms.Join[r]
		if !x.Timeline.Limited || len(x.Timeline.Events) != 3 || x.Timeline.Events[2].ID != name {
			t.Errorf("timeline %+v", x.Timeline)
		}
		if len(x.State.Events) != 1 || x.State.Events[0].ID != topic {
			t.Errorf("state %v", types(x.State.Events))
		}
		y := w.sync(a, syncOptions{since: since, after: true, filter: `{"room":{"timeline":{"limit":3}}}`}).Rooms.Join[r]
		if y.State != nil || y.StateAfter == nil || len(y.StateAfter.Events) != 2 {
			t.Errorf("state_after %+v", y.StateAfter)
		}
	})
}

func TestSync_FilteredStateEventsReachTheState(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		since := w.sync(a, syncOptions{}).NextBatch
		w.say(a, r, "one")
		topic := w.set(a, r, "m.room.topic", "", `{"topic":"new"}`)
		x := w.sync(a, syncOptions{since: since, filter: `{"room":{"timeline":{"types":["m.room.message"]}}}`}).Rooms.Join[r]
		equal(t, "timeline", types(x.Timeline.Events), []string{"m.room.message"})
		if len(x.State.Events) != 1 || x.State.Events[0].ID != topic {
			t.Errorf("state %v", types(x.State.Events))
		}
	})
}

func TestSync_LazyMembersComeWithWhatTheySay(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.user("a"), w.user("b"), w.user("c")
		r := w.create(a)
		w.join(b, r)
		w.join(c, r)
		for i := range 3 {
			w.say(a, r, fmt.Sprint(i))
		}
		f := `{"room":{"timeline":{"limit":2},"state":{"lazy_load_members":true}}}`
		o := syncOptions{filter: f, device: "LAZY"}
		members := func(x reply) (out []string) {
			for _, e := range x.Rooms.Join[r].State.Events {
				if e.Type == typeMember {
					out = append(out, *e.StateKey)
				}
			}
			slices.Sort(out)
			return out
		}
		x := w.sync(a, o)
		equal(t, "initial", members(x), []string{string(a), string(b), string(c)}) // b and c are heroes
		w.must(w.rooms.Leave(w.ctx, room.MemberInput{RoomID: r, Sender: c}))
		x = w.sync(a, syncOptions{filter: f, device: "LAZY", since: x.NextBatch})
		w.say(b, r, "I")
		redundant := strings.Replace(f, `"lazy_load_members":true`, `"lazy_load_members":true,"include_redundant_members":true`, 1)
		again := w.sync(a, syncOptions{filter: redundant, device: "LAZY", since: x.NextBatch})
		equal(t, "redundant", members(again), []string{string(b)})
		y := w.sync(a, syncOptions{filter: f, device: "LAZY", since: x.NextBatch})
		equal(t, "known", members(y), nil)
		z := w.sync(a, syncOptions{filter: f, device: "OTHER", since: x.NextBatch})
		equal(t, "another device", members(z), []string{string(b)})
	})
}

func TestSync_TransactionIDIsForTheSendingDeviceOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		w.say(a, r, "mine")
		last := func(u id.UserID, d id.DeviceID) ev {
			evs := w.sync(u, syncOptions{device: d}).Rooms.Join[r].Timeline.Events
			return evs[len(evs)-1]
		}
		if e := last(a, "DEV"); e.Unsigned.Txn == "" || e.Unsigned.Age == nil || e.RoomID != "" {
			t.Errorf("sender's device: %+v", e)
		}
		if e := last(a, "OTHER"); e.Unsigned.Txn != "" {
			t.Error("another device gets the transaction ID")
		}
		if e := last(b, "DEV"); e.Unsigned.Txn != "" {
			t.Error("another user gets the transaction ID")
		}
	})
}

func TestSync_TellsTheMembershipAtEachEvent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.say(a, r, "before")
		w.join(b, r)
		w.say(a, r, "after")
		want := memberLeave
		for _, e := range w.sync(b, syncOptions{}).Rooms.Join[r].Timeline.Events {
			if e.Type == typeMember && *e.StateKey == string(b) {
				want = memberJoin
			}
			if e.Unsigned.Membership != want {
				t.Errorf("%s: membership %q, want %q", e.Type, e.Unsigned.Membership, want)
			}
		}
		if want != memberJoin {
			t.Error("no join seen")
		}
	})
}

func TestSync_SummaryNamesOthers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.invite(a, r, b)
		x := w.sync(a, syncOptions{})
		s := x.Rooms.Join[r].Summary
		if *s.Joined != 1 || *s.Invited != 1 || !slices.Equal(s.Heroes, []id.UserID{b}) {
			t.Errorf("summary %+v", s)
		}
		w.join(b, r)
		y := w.sync(a, syncOptions{since: x.NextBatch}).Rooms.Join[r].Summary
		if *y.Joined != 2 || *y.Invited != 0 {
			t.Errorf("summary %+v", y)
		}
		w.say(a, r, "nothing about members")
		if z := w.sync(a, syncOptions{since: w.sync(a, syncOptions{}).NextBatch}); z.Rooms.Join[r].Summary.Joined != nil {
			t.Error("counts without a change")
		}
	})
}

func TestSync_AccountData(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		since := w.sync(a, syncOptions{}).NextBatch
		w.must(w.accounts.SetAccountData(w.ctx, a, "", "org.example.global", json.RawMessage(`{"x":1}`)))
		w.must(w.accounts.SetAccountData(w.ctx, a, r, "org.example.room", json.RawMessage(`{"y":1}`)))
		for _, s := range []string{"", since} {
			x := w.sync(a, syncOptions{since: s})
			want := []string{"org.example.global"}
			if s == "" {
				want = append(want, "m.push_rules")
			}
			equal(t, "global", types(x.AccountData.Events), want)
			equal(t, "room", types(x.Rooms.Join[r].AccountData.Events), []string{"org.example.room"})
		}
		x := w.sync(a, syncOptions{filter: `{"account_data":{"not_types":["org.*","m.*"]},"room":{"account_data":{"types":[]}}}`})
		if len(x.AccountData.Events)+len(x.Rooms.Join[r].AccountData.Events) != 0 {
			t.Error("the filter is ignored")
		}
	})
}

func TestSync_DeletedAccountDataIsEmptyOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		for name, remove := range map[string]func(id.RoomID) error{
			"put": func(r id.RoomID) error {
				return w.accounts.SetAccountData(w.ctx, a, r, "org.example", json.RawMessage(`{}`))
			},
			"delete": func(r id.RoomID) error { return w.accounts.DeleteAccountData(w.ctx, a, r, "org.example") },
		} {
			for _, where := range []id.RoomID{"", r} {
				w.must(w.accounts.SetAccountData(w.ctx, a, where, "org.example", json.RawMessage(`{"x":1}`)))
				since := w.sync(a, syncOptions{}).NextBatch
				w.must(remove(where))
				x := w.sync(a, syncOptions{since: since})
				got := append(x.AccountData.Events, x.Rooms.Join[r].AccountData.Events...)
				if len(got) != 1 || got[0].Type != "org.example" || string(got[0].Content) != "{}" {
					t.Errorf("%s in %q: %+v", name, where, got)
				}
				x = w.sync(a, syncOptions{})
				equal(t, name+" first, global", types(x.AccountData.Events), []string{"m.push_rules"})
				if list := x.Rooms.Join[r].AccountData.Events; list == nil || len(list) != 0 {
					t.Errorf("%s: a first answer has %v for the room", name, list)
				}
			}
		}
	})
}

func TestSync_FilterChoosesRooms(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		one, two := w.create(a), w.create(a)
		x := w.sync(a, syncOptions{filter: fmt.Sprintf(`{"room":{"rooms":[%q]}}`, one)})
		if len(x.Rooms.Join) != 1 {
			t.Errorf("%d rooms", len(x.Rooms.Join))
		}
		x = w.sync(a, syncOptions{filter: fmt.Sprintf(`{"room":{"not_rooms":[%q]}}`, one)})
		if _, ok := x.Rooms.Join[two]; !ok || len(x.Rooms.Join) != 1 {
			t.Errorf("rooms %v", x.Rooms.Join)
		}
	})
}

func TestSync_RedactedEventIsEmptyAndSaysWhy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		e := w.say(a, r, "secret")
		w.sync(a, syncOptions{}) // renders it once
		_, err := w.rooms.Redact(w.ctx, room.SendInput{RoomID: r, Sender: a, Redacts: e, Content: json.RawMessage(`{"reason":"no"}`)})
		w.must(err)
		raw := w.raw(a, syncOptions{})
		if strings.Contains(string(raw), "secret") {
			t.Error("a redacted body is shown")
		}
		for _, x := range w.sync(a, syncOptions{}).Rooms.Join[r].Timeline.Events {
			if x.ID == e && (string(x.Content) != "{}" || x.Unsigned.Redacted == nil) {
				t.Errorf("redacted event %+v", x)
			}
		}
	})
}

func TestSync_BadFilterIsRefused(t *testing.T) {
	for _, f := range []string{`{`, `{"event_format":"xml"}`, `{"room":{"timeline":{"limit":"x"}}}`, `{"room":[]}`} {
		if _, err := ParseFilter([]byte(f)); err == nil {
			t.Errorf("%s is taken", f)
		}
	}
}

func TestSync_PurgedRoomDoesNoHarm(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		gone, stays := w.create(a), w.create(a)
		x := w.sync(a, syncOptions{})
		s := w.slide(a, "", fmt.Sprintf(slideAll, 3), 0)
		w.must(w.rooms.Purge(w.ctx, gone))
		w.say(a, stays, "here")
		if y := w.sync(a, syncOptions{since: x.NextBatch}); len(y.Rooms.Join) != 1 {
			t.Errorf("rooms %v", y.Rooms)
		}
		if y := w.slide(a, s.Pos, fmt.Sprintf(slideAll, 3), 0); y.Lists["all"].Count != 1 {
			t.Errorf("lists %v", y.Lists)
		}
	})
}
