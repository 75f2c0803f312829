package account_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
)

func TestRegister_EmptyBodyListsTheFlows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, b := range []any{body{}, nil} {
			a := w.do("POST", "register", "", b).is(401, "")
			if a.Get("Content-Type") != "application/json" {
				t.Fatalf("content type %q", a.Get("Content-Type"))
			}
			a.str("session")
			if _, ok := a.JSON["params"].(map[string]any); !ok || len(a.JSON["flows"].([]any)) == 0 {
				t.Fatalf("flows or params missing: %s", a.Raw)
			}
			if _, there := a.JSON["errcode"]; there {
				t.Fatalf("a first question is no error: %s", a.Raw)
			}
		}
	})
}

func TestRegister_WithOneRequest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.do("POST", "register", "", body{"auth": body{"type": "m.login.dummy"}, "username": "user-UPPER",
			"password": password, "device_id": "my_device_id", "initial_device_display_name": "Phone"}).ok()
		if a.str("user_id") != "@user-upper:hs1" || a.str("device_id") != "my_device_id" {
			t.Fatalf("%s", a.Raw)
		}
		who := w.do("GET", "account/whoami", a.str("access_token"), nil).ok()
		if who.str("user_id") != "@user-upper:hs1" || who.str("device_id") != "my_device_id" {
			t.Fatalf("%s", who.Raw)
		}
		if d := w.do("GET", "devices/my_device_id", a.str("access_token"), nil).ok(); d.str("display_name") != "Phone" {
			t.Fatalf("%s", d.Raw)
		}
		if p := w.do("GET", "profile/@user-upper:hs1", "", nil).ok(); p.str("displayname") != "user-upper" {
			t.Fatalf("%s", p.Raw)
		}
	})
}

func TestRegister_SessionGoesFromOneRequestToTheNext(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		req := body{"username": "test_user", "password": "übers3kr1t", "device_id": "xyzzy"}
		session := w.do("POST", "register", "", req).is(401, "").str("session")
		req["auth"] = body{"session": session, "type": "m.login.dummy"}
		w.do("POST", "register", "", req).ok()
		w.login("@test_user:hs1", "übers3kr1t")
	})
}

func TestRegister_RefusesBadNames(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register("taken")
		for name, code := range map[string]string{
			"user-!": "M_INVALID_USERNAME", "us,er": "M_INVALID_USERNAME", "é": "M_INVALID_USERNAME", "a b": "M_INVALID_USERNAME",
			"user-\n": "M_INVALID_USERNAME", "a:b": "M_INVALID_USERNAME", "_bridge": "M_INVALID_USERNAME", "@taken:hs1": "M_INVALID_USERNAME",
			strings.Repeat("a", 252): "M_INVALID_USERNAME", "taken": "M_USER_IN_USE", "TAKEN": "M_USER_IN_USE",
		} {
			// Before any stage is passed, and after.
			w.do("POST", "register", "", body{"username": name, "password": password}).is(400, code)
			w.do("POST", "register", "", body{"username": name, "password": password, "auth": body{"type": "m.login.dummy"}}).is(400, code)
		}
		for _, name := range []string{"q", "3", "a.b", "a_b", "a=b", "a-b", "a/b", "a+b"} {
			w.register(name)
		}
	})
}

func TestRegister_RefusesBadInput(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		dummy := body{"type": "m.login.dummy"}
		w.do("POST", "register", "", "{ \"test\":\"a\x81\" }").is(400, "M_NOT_JSON")
		w.do("POST", "register", "", body{"username": 3}).is(400, "M_BAD_JSON")
		w.do("POST", "register", "", body{"username": "a", "auth": "x"}).is(400, "M_BAD_JSON")
		w.do("POST", "register", "", body{"username": "a", "password": "short", "auth": dummy}).is(400, "M_WEAK_PASSWORD")
		w.do("POST", "register", "", body{"username": "a", "password": strings.Repeat("x", 600), "auth": dummy}).is(400, "M_INVALID_PARAM")
		w.do("POST", "register", "", body{"username": "a", "auth": dummy}).is(400, "M_MISSING_PARAM")
		w.do("POST", "register", "", body{"username": "a", "password": password, "auth": dummy, "device_id": strings.Repeat("d", 300)}).is(400, "M_INVALID_PARAM")
		w.do("POST", "register?kind=bot", "", body{}).is(400, "M_INVALID_PARAM")
		w.do("POST", "register", "", body{"username": "a", "password": password, "auth": body{"type": "m.login.unknown"}}).is(401, "M_FORBIDDEN")
		w.do("POST", "register", "", body{"username": "a", "password": password, "admin": true, "auth": dummy}).ok()
		if u, err := w.a.GetUser(w.ctx, "@a:hs1"); err != nil || u.Admin {
			t.Fatalf("a client made itself an administrator: %+v %v", u, err)
		}
	})
}

