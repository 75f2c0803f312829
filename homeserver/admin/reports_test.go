package admin_test

import (
	"strings"
	"testing"

	"github.com/viaduc/viaduc/homeserver/admin"
	"github.com/viaduc/viaduc/homeserver/room"
)

func (w *world) reports(kind admin.ReportKind) []admin.Report {
	w.Helper()
	list, total, err := w.core.Admin.Reports(w.ctx, admin.ReportQuery{Kind: kind, Limit: 100})
	w.must(err)
	if int(total) != len(list) {
		w.Fatalf("%d of %d", len(list), total)
	}
	return list
}

func TestReport_OfAnEventNeedsAMemberWhoSeesIt(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, eve := w.user("alice"), w.user("bob"), w.user("eve")
		r, other := alice.create(room.CreateInput{}), alice.create(room.CreateInput{Name: new(string)})
		bob.join(r)
		e := bob.say(r, "rude")
		path := "rooms/" + string(r) + "/report/"
		alice.do("POST", path+string(e), body{"reason": "this makes me sad", "score": -100}).equals("{}")
		alice.do("POST", path+string(e), body{"reason": "very sad"}).equals("{}")
		alice.do("POST", path+string(e), "").is(400, "M_NOT_JSON")
		alice.do("POST", path+string(e), body{"reason": 3}).is(400, "M_BAD_JSON")
		alice.do("POST", path+string(e), body{"score": "x"}).is(400, "M_BAD_JSON")
		alice.do("POST", path+string(e), body{"reason": strings.Repeat("x", 5000)}).is(413, "M_TOO_LARGE")
		alice.do("POST", path+"$nothing", body{}).is(404, "M_NOT_FOUND")
		alice.do("POST", "rooms/"+string(other)+"/report/"+string(e), body{}).is(404, "M_NOT_FOUND")
		alice.do("POST", "rooms/%00/report/"+string(e), body{}).is(400, "M_INVALID_PARAM")
		eve.do("POST", path+string(e), body{"reason": "x"}).is(404, "M_NOT_FOUND")
		(&user{w: w}).do("POST", path+string(e), body{}).is(401, "M_MISSING_TOKEN")
		bob.do("POST", path+string(e), body{"reason": "mine"}).ok()

		list := w.reports(admin.ReportedEvent)
		if len(list) != 2 || *list[0].Reason != "mine" || *list[1].Reason != "very sad" || list[1].Score != nil || list[1].UserID != bob.id || list[1].EventID != e || list[1].RoomID != r {
			t.Fatalf("%+v", list)
		}
	})
}

func TestReport_OfARoomNeedsNoMembership(t *testing.T) {
	each(t, func(w *world) {
		alice, eve := w.user("alice"), w.user("eve")
		r := alice.create(room.CreateInput{Preset: "private_chat"})
		eve.do("POST", "rooms/"+string(r)+"/report", body{"reason": ""}).equals("{}")
		eve.do("POST", "rooms/"+string(r)+"/report", body{}).is(400, "M_MISSING_PARAM")
		eve.do("POST", "rooms/!nowhere:hs1/report", body{"reason": "x"}).is(404, "M_NOT_FOUND")
		eve.do("POST", "rooms/nonsense/report", body{"reason": "x"}).is(404, "M_NOT_FOUND")
		if list := w.reports(admin.ReportedRoom); len(list) != 1 || list[0].RoomID != r || list[0].Reporter != eve.id || *list[0].Reason != "" {
			t.Fatalf("%+v", list)
		}
	})
}

func TestReport_OfUsersHereAndElsewhere(t *testing.T) {
	each(t, func(w *world) {
		alice, eve := w.user("alice"), w.user("eve")
		alice.do("POST", "users/"+string(eve.id)+"/report", body{"reason": "spam"}).equals("{}")
		alice.do("POST", "users/@eve:elsewhere/report", body{"reason": "spam"}).equals("{}")
		alice.do("POST", "users/@nobody:hs1/report", body{"reason": "spam"}).is(404, "M_NOT_FOUND")
		alice.do("POST", "users/eve/report", body{"reason": "spam"}).is(400, "M_INVALID_PARAM")
		alice.do("POST", "users/@e%00ve:hs1/report", body{"reason": "spam"}).is(400, "M_INVALID_PARAM")
		if list := w.reports(admin.ReportedUser); len(list) != 2 {
			t.Fatalf("%+v", list)
		}
	})
}

func TestModeration_LocksAndSuspends(t *testing.T) {
	each(t, func(w *world) {
		op, other, alice := w.operator("op"), w.operator("other"), w.user("alice")
		for _, kind := range []string{"lock", "suspend"} {
			name := kind + "ed"
			path := "/_matrix/client/v1/admin/" + kind + "/"
			op.do("GET", path+string(alice.id), nil).equals(`{"` + name + `":false}`)
			op.do("PUT", path+string(alice.id), body{name: true}).equals(`{"` + name + `":true}`)
			op.do("GET", path+string(alice.id), nil).equals(`{"` + name + `":true}`)
			if kind == "lock" {
				alice.do("GET", "account/whoami", nil).is(401, "M_USER_LOCKED")
			} else {
				alice.do("PUT", "profile/"+string(alice.id)+"/displayname", body{"displayname": "x"}).is(403, "M_USER_SUSPENDED")
			}
			op.do("PUT", path+string(alice.id), body{name: false}).equals(`{"` + name + `":false}`)
			alice.do("GET", "account/whoami", nil).ok()

			op.do("PUT", path+string(alice.id), body{}).is(400, "M_MISSING_PARAM")
			op.do("PUT", path+"@nobody:hs1", body{name: true}).is(404, "M_NOT_FOUND")
			op.do("GET", path+"@nobody:hs1", nil).is(404, "M_NOT_FOUND")
			op.do("PUT", path+"@alice:elsewhere", body{name: true}).is(400, "M_INVALID_PARAM")
			op.do("PUT", path+string(other.id), body{name: true}).is(403, "M_FORBIDDEN")
			op.do("PUT", path+string(op.id), body{name: true}).is(403, "M_FORBIDDEN")
			alice.do("PUT", path+"@nobody:hs1", body{name: true}).is(403, "M_FORBIDDEN")
			alice.do("GET", path+"@nobody:hs1", nil).is(403, "M_FORBIDDEN")
		}
	})
}

func TestWhois_TellsOnlyOneselfAndAdministrators(t *testing.T) {
	each(t, func(w *world) {
		op, alice, eve := w.operator("op"), w.user("alice"), w.user("eve")
		alice.do("GET", "account/whoami", nil).ok()
		w.must(w.core.Accounts.FlushSeen(w.ctx))
		for _, u := range []*user{op, alice} {
			a := u.do("GET", "admin/whois/"+string(alice.id), nil).ok()
			device := a.json["devices"].(map[string]any)["DEV"].(map[string]any)
			conns := device["sessions"].([]any)[0].(map[string]any)["connections"].([]any)
			if a.str("user_id") != string(alice.id) || len(conns) != 1 || conns[0].(map[string]any)["ip"] != "192.0.2.1" {
				t.Fatalf("%s", a.raw)
			}
		}
		eve.do("GET", "admin/whois/"+string(alice.id), nil).is(403, "M_FORBIDDEN")
		op.do("GET", "admin/whois/@nobody:hs1", nil).is(404, "M_NOT_FOUND")
		op.do("GET", "admin/whois/@alice:elsewhere", nil).is(400, "M_INVALID_PARAM")
	})
}
