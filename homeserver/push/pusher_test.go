package push

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/room"
)

// phone is a push gateway that notes what it is told.
type phone struct {
	*httptest.Server
	mu     sync.Mutex
	told   []gjson.Result
	answer func(n gjson.Result) (int, string)
}

func newPhone(tb testing.TB) *phone {
	p := &phone{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := gjson.GetBytes(body, "notification")
		p.mu.Lock()
		answer := p.answer
		p.mu.Unlock()
		status, text := 200, `{"rejected":[]}`
		if answer != nil {
			status, text = answer(n)
		}
		if status == 200 {
			p.mu.Lock()
			p.told = append(p.told, n)
			p.mu.Unlock()
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	tb.Cleanup(p.Close)
	return p
}

func (p *phone) answers(fn func(n gjson.Result) (int, string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = fn
}

func (p *phone) all() []gjson.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]gjson.Result(nil), p.told...)
}

// of finds what was told about an event.
func (p *phone) of(ev id.EventID) (gjson.Result, bool) {
	for _, n := range p.all() {
		if n.Get("event_id").Str == string(ev) {
			return n, true
		}
	}
	return gjson.Result{}, false
}

func eachPhone(t *testing.T, fn func(w *world, p *phone)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		p := newPhone(t)
		w := newWorld(t, db, p.Client())
		fn(w, p)
	})
}

func (w *world) pusher(user id.UserID, p *phone, key, data string) NewPusher {
	text := func(s string) *string { return &s }
	if data == "" {
		data = `{"url":"` + p.URL + notifyPath + `"}`
	}
	return NewPusher{User: user, Device: "DEV", AppID: text("org.example.app"), Pushkey: &key, Kind: text("http"), AppDisplayName: text("App"),
		DeviceDisplayName: text("Phone"), Lang: text("en"), Data: json.RawMessage(data)}
}

func (w *world) told(p *phone, ev id.EventID) (n gjson.Result) {
	w.tb.Helper()
	w.eventually("the gateway is told of "+string(ev), func() (ok bool) { n, ok = p.of(ev); return ok })
	return n
}

func TestPusher_TellsOfAMessage(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob := w.user("alice"), w.user("bob")
		w.must(w.accounts.SetDisplayName(w.ctx, alice, "Alice"))
		r := w.create(alice, bob)
		key := ""
		w.sendKey(alice, r, "m.room.name", &key, `{"name":"The room"}`)
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", `{"url":"`+p.URL+notifyPath+`","x":1}`)))
		ev := w.send(alice, r, "m.room.message", `{"msgtype":"m.text","body":"hi","m.mentions":{"user_ids":["@bob:hs1"]}}`)
		n := w.told(p, ev)
		for path, want := range map[string]string{
			"room_id": string(r), "type": "m.room.message", "sender": string(alice), "sender_display_name": "Alice", "room_name": "The room",
			"prio": "high", "content.body": "hi", "counts.unread": "1", "devices.#": "1", "devices.0.app_id": "org.example.app", "devices.0.pushkey": "key",
			"devices.0.data": `{"x":1}`, "devices.0.tweaks.sound": "default", "devices.0.tweaks.highlight": "true", "user_is_target": "",
		} {
			if got := n.Get(path).String(); got != want {
				t.Errorf("%s is %q, want %q in %s", path, got, want, n.Raw)
			}
		}
		if age := time.Now().Unix() - n.Get("devices.0.pushkey_ts").Int(); age < 0 || age > 300 {
			t.Errorf("pushkey_ts is %d seconds old", age)
		}
	})
}

func TestPusher_EventIDOnly(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
		r := w.create(alice, bob, carol)
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", `{"url":"`+p.URL+notifyPath+`","format":"event_id_only"}`)))
		n := w.told(p, w.say(alice, r, "secret"))
		if n.Get("content").Exists() || n.Get("sender").Exists() || n.Get("room_name").Exists() || n.Get("prio").Str != "low" ||
			n.Get("room_id").Str != string(r) || n.Get("devices.0.data.format").Str != "event_id_only" {
			t.Error(n.Raw)
		}
	})
}

