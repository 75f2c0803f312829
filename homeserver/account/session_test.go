package account_test

import (
	"context"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
)

func TestLogout_EndsOneSessionOrAll(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		one := w.register("alice")
		two := w.login(one.user, password)
		if a := two.ask("GET", "devices", nil).ok(); len(a.JSON["devices"].([]any)) != 2 {
			t.Fatalf("%s", a.Raw)
		}
		two.ask("POST", "logout", nil).ok()
		two.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		a := one.ask("GET", "devices", nil).ok()
		if ds := a.JSON["devices"].([]any); len(ds) != 1 || ds[0].(map[string]any)["device_id"] != string(one.device) {
			t.Fatalf("%s", a.Raw)
		}
		three := w.login(one.user, password)
		three.ask("POST", "logout/all", body{}).ok()
		three.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		one.ask("GET", "account/whoami", nil).is(401, "M_UNKNOWN_TOKEN")
		w.do("POST", "logout", "invalid", nil).is(401, "M_UNKNOWN_TOKEN")
		w.do("POST", "logout", "", nil).is(401, "M_MISSING_TOKEN")
	})
}

func TestRefresh_OldTokenLivesUntilTheNewIsUsed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		b := w.loginBody(alice.user, password)
		b["refresh_token"] = true
		first := w.do("POST", "login", "", b).ok()
		if first.JSON["expires_in_ms"].(float64) <= 0 {
			t.Fatalf("%s", first.Raw)
		}
		refresh := func(token string) answer { return w.do("POST", "refresh", "", body{"refresh_token": token}) }
		whoami := func(token string) answer { return w.do("GET", "account/whoami", token, nil) }

		lost := refresh(first.str("refresh_token")).ok()   // the answer never arrives
		second := refresh(first.str("refresh_token")).ok() // so the client asks again
		whoami(lost.str("access_token")).is(401, "M_UNKNOWN_TOKEN")
		whoami(first.str("access_token")).ok()
		whoami(second.str("access_token")).ok()
		whoami(first.str("access_token")).is(401, "M_UNKNOWN_TOKEN")
		if a := refresh(first.str("refresh_token")).is(401, "M_UNKNOWN_TOKEN"); a.JSON["soft_logout"] != true {
			t.Fatalf("%s", a.Raw)
		}
		third := refresh(second.str("refresh_token")).ok()
		fourth := refresh(third.str("refresh_token")).ok() // used without its access token
		refresh(second.str("refresh_token")).is(401, "M_UNKNOWN_TOKEN")
		whoami(second.str("access_token")).is(401, "M_UNKNOWN_TOKEN")
		if a := whoami(fourth.str("access_token")).ok(); a.str("device_id") != first.str("device_id") {
			t.Fatalf("%s", a.Raw)
		}
		refresh("nonsense").is(401, "M_UNKNOWN_TOKEN")
		w.do("POST", "refresh", "", body{}).is(400, "M_MISSING_PARAM")
		w.do("POST", "logout", fourth.str("access_token"), nil).ok()
		refresh(fourth.str("refresh_token")).is(401, "M_UNKNOWN_TOKEN")
	})
}

func TestRevoke_EndsTheSessionOfEitherToken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		for _, pick := range []func(account.Session) string{
			func(s account.Session) string { return s.AccessToken }, func(s account.Session) string { return s.RefreshToken },
		} {
			s, err := w.a.StartSession(w.ctx, account.NewSession{UserID: alice.user, Refreshable: true})
			if err != nil {
				t.Fatal(err)
			}
			w.do("GET", "account/whoami", s.AccessToken, nil).ok()
			if err := w.a.Revoke(w.ctx, pick(s)); err != nil {
				t.Fatal(err)
			}
			w.do("GET", "account/whoami", s.AccessToken, nil).is(401, "M_UNKNOWN_TOKEN")
			w.do("POST", "refresh", "", body{"refresh_token": s.RefreshToken}).is(401, "M_UNKNOWN_TOKEN")
		}
		if err := w.a.Revoke(w.ctx, "unknown"); err != nil {
			t.Fatal(err)
		}
		alice.ask("GET", "account/whoami", nil).ok()
	})
}

