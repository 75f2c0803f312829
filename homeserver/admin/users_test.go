package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/synapseadmin"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/room"
)

func yes() *bool { t := true; return &t }

// login asks for a session with a password.
func (w *world) login(name, password string) answer {
	w.Helper()
	return (&user{w: w}).do("POST", "login", body{"type": "m.login.password", "password": password,
		"identifier": body{"type": "m.id.user", "user": name}})
}

func TestAdmin_IsForAdministratorsOnly(t *testing.T) {
	each(t, func(w *world) {
		alice, nobody := w.user("alice"), &user{w: w}
		nobody.do("GET", "!v1/server_version", nil).equals(`{"server_version":"1.2.3"}`)
		n := 0
		for _, r := range w.core.Routes() {
			path, ok := strings.CutPrefix(r.Path, "/_synapse/admin/")
			if !ok || path == "v1/server_version" || path == "v1/register" {
				continue
			}
			n++
			path = strings.NewReplacer("{", "", "}", "").Replace(path)
			nobody.do(r.Method, "!"+path, nil).is(401, "M_MISSING_TOKEN")
			if path != "v1/whois/userId" || alice.do(r.Method, "!"+path, nil).code != 403 {
				alice.do(r.Method, "!"+path, nil).is(403, "M_FORBIDDEN")
			}
		}
		if n < 40 {
			t.Fatalf("only %d paths", n)
		}
	})
}

func TestUsers_ToolsMakeAndChangeAccounts(t *testing.T) {
	each(t, func(w *world) {
		op := w.operator("op")
		tools := op.tools()
		bob := id.UserID("@bob:hs1")
		w.must(tools.CreateOrModifyAccount(w.ctx, bob, synapseadmin.ReqCreateOrModifyAccount{Password: "correct horse", Displayname: "Bob", Admin: yes()}))
		got, err := tools.GetUserInfo(w.ctx, bob)
		w.must(err)
		if got.UserID != bob || got.DisplayName != "Bob" || !got.Admin || got.Deactivated || time.Since(got.CreationTS.Time).Abs() > time.Minute {
			t.Fatalf("%+v", got)
		}
		w.login("bob", "correct horse").ok()
		w.must(tools.CreateOrModifyAccount(w.ctx, bob, synapseadmin.ReqCreateOrModifyAccount{Admin: new(bool), AvatarURL: "mxc://hs1/x", UserType: "bot", Locked: yes()}))
		if got, err = tools.GetUserInfo(w.ctx, bob); err != nil || got.Admin || got.AvatarURL != "mxc://hs1/x" || got.UserType != "bot" {
			t.Fatalf("%+v %v", got, err)
		}
		op.do("PUT", "!v2/users/@bob:hs1", body{"user_type": nil, "locked": false, "threepids": []body{{"medium": "email", "address": "Bob@hs1.example"}}}).ok()
		a := op.do("GET", "!v2/users/@bob:hs1", nil).ok()
		if a.json["user_type"] != nil || len(a.json["threepids"].([]any)) != 1 || a.json["locked"] != false || a.json["approved"] != true {
			t.Fatalf("%s", a.raw)
		}
		op.do("GET", "!v1/threepid/email/users/bob@hs1.example", nil).equals(`{"user_id":"@bob:hs1"}`)
		op.do("PUT", "!v2/users/@bob:hs1", body{"threepids": []body{}}).ok()
		op.do("GET", "!v1/threepid/email/users/bob@hs1.example", nil).is(404, "M_NOT_FOUND")

		w.must(tools.CreateOrModifyAccount(w.ctx, bob, synapseadmin.ReqCreateOrModifyAccount{Deactivated: yes()}))
		w.login("bob", "correct horse").is(403, "M_USER_DEACTIVATED")
		op.do("PUT", "!v2/users/@bob:hs1", body{"deactivated": false, "password": "another horse"}).ok()
		w.login("bob", "another horse").ok()

		if a := op.do("PUT", "!v2/users/@carol:hs1", body{}); a.code != 201 || a.str("name") != "@carol:hs1" {
			t.Fatalf("%d %s", a.code, a.raw)
		}
		op.do("PUT", "!v2/users/@Carol:hs1", body{}).is(400, "M_INVALID_PARAM")
		op.do("PUT", "!v2/users/@carol:elsewhere", body{}).is(400, "M_UNKNOWN")
		op.do("PUT", "!v2/users/@op:hs1", body{"admin": false}).is(400, "M_UNKNOWN")
		op.do("PUT", "!v2/users/@bob:hs1", body{"admin": "yes"}).is(400, "M_BAD_JSON")
		op.do("PUT", "!v2/users/@bob:hs1", body{"external_ids": []body{{}}}).is(400, "M_INVALID_PARAM")
		op.do("PUT", "!v2/users/@bob:hs1", body{"user_type": 3}).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v2/users/@nobody:hs1", nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v2/users/@nobody:elsewhere", nil).is(400, "M_UNKNOWN")
	})
}