func TestPusher_TellsOfAnInvitation(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice)
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", "")))
		w.must(w.rooms.Invite(w.ctx, room.MemberInput{RoomID: r, Sender: alice, Target: bob}))
		m, _, err := w.rooms.Member(w.ctx, r, bob)
		w.must(err)
		n := w.told(p, m.EventID)
		if !n.Get("user_is_target").Bool() || n.Get("membership").Str != "invite" || n.Get("type").Str != "m.room.member" {
			t.Error(n.Raw)
		}
	})
}

func TestPusher_OnlyWhatNotifies(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", "")))
		w.say(bob, r, "my own")
		w.send(alice, r, "m.room.message", `{"msgtype":"m.notice","body":"a notice"}`)
		w.send(alice, r, "m.reaction", `{"m.relates_to":{"rel_type":"m.annotation","event_id":"$x","key":"y"}}`)
		last := w.say(alice, r, "this one")
		w.told(p, last)
		if all := p.all(); len(all) != 1 {
			t.Errorf("told %d times: %v", len(all), all)
		}
	})
}

func TestPusher_BadgeFollowsReading(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob := w.user("alice"), w.user("bob")
		one, two := w.create(alice, bob), w.create(alice, bob)
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", "")))
		a := w.say(alice, one, "in one")
		w.told(p, a)
		b := w.say(alice, two, "in two")
		if n := w.told(p, b); n.Get("counts.unread").Int() != 2 {
			t.Errorf("unread in both rooms: %s", n.Raw)
		}
		w.read(bob, two, b, "")
		w.eventually("the badge falls", func() bool {
			all := p.all()
			last := all[len(all)-1]
			return !last.Get("event_id").Exists() && last.Get("counts.unread").Int() == 1 && last.Get("devices.0.pushkey").Str == "key"
		})
	})
}

func TestPusher_RejectedKeyIsForgotten(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "bad", "")))
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "good", "")))
		p.answers(func(gjson.Result) (int, string) { return 200, `{"rejected":["bad"]}` })
		w.say(alice, r, "hello")
		w.eventually("the pusher is gone", func() bool {
			list, err := w.push.Pushers(w.ctx, bob)
			w.must(err)
			return len(list) == 1 && list[0].Pushkey == "good"
		})
	})
}

func TestPusher_FailuresAreRepeatedAndHurtNobodyElse(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		w.push.pause = 20 * time.Millisecond
		alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
		r := w.create(alice, bob, carol)
		broken := newPhone(t)
		var mu sync.Mutex
		asked := 0
		broken.answers(func(gjson.Result) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked <= 3 {
				return 502, ""
			}
			return 200, "{}"
		})
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, broken, "broken", "")))
		w.must(w.push.SetPusher(w.ctx, w.pusher(carol, p, "fine", "")))
		first, second := w.say(alice, r, "first"), w.say(alice, r, "second")
		w.told(p, first)
		w.told(p, second)
		w.told(broken, first)
		w.told(broken, second)
		if all := broken.all(); len(all) != 2 || all[0].Get("event_id").Str != string(first) {
			t.Errorf("told %v", all)
		}
	})
}

func TestPusher_WhatIsReadMeanwhileIsNotTold(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		w.push.pause = 50 * time.Millisecond
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice, bob)
		p.answers(func(gjson.Result) (int, string) { return 500, "" })
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", "")))
		a := w.say(alice, r, "the gateway wants nothing of this")
		p.answers(func(n gjson.Result) (int, string) {
			if n.Get("event_id").Str == string(a) {
				return 500, ""
			}
			return 200, "{}"
		})
		w.read(bob, r, a, "")
		w.told(p, w.say(alice, r, "this comes only once the other is given up"))
	})
}