func TestAccessToken_ExpiryIsASoftLogout(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		b := w.loginBody(alice.user, password)
		b["refresh_token"] = true
		s := w.do("POST", "login", "", b).ok()
		w.do("GET", "account/whoami", s.str("access_token"), nil).ok()
		w.clock.advance(16 * time.Minute)
		if a := w.do("GET", "account/whoami", s.str("access_token"), nil).is(401, "M_UNKNOWN_TOKEN"); a.JSON["soft_logout"] != true {
			t.Fatalf("%s", a.Raw)
		}
		alice.ask("GET", "account/whoami", nil).ok()
		n := w.do("POST", "refresh", "", body{"refresh_token": s.str("refresh_token")}).ok()
		w.do("GET", "account/whoami", n.str("access_token"), nil).ok()
		w.clock.advance(40 * 24 * time.Hour)
		if err := w.a.Sweep(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.do("POST", "refresh", "", body{"refresh_token": n.str("refresh_token")}).ok()
	})
}

func TestLock_ClosesAllButLogout(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		alice.ask("GET", "account/whoami", nil).ok()
		if err := w.a.SetLocked(w.ctx, alice.user, true); err != nil {
			t.Fatal(err)
		}
		if a := alice.ask("GET", "account/whoami", nil).is(401, "M_USER_LOCKED"); a.JSON["soft_logout"] != true {
			t.Fatalf("%s", a.Raw)
		}
		w.do("POST", "login", "", w.loginBody(alice.user, password)).is(401, "M_USER_LOCKED")
		if err := w.a.SetLocked(w.ctx, alice.user, false); err != nil {
			t.Fatal(err)
		}
		alice.ask("GET", "account/whoami", nil).ok()
		if err := w.a.SetLocked(w.ctx, alice.user, true); err != nil {
			t.Fatal(err)
		}
		alice.ask("POST", "logout", nil).ok()
		alice.ask("POST", "logout", nil).is(401, "M_UNKNOWN_TOKEN")
		if err := w.a.SetLocked(w.ctx, "@nobody:hs1", true); err == nil {
			t.Fatal("locked nobody")
		}
	})
}

func TestSuspend_ForbidsToChangeTheProfile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		alice.ask("GET", "account/whoami", nil).ok()
		if err := w.a.SetSuspended(w.ctx, alice.user, true); err != nil {
			t.Fatal(err)
		}
		alice.ask("PUT", "profile/@alice:hs1/displayname", body{"displayname": "x"}).is(403, "M_USER_SUSPENDED")
		alice.ask("GET", "account/whoami", nil).ok()
		w.login(alice.user, password)
		if err := w.a.NotSuspended(w.ctx, alice.user); err == nil {
			t.Fatal("not suspended")
		}
		if err := w.a.SetSuspended(w.ctx, alice.user, false); err != nil {
			t.Fatal(err)
		}
		alice.ask("PUT", "profile/@alice:hs1/displayname", body{"displayname": "x"}).ok()
	})
}

func TestSessions_SurviveARestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		before := newWorld(t, db, needTwoStages)
		tok, err := before.a.NewRegistrationToken(before.ctx, account.RegistrationToken{Token: "tok"})
		if err != nil {
			t.Fatal(err)
		}
		nonce, err := before.a.RegistrationNonce()
		if err != nil {
			t.Fatal(err)
		}
		session := before.do("POST", "register", "", body{"username": "bob", "password": password}).is(401, "").str("session")
		user, err := before.a.Register(before.ctx, account.NewUser{Localpart: "alice", Password: password, Refreshable: true})
		if err != nil {
			t.Fatal(err)
		}

		after := newWorld(t, db, needTwoStages)
		after.do("GET", "account/whoami", user.AccessToken, nil).ok()
		after.do("POST", "refresh", "", body{"refresh_token": user.RefreshToken}).ok()
		after.do("POST", "register", "", body{"username": "bob", "password": password,
			"auth": body{"session": session, "type": "m.login.registration_token", "token": tok.Token}}).ok()
		after.do("POST", "/_synapse/admin/v1/register", "", body{"nonce": nonce, "username": "carol", "password": password,
			"mac": secretMAC(nonce, "carol", password, "notadmin")}).ok()
	})
}

func needTwoStages(c *config.Config, _ *account.Deps) { c.Registration.RequireToken = true }

