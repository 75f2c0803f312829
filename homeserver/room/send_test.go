package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

func TestSend_SameTransactionGivesSameEvent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := start(t, db)
		roomID, other := w.public(), w.public()
		in := SendInput{RoomID: roomID, Sender: alice, DeviceID: "D", TxnID: "one", Type: "m.room.message", Content: message("a")}
		send := func(w *world, in SendInput) id.EventID {
			t.Helper()
			eventID, err := w.Send(w.ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			return eventID
		}
		first := send(w, in)
		in.Content = message("b")
		if send(w, in) != first {
			t.Error("the same transaction gave another event")
		}
		elsewhere, device, redaction := in, in, in
		elsewhere.RoomID, device.DeviceID = other, "E"
		redaction.Type, redaction.Redacts = typeRedaction, first
		for _, in := range []SendInput{elsewhere, device, redaction} {
			if send(w, in) == first {
				t.Errorf("another transaction gave the same event: %+v", in)
			}
		}
		if ev := w.event(first); ev.TxnID != "one" || ev.DeviceID != "D" {
			t.Errorf("transaction %q of device %q", ev.TxnID, ev.DeviceID)
		}
		// after a restart, with nothing in memory
		again := start(t, db)
		if send(again, in) != first {
			t.Error("after a restart the same transaction gave another event")
		}
		if ev := again.event(first); ev.TxnID != "one" || ev.DeviceID != "D" {
			t.Errorf("after a restart: transaction %q of device %q", ev.TxnID, ev.DeviceID)
		}
	})
}

func TestSend_SameTransactionAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		var wg sync.WaitGroup
		got := make([]id.EventID, 20)
		for i := range got {
			wg.Go(func() {
				var err error
				got[i], err = w.Send(w.ctx, SendInput{RoomID: roomID, Sender: alice, DeviceID: "D", TxnID: "t", Type: "m.x", Content: message("x")})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		slices.Sort(got)
		if len(slices.Compact(got)) != 1 {
			t.Error("one transaction gave several events")
		}
	})
}

func TestSend_SixteenInOneRoomMakeOneLine(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		const senders, each = 16, 25
		users := make([]id.UserID, senders)
		for i := range users {
			users[i] = id.UserID(fmt.Sprintf("@u%d:here.test", i))
			w.join(roomID, users[i])
		}
		before := len(w.history(roomID))
		var wg sync.WaitGroup
		sent := make([][]id.EventID, senders)
		for i, u := range users {
			wg.Go(func() {
				for n := range each {
					var eventID id.EventID
					var err error
					if n%5 == 0 {
						key := string(u)
						eventID, err = w.Send(w.ctx, SendInput{RoomID: roomID, Sender: u, Type: typeMember, StateKey: &key,
							Content: json.RawMessage(fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, n))})
					} else {
						eventID, err = w.Send(w.ctx, SendInput{RoomID: roomID, Sender: u, Type: "m.room.message", Content: message(fmt.Sprint(n))})
					}
					if err != nil {
						t.Error(err)
					}
					sent[i] = append(sent[i], eventID)
				}
			})
		}
		wg.Wait()
		list := w.history(roomID)
		if len(list) != before+senders*each {
			t.Fatalf("%d events, want %d", len(list), before+senders*each)
		}
		wantLine(t, list)
		at := map[id.EventID]int{}
		for i, ev := range list {
			at[ev.ID()] = i
		}
		for _, own := range sent {
			if !slices.IsSortedFunc(own, func(a, b id.EventID) int { return at[a] - at[b] }) {
				t.Error("one's own events are out of order")
			}
		}
		live, limited, err := w.Live(w.ctx, roomID, 0, w.stream.Head(), len(list))
		if err != nil || limited || !slices.EqualFunc(live, list, func(a, b *Stored) bool { return a.ID() == b.ID() }) {
			t.Errorf("live events differ from history: %d, %d, %v, %v", len(live), len(list), limited, err)
		}
		wantStateOfHistory(t, w, roomID)
	})
}