func TestPusher_GoesWithItsSession(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		bob := w.user("bob")
		w.must(w.accounts.SetPassword(w.ctx, account.NewPassword{User: bob, Password: "correct horse"}))
		_, err := w.accounts.StartSession(w.ctx, account.NewSession{UserID: bob, DeviceID: "OTHER"})
		w.must(err)
		mine, other := w.pusher(bob, p, "mine", ""), w.pusher(bob, p, "other", "")
		other.Device = "OTHER"
		w.must(w.push.SetPusher(w.ctx, mine))
		w.must(w.push.SetPusher(w.ctx, other))
		w.must(w.accounts.SetPassword(w.ctx, account.NewPassword{User: bob, Password: "battery staple", LogoutDevices: true, KeepDevice: "DEV"}))
		list, err := w.push.Pushers(w.ctx, bob)
		w.must(err)
		if len(list) != 1 || list[0].Pushkey != "mine" {
			t.Errorf("%+v", list)
		}
		w.must(w.accounts.Logout(w.ctx, bob, "DEV", ""))
		if list, err = w.push.Pushers(w.ctx, bob); err != nil || len(list) != 0 {
			t.Errorf("after the logout: %+v %v", list, err)
		}
	})
}

func TestPusher_AppendAndReplace(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		alice, bob := w.user("alice"), w.user("bob")
		n := func(user id.UserID) int {
			list, err := w.push.Pushers(w.ctx, user)
			w.must(err)
			return len(list)
		}
		w.must(w.push.SetPusher(w.ctx, w.pusher(alice, p, "key", "")))
		also := w.pusher(bob, p, "key", "")
		also.Append = true
		w.must(w.push.SetPusher(w.ctx, also))
		if n(alice) != 1 || n(bob) != 1 {
			t.Errorf("appended: %d, %d", n(alice), n(bob))
		}
		w.must(w.push.SetPusher(w.ctx, w.pusher(bob, p, "key", "")))
		if n(alice) != 0 || n(bob) != 1 {
			t.Errorf("replaced: %d, %d", n(alice), n(bob))
		}
		gone := w.pusher(bob, p, "key", "")
		gone.Kind = nil
		w.must(w.push.SetPusher(w.ctx, gone))
		w.must(w.push.SetPusher(w.ctx, gone))
		if n(bob) != 0 {
			t.Error("deleted, and still there")
		}
	})
}

func TestPusher_Errors(t *testing.T) {
	eachPhone(t, func(w *world, p *phone) {
		bob := w.user("bob")
		for what, c := range map[string]struct {
			change func(n *NewPusher)
			want   string
		}{
			"no key":      {func(n *NewPusher) { n.Pushkey = nil }, "M_MISSING_PARAM"},
			"no language": {func(n *NewPusher) { n.Lang = nil }, "M_MISSING_PARAM"},
			"no data":     {func(n *NewPusher) { n.Data = nil }, "M_MISSING_PARAM"},
			"no url":      {func(n *NewPusher) { n.Data = json.RawMessage(`{}`) }, "M_MISSING_PARAM"},
			"path":        {func(n *NewPusher) { n.Data = json.RawMessage(`{"url":"https://x/other"}`) }, "M_INVALID_PARAM"},
			"scheme":      {func(n *NewPusher) { n.Data = json.RawMessage(`{"url":"ftp://x/_matrix/push/v1/notify"}`) }, "M_INVALID_PARAM"},
			"data":        {func(n *NewPusher) { n.Data = json.RawMessage(`[]`) }, "M_INVALID_PARAM"},
			"kind":        {func(n *NewPusher) { s := "email"; n.Kind = &s }, "M_INVALID_PARAM"},
			"long app ID": {func(n *NewPusher) { s := fmt.Sprintf("%065d", 1); n.AppID = &s }, "M_INVALID_PARAM"},
			"long key":    {func(n *NewPusher) { s := fmt.Sprintf("%0513d", 1); n.Pushkey = &s }, "M_INVALID_PARAM"},
			"fine":        {func(*NewPusher) {}, ""},
		} {
			n := w.pusher(bob, p, "key", "")
			c.change(&n)
			if got := code(w.push.SetPusher(w.ctx, n)); got != c.want {
				t.Errorf("%s: %q, want %q", what, got, c.want)
			}
		}
	})
}

