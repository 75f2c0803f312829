package appservices

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/room"
)

// ghost registers a user of the service's namespace.
func (w *world) ghost(name string) id.UserID {
	w.t.Helper()
	s, err := w.core.Accounts.Register(w.ctx, account.NewUser{Localpart: name, AppService: "irc", NoSession: true})
	w.must(err)
	return s.UserID
}

func eachWorld(t *testing.T, change func(r *Registration), test func(t *testing.T, w *world, b *bridge)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		b := newBridge(t)
		test(t, newWorld(t, db, []*Service{service(t, b.srv.URL, change)}, options{}), b)
	})
}

func TestDeliver_EventsOfInterestInOrderWithTheToken(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, b *bridge) {
		alice, _ := w.user("alice")
		ghost := w.ghost("_irc_bob")
		with, without := w.room(alice), w.room(alice)
		early := w.say(alice, with, "before the ghost")
		w.join(ghost, with)
		var want []id.EventID
		for i := range 7 {
			w.say(alice, without, "not for the service")
			want = append(want, w.say(alice, with, fmt.Sprint(i)))
		}
		w.until("the last message", func() bool { return b.has(want[len(want)-1]) })
		var order []id.EventID
		for _, e := range b.events() {
			if e.RoomID != with {
				t.Errorf("the service got %s of a room that is none of its business", e.EventID)
			}
			if e.Type == "m.room.message" && e.EventID != early { // the follower may be slower than the join
				order = append(order, e.EventID)
			}
		}
		if !slices.Equal(order, want) {
			t.Errorf("messages came as %v, sent as %v", order, want)
		}
		for _, d := range b.attempts() {
			if d.Token != "Bearer hs" {
				t.Errorf("transaction %s has the authorization %q", d.ID, d.Token)
			}
		}
		for _, c := range b.called() {
			if strings.Contains(c, "access_token") {
				t.Errorf("the token is in the address: %s", c)
			}
		}
	})
}

func TestDeliver_NoMoreEventsOnceTheGhostLeft(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, b *bridge) {
		alice, _ := w.user("alice")
		ghost := w.ghost("_irc_bob")
		left, stays := w.room(alice), w.room(alice)
		w.join(ghost, left)
		w.join(ghost, stays)
		w.must(w.core.Rooms.Leave(w.ctx, room.MemberInput{RoomID: left, Sender: ghost}))
		unheard := w.say(alice, left, "alone again")
		heard := w.say(alice, stays, "not alone")
		w.until("the message in the other room", func() bool { return b.has(heard) })
		if b.has(unheard) {
			t.Error("the service hears of a room that its user left")
		}
		sawLeave := slices.ContainsFunc(b.events(), func(e got) bool {
			return e.RoomID == left && e.Type == "m.room.member" && e.Content["membership"] == "leave"
		})
		if !sawLeave {
			t.Error("the service did not hear that its user left")
		}
	})
}

func TestDeliver_RoomsByAliasAndByID(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		b := newBridge(t)
		change := func(r *Registration) { r.Namespaces.Users = nil }
		w := newWorld(t, db, []*Service{service(t, b.srv.URL, change)}, options{})
		alice, _ := w.user("alice")
		r := w.room(alice)
		unheard := w.say(alice, r, "no alias yet")
		mark := w.room(alice)
		w.must(w.core.Rooms.CreateAlias(w.ctx, alice, "", "#_irc_mark:"+domain, mark))
		w.until("a room that has an alias", func() bool {
			w.say(alice, mark, "hello")
			return len(b.events()) > 0
		})
		if b.has(unheard) {
			t.Fatal("the service hears of a room without an alias of its own")
		}
		// The alias comes later and no event tells of it.
		w.must(w.core.Rooms.CreateAlias(w.ctx, alice, "", "#_irc_room:"+domain, r))
		w.until("messages of a room that got an alias", func() bool {
			w.say(alice, r, "now?")
			return slices.ContainsFunc(b.events(), func(e got) bool { return e.RoomID == r })
		})
	})
}