func TestRegister_WithoutNameGetsOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.do("POST", "register", "", body{"auth": body{"type": "m.login.dummy"}, "password": password, "inhibit_login": true}).ok()
		if a.JSON["access_token"] != nil || a.JSON["device_id"] != nil {
			t.Fatalf("login was not inhibited: %s", a.Raw)
		}
		if ds, err := w.a.Devices(w.ctx, id.UserID(a.str("user_id"))); err != nil || len(ds) != 0 {
			t.Fatalf("devices %v %v", ds, err)
		}
		w.login(id.UserID(a.str("user_id")), password)
	})
}

func TestRegister_ClosedServerRefuses(t *testing.T) {
	closed := func(c *config.Config, _ *account.Deps) { c.Registration = config.Registration{} }
	each(t, func(t *testing.T, w *world) {
		w.do("POST", "register", "", body{}).is(403, "M_FORBIDDEN")
		w.do("GET", "register/available?username=a", "", nil).is(403, "M_FORBIDDEN")
		w.do("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=a", "", nil).is(403, "M_FORBIDDEN")
		w.do("POST", "register?kind=guest", "", body{}).is(403, "M_GUEST_ACCESS_FORBIDDEN")
		w.do("GET", "/_synapse/admin/v1/register", "", nil).is(400, "M_UNKNOWN")
	}, closed)
}

func TestRegister_AvailableTellsWhatIsWrong(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register("taken")
		w.a.SetExclusive(func(u id.UserID, _ string) bool { return strings.HasPrefix(string(u), "@irc") })
		if a := w.do("GET", "register/available?username=free", "", nil).ok(); a.JSON["available"] != true {
			t.Fatalf("%s", a.Raw)
		}
		w.do("GET", "register/available?username=taken", "", nil).is(400, "M_USER_IN_USE")
		w.do("GET", "register/available?username=a%2Cb", "", nil).is(400, "M_INVALID_USERNAME")
		w.do("GET", "register/available?username=irc_bob", "", nil).is(400, "M_EXCLUSIVE")
		w.do("GET", "register/available", "", nil).is(400, "M_MISSING_PARAM")
		w.do("POST", "register", "", body{"username": "irc_bob", "password": password, "auth": body{"type": "m.login.dummy"}}).is(400, "M_EXCLUSIVE")
	})
}

func TestRegister_GuestsHaveFewRights(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.do("POST", "register?kind=guest", "", body{"username": "x", "device_id": "mine", "initial_device_display_name": "Tab"}).ok()
		token := a.str("access_token")
		if a.str("user_id") == "@x:hs1" || a.str("device_id") == "mine" {
			t.Fatalf("a guest chose a name: %s", a.Raw)
		}
		if who := w.do("GET", "account/whoami", token, nil).ok(); who.JSON["is_guest"] != true {
			t.Fatalf("%s", who.Raw)
		}
		w.do("GET", "account/3pid", token, nil).is(403, "M_GUEST_ACCESS_FORBIDDEN")
		w.do("PUT", "profile/"+a.str("user_id")+"/displayname", token, body{"displayname": "G"}).ok()
		w.do("PUT", "profile/"+a.str("user_id")+"/m.tz", token, body{"m.tz": "Europe/Paris"}).is(403, "M_GUEST_ACCESS_FORBIDDEN")
	})
}

