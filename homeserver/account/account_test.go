package account_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
)

func TestPassword_ChangeEndsOtherSessionsUnlessAsked(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		other := w.login(alice.user, password)
		alice.ask("POST", "account/password", body{"new_password": "my_new_password"}).is(401, "").str("session")
		alice.ask("POST", "account/password", body{"new_password": "short", "auth": alice.passwordAuth(password)}).is(400, "M_WEAK_PASSWORD")
		alice.ask("POST", "account/password", body{"new_password": "my_new_password", "auth": alice.passwordAuth("wrong")}).is(401, "M_FORBIDDEN")
		alice.ask("POST", "account/password", body{"new_password": "my_new_password", "auth": alice.passwordAuth(password)}).ok()
		w.do("POST", "login", "", w.loginBody(alice.user, password)).is(403, "M_FORBIDDEN")
		third := w.login(alice.user, "my_new_password")
		alice.ask("GET", "account/whoami", nil).ok()
		other.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		alice.ask("POST", "account/password", body{"new_password": "another_password", "logout_devices": false,
			"auth": alice.passwordAuth("my_new_password")}).ok()
		third.ask("GET", "account/whoami", nil).ok()
	})
}

func TestPassword_ChangeWithoutSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		w.do("POST", "account/password", "", body{"new_password": "my_new_password"}).is(401, "").str("session")
		w.do("POST", "account/password", "", body{"new_password": "my_new_password", "auth": alice.passwordAuth("wrong")}).is(401, "M_FORBIDDEN")
		w.do("POST", "account/password", "", body{"new_password": "my_new_password", "auth": alice.passwordAuth(password)}).ok()
		w.login(alice.user, "my_new_password")
		alice.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
	})
}

func TestDeactivate_EndsTheAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		deleted := 0
		w.a.OnDeviceDeleted(func(context.Context, id.UserID, id.DeviceID) error { deleted++; return nil })
		if err := w.a.SetThreepid(w.ctx, alice.user, "email", "a@b.c"); err != nil {
			t.Fatal(err)
		}
		a := alice.ask("POST", "account/deactivate", body{}).is(401, "")
		if !strings.Contains(string(a.Raw), `"stages":["m.login.password"]`) {
			t.Fatalf("%s", a.Raw)
		}
		alice.ask("POST", "account/deactivate", body{"auth": alice.passwordAuth("wrong")}).is(401, "M_FORBIDDEN")
		if a := alice.ask("POST", "account/deactivate", body{"auth": alice.passwordAuth(password)}).ok(); a.str("id_server_unbind_result") != "success" {
			t.Fatalf("%s", a.Raw)
		}
		w.do("POST", "login", "", w.loginBody(alice.user, password)).is(403, "M_USER_DEACTIVATED")
		alice.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		w.do("POST", "register", "", body{"username": "alice"}).is(400, "M_USER_IN_USE")
		w.do("GET", "profile/@alice:hs1", "", nil).is(404, "M_NOT_FOUND")
		if owner, err := w.a.ThreepidOwner(w.ctx, "email", "a@b.c"); err != nil || owner != "" {
			t.Fatalf("the address still belongs to %q %v", owner, err)
		}
		if deleted != 1 {
			t.Fatalf("%d devices were announced as deleted", deleted)
		}
		if err := w.a.Reactivate(w.ctx, alice.user, "brand new password"); err != nil {
			t.Fatal(err)
		}
		w.login(alice.user, "brand new password")
	})
}

func TestDeactivate_EraseTakesAllAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		alice.ask("PUT", "user/@alice:hs1/account_data/a.b", body{"x": 1}).ok()
		alice.ask("POST", "user/@alice:hs1/filter", body{}).ok()
		alice.ask("POST", "account/deactivate", body{"erase": true, "auth": alice.passwordAuth(password)}).ok()
		for _, table := range []string{"profiles", "account_data", "filters", "devices", "access_tokens"} {
			var n int
			if err := w.db.QueryRow(w.ctx, `SELECT COUNT(*) FROM `+table+` WHERE user_id = $1`, alice.user).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows of %s are left (%v)", n, table, err)
			}
		}
		if u, err := w.a.GetUser(w.ctx, alice.user); err != nil || !u.Deactivated || !u.Erased {
			t.Fatalf("%+v %v", u, err)
		}
		if p, err := w.a.Profile(w.ctx, alice.user); err != nil || p.DisplayName != "" {
			t.Fatalf("%+v %v", p, err)
		}
	})
}

