package account_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

func TestLogin_ListsItsFlows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.do("GET", "login", "", body{}).ok()
		var types []string
		for _, f := range a.JSON["flows"].([]any) {
			types = append(types, f.(map[string]any)["type"].(string))
		}
		if got := strings.Join(types, " "); got != "m.login.password m.login.token m.login.application_service" {
			t.Fatalf("flows %s", got)
		}
	})
}

func TestLogin_ByIDLocalpartCapitalsAndLegacyForm(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		for _, b := range []body{
			w.loginBody(alice.user, password), w.loginBody("alice", password), w.loginBody("@ALICE:hs1", password),
			{"type": "m.login.password", "user": "alice", "password": password},
			{"type": "m.login.password", "user": "@alice:hs1", "password": password},
			{"type": "m.login.password", "identifier": body{"user": "alice"}, "password": password},
		} {
			a := w.do("POST", "login", "", b).ok()
			if a.str("user_id") != "@alice:hs1" {
				t.Fatalf("%s", a.Raw)
			}
			w.do("GET", "account/whoami", a.str("access_token"), nil).ok()
		}
	})
}

func TestLogin_WrongOnesAreRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register("alice")
		w.do("POST", "login", "", w.loginBody("alice", "wrong")).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", w.loginBody("nobody", password)).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", w.loginBody("@alice:elsewhere", password)).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", w.loginBody("@alice", password)).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", body{"type": "m.login.password", "password": password}).is(400, "M_MISSING_PARAM")
		w.do("POST", "login", "", body{"type": "m.login.magic"}).is(400, "M_UNKNOWN")
		w.do("POST", "login", "", body{}).is(400, "M_MISSING_PARAM")
		w.do("POST", "login", "", body{"type": "m.login.password", "identifier": "alice", "password": password}).is(400, "M_BAD_JSON")
		w.do("POST", "login", "", body{"type": "m.login.password", "identifier": body{"type": "m.id.color", "user": "a"}, "password": "x"}).is(400, "M_UNKNOWN")
		w.do("POST", "login", "", body{"type": "m.login.password", "identifier": body{"type": "m.id.phone", "phone": "1"}, "password": "x"}).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", body{"type": "m.login.token", "token": "x"}).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", body{"type": "m.login.application_service", "identifier": body{"type": "m.id.user", "user": "alice"}}).is(403, "M_FORBIDDEN")
		w.do("PUT", "login", "", body{}).is(405, "M_UNRECOGNIZED")
	})
}

func TestLogin_ByAddress(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		if err := w.a.SetThreepid(w.ctx, alice.user, "email", "Alice@Example.ORG"); err != nil {
			t.Fatal(err)
		}
		form := func(address string) body {
			return body{"type": "m.login.password", "password": password, "identifier": body{"type": "m.id.thirdparty", "medium": "email", "address": address}}
		}
		w.do("POST", "login", "", form("alice@example.org")).ok()
		w.do("POST", "login", "", form("bob@example.org")).is(403, "M_FORBIDDEN")
		w.do("POST", "login", "", body{"type": "m.login.password", "medium": "email", "address": "alice@example.org", "password": password}).ok()
		if a := alice.ask("GET", "account/3pid", nil).ok(); len(a.JSON["threepids"].([]any)) != 1 {
			t.Fatalf("%s", a.Raw)
		}
		alice.ask("POST", "account/3pid/delete", body{"medium": "email", "address": "alice@example.org"}).ok()
		w.do("POST", "login", "", form("alice@example.org")).is(403, "M_FORBIDDEN")
	})
}

func TestLogin_KnownDeviceLosesItsOldTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		b := w.loginBody(alice.user, password)
		b["device_id"], b["initial_device_display_name"] = alice.device, "ignored"
		alice.ask("GET", "account/whoami", nil).ok()
		token := w.do("POST", "login", "", b).ok().str("access_token")
		alice.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		d := w.do("GET", "devices", token, nil).ok()
		if ds := d.JSON["devices"].([]any); len(ds) != 1 || ds[0].(map[string]any)["display_name"] != nil {
			t.Fatalf("%s", d.Raw)
		}
	})
}

func TestLogin_StaleTokenDoesNotMatter(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register("alice")
		w.do("POST", "login", "stale", w.loginBody("alice", password)).ok()
		w.do("POST", "register", "stale", body{}).is(401, "")
		w.do("GET", "/_matrix/client/versions", "stale", nil).ok()
		w.do("POST", "account/deactivate", "stale", body{}).is(401, "M_UNKNOWN_TOKEN")
		w.do("GET", "account/whoami", "", nil).is(401, "M_MISSING_TOKEN")
	})
}

