package push

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"
)

func TestCounts_ThreadsAndReceipts(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		a := w.say(alice, r, "Hello world!")
		b := w.reply(alice, r, "Start thread!", "m.thread", a)
		w.reply(alice, r, "Thread response @bob:hs1!", "m.thread", a)
		d := w.say(alice, r, "Hello @bob:hs1!")
		w.reply(alice, r, "End thread", "m.thread", a)
		f := w.reply(alice, r, "Reference!", "m.reference", a)
		g := w.send(alice, r, "m.room.reaction", fmt.Sprintf(`{"m.relates_to":{"event_id":%q,"rel_type":"m.annotation","key":"test"}}`, f))
		w.expect("nothing read", bob, r, 3, 1, a, 3, 1)
		w.read(bob, r, a, "main")
		w.expect("root read in the main timeline", bob, r, 2, 1, a, 3, 1)
		w.read(bob, r, b, string(a))
		w.expect("first of the thread read", bob, r, 2, 1, a, 2, 1)
		w.read(bob, r, d, "")
		w.expect("unthreaded", bob, r, 1, 0, a, 1, 0)
		w.read(bob, r, g, string(a))
		w.expect("thread read", bob, r, 1, 0)
		w.expect("the sender", alice, r, 0, 0)
	})
}

func TestCounts_PrivateReceiptCounts(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		w.say(alice, r, "one")
		two := w.say(alice, r, "two")
		three := w.say(alice, r, "three")
		w.readPrivately(bob, r, two)
		w.expect("private", bob, r, 1, 0)
		w.read(bob, r, three, "")
		w.expect("public ahead", bob, r, 0, 0)
	})
}

func TestCounts_ReactionInThreadBelongsToIt(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		root := w.say(alice, r, "root")
		in := w.reply(alice, r, "in thread", "m.thread", root)
		w.reply(alice, r, "about it", "m.reference", in)
		w.expect("following relations", bob, r, 1, 0, root, 2, 0)
	})
}

func TestCounts_SendingMarksAsRead(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		root := w.say(alice, r, "root")
		w.reply(alice, r, "in thread", "m.thread", root)
		w.say(bob, r, "answer")
		w.expect("answered in the main timeline", bob, r, 0, 0, root, 1, 0)
		w.reply(bob, r, "answer", "m.thread", root)
		w.expect("answered in the thread", bob, r, 0, 0)
		w.say(alice, r, "more")
		w.must(w.accounts.SetDisplayName(w.ctx, bob, "Bob"))
		w.expect("a new name reads nothing", bob, r, 1, 0)
	})
}

func TestCounts_OnlySinceJoining(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice)
		w.say(alice, r, "before")
		w.join(bob, r)
		w.expect("joined", bob, r, 0, 0)
		w.say(alice, r, "after")
		w.expect("after", bob, r, 1, 0)
		w.leave(bob, r)
		w.expect("left", bob, r, 0, 0)
		w.say(alice, r, "without")
		w.join(bob, r)
		w.expect("joined again", bob, r, 0, 0)
		w.forget()
		w.expect("joined again, counted anew", bob, r, 0, 0)
	})
}

// forget drops all that memory knows, as a restart does.
func (w *world) forget() {
	p := w.push
	p.marks.mu.Lock()
	p.marks.rooms = map[id.RoomID]*mark{}
	p.marks.mu.Unlock()
	for _, u := range []id.UserID{"@alice:hs1", "@bob:hs1", "@carol:hs1", "@dave:hs1"} {
		p.persons.Delete(u)
	}
}

func TestCounts_RedactedAndIgnoredDoNotCount(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
		r := w.create(alice, bob, carol)
		one := w.say(alice, r, "one")
		w.say(alice, r, "two")
		w.say(carol, r, "three")
		w.expect("all", bob, r, 3, 0)
		w.redact(alice, r, one)
		w.expect("redacted", bob, r, 2, 0)
		w.must(w.accounts.SetAccountData(w.ctx, bob, "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{"@carol:hs1":{}}}`)))
		w.expect("ignored", bob, r, 1, 0)
		w.must(w.accounts.SetAccountData(w.ctx, bob, "", "m.ignored_user_list", json.RawMessage(`{"ignored_users":{}}`)))
		w.expect("no longer ignored", bob, r, 2, 0)
	})
}