func TestDevices_ListGetRename(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		b := w.loginBody(alice.user, password)
		b["device_id"], b["initial_device_display_name"] = "login_device", "device display"
		w.do("POST", "login", "", b).ok()
		if d := alice.ask("GET", "devices/login_device", nil).ok(); d.str("device_id") != "login_device" || d.str("display_name") != "device display" {
			t.Fatalf("%s", d.Raw)
		}
		alice.ask("GET", "devices/unknown_device", nil).is(404, "M_NOT_FOUND")
		alice.ask("PUT", "devices/login_device", body{"display_name": "new device display"}).ok()
		if d := alice.ask("GET", "devices/login_device", nil).ok(); d.str("display_name") != "new device display" {
			t.Fatalf("%s", d.Raw)
		}
		alice.ask("PUT", "devices/login_device", body{}).ok()
		alice.ask("PUT", "devices/unknown_device", body{"display_name": "x"}).is(404, "M_NOT_FOUND")
		alice.ask("PUT", "devices/unknown_device", body{}).is(404, "M_NOT_FOUND")
		alice.ask("PUT", "devices/login_device", body{"display_name": strings.Repeat("x", 500)}).is(413, "M_TOO_LARGE")
		alice.ask("PUT", "devices/login_device", body{"display_name": 3}).is(400, "M_BAD_JSON")
	})
}

func TestDevices_DeletionMustBeConfirmedByTheOwner(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice, bob := w.register("alice"), w.register("bob")
		other := w.login(alice.user, password)
		path := "devices/" + string(other.device)
		a := alice.ask("DELETE", path, nil).is(401, "")
		for _, key := range []string{"session", "flows", "params"} {
			if a.JSON[key] == nil {
				t.Fatalf("no %s in %s", key, a.Raw)
			}
		}
		a = alice.ask("DELETE", path, body{"auth": alice.passwordAuth("wrong")}).is(401, "M_FORBIDDEN")
		for _, key := range []string{"session", "flows", "params", "error"} {
			if a.JSON[key] == nil {
				t.Fatalf("no %s in %s", key, a.Raw)
			}
		}
		alice.ask("DELETE", path, body{"auth": bob.passwordAuth(password)}).is(403, "M_FORBIDDEN")
		alice.ask("DELETE", path, body{"auth": bob.passwordAuth("wrong")}).is(403, "M_FORBIDDEN") // no oracle
		alice.ask("DELETE", path, body{"auth": body{"type": "m.login.dummy"}}).is(401, "M_FORBIDDEN")
		alice.ask("DELETE", path, body{"auth": body{"type": "m.login.password"}}).is(401, "M_MISSING_PARAM")
		alice.ask("GET", path, nil).ok()
		alice.ask("DELETE", path, body{"auth": alice.passwordAuth(password)}).ok()
		alice.ask("GET", path, nil).is(404, "M_NOT_FOUND")
		other.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		alice.ask("DELETE", path, body{"auth": alice.passwordAuth(password)}).ok() // had been removed previously
	})
}

func TestDevices_SeveralAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		one, two := w.login(alice.user, password), w.login(alice.user, password)
		b := body{"devices": []id.DeviceID{one.device, two.device, "unknown"}}
		session := alice.ask("POST", "delete_devices", b).is(401, "").str("session")
		b["auth"] = alice.passwordAuth(password)
		b["auth"].(body)["session"] = session
		alice.ask("POST", "delete_devices", b).ok()
		if a := alice.ask("GET", "devices", nil).ok(); len(a.JSON["devices"].([]any)) != 1 {
			t.Fatalf("%s", a.Raw)
		}
	})
}

func TestUIA_SessionIsBoundToItsOperationAndTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		session := alice.ask("POST", "account/deactivate", body{}).is(401, "").str("session")
		auth := alice.passwordAuth(password)
		auth["session"] = session
		alice.ask("DELETE", "devices/X", body{"auth": auth}).is(403, "M_FORBIDDEN")
		w.clock.advance(time.Hour)
		// An expired session is as good as none.
		if a := alice.ask("DELETE", "devices/X", body{"auth": body{"session": session}}).is(401, ""); a.str("session") == session {
			t.Fatal("an expired session was continued")
		}
		alice.ask("DELETE", "devices/X", body{"auth": auth}).ok()
	})
}