func TestLogin_BcryptIsVerifiedAndReplaced(t *testing.T) {
	peppered := func(_ *config.Config, d *account.Deps) { d.BcryptPepper = "pepper" }
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		old, err := bcrypt.GenerateFromPassword([]byte("old password"+"pepper"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.db.Exec(w.ctx, `UPDATE users SET password_hash = $2 WHERE user_id = $1`, alice.user, string(old)); err != nil {
			t.Fatal(err)
		}
		w.do("POST", "login", "", w.loginBody("alice", "wrong")).is(403, "M_FORBIDDEN")
		w.login("alice", "old password")
		var kept string
		if err := w.db.QueryRow(w.ctx, `SELECT password_hash FROM users WHERE user_id = $1`, alice.user).Scan(&kept); err != nil || !strings.HasPrefix(kept, "$argon2id$") {
			t.Fatalf("still %.10s: %v", kept, err)
		}
		w.login("alice", "old password")
	}, peppered)
}

func TestLoginToken_WorksOnceAndForAWhile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		get := func(auth any) answer {
			return alice.ask("POST", "/_matrix/client/v1/login/get_token", body{"auth": auth})
		}
		session := get(nil).is(401, "").str("session")
		get(body{"type": "m.login.password", "password": "wrong", "session": session, "identifier": body{"type": "m.id.user", "user": "alice"}}).is(401, "M_FORBIDDEN")
		a := get(alice.passwordAuth(password)).ok()
		if a.JSON["expires_in_ms"].(float64) != 120000 {
			t.Fatalf("%s", a.Raw)
		}
		in := body{"type": "m.login.token", "token": a.str("login_token"), "device_id": "NEW"}
		if b := w.do("POST", "login", "", in).ok(); b.str("user_id") != "@alice:hs1" || b.str("device_id") != "NEW" {
			t.Fatalf("%s", b.Raw)
		}
		w.do("POST", "login", "", in).is(403, "M_FORBIDDEN")
		in["token"] = get(alice.passwordAuth(password)).ok().str("login_token")
		w.clock.advance(3 * time.Minute)
		w.do("POST", "login", "", in).is(403, "M_FORBIDDEN")
	})
}

func TestAppService_RegistersAndLogsItsUsersIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		service := &web.AppService{ID: "irc", Sender: "@ircbot:hs1", Owns: func(u id.UserID) bool { return strings.HasPrefix(string(u), "@_irc_") }}
		w.gate.AppService = func(_ context.Context, r *http.Request, token string) (web.Requester, bool, error) {
			who := web.Requester{UserID: service.Sender, AppService: service}
			if u := r.URL.Query().Get("user_id"); u != "" {
				who.UserID = id.UserID(u)
			}
			return who, token == "as_token", nil
		}
		w.a.SetExclusive(func(u id.UserID, by string) bool { return by != "irc" && service.Owns(u) })
		reg := func(token string, b body) answer {
			b["type"] = "m.login.application_service"
			return w.do("POST", "register", token, b)
		}
		reg("as_token", body{"username": "_irc_bob"}).ok()
		reg("as_token", body{"username": "_irc_bob"}).is(400, "M_USER_IN_USE")
		reg("as_token", body{"username": "bob"}).is(400, "M_EXCLUSIVE")
		reg("as_token", body{}).is(400, "M_MISSING_PARAM")
		reg("", body{"username": "_irc_eve"}).is(401, "M_UNKNOWN_TOKEN")
		if a := reg("as_token", body{"username": "_irc_quiet", "inhibit_login": true}).ok(); a.JSON["access_token"] != nil {
			t.Fatalf("%s", a.Raw)
		}
		in := func(user string) body {
			return body{"type": "m.login.application_service", "identifier": body{"type": "m.id.user", "user": user}}
		}
		a := w.do("POST", "login", "as_token", in("_irc_bob")).ok()
		w.do("GET", "account/whoami", a.str("access_token"), nil).ok()
		w.do("POST", "login", "as_token", in("@_irc_bob:hs1")).ok()
		w.do("POST", "login", "as_token", in("alice")).is(400, "M_EXCLUSIVE")
		w.do("POST", "login", "as_token", in("_irc_unknown")).is(403, "M_FORBIDDEN")

		if b := w.do("PUT", "devices/BRIDGE?user_id=@_irc_bob:hs1", "as_token", body{"display_name": "Bridge"}); b.Code != 201 {
			t.Fatalf("status %d %s", b.Code, b.Raw)
		}
		w.do("PUT", "devices/BRIDGE?user_id=@_irc_bob:hs1", "as_token", body{"display_name": "Other"}).ok()
		if b := w.do("GET", "devices/BRIDGE?user_id=@_irc_bob:hs1", "as_token", nil).ok(); b.str("display_name") != "Other" {
			t.Fatalf("%s", b.Raw)
		}
		w.do("DELETE", "devices/BRIDGE?user_id=@_irc_bob:hs1", "as_token", nil).ok()
		w.do("GET", "devices/BRIDGE?user_id=@_irc_bob:hs1", "as_token", nil).is(404, "M_NOT_FOUND")
		if err := w.a.EnsureUser(w.ctx, "@_irc_carol:hs1", "irc"); err != nil {
			t.Fatal(err)
		}
		if err := w.a.EnsureUser(w.ctx, "@_irc_carol:hs1", "irc"); err != nil {
			t.Fatal(err)
		}
		if u, err := w.a.GetUser(w.ctx, "@_irc_carol:hs1"); err != nil || u.AppService != "irc" {
			t.Fatalf("%+v %v", u, err)
		}
	})
}
