package admin_test

import (
	"encoding/json"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/admin"
)

var hello = body{"msgtype": "m.text", "body": "hello"}

func (u *user) notice(to *user) id.EventID {
	u.w.Helper()
	return id.EventID(u.do("POST", "!v1/send_server_notice", body{"user_id": to.id, "content": hello}).ok().str("event_id"))
}

func (w *world) roomOf(e id.EventID) id.RoomID {
	w.Helper()
	ev, err := w.core.Rooms.Event(w.ctx, e)
	w.must(err)
	return ev.RoomID()
}

func TestNotice_InvitesIntoOneTaggedRoom(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		first := op.notice(alice)
		r := w.roomOf(first)
		if alice.membership(r) != "invite" {
			t.Fatal(alice.membership(r))
		}
		tags, err := w.core.Accounts.Tags(w.ctx, alice.id, r)
		if _, ok := tags["m.server_notice"]; err != nil || !ok {
			t.Fatal(tags, err)
		}
		alice.do("POST", "rooms/"+string(r)+"/leave", nil).is(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
		alice.do("PUT", "rooms/"+string(r)+"/state/m.room.member/"+string(alice.id), body{"membership": "leave"}).is(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
		alice.join(r)
		alice.do("GET", "rooms/"+string(r)+"/event/"+string(first), nil).ok()
		alice.do("PUT", "rooms/"+string(r)+"/send/m.room.message/1", hello).is(403, "M_FORBIDDEN")
		if got := w.roomOf(op.notice(alice)); got != r {
			t.Fatalf("second room %s", got)
		}
		alice.do("POST", "rooms/"+string(r)+"/leave", nil).ok()
		if got := w.roomOf(op.notice(alice)); got != r || alice.membership(r) != "invite" {
			t.Fatalf("%s %s", got, alice.membership(r))
		}
	})
}

func TestNotice_SameTransactionGivesSameEvent(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		send := func(txn string) string {
			return op.do("PUT", "!v1/send_server_notice/"+txn, body{"user_id": alice.id, "content": hello}).ok().str("event_id")
		}
		one, again, two := send("1"), send("1"), send("2")
		if one != again || one == two {
			t.Fatal(one, again, two)
		}
	})
}

func TestNotice_AtOnceMakesOneRoom(t *testing.T) {
	each(t, func(w *world) {
		w.operator("op")
		alice := w.user("alice")
		var wg sync.WaitGroup
		rooms := make([]id.RoomID, 8)
		for i := range rooms {
			wg.Go(func() {
				e, err := w.core.Admin.SendNotice(w.ctx, admin.Notice{User: alice.id, Content: json.RawMessage(`{"msgtype":"m.text","body":"x"}`)})
				if err != nil {
					t.Error(err)
					return
				}
				rooms[i] = w.roomOf(e)
			})
		}
		wg.Wait()
		for _, r := range rooms {
			if r != rooms[0] {
				t.Fatal(rooms)
			}
		}
	})
}

func TestNotice_RefusesWhatIsWrong(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		alice.do("POST", "!v1/send_server_notice", nil).is(403, "M_FORBIDDEN")
		(&user{w: w}).do("POST", "!v1/send_server_notice", nil).is(401, "M_MISSING_TOKEN")
		op.do("POST", "!v1/send_server_notice", body{"content": hello}).is(400, "M_MISSING_PARAM")
		op.do("POST", "!v1/send_server_notice", body{"user_id": alice.id}).is(400, "M_MISSING_PARAM")
		op.do("POST", "!v1/send_server_notice", body{"user_id": alice.id, "content": 3}).is(400, "M_BAD_JSON")
		op.do("POST", "!v1/send_server_notice", body{"user_id": "@nobody:hs1", "content": hello}).is(404, "M_NOT_FOUND")
		op.do("POST", "!v1/send_server_notice", body{"user_id": "@alice:elsewhere", "content": hello}).is(400, "M_UNKNOWN")
		op.do("POST", "!v1/send_server_notice", body{"user_id": "nonsense", "content": hello}).is(400, "M_UNKNOWN")
		op.notice(alice)
		op.do("POST", "!v1/send_server_notice", body{"user_id": "@_server:hs1", "content": hello}).is(404, "M_NOT_FOUND")
	})
}

func TestNotice_TheSenderCannotBeRegistered(t *testing.T) {
	each(t, func(w *world) {
		if _, err := w.core.Accounts.Register(w.ctx, account.NewUser{Localpart: "mairie"}); err == nil {
			t.Fatal("registered")
		}
		op, alice := w.operator("op"), w.user("alice")
		op.notice(alice)
		p, err := w.core.Accounts.Profile(w.ctx, "@mairie:hs1")
		if err != nil || p.DisplayName != "Mairie" {
			t.Fatal(p, err)
		}
	}, func(c *config.Config) { c.ServerNotices.Localpart, c.ServerNotices.DisplayName = "mairie", "Mairie" })
}

func TestNotice_CanBeOff(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		op.do("POST", "!v1/send_server_notice", body{"user_id": alice.id, "content": hello}).is(400, "M_UNKNOWN")
	}, func(c *config.Config) { c.ServerNotices.Localpart = "" })
}