func TestTokenCache_OtherReplicasForgetToo(t *testing.T) {
	opts := dbtest.PostgresOptions(t)
	open := func() *world {
		db, err := database.Open(context.Background(), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return newWorld(t, db)
	}
	here, there := open(), open()
	one := here.register("alice")
	there.do("GET", "account/whoami", one.token, nil).ok()
	here.do("GET", "account/whoami", one.token, nil).ok()

	if err := here.a.SetSuspended(here.ctx, one.user, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other replica knows of the suspension", func() bool {
		who, err := there.a.Authenticate(there.ctx, one.token)
		return err == nil && who.Suspended
	})
	there.do("POST", "logout", one.token, nil).ok()
	there.do("GET", "account/whoami", one.token, nil).is(401, "M_UNKNOWN_TOKEN")
	eventually(t, "the other replica knows of the logout", func() bool {
		return here.do("GET", "account/whoami", one.token, nil).Code == 401
	})
	two := here.login(one.user, password)
	profile := func() string { p, _ := there.a.Profile(there.ctx, two.user); return p.DisplayName }
	if profile() != "alice" {
		t.Fatal("no display name")
	}
	if err := here.a.SetSuspended(here.ctx, one.user, false); err != nil {
		t.Fatal(err)
	}
	if err := here.a.SetDisplayName(here.ctx, two.user, "Alice"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other replica knows the new name", func() bool { return profile() == "Alice" })
}

func TestDevices_WhenSeenIsWrittenLater(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		alice.ask("GET", "account/whoami", nil).ok()
		alice.ask("GET", "account/whoami", nil).ok()
		if err := w.a.FlushSeen(w.ctx); err != nil {
			t.Fatal(err)
		}
		d, err := w.a.GetDevice(w.ctx, alice.user, alice.device)
		if err != nil || d.LastSeen == 0 || d.LastIP != "192.0.2.1" {
			t.Fatalf("%+v %v", d, err)
		}
		alice.ask("GET", "account/whoami", nil).ok()
		if err := w.a.FlushSeen(w.ctx); err != nil {
			t.Fatal(err)
		}
		if again, _ := w.a.GetDevice(w.ctx, alice.user, alice.device); again.LastSeen != d.LastSeen {
			t.Fatal("written again within a few minutes")
		}
		w.clock.advance(time.Hour)
		alice.ask("GET", "account/whoami", nil).ok()
		if err := w.a.FlushSeen(w.ctx); err != nil {
			t.Fatal(err)
		}
		if again, _ := w.a.GetDevice(w.ctx, alice.user, alice.device); again.LastSeen <= d.LastSeen {
			t.Fatal("not written after an hour")
		}
	})
}

func TestSessions_ChangesAreAnnounced(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		kinds := func(since stream.Pos) stream.KindSet {
			m, err := w.stream.Touched(w.ctx, since, w.stream.Head(), []stream.Topic{stream.UserTopic(alice.user)})
			if err != nil {
				t.Fatal(err)
			}
			return m[stream.UserTopic(alice.user)]
		}
		for what, c := range map[string]struct {
			kind stream.Kind
			do   func() error
		}{
			"account data": {stream.AccountData, func() error { return w.a.SetAccountData(w.ctx, alice.user, "", "a.b", []byte(`{"x":1}`)) }},
			"tag":          {stream.AccountData, func() error { return w.a.SetTag(w.ctx, alice.user, "!r:hs1", "u.x", []byte(`{}`)) }},
			"profile":      {stream.Profile, func() error { return w.a.SetDisplayName(w.ctx, alice.user, "A") }},
			"lock":         {stream.Session, func() error { return w.a.SetLocked(w.ctx, alice.user, true) }},
			"logout":       {stream.Session, func() error { return w.a.DeleteDevices(w.ctx, alice.user, alice.device) }},
			"deactivation": {stream.Deactivation, func() error { return w.a.Deactivate(w.ctx, alice.user, false) }},
		} {
			since := w.stream.Head()
			if what == "logout" {
				if _, err := w.a.PutDevice(w.ctx, alice.user, alice.device, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.do(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if !kinds(since).Has(c.kind) {
				t.Errorf("%s was not announced", what)
			}
		}
	})
}

func TestAuthenticate_UnknownUsersAndTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if _, err := w.a.Authenticate(w.ctx, ""); err == nil {
			t.Fatal("the empty token is somebody's")
		}
		alice := w.register("alice")
		token, err := w.a.Impersonate(w.ctx, alice.user, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		who, err := w.a.Authenticate(w.ctx, token)
		if err != nil || who.UserID != alice.user || who.DeviceID != "" {
			t.Fatalf("%+v %v", who, err)
		}
		w.do("POST", "logout", token, nil).ok()
		w.do("GET", "account/whoami", token, nil).is(401, "M_UNKNOWN_TOKEN")
		alice.ask("GET", "account/whoami", nil).ok()
		for user, want := range map[id.UserID]bool{"@alice:hs1": true, "@bob:hs1": false, "@alice:other": false, "alice": false, "@a\x00:hs1": false} {
			if got, err := w.a.Exists(w.ctx, user); err != nil || got != want {
				t.Errorf("%q exists: %v %v", user, got, err)
			}
		}
	})
}