func TestUsers_ListPagesAndFilters(t *testing.T) {
	each(t, func(w *world) {
		op := w.operator("op")
		for i := range 5 {
			w.user(fmt.Sprint("user", i))
		}
		w.must(w.core.Accounts.Deactivate(w.ctx, "@user3:hs1", false))
		w.must(w.core.Accounts.SetLocked(w.ctx, "@user4:hs1", true))
		w.must(w.core.Accounts.SetDisplayName(w.ctx, "@user0:hs1", "Nulle 100%"))
		names := func(query string) string {
			t.Helper()
			var out []string
			for _, u := range op.do("GET", "!"+query, nil).ok().json["users"].([]any) {
				out = append(out, strings.TrimSuffix(strings.TrimPrefix(u.(map[string]any)["name"].(string), "@"), ":hs1"))
			}
			return strings.Join(out, " ")
		}
		for query, want := range map[string]string{
			"v2/users":                              "op user0 user1 user2",
			"v2/users?deactivated=true":             "op user0 user1 user2 user3",
			"v2/users?locked=true&dir=b":            "user4 user2 user1 user0 op",
			"v2/users?admins=true":                  "op",
			"v2/users?user_id=ser1":                 "user1",
			"v2/users?user_id=nulle":                "",
			"v2/users?name=nulle":                   "user0",
			"v2/users?name=0%25":                    "user0",
			"v2/users?guests=false&limit=1&from=2":  "user1",
			"v2/users?order_by=creation_ts&limit=1": "op",
			"v3/users":                              "op user0 user1 user2 user3",
			"v3/users?deactivated=true":             "user3",
			"v2/users?limit=0":                      "",
		} {
			if got := names(query); got != want {
				t.Errorf("%s: %q, want %q", query, got, want)
			}
		}
		a := op.do("GET", "!v2/users?limit=2", nil).ok()
		if a.str("next_token") != "2" || a.json["total"] != 4.0 {
			t.Fatalf("%s", a.raw)
		}
		if a = op.do("GET", "!v2/users?limit=2&from=2", nil).ok(); a.json["next_token"] != nil {
			t.Fatalf("%s", a.raw)
		}
		for _, bad := range []string{"limit=-1", "from=-1", "dir=x", "order_by=password_hash", "limit=x", "from=99999999999999999999", "admins=maybe"} {
			op.do("GET", "!v2/users?"+bad, nil).is(400, "M_INVALID_PARAM")
		}
	})
}