func TestCounts_FollowTheRules(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
		r := w.create(alice, bob, carol)
		w.say(alice, r, "some cake")
		w.expect("default", bob, r, 1, 0)
		w.must(w.push.SetRule(w.ctx, bob, NewRule{Kind: Room, RuleID: string(r), Actions: json.RawMessage(`[]`)}))
		w.expect("room muted", bob, r, 0, 0)
		pattern := "cake"
		w.must(w.push.SetRule(w.ctx, bob, NewRule{Kind: Content, RuleID: "cake", Pattern: &pattern, Actions: json.RawMessage(highlight)}))
		w.expect("a word", bob, r, 1, 1)
		w.must(w.push.EnableRule(w.ctx, bob, Override, masterRule, true))
		w.expect("all off", bob, r, 0, 0)
	})
}

func TestCounts_MembersAreThoseOfThen(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
		r := w.create(alice, bob)
		w.must(w.push.SetActions(w.ctx, bob, Underride, ".m.rule.message", json.RawMessage(`[]`)))
		w.say(alice, r, "between the two of us")
		w.expect("one to one", bob, r, 1, 0)
		w.join(carol, r)
		w.say(alice, r, "to all")
		w.expect("a third one", bob, r, 1, 0)
		w.forget()
		w.expect("counted anew", bob, r, 1, 0)
		w.leave(carol, r)
		w.say(alice, r, "alone again")
		w.expect("two again", bob, r, 2, 0)
	})
}

func TestCounts_MentionsAndNames(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		w.must(w.accounts.SetDisplayName(w.ctx, bob, "Robert B."))
		r := w.create(alice, bob)
		for i, c := range []struct {
			content string
			n, h    int
		}{
			{`{"msgtype":"m.text","body":"hi","m.mentions":{"user_ids":["@bob:hs1"]}}`, 1, 1},
			{`{"msgtype":"m.text","body":"bob","m.mentions":{}}`, 1, 0},
			{`{"msgtype":"m.text","body":"Bob, look"}`, 1, 1},
			{`{"msgtype":"m.text","body":"bobby"}`, 1, 0},
			{`{"msgtype":"m.text","body":"ROBERT b.: look"}`, 1, 1},
			{`{"msgtype":"m.text","body":"all","m.mentions":{"room":true}}`, 1, 1},
			{`{"msgtype":"m.text","body":"hey @room"}`, 1, 1},
			{`{"msgtype":"m.notice","body":"bob @room"}`, 0, 0},
			{`{"msgtype":"m.text","body":"* bob","m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":"$x"},"m.mentions":{}}`, 0, 0},
		} {
			ev := w.send(alice, r, "m.room.message", c.content)
			w.expect(fmt.Sprint(i, ": ", c.content), bob, r, c.n, c.h)
			w.read(bob, r, ev, "")
		}
	})
}

func TestCounts_ReachBackSoFar(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		w.push.scanBack = 10
		for range 15 {
			w.say(alice, r, "many")
		}
		w.expect("bounded", bob, r, 10, 0)
		w.say(alice, r, "one more")
		w.expect("goes on", bob, r, 11, 0)
	})
}

func TestCounts_SavedCellsAreTakenUp(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		root := w.say(alice, r, "root")
		for range worthSaving {
			w.say(alice, r, "many")
		}
		w.reply(alice, r, "bob", "m.thread", root)
		w.expect("before", bob, r, worthSaving+1, 0, root, 1, 1)
		w.must(w.push.Save(w.ctx))
		w.redact(alice, r, root)
		w.say(alice, r, "after")
		w.forget()
		w.push.scanBack = 20 // so that counting anew would give less
		w.expect("taken up", bob, r, worthSaving+1, 0, root, 1, 1)
		w.must(w.push.EnableRule(w.ctx, bob, Override, masterRule, true))
		w.expect("void by other rules", bob, r, 0, 0)
	})
}

func TestCounts_ManyReadItemsAreDropped(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		root := w.say(alice, r, "root")
		var last id.EventID
		for range 3 * prunable {
			last = w.say(alice, r, "many")
		}
		w.reply(alice, r, "thread", "m.thread", root)
		w.expect("unread", bob, r, 3*prunable+1, 0, root, 1, 0)
		w.read(bob, r, last, "main")
		w.expect("read", bob, r, 0, 0, root, 1, 0)
		u := w.push.person(bob)
		if n := len(u.cells[r].items); n != 1 {
			t.Errorf("%d items are kept", n)
		}
		w.must(w.db.Tx(w.ctx, func(ctx context.Context) error {
			_, err := w.db.Exec(ctx, `DELETE FROM receipts WHERE user_id = $1`, string(bob))
			return err
		}))
		u.signal(r)
		w.expect("receipts gone", bob, r, 3*prunable+1, 0, root, 1, 0)
	})
}