func TestDeliver_FailedTransactionComesAgainWordForWord(t *testing.T) {
	eachWorld(t, func(r *Registration) { r.Ephemeral = true }, func(t *testing.T, w *world, b *bridge) {
		alice, _ := w.user("alice")
		ghost := w.ghost("_irc_bob")
		r := w.room(alice)
		w.join(ghost, r)
		w.must(w.core.Ephemeral.SetTyping(w.ctx, r, alice, true, time.Minute))
		w.until("the first news", func() bool { return len(b.ephemeral("m.typing")) > 0 })
		before := len(b.attempts())
		b.scripted(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true })
		first := w.say(alice, r, "while you were away")
		w.until("a failure", func() bool { return len(b.attempts()) > before })
		last := w.say(alice, r, "and this")
		w.must(w.core.Ephemeral.SetTyping(w.ctx, r, alice, false, 0))
		w.until("more failures", func() bool { return len(b.attempts()) > before+2 })
		b.scripted(nil)
		w.until("the rest", func() bool { return b.has(first) && b.has(last) })
		bodies := map[string]string{}
		for _, d := range b.attempts() {
			if old, again := bodies[d.ID]; again && old != d.Body {
				t.Errorf("transaction %s changed from\n%s\nto\n%s", d.ID, old, d.Body)
			}
			bodies[d.ID] = d.Body
		}
		once(t, b)
	})
}

// settled waits until the answer to the last transaction is written down: a process that dies before sends it once more.
func (w *world) settled() {
	w.until("the end of the last transaction", func() bool {
		t, err := w.apps.o.Pending.get(w.ctx, "irc")
		w.must(err)
		return len(t.body) == 0
	})
}

// once demands that no event and no transaction was taken twice.
func once(t *testing.T, b *bridge) {
	t.Helper()
	seen := map[id.EventID]bool{}
	for _, e := range b.events() {
		if seen[e.EventID] {
			t.Errorf("event %s was delivered twice", e.EventID)
		}
		seen[e.EventID] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := map[string]bool{}
	for _, d := range b.taken {
		if ids[d.ID] {
			t.Errorf("two transactions have the ID %s", d.ID)
		}
		ids[d.ID] = true
	}
}

// restartable runs worlds one after the other on one database.
func restartable(t *testing.T, test func(t *testing.T, start func(first ...string) *world, b *bridge)) {
	for name, opts := range map[string]func(testing.TB) database.Options{"sqlite": dbtest.SQLiteOptions, "postgres": dbtest.PostgresOptions} {
		t.Run(name, func(t *testing.T) {
			o := opts(t)
			b := newBridge(t)
			test(t, func(first ...string) *world {
				db, err := database.Open(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { db.Close() })
				for _, q := range first {
					if err := db.Tx(t.Context(), func(ctx context.Context) error { _, err := db.Exec(ctx, q); return err }); err != nil {
						t.Fatal(err)
					}
				}
				w := newWorld(t, db, []*Service{service(t, b.srv.URL, func(r *Registration) { r.Ephemeral, r.Encryption = true, true })}, options{})
				stop := w.stop
				w.stop = func() { stop(); db.Close() }
				t.Cleanup(w.stop)
				return w
			}, b)
		})
	}
}

func TestDeliver_AfterARestartTheSameTransactionFirst(t *testing.T) {
	restartable(t, func(t *testing.T, start func(...string) *world, b *bridge) {
		w := start()
		alice, _ := w.user("alice")
		r := w.room(alice)
		w.join(w.ghost("_irc_bob"), r)
		w.until("the join", func() bool { return len(b.events()) > 0 })
		before := len(b.attempts())
		b.scripted(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(502); return true })
		first := w.say(alice, r, "one")
		w.until("a failure", func() bool { return len(b.attempts()) > before })
		pending := b.attempts()[before]
		second := w.say(alice, r, "two")
		w.stop()
		from := len(b.attempts())
		b.scripted(nil)
		w = start()
		w.until("both messages", func() bool { return b.has(first) && b.has(second) })
		if again := b.attempts()[from]; again.ID != pending.ID || again.Body != pending.Body {
			t.Errorf("the first transaction after the restart is %s %s, not %s %s", again.ID, again.Body, pending.ID, pending.Body)
		}
		once(t, b)
	})
}

