package account_test

import (
	"context"
	"html"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/mail/mailtest"
)

// mailWorld is a world that sends e-mail.
func mailWorld(t *testing.T, db *database.DB, edits ...edit) (*world, *mailtest.Sink) {
	sink := mailtest.New(t)
	m := mail.New(sink.Config, db, nil)
	w := newWorld(t, db, append(edits, func(c *config.Config, d *account.Deps) { d.Mail = m; c.PublicBaseURL = "https://hs1" })...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w, sink
}

func eachMail(t *testing.T, fn func(t *testing.T, w *world, sink *mailtest.Sink), edits ...edit) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w, sink := mailWorld(t, db, edits...)
		fn(t, w, sink)
	})
}

var link = regexp.MustCompile(`https://hs1(/account/email\?[^\s"]+)`)

// follow presses the button behind the link of a message.
func (w *world) follow(m mailtest.Mail) {
	w.t.Helper()
	raw := strings.ReplaceAll(strings.ReplaceAll(m.Raw, "=\r\n", ""), "=3D", "=")
	found := link.FindStringSubmatch(raw)
	if found == nil {
		w.t.Fatalf("no link in %s", m.Raw)
	}
	u, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	page := w.do("GET", u.String(), "", nil)
	if page.Code != 200 || !strings.Contains(string(page.Raw), "<button>") {
		w.t.Fatalf("page: %d %s", page.Code, page.Raw)
	}
	r := httptest.NewRequest("POST", "/account/email", strings.NewReader(url.Values{"sid": u.Query()["sid"], "token": u.Query()["token"]}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.web.Handler().ServeHTTP(rec, r)
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `role="status"`) {
		w.t.Fatalf("validation: %d %s", rec.Code, rec.Body)
	}
}

func TestEmail_AddAndResetPassword(t *testing.T) {
	eachMail(t, func(t *testing.T, w *world, sink *mailtest.Sink) {
		alice := w.register("alice")
		ask := body{"client_secret": "s3cret", "email": "Alice@Example.org", "send_attempt": 1}
		first := w.do("POST", "account/3pid/email/requestToken", "", ask)
		sid, _ := first.JSON["sid"].(string)
		if first.Code != 200 || sid == "" {
			t.Fatalf("%d %s", first.Code, first.Raw)
		}
		if again := w.do("POST", "account/3pid/email/requestToken", "", ask); again.JSON["sid"] != sid {
			t.Errorf("the same attempt: %s", again.Raw)
		}
		add := func() answer {
			a := w.do("POST", "account/3pid/add", alice.token, body{"client_secret": "s3cret", "sid": sid})
			if a.Code != 401 || a.JSON["session"] == nil {
				return a
			}
			return w.do("POST", "account/3pid/add", alice.token, body{"client_secret": "s3cret", "sid": sid, "auth": body{
				"type": "m.login.password", "identifier": body{"type": "m.id.user", "user": "alice"}, "password": password, "session": a.JSON["session"]}})
		}
		if a := add(); a.JSON["errcode"] != "M_THREEPID_AUTH_FAILED" {
			t.Errorf("before the link: %s", a.Raw)
		}
		w.follow(sink.Wait(t, 1))
		if a := add(); a.Code != 200 {
			t.Fatalf("after the link: %s", a.Raw)
		}
		if l := w.do("GET", "account/3pid", alice.token, nil); !strings.Contains(string(l.Raw), `"alice@example.org"`) {
			t.Errorf("list: %s", l.Raw)
		}
		if a := w.do("POST", "account/3pid/email/requestToken", "", body{"client_secret": "x", "email": "alice@example.org", "send_attempt": 1}); a.JSON["errcode"] != "M_THREEPID_IN_USE" {
			t.Errorf("in use: %s", a.Raw)
		}
		if a := w.do("POST", "account/password/email/requestToken", "", body{"client_secret": "x", "email": "bob@example.org", "send_attempt": 1}); a.JSON["errcode"] != "M_THREEPID_NOT_FOUND" {
			t.Errorf("not found: %s", a.Raw)
		}
		reset := w.do("POST", "account/password/email/requestToken", "", body{"client_secret": "x", "email": "alice@example.org", "send_attempt": 1})
		creds := body{"client_secret": "x", "sid": reset.JSON["sid"]}
		change := func() answer {
			a := w.do("POST", "account/password", "", body{"new_password": "a new password of alice"})
			return w.do("POST", "account/password", "", body{"new_password": "a new password of alice", "logout_devices": true,
				"auth": body{"type": "m.login.email.identity", "threepid_creds": creds, "session": a.JSON["session"]}})
		}
		if a := change(); a.Code != 401 {
			t.Errorf("before the link: %s", a.Raw)
		}
		w.follow(sink.Wait(t, 2))
		if a := change(); a.Code != 200 {
			t.Fatalf("after the link: %s", a.Raw)
		}
		if a := change(); a.Code == 200 {
			t.Error("the proof is good twice")
		}
		if a := w.do("GET", "account/whoami", alice.token, nil); a.Code != 401 {
			t.Errorf("the old session: %d", a.Code)
		}
		if a := w.do("POST", "login", "", body{"type": "m.login.password", "identifier": body{"type": "m.id.thirdparty", "medium": "email", "address": "ALICE@example.org"},
			"password": "a new password of alice"}); a.Code != 200 {
			t.Errorf("login by address: %s", a.Raw)
		}
		if n := len(sink.Mails()); n != 2 {
			t.Errorf("%d mails", n)
		}
	})
}

func TestEmail_Registration(t *testing.T) {
	eachMail(t, func(t *testing.T, w *world, sink *mailtest.Sink) {
		if a := w.do("POST", "register/email/requestToken", "", body{"client_secret": "s", "email": "eve@evil.example", "send_attempt": 1}); a.JSON["errcode"] != "M_THREEPID_DENIED" {
			t.Errorf("domain: %s", a.Raw)
		}
		req := w.do("POST", "register/email/requestToken", "", body{"client_secret": "s", "email": "bob@ministry.example", "send_attempt": 1, "next_link": "https://app.example/"})
		creds := body{"client_secret": "s", "sid": req.JSON["sid"]}
		flows := w.do("POST", "register", "", body{"username": "bob", "password": password})
		if !strings.Contains(string(flows.Raw), "m.login.email.identity") {
			t.Fatalf("flows: %s", flows.Raw)
		}
		try := func(stage string) answer {
			return w.do("POST", "register", "", body{"username": "bob", "password": password,
				"auth": body{"type": stage, "threepid_creds": creds, "session": flows.JSON["session"]}})
		}
		if a := try("m.login.dummy"); a.Code == 200 {
			t.Error("registered without an address")
		}
		if a := try("m.login.email.identity"); a.Code != 401 {
			t.Errorf("before the link: %d", a.Code)
		}
		m := sink.Wait(t, 1)
		w.follow(m)
		a := try("m.login.email.identity")
		if a.Code != 200 {
			t.Fatalf("register: %s", a.Raw)
		}
		if l := w.do("GET", "account/3pid", a.JSON["access_token"].(string), nil); !strings.Contains(string(l.Raw), "bob@ministry.example") {
			t.Errorf("list: %s", l.Raw)
		}
	}, func(c *config.Config, _ *account.Deps) {
		c.Registration.RequireEmail, c.Registration.EmailDomains = true, []string{"Ministry.example"}
	})
}

func TestEmail_BadRequests(t *testing.T) {
	eachMail(t, func(t *testing.T, w *world, sink *mailtest.Sink) {
		for _, b := range []body{
			{"client_secret": "s", "email": "nonsense", "send_attempt": 1}, {"client_secret": "a b", "email": "a@b.example", "send_attempt": 1},
			{"client_secret": "s", "email": "a@b.example\r\nBcc: c@d.example", "send_attempt": 1}, {"email": "a@b.example"}, {"client_secret": "s"},
			{"client_secret": "s", "email": "a@b.example", "send_attempt": 1, "next_link": "javascript:alert(1)"},
		} {
			if a := w.do("POST", "register/email/requestToken", "", b); a.Code != 400 {
				t.Errorf("%v: %d %s", b, a.Code, a.Raw)
			}
		}
		req := w.do("POST", "register/email/requestToken", "", body{"client_secret": "s", "email": "a@b.example", "send_attempt": 1})
		m := sink.Wait(t, 1)
		w.clock.advance(25 * time.Hour)
		found := link.FindStringSubmatch(strings.ReplaceAll(strings.ReplaceAll(m.Raw, "=\r\n", ""), "=3D", "="))
		u, _ := url.Parse(html.UnescapeString(found[1]))
		if _, ok, err := w.a.PassValidation(w.ctx, u.Query().Get("sid"), u.Query().Get("token")); ok || err != nil {
			t.Errorf("an old link: %v %v", ok, err)
		}
		if _, ok, err := w.a.PassValidation(w.ctx, req.JSON["sid"].(string), "wrong"); ok || err != nil {
			t.Errorf("a wrong link: %v %v", ok, err)
		}
		if n := len(sink.Mails()); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
}

func TestEmail_Languages(t *testing.T) {
	eachMail(t, func(t *testing.T, w *world, sink *mailtest.Sink) {
		for i, lang := range []string{"fr-FR,fr;q=0.9", "de", "en", "xx", ""} {
			if _, err := w.a.RequestToken(w.ctx, account.TokenRequest{Purpose: "add", ClientSecret: "s", Address: "a@b" + string(rune('a'+i)) + ".example", SendAttempt: 1, Language: lang}); err != nil {
				t.Fatal(err)
			}
			if subject := sink.Wait(t, i+1).Header("Subject"); subject == "" {
				t.Error("no subject")
			}
		}
	})
}
