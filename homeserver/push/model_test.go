package push

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// recount is the slow way: from the whole history of the room, step by step, with nothing kept.
func (w *world) recount(user id.UserID, roomID id.RoomID) Counts {
	evs, _, err := w.rooms.Live(w.ctx, roomID, 0, w.stream.Head(), 100_000)
	w.must(err)
	doc, err := w.push.document(w.ctx, user)
	w.must(err)
	ignored, err := w.accounts.IgnoredUsers(w.ctx, user)
	w.must(err)
	j := newJudge(user)
	j.rules = newSharedRules().rules(doc)

	type note struct {
		order     room.Order
		highlight bool
	}
	notes, inside := map[id.EventID][]note{}, false
	for _, ev := range evs {
		if ev.Is("m.room.member", string(user)) {
			if now := ev.Membership() == "join"; now != inside {
				inside, notes = now, map[id.EventID][]note{}
			}
			continue
		}
		thread := w.slowThread(ev)
		if _, out := ignored[ev.Sender()]; !inside || out {
			continue
		}
		if ev.Sender() == user {
			if !ev.IsState() && ev.Type() != "m.room.redaction" {
				delete(notes, thread)
			}
			continue
		}
		if ev.RedactedBy != "" {
			continue
		}
		rule, err := newSubject(ev.Event, slowFacts{w, ev}).judge(j)
		w.must(err)
		if rule != nil && rule.Notify {
			notes[thread] = append(notes[thread], note{ev.Order, rule.Highlight})
		}
	}
	var out Counts
	if !inside {
		return out
	}
	for thread, list := range notes {
		read := w.slowRead(user, roomID, thread)
		for _, n := range list {
			if n.order > read {
				out.add(&item{n.order, thread, n.highlight})
			}
		}
	}
	return out
}

func (w *world) slowThread(ev *room.Stored) id.EventID {
	for range 4 {
		var c struct {
			Rel struct {
				Type   string     `json:"rel_type"`
				Parent id.EventID `json:"event_id"`
			} `json:"m.relates_to"`
		}
		if json.Unmarshal(ev.Content(), &c) != nil || c.Rel.Parent == "" {
			return ""
		}
		if c.Rel.Type == "m.thread" {
			return c.Rel.Parent
		}
		var err error
		ev, err = w.rooms.Event(w.ctx, c.Rel.Parent)
		w.must(err)
		if ev == nil {
			return ""
		}
	}
	return ""
}

func (w *world) slowRead(user id.UserID, roomID id.RoomID, thread id.EventID) (read room.Order) {
	list, err := w.ephemeral.OwnReceipts(w.ctx, roomID, user)
	w.must(err)
	if thread == "" {
		thread = "main"
	}
	for _, e := range list {
		if e.ThreadID == "" || e.ThreadID == string(thread) {
			read = max(read, e.Order)
		}
	}
	return read
}

// slowFacts looks through the whole state before an event.
type slowFacts struct {
	w  *world
	ev *room.Stored
}

func (f slowFacts) state() *room.State {
	st, err := f.w.rooms.StateBefore(f.w.ctx, f.ev)
	f.w.must(err)
	return st
}

func (f slowFacts) members() (n int64, err error) {
	f.state().RangeType("m.room.member", func(_ string, r room.Ref) bool {
		ev, err := f.w.rooms.Event(f.w.ctx, r.EventID)
		f.w.must(err)
		if ev.Membership() == "join" {
			n++
		}
		return true
	})
	return n, nil
}

func (f slowFacts) displayName(user id.UserID) (string, error) {
	ev, err := f.state().Event(f.w.ctx, "m.room.member", string(user))
	if err != nil || ev == nil {
		return "", err
	}
	name, _ := event.FieldString(ev.Content(), "displayname")
	return name, nil
}

func (f slowFacts) mayNotify(sender id.UserID, _ string) (bool, error) {
	create, err := f.state().Event(f.w.ctx, "m.room.create", "")
	return err == nil && create.Sender() == sender, err // nobody else has a level in these rooms
}

// script does random things in a room.
type script struct {
	*world
	dice
	room  id.RoomID
	users []id.UserID
	in    map[id.UserID]bool
	said  []id.EventID
	by    map[id.EventID]id.UserID
	roots []id.EventID
}

func (s *script) someone() id.UserID {
	for {
		if u := s.users[s.IntN(len(s.users))]; s.in[u] {
			return u
		}
	}
}