func TestUpgrade_TakesTheRuleOfTheRoomAlong(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
		old := w.create(alice, bob, carol)
		for _, u := range []id.UserID{alice, bob} {
			w.must(w.push.SetRule(w.ctx, u, NewRule{Kind: Room, RuleID: string(old), Actions: json.RawMessage(`["dont_notify"]`)}))
		}
		next, err := w.rooms.Create(w.ctx, room.CreateInput{Creator: alice, Preset: "public_chat", Version: "11",
			CreationContent: json.RawMessage(fmt.Sprintf(`{"predecessor":{"room_id":%q}}`, old))})
		w.must(err)
		w.join(bob, next)
		w.join(carol, next)
		for _, u := range []id.UserID{alice, bob} {
			w.eventually("the rule is copied", func() bool {
				r, err := w.push.Rule(w.ctx, u, Room, string(next))
				return err == nil && string(r.Actions) == `["dont_notify"]`
			})
		}
		if _, err := w.push.Rule(w.ctx, carol, Room, string(next)); code(err) != "M_NOT_FOUND" {
			t.Errorf("somebody without a rule: %v", err)
		}
	})
}

func TestEnds_ErasedUsersAreForgotten(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		for _, u := range []id.UserID{alice, bob} {
			w.must(w.push.SetRule(w.ctx, u, NewRule{Kind: Room, RuleID: "!a:b", Actions: json.RawMessage(quiet)}))
		}
		w.must(w.accounts.Deactivate(w.ctx, bob, false))
		w.must(w.accounts.Deactivate(w.ctx, alice, true))
		w.eventually("the rules are gone", func() bool {
			raw, err := w.push.readRules(w.ctx, alice)
			w.must(err)
			return raw == ""
		})
		if raw, err := w.push.readRules(w.ctx, bob); err != nil || raw == "" {
			t.Errorf("somebody who may come back: %q, %v", raw, err)
		}
	})
}

func TestNotifications_PagesBackwards(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.user("alice"), w.user("bob")
		one, two := w.create(alice, bob), w.create(alice, bob)
		var want []id.EventID
		for i := range 50 {
			r := one
			if i%3 == 0 {
				r = two
			}
			w.say(bob, r, "own")
			text := "hello"
			if i%10 == 0 {
				text = "hello bob"
			}
			want = append(want, w.say(alice, r, text))
		}
		w.read(bob, one, want[49], "")
		var got []id.EventID
		from := w.stream.Head()
		for range 20 {
			list, next, err := w.push.Notifications(w.ctx, bob, from, 7, false)
			w.must(err)
			for _, n := range list {
				got = append(got, id.EventID(gjson.GetBytes(n.Event, "event_id").Str))
				if last := got[len(got)-1]; n.Read != (last != want[48]) {
					t.Errorf("%s read: %v", last, n.Read)
				}
				if n.RoomID == "" || n.TS == 0 || len(n.Actions) < 5 {
					t.Errorf("%+v", n)
				}
			}
			if from = next; next == 0 {
				break
			}
		}
		if len(got) != 50 {
			t.Fatalf("%d notifications", len(got))
		}
		for i := range got {
			if got[i] != want[49-i] {
				t.Fatalf("notification %d is another one", i)
			}
		}
		list, _, err := w.push.Notifications(w.ctx, bob, w.stream.Head(), 100, true)
		w.must(err)
		if len(list) != 5 {
			t.Errorf("%d highlights", len(list))
		}
	})
}