// wantLine checks that each event follows the one before, with positions that grow.
func wantLine(t *testing.T, list []*Stored) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		prev := list[i].PrevEvents()
		if len(prev) != 1 || prev[0] != list[i-1].ID() {
			t.Fatalf("event %d does not follow event %d", i, i-1)
		}
		if list[i].Pos <= list[i-1].Pos {
			t.Fatalf("positions do not grow: %d, %d", list[i-1].Pos, list[i].Pos)
		}
	}
}

// wantStateOfHistory checks the state before each event and the current state of a room without forks against a plain map,
// and the members against the state.
func wantStateOfHistory(t *testing.T, w *world, roomID id.RoomID) {
	t.Helper()
	want := map[event.Key]id.EventID{}
	for i, ev := range w.history(roomID) {
		before, err := w.StateBefore(w.ctx, ev)
		if err != nil || before == nil {
			t.Fatalf("state before event %d: %v", i, err)
		}
		if got := asMap(before); !mapsEqual(got, want) {
			t.Fatalf("state before event %d has %d entries, want %d", i, len(got), len(want))
		}
		if ev.IsState() {
			want[ev.Key()] = ev.ID()
		}
		at, err := w.StateAt(w.ctx, roomID, ev.Pos)
		if err != nil || !mapsEqual(asMap(at), want) {
			t.Fatalf("state at event %d: %v", i, err)
		}
	}
	if !mapsEqual(w.state(roomID), want) {
		t.Fatal("the current state is not what the events make")
	}
	members, err := w.Members(w.ctx, roomID, "")
	if err != nil {
		t.Fatal(err)
	}
	joined := 0
	for _, m := range members {
		if want[event.Key{Type: typeMember, StateKey: string(m.UserID)}] != m.EventID || w.event(m.EventID).Membership() != m.Membership {
			t.Errorf("member %s is not as the state says", m.UserID)
		}
		if m.Membership == Joined {
			joined++
		}
	}
	list, err := w.JoinedMembers(w.ctx, roomID)
	if err != nil || len(list) != joined {
		t.Errorf("%d joined members, want %d (%v)", len(list), joined, err)
	}
	if n, _, err := w.Counts(w.ctx, roomID); err != nil || n != joined {
		t.Errorf("count of joined members %d, want %d (%v)", n, joined, err)
	}
}

func mapsEqual(a, b map[event.Key]id.EventID) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestSend_TwoReplicasInOneRoom(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		a := start(t, db)
		worlds := []*world{a}
		if db.Replicated() {
			worlds = append(worlds, start(t, db))
		}
		roomID := a.public()
		a.join(roomID, bob)
		var wg sync.WaitGroup
		const senders, each = 3, 12
		for i, w := range worlds {
			for s := range senders {
				wg.Go(func() {
					for n := range each {
						in := SendInput{RoomID: roomID, Sender: alice, DeviceID: id.DeviceID(fmt.Sprint(i, s)), TxnID: fmt.Sprint(n),
							Type: "m.room.message", Content: message("x")}
						if n%4 == 0 {
							key := fmt.Sprint(i, s)
							in = SendInput{RoomID: roomID, Sender: alice, Type: "m.test", StateKey: &key, Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
						}
						if _, err := w.Send(w.ctx, in); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		for _, w := range worlds {
			if err := w.stream.Reach(w.ctx, maxHead(worlds)); err != nil {
				t.Fatal(err)
			}
			list := w.history(roomID)
			if want := 6 + len(worlds)*senders*each; len(list) != want {
				t.Fatalf("%d events, want %d", len(list), want)
			}
			wantLine(t, list)
			wantStateOfHistory(t, w, roomID)
		}
	})
}

func maxHead(worlds []*world) (p stream.Pos) {
	for _, w := range worlds {
		p = max(p, w.stream.Head())
	}
	return p
}

func TestSend_WhatAnotherReplicaWroteIsSeen(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if !db.Replicated() {
			db.Owner() // one engine has no replicas
			return
		}
		a, b := start(t, db), start(t, db)
		roomID := a.public()
		a.join(roomID, bob)
		sync := func(from, to *world) {
			if err := to.stream.Reach(to.ctx, from.stream.Head()); err != nil {
				t.Fatal(err)
			}
		}
		sync(a, b)
		if b.membership(roomID, bob) != Joined {
			t.Fatal("a join is not seen")
		}
		said := b.say(roomID, bob, "hello")
		b.join(roomID, carol)
		sync(b, a)
		if a.membership(roomID, carol) != Joined {
			t.Error("a join is not seen")
		}
		if list, err := a.JoinedMembers(a.ctx, roomID); err != nil || len(list) != 3 {
			t.Errorf("joined members %v %v", list, err)
		}
		live, _, err := a.Live(a.ctx, roomID, 0, a.stream.Head(), 2)
		if err != nil || len(live) != 2 || live[0].ID() != said {
			t.Errorf("live events %v %v", live, err)
		}
		red, err := b.Redact(b.ctx, SendInput{RoomID: roomID, Sender: bob, Redacts: said})
		if err != nil {
			t.Fatal(err)
		}
		sync(b, a)
		if a.event(said).RedactedBy != red {
			t.Error("a redaction is not seen")
		}
		if err := b.Leave(b.ctx, MemberInput{RoomID: roomID, Sender: bob}); err != nil {
			t.Fatal(err)
		}
		if err := b.Forget(b.ctx, roomID, bob); err != nil {
			t.Fatal(err)
		}
		sync(b, a)
		if m, _, _ := a.Member(a.ctx, roomID, bob); m.Membership != Left || !m.Forgotten {
			t.Errorf("bob is %+v", m)
		}
	})
}

func TestSend_UnchangedStateGivesTheEventThatIsThere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		w.join(roomID, bob)
		first := w.set(roomID, alice, "m.test", "", map[string]any{"a": 1, "b": 2})
		if w.set(roomID, alice, "m.test", "", map[string]any{"b": 2, "a": 1}) != first {
			t.Error("the same content gave another event")
		}
		if w.set(roomID, alice, "m.test", "", map[string]any{"a": 2}) == first {
			t.Error("another content gave the same event")
		}
		key := ""
		_, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: bob, Type: "m.test", StateKey: &key, Content: json.RawMessage(`{"a":2}`)})
		wantCode(t, err, "M_FORBIDDEN", 403)
	})
}