func TestUsers_PasswordsSessionsAndFlags(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		tools := op.tools()
		w.must(tools.ResetPassword(w.ctx, synapseadmin.ReqResetPassword{UserID: alice.id, NewPassword: "new password"}))
		alice.do("GET", "account/whoami", nil).ok() // the tool said logout_devices: false
		w.login("alice", "new password").ok()
		w.must(tools.ResetPassword(w.ctx, synapseadmin.ReqResetPassword{UserID: alice.id, NewPassword: "newer password", LogoutDevices: true}))
		alice.do("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		op.do("POST", "!v1/reset_password/@nobody:hs1", body{"new_password": "new password"}).is(404, "M_NOT_FOUND")
		op.do("POST", "!v1/reset_password/@alice:hs1", body{}).is(400, "M_MISSING_PARAM")
		op.do("POST", "!v1/reset_password/@alice:hs1", body{"new_password": "short"}).is(400, "M_WEAK_PASSWORD")

		op.do("PUT", "!v1/suspend/@alice:hs1", body{"suspend": true}).equals(`{"user_@alice:hs1_suspended":true}`)
		w.must(tools.SuspendAccount(w.ctx, alice.id, synapseadmin.ReqSuspendUser{}))
		op.do("PUT", "!v1/suspend/@op:hs1", body{"suspend": true}).is(400, "M_UNKNOWN")
		op.do("GET", "!v1/users/@alice:hs1/admin", nil).equals(`{"admin":false}`)
		op.do("PUT", "!v1/users/@alice:hs1/admin", body{"admin": true}).equals(`{}`)
		op.do("GET", "!v1/users/@alice:hs1/admin", nil).equals(`{"admin":true}`)
		op.do("PUT", "!v1/users/@op:hs1/admin", body{"admin": false}).is(400, "M_UNKNOWN")
		op.do("POST", "!v1/users/@alice:hs1/shadow_ban", body{}).equals(`{}`)
		if a := op.do("GET", "!v2/users/@alice:hs1", nil).ok(); a.json["shadow_banned"] != true {
			t.Fatalf("%s", a.raw)
		}
		op.do("DELETE", "!v1/users/@alice:hs1/shadow_ban", nil).equals(`{}`)

		as := &user{w: w, id: alice.id, token: op.do("POST", "!v1/users/@alice:hs1/login", body{"valid_until_ms": time.Now().Add(time.Hour).UnixMilli()}).ok().str("access_token")}
		if got := as.do("GET", "account/whoami", nil).ok().str("user_id"); got != "@alice:hs1" {
			t.Fatal(got)
		}
		op.do("POST", "!v1/users/@alice:hs1/login", nil).ok()
		op.do("POST", "!v1/users/@alice:hs1/login", body{"valid_until_ms": 1}).is(400, "M_UNKNOWN")
		op.do("POST", "!v1/users/@op:hs1/login", nil).is(400, "M_UNKNOWN")

		if ok, err := tools.UsernameAvailable(w.ctx, "free"); err != nil || !ok.Available {
			t.Fatal(ok, err)
		}
		if _, err := tools.UsernameAvailable(w.ctx, "alice"); err == nil || !strings.Contains(err.Error(), "M_USER_IN_USE") {
			t.Fatal(err)
		}
		op.do("GET", "!v1/username_available", nil).is(400, "M_MISSING_PARAM")
		w.must(tools.DeactivateAccount(w.ctx, alice.id, synapseadmin.ReqDeleteUser{Erase: true}))
		if a := op.do("GET", "!v2/users/@alice:hs1", nil).ok(); a.json["deactivated"] != true || a.json["erased"] != true || a.json["displayname"] != nil {
			t.Fatalf("%s", a.raw)
		}
		op.do("POST", "!v1/deactivate/@bob:hs1", body{}).is(404, "M_NOT_FOUND")
	})
}