func (s *script) step() string {
	u := s.someone()
	switch n := s.IntN(20); {
	case n < 7:
		return s.message(u)
	case n < 12 && len(s.said) > 0:
		ev, thread := s.said[s.IntN(len(s.said))], ""
		if s.maybe(2) {
			ev = s.said[len(s.said)-1]
		}
		if s.maybe(2) {
			thread = "main"
			if len(s.roots) > 0 && s.maybe(2) {
				thread = string(s.roots[s.IntN(len(s.roots))])
			}
		}
		kind := s.pick(ephemeral.Read, ephemeral.ReadPrivate)
		s.must(s.ephemeral.SetReceipt(s.ctx, ephemeral.Receipt{RoomID: s.room, UserID: u, Type: kind, ThreadID: thread, EventID: ev}))
		return fmt.Sprint(u, " reads ", ev, " ", thread)
	case n < 14 && len(s.said) > 0:
		ev := s.said[s.IntN(len(s.said))]
		by := s.by[ev]
		if !s.in[by] {
			by = s.users[0]
		}
		s.redact(by, s.room, ev)
		return fmt.Sprint("redacts ", ev)
	case n < 15:
		return s.rules(u)
	case n < 16:
		list := `{"ignored_users":{}}`
		if s.maybe(2) {
			list = fmt.Sprintf(`{"ignored_users":{%q:{}}}`, s.users[s.IntN(len(s.users))])
		}
		s.must(s.accounts.SetAccountData(s.ctx, u, "", "m.ignored_user_list", json.RawMessage(list)))
		return fmt.Sprint(u, " ignores ", list)
	case n < 17 && u != s.users[0]:
		s.leave(u, s.room)
		s.in[u] = false
		return fmt.Sprint(u, " leaves")
	case n < 18:
		for _, other := range s.users {
			if !s.in[other] {
				s.join(other, s.room)
				s.in[other] = true
				return fmt.Sprint(other, " joins")
			}
		}
	case n < 19:
		s.must(s.accounts.SetDisplayName(s.ctx, u, s.pick("cake", "lie", "")))
		return fmt.Sprint(u, " is renamed")
	}
	if s.maybe(2) {
		s.must(s.push.Save(s.ctx))
	}
	s.forget()
	return "restart"
}

func (s *script) message(u id.UserID) string {
	content := map[string]any{"msgtype": s.pick("m.text", "m.text", "m.notice"), "body": s.words(3)}
	if s.maybe(3) {
		content["m.mentions"] = map[string]any{"user_ids": []id.UserID{s.users[s.IntN(len(s.users))]}, "room": s.maybe(4)}
	}
	if len(s.said) > 0 && s.maybe(2) {
		parent, rel := s.said[s.IntN(len(s.said))], s.pick("m.thread", "m.thread", "m.reference", "m.replace")
		if rel == "m.thread" {
			s.roots = append(s.roots, parent)
		}
		content["m.relates_to"] = map[string]any{"rel_type": rel, "event_id": parent}
	}
	raw, _ := json.Marshal(content)
	ev := s.send(u, s.room, s.pick("m.room.message", "m.room.message", "m.room.encrypted", "m.reaction"), string(raw))
	s.said = append(s.said, ev)
	s.by[ev] = u
	return fmt.Sprint(u, " says ", string(raw))
}

func (s *script) rules(u id.UserID) string {
	doc := s.document()
	raw, _ := json.Marshal(doc)
	s.must(s.push.change(s.ctx, u, func(d *document) (bool, error) { *d = *doc; return true, nil }))
	return fmt.Sprint(u, " sets rules ", string(raw))
}

func TestCounts_EqualARecountFromTheBeginning(t *testing.T) {
	seed, steps := uint64(1), 150
	if v, err := strconv.ParseUint(os.Getenv("VIADUC_TEST_SEED"), 10, 64); err == nil {
		seed, steps = v, 600
	}
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, nil)
		s := &script{world: w, dice: dice{rand.New(rand.NewPCG(seed, 5))}, in: map[id.UserID]bool{}, by: map[id.EventID]id.UserID{}}
		for _, name := range []string{"alice", "bob", "carol", "dave"} {
			s.users = append(s.users, w.user(name))
		}
		s.room = w.create(s.users[0], s.users[1:]...)
		for _, u := range s.users {
			s.in[u] = true
		}
		var log []string
		counted := 0
		for n := range steps {
			log = append(log, s.step())
			for _, u := range s.users {
				if s.maybe(3) {
					continue // not everybody looks all the time
				}
				got, want := w.counts(u, s.room), w.recount(u, s.room)
				if !sameCounts(got, want) {
					for _, line := range log[max(0, len(log)-12):] {
						t.Log(line)
					}
					t.Fatalf("seed %d, step %d, %s: counts %+v, recount %+v", seed, n, u, got, want)
				}
				counted += want.Notifications + len(want.Threads)
			}
		}
		if counted == 0 {
			t.Error("there was nothing to count")
		}
	})
}

func TestCounts_TwoReplicasAgree(t *testing.T) {
	o := dbtest.PostgresOptions(t)
	open := func() *world {
		db, err := database.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return newWorld(t, db, nil)
	}
	one, two := open(), open()
	alice, bob := one.user("alice"), one.user("bob")
	r := one.create(alice, bob)
	same := func(what string, n int) {
		t.Helper()
		one.must(two.stream.Reach(two.ctx, one.stream.Head()))
		one.must(one.stream.Reach(one.ctx, two.stream.Head()))
		one.expect(what, bob, r, n, 0)
		two.expect(what, bob, r, n, 0)
	}
	first := one.say(alice, r, "one")
	same("said at one", 1)
	two.say(alice, r, "two")
	last := two.say(alice, r, "three")
	same("said at two", 3)
	two.redact(alice, r, first)
	same("redacted at two", 2)
	one.read(bob, r, last, "")
	same("read at one", 0)
	two.say(alice, r, "four")
	same("more", 1)
	one.must(one.push.EnableRule(one.ctx, bob, Override, masterRule, true))
	same("rules changed at one", 0)
	two.must(two.push.EnableRule(two.ctx, bob, Override, masterRule, false))
	same("rules changed at two", 1)
}
