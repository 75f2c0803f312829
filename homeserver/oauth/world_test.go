package oauth_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/oauth"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// world is a server with accounts and the pages, and one browser.
type world struct {
	t    testing.TB
	ctx  context.Context
	cfg  *config.Config
	a    *account.Accounts
	o    *oauth.OAuth
	srv  *httptest.Server
	http *http.Client // follows nothing
}

func newWorld(t testing.TB, db *database.DB, edit func(*config.Config)) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context()}
	cfg := config.Default()
	cfg.ServerName = "hs1"
	cfg.Log.Requests = false
	cfg.Limits.Enabled = false
	cfg.Registration.Enabled, cfg.Registration.RequireToken = true, false
	cfg.Passwords.Argon2MemoryKB, cfg.Passwords.Argon2Time = 64, 1
	w.srv = httptest.NewUnstartedServer(nil)
	cfg.PublicBaseURL = "http://" + w.srv.Listener.Addr().String()
	if edit != nil {
		edit(cfg)
	}
	w.cfg = cfg
	s := stream.New(db)
	w.run(s)
	var err error
	if w.a, err = account.New(w.ctx, cfg, db, s, account.Deps{}); err != nil {
		t.Fatal(err)
	}
	w.o = oauth.New(oauth.Options{Config: cfg, DB: db, Accounts: w.a})
	ws := web.New(cfg, web.Deps{Users: &account.Gate{Accounts: w.a}, Log: zerolog.Nop()})
	ws.Handle(rows(w.a, w.o)...)
	w.srv.Config.Handler = ws.Handler()
	w.srv.Start()
	t.Cleanup(w.srv.Close)
	w.http = w.newBrowser()
	return w
}

func (w *world) run(s *stream.Stream) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("stream: %v", err)
		}
	})
}

func (w *world) newBrowser() *http.Client {
	jar, _ := cookiejar.New(nil)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func rows(a *account.Accounts, o *oauth.OAuth) []web.Route {
	row := func(method, path string, h web.Handler) web.Route {
		return web.Row(method, path, web.None, web.NoLimit, h, "")
	}
	return []web.Route{
		row("GET", "/_matrix/client/v1/auth_metadata", web.JSON(o.GetMetadata)),
		row("GET", "/_matrix/client/v3/login/sso/redirect", web.Raw(o.GetSSO)),
		row("GET", "/_matrix/client/v3/login/sso/redirect/{idpId}", web.Raw(o.GetSSO)),
		row("GET", "/_matrix/client/v3/auth/m.login.sso/fallback/web", web.Raw(o.GetStagePage)),
		row("GET", "/_matrix/client/v3/login", web.JSON(a.GetLogin)),
		web.Row("POST", "/_matrix/client/v3/login", web.Optional, web.NoLimit, web.JSON(a.PostLogin), ""),
		web.Row("GET", "/_matrix/client/v3/account/whoami", web.User, web.NoLimit, web.JSON(a.GetWhoami), ""),
		web.Row("DELETE", "/_matrix/client/v3/devices/{deviceId}", web.User, web.NoLimit, web.JSON(a.DeleteDeviceInfo), ""),
		row("GET", "/oauth2/authorize", web.Raw(o.GetAuthorize)), row("POST", "/oauth2/token", web.Raw(o.Endpoint(o.PostToken))),
		row("POST", "/oauth2/revoke", web.Raw(o.Endpoint(o.PostRevoke))), row("POST", "/oauth2/registration", web.Raw(o.Endpoint(o.PostRegistration))),
		row("POST", "/oauth2/device", web.Raw(o.Endpoint(o.PostDevice))), row("GET", "/oauth2/link", web.Raw(o.GetLink)),
		row("GET", "/oauth2/continue", web.Raw(o.GetContinue)), row("POST", "/oauth2/signin", web.Raw(o.PostSignIn)),
		row("POST", "/oauth2/create", web.Raw(o.PostCreate)), row("POST", "/oauth2/decide", web.Raw(o.PostDecide)),
		row("POST", "/oauth2/upstream", web.Raw(o.PostUpstream)), row("GET", "/oauth2/callback", web.Raw(o.GetCallback)),
		row("GET", "/account/", web.Raw(o.GetAccount)), row("POST", "/account/end", web.Raw(o.PostEnd())),
		row("POST", "/account/reset", web.Raw(o.PostReset())), row("POST", "/account/signout", web.Raw(o.PostSignOut())),
	}
}

func each(t *testing.T, edit func(*config.Config), fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(t, newWorld(t, db, edit)) })
}

type reply struct {
	status int
	body   string
	to     string // where it redirects
	head   http.Header
	json   map[string]any
}

func (w *world) send(c *http.Client, r *http.Request) reply {
	w.t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, body: string(b), to: resp.Header.Get("Location"), head: resp.Header}
	_ = json.Unmarshal(b, &out.json)
	return out
}

func (w *world) get(path string) reply {
	w.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = w.srv.URL + path
	}
	r, err := http.NewRequest("GET", path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send(w.http, r)
}

func (w *world) post(path string, v url.Values) reply {
	w.t.Helper()
	r, err := http.NewRequest("POST", w.srv.URL+path, strings.NewReader(v.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.send(w.http, r)
}

func (w *world) api(method, path, token string, v any) reply {
	w.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequest(method, w.srv.URL+path, strings.NewReader(string(raw)))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.send(http.DefaultClient, r)
}

var hidden = regexp.MustCompile(`name="(r|token)" value="([^"]*)"`)

// fields are the hidden ones of the first form of a page.
func (r reply) fields() url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(r.body, -1) {
		if !v.Has(m[1]) {
			v.Set(m[1], m[2])
		}
	}
	return v
}

func (r reply) with(pairs ...string) url.Values {
	v := r.fields()
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func (w *world) user(name string) id.UserID {
	w.t.Helper()
	s, err := w.a.Register(w.ctx, account.NewUser{Localpart: name, Password: "pass word " + name, NoSession: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.UserID
}

func want(t testing.TB, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}