func TestUsers_DevicesRoomsAndData(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		tools := op.tools()
		r := alice.create(room.CreateInput{})
		op.do("GET", "!v1/users/@alice:hs1/joined_rooms", nil).equals(fmt.Sprintf(`{"joined_rooms":["%s"],"total":1}`, r))
		op.do("GET", "!v1/users/@op:hs1/joined_rooms", nil).equals(`{"joined_rooms":[],"total":0}`)
		op.do("GET", "!v1/users/@nobody:hs1/joined_rooms", nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/users/@nobody:elsewhere/joined_rooms", nil).equals(`{"joined_rooms":[],"total":0}`)
		op.do("GET", "!v1/users/@alice:hs1/memberships", nil).equals(fmt.Sprintf(`{"memberships":{"%s":"join"}}`, r))
		w.must(w.core.Accounts.SetAccountData(w.ctx, alice.id, r, "m.tag", []byte(`{"tags":{}}`)))
		a := op.do("GET", "!v1/users/@alice:hs1/accountdata", nil).ok()
		if data := a.json["account_data"].(map[string]any)["rooms"].(map[string]any); data[string(r)] == nil {
			t.Fatalf("%s", a.raw)
		}

		op.do("POST", "!v2/users/@alice:hs1/devices", body{"device_id": "EXTRA"}).is(201, "")
		op.do("PUT", "!v2/users/@alice:hs1/devices/EXTRA", body{"display_name": "Télécopieur"}).equals(`{}`)
		list, err := tools.ListDevices(w.ctx, alice.id)
		w.must(err)
		if list.Total != 2 || list.Devices[1].DeviceID != "EXTRA" || list.Devices[1].DisplayName != "Télécopieur" {
			t.Fatalf("%+v", list)
		}
		one := op.do("GET", "!v2/users/@alice:hs1/devices/EXTRA", nil).ok()
		if want := `{"device_id":"EXTRA","display_name":"Télécopieur","last_seen_ip":null,"last_seen_user_agent":null,"last_seen_ts":`; !strings.HasPrefix(string(one.raw), want) {
			t.Fatalf("%s", one.raw)
		}
		op.do("DELETE", "!v2/users/@alice:hs1/devices/EXTRA", nil).equals(`{}`)
		op.do("GET", "!v2/users/@alice:hs1/devices/EXTRA", nil).is(404, "M_NOT_FOUND")
		op.do("POST", "!v2/users/@alice:hs1/delete_devices", body{"devices": []string{"DEV", "OTHER"}}).equals(`{}`)
		op.do("GET", "!v2/users/@alice:hs1/devices", nil).equals(`{"devices":[],"total":0}`)
		alice.do("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		op.do("POST", "!v2/users/@alice:hs1/delete_devices", body{}).is(400, "M_MISSING_PARAM")
	})
}

