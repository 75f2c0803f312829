package oauth_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// realProvider is a certified implementation of OpenID Connect, on loopback.
func realProvider(t *testing.T, callback string) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	issuer := "http://" + strings.Replace(srv.Listener.Addr().String(), "127.0.0.1", "localhost", 1) + "/"
	storage.RegisterClients(storage.WebClient("viaduc", "secret", callback))
	srv.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.NewTextHandler(io.Discard, nil)), false)
	srv.Start()
	t.Cleanup(srv.Close)
	return issuer
}

// upstreamWorld is a server with that provider; edit changes its entry.
func upstreamWorld(t *testing.T, db *database.DB, edit func(*config.OpenIDProvider)) *world {
	return newWorld(t, db, func(c *config.Config) {
		p := config.OpenIDProvider{ID: "real", Name: "Real provider", ClientID: "viaduc", ClientSecret: "secret", Register: true,
			Issuer: realProvider(t, c.PublicBaseURL+"/oauth2/callback")}
		if edit != nil {
			edit(&p)
		}
		c.OAuth.Providers = []config.OpenIDProvider{p}
	})
}

// atProvider signs in there and gives the address to which the browser is sent back.
func (w *world) atProvider(to string) string {
	w.t.Helper()
	login := w.get(to)
	for login.status == http.StatusFound && !strings.Contains(login.to, "/login/") {
		login = w.get(login.to)
	}
	u, err := url.Parse(to)
	if err != nil {
		w.t.Fatal(err)
	}
	form, err := url.Parse(login.to)
	if err != nil {
		w.t.Fatal(err)
	}
	base := u.Scheme + "://" + u.Host
	resp, err := w.http.PostForm(base+"/login/username", url.Values{"id": {form.Query().Get("authRequestID")}, "username": {"test-user@localhost"}, "password": {"verysecure"}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, "http") {
		back = base + back
	}
	return w.get(back).to
}

// signIn goes to single sign-on and to the provider.
func (w *world) signIn() (back string) {
	w.t.Helper()
	r := w.get("/_matrix/client/v3/login/sso/redirect/real?redirectUrl=" + url.QueryEscape("https://element.example/"))
	to := w.get(r.to)
	want(w.t, "sent to the provider", to.status, 303)
	return w.atProvider(to.to)
}

func TestUpstream(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := upstreamWorld(t, db, nil)
		if !strings.Contains(w.get("/_matrix/client/v3/login").body, `"identity_providers":[{"id":"real","name":"Real provider"}]`) {
			t.Errorf("flows: %s", w.get("/_matrix/client/v3/login").body)
		}
		back := w.signIn()
		p := w.get(w.get(back).to)
		if !strings.Contains(p.body, "@test-user:hs1") {
			t.Fatalf("page: %s", p.body)
		}
		u, _ := url.Parse(w.post("/oauth2/decide", p.with("decision", "allow")).to)
		login := w.api("POST", "/_matrix/client/v3/login", "", map[string]string{"type": "m.login.token", "token": u.Query().Get("loginToken")})
		want(t, "login", login.json["user_id"], "@test-user:hs1")

		want(t, "the answer comes twice", w.get(back).status, 400)
		w.http = w.newBrowser()
		again := w.signIn()
		mine := w.http
		w.http = w.newBrowser()
		want(t, "in another browser", w.get(again).status, 400)
		w.http = mine

		// An account without a password confirms on a page.
		device := login.json["device_id"].(string)
		first := w.api("DELETE", "/_matrix/client/v3/devices/"+device, login.json["access_token"].(string), map[string]any{})
		if first.status != 401 || !strings.Contains(first.body, `"m.login.sso"`) {
			t.Fatalf("challenge: %d %s", first.status, first.body)
		}
		session := first.json["session"].(string)
		auth := map[string]any{"auth": map[string]string{"type": "m.login.sso", "session": session}}
		want(t, "not confirmed", w.api("DELETE", "/_matrix/client/v3/devices/"+device, login.json["access_token"].(string), auth).status, 401)
		w.get(w.get(w.signIn()).to) // signed in again
		p = w.get(w.get("/_matrix/client/v3/auth/m.login.sso/fallback/web?session=" + url.QueryEscape(session)).to)
		done := w.post("/oauth2/decide", p.with("decision", "allow"))
		if done.status != 200 || !strings.Contains(done.body, "onAuthDone") {
			t.Fatalf("done: %d %s", done.status, done.body)
		}
		auth["auth"] = map[string]string{"session": session}
		want(t, "confirmed", w.api("DELETE", "/_matrix/client/v3/devices/"+device, login.json["access_token"].(string), auth).status, 200)
	})
}

func TestUpstream_AccountsOfOthersAreNotTaken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := upstreamWorld(t, db, nil)
		w.user("test-user")
		r := w.get(w.signIn())
		if r.status != 403 || strings.Contains(r.body, "/oauth2/decide") {
			t.Errorf("taken: %d %s", r.status, r.body)
		}
	})
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := upstreamWorld(t, db, func(p *config.OpenIDProvider) { p.Register = false })
		want(t, "no account", w.get(w.signIn()).status, 403)
	})
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := upstreamWorld(t, db, func(p *config.OpenIDProvider) { p.LinkExisting, p.Register = true, false })
		w.user("test-user")
		want(t, "linked", w.get(w.signIn()).status, 303)
	})
}
