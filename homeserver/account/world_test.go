package account_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// clock is a time that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// world is one process: stream, accounts and the client API over them.
type world struct {
	t      testing.TB
	ctx    context.Context
	db     *database.DB
	stream *stream.Stream
	a      *account.Accounts
	web    *web.Server
	gate   *account.Gate
	clock  *clock
}

type edit func(*config.Config, *account.Deps)

func testConfig() *config.Config {
	cfg := config.Default()
	cfg.ServerName = "hs1"
	cfg.Log.Requests = false
	cfg.Limits.Enabled = false
	cfg.Registration = config.Registration{Enabled: true, SharedSecret: "complement", Guests: true}
	cfg.Passwords.Argon2MemoryKB, cfg.Passwords.Argon2Time = 64, 1
	cfg.Sessions.LoginTokens = true
	return cfg
}

func newWorld(t testing.TB, db *database.DB, edits ...edit) *world {
	t.Helper()
	cfg := testConfig()
	ck := &clock{}
	deps := account.Deps{
		Now: ck.now, DefaultRoomVersion: "12", RoomVersions: map[string]string{"11": "stable", "12": "stable"},
		SpecVersions: []string{"v1.1", "v1.19"}, UnstableFeatures: map[string]bool{"org.example": true},
	}
	for _, e := range edits {
		e(cfg, &deps)
	}
	ctx := context.Background()
	s := newStream(db)
	a, err := account.New(ctx, cfg, db, s, deps)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: ctx, db: db, stream: s, a: a, clock: ck, gate: &account.Gate{Accounts: a}}
	w.web = web.New(cfg, web.Deps{Users: w.gate, Log: zerolog.Nop()})
	w.web.Handle(rows(a)...)
	start(t, ctx, s)
	return w
}

// each runs a test on both engines.
func each(t *testing.T, fn func(t *testing.T, w *world), edits ...edit) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(t, newWorld(t, db, edits...)) })
}

type body map[string]any

type answer struct {
	t    testing.TB
	Code int
	Raw  []byte
	JSON map[string]any
	http.Header
}

// do asks the client API; a path without a leading slash stands under /_matrix/client/v3/.
func (w *world) do(method, path, token string, b any) answer {
	w.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/_matrix/client/v3/" + path
	}
	var in io.Reader = http.NoBody
	switch b := b.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		in = strings.NewReader(string(raw))
	}
	r := httptest.NewRequest(method, path, in)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.web.Handler().ServeHTTP(rec, r)
	a := answer{t: w.t, Code: rec.Code, Raw: rec.Body.Bytes(), Header: rec.Result().Header}
	_ = json.Unmarshal(a.Raw, &a.JSON)
	return a
}

func (a answer) is(code int, errcode string) answer {
	a.t.Helper()
	if a.Code != code {
		a.t.Fatalf("status %d, want %d: %s", a.Code, code, a.Raw)
	}
	if got, _ := a.JSON["errcode"].(string); got != errcode {
		a.t.Fatalf("errcode %q, want %q: %s", got, errcode, a.Raw)
	}
	return a
}

func (a answer) ok() answer { a.t.Helper(); return a.is(200, "") }

func (a answer) str(key string) string {
	a.t.Helper()
	s, ok := a.JSON[key].(string)
	if !ok || s == "" {
		a.t.Fatalf("no %s in %s", key, a.Raw)
	}
	return s
}

const password = "sUp3rs3kr1t"

// client is a signed-in user.
type client struct {
	*world
	user   id.UserID
	device id.DeviceID
	token  string
}

func (w *world) register(localpart string) client {
	w.t.Helper()
	a := w.do("POST", "register", "", body{
		"auth": body{"type": "m.login.dummy"}, "username": localpart, "password": password,
	}).ok()
	return client{w, id.UserID(a.str("user_id")), id.DeviceID(a.str("device_id")), a.str("access_token")}
}

func (w *world) loginBody(user id.UserID, pw string) body {
	return body{"type": "m.login.password", "identifier": body{"type": "m.id.user", "user": user}, "password": pw}
}

func (w *world) login(user id.UserID, pw string) client {
	w.t.Helper()
	a := w.do("POST", "login", "", w.loginBody(user, pw)).ok()
	return client{w, id.UserID(a.str("user_id")), id.DeviceID(a.str("device_id")), a.str("access_token")}
}

func (c client) ask(method, path string, b any) answer {
	c.t.Helper()
	return c.do(method, path, c.token, b)
}

func (c client) passwordAuth(pw string) body {
	return body{"type": "m.login.password", "identifier": body{"type": "m.id.user", "user": c.user}, "password": pw}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