func TestDeliver_WhatWasTakenDoesNotComeAgainAfterACrash(t *testing.T) {
	restartable(t, func(t *testing.T, start func(...string) *world, b *bridge) {
		w := start()
		alice, _ := w.user("alice")
		r := w.room(alice)
		w.join(w.ghost("_irc_bob"), r)
		for i := range 5 {
			last := w.say(alice, r, fmt.Sprint(i))
			w.until("the message", func() bool { return b.has(last) })
		}
		w.settled()
		w.stop()
		// The cursor is written later than transactions are sent: as if the process had been killed before that.
		w = start(`UPDATE cursors SET pos = 0 WHERE name = 'appservice/irc'`)
		fresh := w.say(alice, r, "after the crash")
		w.until("the fresh message", func() bool { return b.has(fresh) })
		once(t, b)
	})
}

func TestDeliver_ToDeviceMessagesOfReservedUsersOnceAndInOrder(t *testing.T) {
	restartable(t, func(t *testing.T, start func(...string) *world, b *bridge) {
		w := start()
		alice, token := w.user("alice")
		ghost := w.ghost("_irc_bob")
		_, err := w.core.Accounts.PutDevice(w.ctx, ghost, "G", nil)
		w.must(err)
		send := func(n int, to id.UserID, device string) {
			w.call("PUT", fmt.Sprintf("/_matrix/client/v3/sendToDevice/m.test/%s%d", device, n), token,
				fmt.Sprintf(`{"messages":{%q:{%q:{"n":%d}}}}`, to, device, n)).ok()
		}
		b.scripted(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(503); return true })
		const n = 2*maxChanges + 7
		for i := range n {
			send(i, ghost, "G")
		}
		send(0, alice, "DEV") // a user whom nobody reserved
		b.scripted(nil)
		w.until("all messages", func() bool { return len(b.numbers()) >= n })
		w.settled()
		w.stop()
		w = start(`UPDATE cursors SET pos = 0 WHERE name = 'appservice/irc'`)
		send(n, ghost, "G")
		w.until("the last message", func() bool { return slices.Contains(b.numbers(), n) })
		for i, got := range b.numbers() {
			if got != i {
				t.Fatalf("message %d came in place %d: %v", got, i, b.numbers())
			}
		}
		once(t, b)
		if a := w.call("GET", "/_matrix/client/v3/sync", token, "").ok(); !strings.Contains(a.Body, `"m.test"`) {
			t.Errorf("the message of a user who is not reserved is gone: %s", a.Body)
		}
	})
}

// numbers are those in the to-device messages taken.
func (b *bridge) numbers() (out []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.taken {
		for _, raw := range d.ToDevice {
			var m struct {
				To      id.UserID   `json:"to_user_id"`
				Device  id.DeviceID `json:"to_device_id"`
				Content struct{ N int }
			}
			if err := json.Unmarshal(raw, &m); err != nil || m.To != "@_irc_bob:"+domain || m.Device != "G" {
				b.t.Errorf("to-device message %s: %v", raw, err)
			}
			out = append(out, m.Content.N)
		}
	}
	return out
}

func TestDeliver_Ephemeral(t *testing.T) {
	eachWorld(t, func(r *Registration) { r.Ephemeral = true }, func(t *testing.T, w *world, b *bridge) {
		alice, _ := w.user("alice")
		carol, _ := w.user("carol")
		ghost := w.ghost("_irc_bob")
		r, other := w.room(alice), w.room(alice)
		for _, u := range []id.UserID{ghost, carol} {
			w.join(u, r)
		}
		w.join(carol, other)
		said := w.say(alice, r, "read this")
		w.until("the message", func() bool { return b.has(said) })
		receipt := func(user id.UserID, kind string, at id.RoomID, e id.EventID) {
			w.must(w.core.Ephemeral.SetReceipt(w.ctx, ephemeral.Receipt{RoomID: at, UserID: user, Type: kind, EventID: e}))
		}
		receipt(carol, ephemeral.ReadPrivate, r, said)
		receipt(carol, ephemeral.Read, other, w.say(alice, other, "elsewhere"))
		receipt(ghost, ephemeral.ReadPrivate, r, said)
		receipt(carol, ephemeral.Read, r, said)
		w.until("receipts", func() bool {
			return strings.Contains(fmt.Sprint(b.ephemeral("m.receipt")), "m.read:map["+string(carol))
		})
		all := fmt.Sprint(b.ephemeral("m.receipt"))
		if strings.Contains(all, "m.read.private:map["+string(carol)) || strings.Contains(all, string(other)) {
			t.Errorf("the service got a receipt that is none of its business: %s", all)
		}
		if !strings.Contains(all, "m.read.private:map["+string(ghost)) {
			t.Errorf("the private receipt of the service's own user is missing: %s", all)
		}
		w.must(w.core.Ephemeral.SetTyping(w.ctx, r, carol, true, time.Minute))
		w.until("typing", func() bool { return strings.Contains(fmt.Sprint(b.ephemeral("m.typing")), string(carol)) })
		if e := b.ephemeral("m.typing")[0]; e.RoomID != r {
			t.Errorf("typing names room %q", e.RoomID)
		}
		text := "at work"
		w.must(w.core.Ephemeral.SetPresence(w.ctx, carol, ephemeral.Online, &text))
		w.until("presence", func() bool { return strings.Contains(fmt.Sprint(b.ephemeral("m.presence")), text) })
	})
}