func TestSend_Refusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		key, long := "", strings.Repeat("k", 256)
		for name, c := range map[string]struct {
			in     SendInput
			code   string
			status int
		}{
			"not in the room": {SendInput{Sender: bob, Type: "m.x"}, "M_FORBIDDEN", 403},
			"unknown room":    {SendInput{RoomID: "!nowhere:here.test", Sender: alice, Type: "m.x"}, "M_FORBIDDEN", 403},
			"create":          {SendInput{Sender: alice, Type: typeCreate, StateKey: &key}, "M_INVALID_PARAM", 400},
			"long type":       {SendInput{Sender: alice, Type: long}, "M_TOO_LARGE", 413},
			"long key":        {SendInput{Sender: alice, Type: "m.x", StateKey: &long}, "M_TOO_LARGE", 413},
			"large": {SendInput{Sender: alice, Type: "m.x", Content: json.RawMessage(`{"x":"` + strings.Repeat("y", 66_000) + `"}`)},
				"M_TOO_LARGE", 413},
			"no object":     {SendInput{Sender: alice, Type: "m.x", Content: json.RawMessage(`[]`)}, "M_BAD_JSON", 400},
			"float":         {SendInput{Sender: alice, Type: "m.x", Content: json.RawMessage(`{"x":1.5}`)}, "M_BAD_JSON", 400},
			"levels":        {SendInput{Sender: alice, Type: typePowerLevels, StateKey: &key, Content: json.RawMessage(`{"ban":"x"}`)}, "M_BAD_JSON", 400},
			"creator level": {SendInput{Sender: alice, Type: typePowerLevels, StateKey: &key, Content: json.RawMessage(`{"users":{"@alice:here.test":3}}`)}, "M_BAD_JSON", 400},
			"alias":         {SendInput{Sender: alice, Type: typeCanonical, StateKey: &key, Content: json.RawMessage(`{"alias":"#none:here.test"}`)}, "M_BAD_ALIAS", 400},
			"bad alias":     {SendInput{Sender: alice, Type: typeCanonical, StateKey: &key, Content: json.RawMessage(`{"alias":"%none:here.test"}`)}, "M_INVALID_PARAM", 400},
			"acl":           {SendInput{Sender: alice, Type: typeServerACL, StateKey: &key, Content: json.RawMessage(`{"allow":["*"],"deny":["*.test"]}`)}, "M_BAD_JSON", 400},
		} {
			if c.in.RoomID == "" {
				c.in.RoomID = roomID
			}
			_, err := w.Send(w.ctx, c.in)
			if resp, ok := asRespError(err); !ok || resp.ErrCode != c.code || resp.StatusCode != c.status {
				t.Errorf("%s: %v (%d)", name, err, resp.StatusCode)
			}
		}
		if len(w.history(roomID)) != 5 {
			t.Error("something was written")
		}
	})
}