func TestUIA_StagesAreTakenInOrderAndRemembered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if _, err := w.a.NewRegistrationToken(w.ctx, account.RegistrationToken{Token: "tok"}); err != nil {
			t.Fatal(err)
		}
		c := account.Challenge{Operation: "test", Flows: [][]string{{"m.login.registration_token", "m.login.dummy"}, {"m.login.terms", "m.login.dummy"}}}
		try := func(auth string) (account.Confirmed, answer) {
			done, err := w.a.Confirm(w.ctx, c, []byte(auth))
			return done, answerOf(t, err)
		}
		_, a := try("")
		session := a.is(401, "").str("session")
		with := func(fields string) string { return `{"session":"` + session + `",` + fields + `}` }
		_, a = try(with(`"type":"m.login.dummy"`))
		a.is(401, "M_FORBIDDEN")
		_, a = try(with(`"type":"m.login.registration_token","token":"tok"`))
		if a.is(401, ""); len(a.JSON["completed"].([]any)) != 1 || a.str("session") != session {
			t.Fatalf("%s", a.Raw)
		}
		_, a = try(with(`"type":"m.login.registration_token","token":"tok"`)) // again: nothing is lost
		a.is(401, "")
		done, a := try(with(`"type":"m.login.dummy"`))
		if a.Code != 200 || done.Proofs["m.login.registration_token"] != "tok" {
			t.Fatalf("%d %+v", a.Code, done)
		}
	})
}

func TestUIA_FallbackPageCompletesAStage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if _, err := w.a.NewRegistrationToken(w.ctx, account.RegistrationToken{Token: "tok"}); err != nil {
			t.Fatal(err)
		}
		session := w.do("POST", "register", "", body{"username": "alice"}).is(401, "").str("session")
		path := "/_matrix/client/v3/auth/m.login.registration_token/fallback/web"
		page := w.do("GET", path+"?session="+url.QueryEscape(session), "", nil)
		if page.Code != 200 || !strings.Contains(string(page.Raw), session) || !strings.HasPrefix(page.Get("Content-Type"), "text/html") {
			t.Fatalf("%d %s", page.Code, page.Raw)
		}
		post := func(token string) string {
			r := httptest.NewRequest("POST", path, strings.NewReader(url.Values{"session": {session}, "token": {token}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			rec := httptest.NewRecorder()
			w.web.Handler().ServeHTTP(rec, r)
			if rec.Code != http.StatusOK {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
			return rec.Body.String()
		}
		if strings.Contains(post("wrong"), "onAuthDone") {
			t.Fatal("a wrong token was taken")
		}
		w.do("POST", "register", "", body{"username": "alice", "password": password, "auth": body{"session": session}}).is(401, "")
		if !strings.Contains(post("tok"), "onAuthDone") {
			t.Fatal("the token was not taken")
		}
		w.do("POST", "register", "", body{"username": "alice", "password": password, "auth": body{"session": session}}).ok()
		w.do("GET", "auth/m.login.password/fallback/web?session=x", "", nil).is(404, "M_NOT_FOUND")
	}, needTwoStages)
}

func TestUIA_YoungSessionsAreExemptOnlyIfConfigured(t *testing.T) {
	grace := func(_ *config.Config, d *account.Deps) { d.ConfirmGrace = 10 * time.Minute }
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		alice.ask("DELETE", "devices/X", nil).ok()
		alice.ask("POST", "/_matrix/client/v1/login/get_token", body{}).is(401, "")
		w.clock.advance(time.Hour)
		alice.ask("DELETE", "devices/X", nil).is(401, "")
	}, grace)
}