func TestDeliver_DeviceListsAndKeyCounts(t *testing.T) {
	eachWorld(t, func(r *Registration) { r.Encryption = true }, func(t *testing.T, w *world, b *bridge) {
		alice, token := w.user("alice")
		ghost := w.ghost("_irc_bob")
		w.join(ghost, w.room(alice))
		key := `{"algorithms":[],"user_id":"` + string(alice) + `","device_id":"DEV","keys":{"ed25519:DEV":"` + strings.Repeat("A", 43) + `"},"signatures":{}}`
		w.call("POST", "/_matrix/client/v3/keys/upload", token, `{"device_keys":`+key+`}`).ok()
		w.until("the changed list", func() bool {
			return slices.ContainsFunc(b.attempts(), func(d delivered) bool { return slices.Contains(d.Lists.Changed, alice) })
		})
		_, err := w.core.Accounts.PutDevice(w.ctx, ghost, "G", nil)
		w.must(err)
		w.call("POST", "/_matrix/client/v3/keys/upload?user_id="+string(ghost)+"&device_id=G", "as",
			`{"one_time_keys":{"signed_curve25519:A":{"key":"`+strings.Repeat("A", 43)+`","signatures":{}}}}`).ok()
		w.until("the count", func() bool {
			return slices.ContainsFunc(b.attempts(), func(d delivered) bool { return d.Counts[ghost]["G"]["signed_curve25519"] == 1 })
		})
	})
}

func TestDeliver_OneServiceThatFailsHoldsUpNoOther(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		bad, good := newBridge(t), newBridge(t)
		bad.scripted(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true })
		all := func(id string) func(r *Registration) {
			return func(r *Registration) {
				r.ID, r.ASToken, r.SenderLocalpart = id, "as-"+id, id
				r.Namespaces = Namespaces{Rooms: []Namespace{{Regex: ".*"}}}
			}
		}
		w := newWorld(t, db, []*Service{service(t, bad.srv.URL, all("bad")), service(t, good.srv.URL, all("good"))}, options{})
		alice, _ := w.user("alice")
		r := w.room(alice)
		for range 3 {
			said := w.say(alice, r, "hello")
			w.until("the message at the healthy service", func() bool { return good.has(said) })
		}
		w.until("an attempt at the other", func() bool { return len(bad.attempts()) > 0 })
	})
}

func TestDeliver_InvitedGhostIsMadeByTheService(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, b *bridge) {
		alice, _ := w.user("alice")
		r := w.room(alice)
		ghost := id.UserID("@_irc_new:" + domain)
		b.scripted(func(rw http.ResponseWriter, req *http.Request) bool {
			if strings.HasPrefix(req.URL.Path, "/_matrix/app/v1/users/") {
				w.ghost("_irc_new")
			}
			return false
		})
		w.must(w.core.Rooms.Invite(w.ctx, room.MemberInput{RoomID: r, Sender: alice, Target: ghost}))
		w.until("the question", func() bool { return slices.Contains(b.called(), "GET /_matrix/app/v1/users/@_irc_new:"+domain) })
		w.until("the invitation", func() bool {
			return slices.ContainsFunc(b.events(), func(e got) bool { return e.Content["membership"] == "invite" })
		})
		exists, err := w.core.Accounts.Exists(w.ctx, ghost)
		if err != nil || !exists {
			t.Errorf("the ghost exists: %v, %v", exists, err)
		}
	})
}