func TestRooms_ANewOneOnTheSameDatabaseKnowsTheSame(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := start(t, db)
		roomID := w.public()
		for i := range 60 {
			u := id.UserID(fmt.Sprintf("@u%d:here.test", i))
			w.join(roomID, u)
			if i%3 == 0 {
				if err := w.Leave(w.ctx, MemberInput{RoomID: roomID, Sender: u}); err != nil {
					t.Fatal(err)
				}
			}
			w.say(roomID, alice, fmt.Sprint(i))
		}
		again := start(t, db)
		if !mapsEqual(w.state(roomID), again.state(roomID)) {
			t.Error("states differ")
		}
		wantStateOfHistory(t, again, roomID)
		small := start(t, db, func(d *Deps) { d.EventBytes, d.StateBytes, d.RoomBytes, d.MembershipBytes = 1, 1, 1, 1 })
		wantStateOfHistory(t, small, roomID)
		small.say(roomID, alice, "with hardly any memory")
		if n := len(again.history(roomID)); n != 5+60+20+60+1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestSend_FailedCommitLeavesNothingBehind(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := start(t, db)
		roomID := w.public()
		w.join(roomID, bob)
		broken := errors.New("broken on purpose")
		fail := true
		var mu sync.Mutex
		db.SetFault(func(at database.Point, statement string) error {
			mu.Lock()
			defer mu.Unlock()
			if fail && strings.Contains(statement, "INTO events") {
				return broken
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: alice, Type: "m.room.message", Content: message("x")}); err == nil {
					t.Error("a failed commit was acknowledged")
				}
			})
		}
		wg.Wait()
		mu.Lock()
		fail = false
		mu.Unlock()
		w.say(roomID, bob, "works again")
		list := w.history(roomID)
		if len(list) != 7 {
			t.Errorf("%d events, want 7", len(list))
		}
		wantLine(t, list)
		wantStateOfHistory(t, w, roomID)
	})
}

func TestHistory_PagesInBothDirections(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		for i := range 300 {
			w.say(roomID, alice, fmt.Sprint(i))
		}
		all := w.history(roomID)
		back, err := w.History(w.ctx, roomID, all[100].Order, true, 10)
		if err != nil || len(back) != 10 || back[0] != all[100] || back[9] != all[91] {
			t.Errorf("backwards: %d %v", len(back), err)
		}
		forth, err := w.History(w.ctx, roomID, all[100].Order, false, 10)
		if err != nil || len(forth) != 10 || forth[0] != all[101] {
			t.Errorf("forwards: %d %v", len(forth), err)
		}
		for _, since := range []int{0, 50, 200, 290, len(all) - 1} {
			for _, upTo := range []int{60, 299, len(all) - 1} {
				for _, limit := range []int{1, 20, 1000} {
					want := []*Stored{}
					if upTo > since {
						want = all[since+1 : upTo+1]
					}
					more := len(want) > limit
					if more {
						want = want[len(want)-limit:]
					}
					got, limited, err := w.Live(w.ctx, roomID, all[since].Pos, all[upTo].Pos, limit)
					if err != nil || limited != more || len(got) != len(want) || len(got) > 0 && (got[0].ID() != want[0].ID() || got[len(got)-1].ID() != want[len(want)-1].ID()) {
						t.Errorf("live (%d, %d] limit %d: %d events, limited %v, want %d, %v (%v)", since, upTo, limit, len(got), limited, len(want), more, err)
					}
				}
			}
		}
		near, err := w.EventAt(w.ctx, roomID, 0, true)
		if err != nil || near.ID() != all[0].ID() {
			t.Errorf("event at the beginning: %v", err)
		}
	})
}

var _ = context.Background