func TestThreepids_NothingIsValidatedHere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		if a := alice.ask("GET", "account/3pid", nil).ok(); string(a.Raw) != `{"threepids":[]}` {
			t.Fatalf("%s", a.Raw)
		}
		for _, path := range []string{"register/email", "register/msisdn", "account/password/email", "account/password/msisdn"} {
			w.do("POST", path+"/requestToken", "", body{"client_secret": "x", "email": "a@b.c", "send_attempt": 1}).is(403, "M_THREEPID_DENIED")
		}
		w.do("POST", "account/3pid/email/requestToken", "", body{}).is(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
		w.do("POST", "account/3pid/msisdn/requestToken", "", body{}).is(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
		alice.ask("POST", "account/3pid/add", body{"client_secret": "a", "sid": "b"}).is(403, "M_THREEPID_AUTH_FAILED")
		alice.ask("POST", "account/3pid/add", body{}).is(400, "M_MISSING_PARAM")
		alice.ask("POST", "account/3pid/bind", body{}).is(403, "M_THREEPID_DENIED")
		alice.ask("POST", "account/3pid/delete", body{"medium": "email", "address": "x"}).ok()
		if a := alice.ask("POST", "account/3pid/unbind", body{"medium": "email", "address": "x"}).ok(); a.str("id_server_unbind_result") != "no-support" {
			t.Fatalf("%s", a.Raw)
		}
	})
}

func TestCapabilities_AndVersions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.do("GET", "capabilities", "", nil).is(401, "M_MISSING_TOKEN")
		a := w.register("alice").ask("GET", "capabilities", nil).ok()
		c := a.JSON["capabilities"].(map[string]any)
		if c["m.room_versions"].(map[string]any)["default"] != "12" || c["m.change_password"].(map[string]any)["enabled"] != true {
			t.Fatalf("%s", a.Raw)
		}
		if _, there := c["m.account_moderation"]; there {
			t.Fatal("everybody moderates accounts")
		}
		v := w.do("GET", "/_matrix/client/versions", "", nil).ok()
		if string(v.Raw) != `{"unstable_features":{"org.example":true},"versions":["v1.1","v1.19"]}` {
			t.Fatalf("%s", v.Raw)
		}
		if p := w.do("GET", "/_matrix/client/r0/password_policy", "", nil).ok(); p.JSON["m.minimum_length"].(float64) != 8 {
			t.Fatalf("%s", p.Raw)
		}
	})
}

func TestOpenID_TokenNamesItsUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		a := alice.ask("POST", "user/@alice:hs1/openid/request_token", body{}).ok()
		if a.str("token_type") != "Bearer" || a.str("matrix_server_name") != "hs1" || a.JSON["expires_in"].(float64) != 3600 {
			t.Fatalf("%s", a.Raw)
		}
		user, err := w.a.OpenIDUser(w.ctx, a.str("access_token"))
		if err != nil || user != alice.user {
			t.Fatalf("%s %v", user, err)
		}
		w.do("GET", "account/whoami", a.str("access_token"), nil).is(401, "M_UNKNOWN_TOKEN")
		alice.ask("POST", "user/@bob:hs1/openid/request_token", body{}).is(403, "M_FORBIDDEN")
		w.clock.advance(2 * time.Hour)
		if _, err := w.a.OpenIDUser(w.ctx, a.str("access_token")); err == nil {
			t.Fatal("the token has not expired")
		}
		if _, err := w.a.OpenIDUser(w.ctx, alice.token); err == nil {
			t.Fatal("an access token is no OpenID token")
		}
	})
}

func TestPasswordPolicy_AsksForWhatIsConfigured(t *testing.T) {
	p := account.PasswordPolicy{MinLength: 6, Digit: true, Symbol: true, Lowercase: true, Uppercase: true}
	for pw, ok := range map[string]bool{"aB3$ef": true, "ab3$ef": false, "AB3$EF": false, "aBc$ef": false, "aB3def": false, "aB3$": false, "éÀ٣€éé": true} {
		if err := p.Check(pw); (err == nil) != ok {
			t.Errorf("%q: %v", pw, err)
		}
	}
}

func TestLoginPage_StandsAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/_matrix/static/client/login", "/_matrix/static/client/login/?device_id=X"} {
			a := w.do("GET", path, "", nil)
			csp := a.Get("Content-Security-Policy")
			_, nonce, _ := strings.Cut(csp, "'nonce-")
			nonce, _, _ = strings.Cut(nonce, "'")
			if a.Code != 200 || nonce == "" || !strings.Contains(string(a.Raw), `nonce="`+nonce+`"`) || strings.Contains(string(a.Raw), "http") {
				t.Fatalf("%d %s\n%s", a.Code, csp, a.Raw)
			}
		}
	})
}