func TestRegister_TokenIsCountedAndEnds(t *testing.T) {
	withToken := func(c *config.Config, _ *account.Deps) { c.Registration.RequireToken = true }
	each(t, func(t *testing.T, w *world) {
		once, soon := int64(1), w.clock.now().Add(time.Hour).UnixMilli()
		tok, err := w.a.NewRegistrationToken(w.ctx, account.RegistrationToken{UsesAllowed: &once, Expires: &soon})
		if err != nil {
			t.Fatal(err)
		}
		valid := func() any {
			return w.do("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token="+tok.Token, "", nil).ok().JSON["valid"]
		}
		if valid() != true {
			t.Fatal("a new token is not valid")
		}
		reg := func(name string, auth any) answer {
			return w.do("POST", "register", "", body{"username": name, "password": password, "auth": auth})
		}
		reg("a", body{"type": "m.login.dummy"}).is(401, "M_FORBIDDEN")
		session := reg("a", nil).is(401, "").str("session")
		reg("a", body{"type": "m.login.registration_token", "token": "wrong", "session": session}).is(401, "M_UNAUTHORIZED")
		reg("a", body{"type": "m.login.registration_token", "session": session}).is(401, "M_MISSING_PARAM")
		reg("a", body{"type": "m.login.registration_token", "token": tok.Token, "session": session}).ok()
		if valid() != false {
			t.Fatal("a used token is still valid")
		}
		reg("b", body{"type": "m.login.registration_token", "token": tok.Token}).is(401, "M_UNAUTHORIZED")
		if got, err := w.a.GetRegistrationToken(w.ctx, tok.Token); err != nil || got.Completed != 1 {
			t.Fatalf("%+v %v", got, err)
		}
		tok, err = w.a.NewRegistrationToken(w.ctx, account.RegistrationToken{Token: "until-later", Expires: &soon})
		if err != nil || valid() != true {
			t.Fatalf("%v", err)
		}
		w.clock.advance(2 * time.Hour)
		if valid() != false {
			t.Fatal("an expired token is still valid")
		}
		if _, err := w.a.NewRegistrationToken(w.ctx, account.RegistrationToken{Token: "until-later"}); err == nil {
			t.Fatal("a token was made twice")
		}
		if err := w.a.DeleteRegistrationToken(w.ctx, "until-later"); err != nil {
			t.Fatal(err)
		}
	}, withToken)
}

func TestRegister_SameNameAtOnceGivesOneAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		codes := make(chan int)
		for range 8 {
			go func() {
				codes <- w.do("POST", "register", "", body{"auth": body{"type": "m.login.dummy"}, "username": "race", "password": password}).Code
			}()
		}
		won := 0
		for range 8 {
			switch code := <-codes; code {
			case 200:
				won++
			case 400:
			default:
				t.Errorf("status %d", code)
			}
		}
		if won != 1 {
			t.Fatalf("%d accounts of one name", won)
		}
	})
}

func secretMAC(nonce, user, pw, admin string) string {
	mac := hmac.New(sha1.New, []byte("complement"))
	mac.Write([]byte(nonce + "\x00" + user + "\x00" + pw + "\x00" + admin))
	return hex.EncodeToString(mac.Sum(nil))
}

func TestSharedSecret_MakesUsersAndAdministrators(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const path = "/_synapse/admin/v1/register"
		reg := func(user string, admin bool, edit func(body)) answer {
			nonce, word := w.do("GET", path, "", nil).ok().str("nonce"), "notadmin"
			if admin {
				word = "admin"
			}
			b := body{"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": secretMAC(nonce, user, password, word)}
			if edit != nil {
				edit(b)
			}
			return w.do("POST", path, "", b)
		}
		a := reg("adminuser", true, nil).ok()
		a.str("access_token")
		a.str("device_id")
		if u, err := w.a.GetUser(w.ctx, "@adminuser:hs1"); err != nil || !u.Admin {
			t.Fatalf("%+v %v", u, err)
		}
		if b := reg("user-UPPER-shared", false, nil).ok(); b.str("user_id") != "@user-upper-shared:hs1" {
			t.Fatalf("%s", b.Raw)
		}
		reg("us,er", false, nil).is(400, "M_INVALID_USERNAME")
		reg("x", false, func(b body) { b["admin"] = true }).is(403, "M_UNKNOWN")
		reg("x", false, func(b body) { b["nonce"] = "made-up"; b["mac"] = secretMAC("made-up", "x", password, "notadmin") }).is(400, "M_UNKNOWN")

		nonce := w.do("GET", path, "", nil).ok().str("nonce")
		b := body{"nonce": nonce, "username": "one", "password": password, "mac": secretMAC(nonce, "one", password, "notadmin")}
		w.do("POST", path, "", b).ok()
		w.do("POST", path, "", body{"nonce": nonce, "username": "two", "password": password, "mac": secretMAC(nonce, "two", password, "notadmin")}).is(400, "M_UNKNOWN")
		nonce = w.do("GET", path, "", nil).ok().str("nonce")
		w.clock.advance(2 * time.Minute)
		w.do("POST", path, "", body{"nonce": nonce, "username": "two", "password": password, "mac": secretMAC(nonce, "two", password, "notadmin")}).is(400, "M_UNKNOWN")
	})
}