func TestRegistrationTokens_AreManaged(t *testing.T) {
	each(t, func(w *world) {
		op := w.operator("op")
		op.do("POST", "!v1/registration_tokens/new", body{"token": "abc", "uses_allowed": 1}).equals(`{"token":"abc","uses_allowed":1,"pending":0,"completed":0,"expiry_time":null}`)
		if made := op.do("POST", "!v1/registration_tokens/new", body{}).ok().str("token"); len(made) != 16 {
			t.Fatal(made)
		}
		if made := op.do("POST", "!v1/registration_tokens/new", body{"length": 64}).ok().str("token"); len(made) != 64 {
			t.Fatal(made)
		}
		_, err := w.core.Accounts.Register(w.ctx, account.NewUser{Localpart: "bob", RegistrationToken: "abc"})
		w.must(err)
		op.do("GET", "!v1/registration_tokens/abc", nil).equals(`{"token":"abc","uses_allowed":1,"pending":0,"completed":1,"expiry_time":null}`)
		if n := len(op.do("GET", "!v1/registration_tokens?valid=true", nil).ok().json["registration_tokens"].([]any)); n != 2 {
			t.Fatal(n)
		}
		if n := len(op.do("GET", "!v1/registration_tokens", nil).ok().json["registration_tokens"].([]any)); n != 3 {
			t.Fatal(n)
		}
		op.do("PUT", "!v1/registration_tokens/abc", body{"expiry_time": 4781243146000}).equals(`{"token":"abc","uses_allowed":1,"pending":0,"completed":1,"expiry_time":4781243146000}`)
		op.do("PUT", "!v1/registration_tokens/abc", body{"uses_allowed": nil}).equals(`{"token":"abc","uses_allowed":null,"pending":0,"completed":1,"expiry_time":4781243146000}`)
		for _, bad := range []body{{"token": "abc"}, {"token": ""}, {"token": "é"}, {"length": 0}, {"length": 65}, {"uses_allowed": -1}, {"expiry_time": 1}} {
			op.do("POST", "!v1/registration_tokens/new", bad).is(400, "M_INVALID_PARAM")
		}
		op.do("PUT", "!v1/registration_tokens/abc", body{"expiry_time": "x"}).is(400, "M_INVALID_PARAM")
		op.do("DELETE", "!v1/registration_tokens/abc", nil).equals(`{}`)
		op.do("DELETE", "!v1/registration_tokens/abc", nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/registration_tokens/abc", nil).is(404, "M_NOT_FOUND")
		op.do("PUT", "!v1/registration_tokens/abc", body{}).is(404, "M_NOT_FOUND")
	})
}

func TestReports_AreListedForModerators(t *testing.T) {
	each(t, func(w *world) {
		op, alice, bob := w.operator("op"), w.user("alice"), w.user("bob")
		name := "Salon"
		r := alice.create(room.CreateInput{Name: &name})
		bob.join(r)
		one, two := bob.say(r, "one"), alice.say(r, "two")
		alice.do("POST", "rooms/"+string(r)+"/report/"+string(one), body{"reason": "first", "score": -100}).ok()
		bob.do("POST", "rooms/"+string(r)+"/report/"+string(two), body{"reason": "second"}).ok()
		bob.do("POST", "rooms/"+string(r)+"/report", body{"reason": "room"}).ok()
		bob.do("POST", "users/@alice:hs1/report", body{"reason": "user"}).ok()

		a := op.do("GET", "!v1/event_reports", nil).ok()
		list := a.json["event_reports"].([]any)
		newest := list[0].(map[string]any)
		if a.json["total"] != 2.0 || len(list) != 2 || newest["event_id"] != string(two) || newest["user_id"] != "@bob:hs1" || newest["sender"] != "@alice:hs1" || newest["name"] != name || newest["score"] != nil {
			t.Fatalf("%s", a.raw)
		}
		if a = op.do("GET", "!v1/event_reports?dir=f&limit=1", nil).ok(); a.json["next_token"] != 1.0 || !strings.Contains(string(a.raw), "first") {
			t.Fatalf("%s", a.raw)
		}
		if a = op.do("GET", "!v1/event_reports?user_id=bo&room_id="+string(r), nil).ok(); a.json["total"] != 1.0 {
			t.Fatalf("%s", a.raw)
		}
		path := fmt.Sprintf("!v1/event_reports/%.0f", newest["id"])
		if a = op.do("GET", path, nil).ok(); a.json["event_json"].(map[string]any)["event_id"] != string(two) {
			t.Fatalf("%s", a.raw)
		}
		op.do("DELETE", path, nil).equals(`{}`)
		op.do("GET", path, nil).is(404, "M_NOT_FOUND")
		op.do("DELETE", path, nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/event_reports/x", nil).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v1/event_reports?limit=-1", nil).is(400, "M_INVALID_PARAM")

		for kind, want := range map[string]string{"user": `"target_user_id":"@alice:hs1","user_id":"@bob:hs1","reason":"user"`, "room": `"room_id":"` + string(r) + `","user_id":"@bob:hs1","reason":"room"`} {
			a := op.do("GET", "!v1/"+kind+"_reports", nil).ok()
			if a.json["total"] != 1.0 || !strings.Contains(string(a.raw), want) {
				t.Fatalf("%s", a.raw)
			}
			path := fmt.Sprintf("!v1/%s_reports/%.0f", kind, a.json[kind+"_reports"].([]any)[0].(map[string]any)["id"])
			op.do("GET", path, nil).ok()
			op.do("DELETE", path, nil).equals(`{}`)
			op.do("GET", path, nil).is(404, "M_NOT_FOUND")
		}
	})
}
