package admin_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/synapseadmin"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
	"github.com/viaduc/viaduc/homeserver/web"
)

// world is a whole homeserver and its client API.
type world struct {
	*testing.T
	ctx  context.Context
	core *homeserver.Homeserver
	web  *web.Server
	base string
}

func each(t *testing.T, fn func(w *world), edits ...func(*config.Config)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		cfg := config.Default()
		cfg.ServerName = "hs1"
		cfg.Log.Requests = false
		cfg.Limits.Enabled = false
		cfg.Registration = config.Registration{Enabled: true, SharedSecret: "secret", RequireToken: true}
		cfg.Passwords.Argon2MemoryKB, cfg.Passwords.Argon2Time = 64, 1
		for _, e := range edits {
			e(cfg)
		}
		ctx := t.Context()
		s := stream.New(db)
		blobs, err := media.NewDisk(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		core, err := homeserver.New(ctx, homeserver.Options{Config: cfg, DB: db, Stream: s, Blobs: blobs, Version: "1.2.3", Log: zerolog.Nop(),
			Signer: event.Signer{Server: "hs1", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, ctx: ctx, core: core}
		w.web = web.New(cfg, web.Deps{Log: zerolog.Nop(), Users: &account.Gate{Accounts: core.Accounts}})
		w.web.Handle(core.Routes()...)
		srv := httptest.NewServer(w.web.Handler())
		t.Cleanup(srv.Close)
		w.base = srv.URL
		streamtest.Run(t, s)
		ended := make(chan error, 1)
		running, stop := context.WithCancel(ctx)
		go func() { ended <- core.Admin.Run(running) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		fn(w)
	})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// user is somebody with a token.
type user struct {
	w      *world
	id     id.UserID
	device id.DeviceID
	token  string
}

func (w *world) user(name string) *user {
	w.Helper()
	s, err := w.core.Accounts.Register(w.ctx, account.NewUser{Localpart: name, Password: "password " + name, DeviceID: "DEV"})
	w.must(err)
	return &user{w, s.UserID, s.DeviceID, s.AccessToken}
}

func (w *world) operator(name string) *user {
	w.Helper()
	u := w.user(name)
	w.must(w.core.Accounts.SetAdmin(w.ctx, u.id, true))
	return u
}

func (u *user) tools() *synapseadmin.Client {
	u.w.Helper()
	c, err := mautrix.NewClient(u.w.base, u.id, u.token)
	u.w.must(err)
	return &synapseadmin.Client{Client: c}
}

type body map[string]any

type answer struct {
	*testing.T
	code int
	raw  []byte
	json map[string]any
}

// do asks; a path without a leading slash stands under /_matrix/client/v3/, one with a leading ! under the operator's API.
func (u *user) do(method, path string, b any) answer {
	w := u.w
	w.Helper()
	if rest, ok := strings.CutPrefix(path, "!"); ok {
		path = "/_synapse/admin/" + rest
	} else if !strings.HasPrefix(path, "/") {
		path = "/_matrix/client/v3/" + path
	}
	var in io.Reader = http.NoBody
	switch b := b.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		w.must(err)
		in = strings.NewReader(string(raw))
	}
	r := httptest.NewRequest(method, path, in)
	if u.token != "" {
		r.Header.Set("Authorization", "Bearer "+u.token)
	}
	rec := httptest.NewRecorder()
	w.web.Handler().ServeHTTP(rec, r)
	a := answer{T: w.T, code: rec.Code, raw: rec.Body.Bytes()}
	_ = json.Unmarshal(a.raw, &a.json)
	return a
}

func (a answer) is(code int, errcode string) answer {
	a.Helper()
	if got, _ := a.json["errcode"].(string); a.code != code || got != errcode {
		a.Fatalf("got %d %s, want %d %s: %s", a.code, got, code, errcode, a.raw)
	}
	return a
}

func (a answer) ok() answer { a.Helper(); return a.is(200, "") }

// equals compares the whole body.
func (a answer) equals(want string) {
	a.Helper()
	a.ok()
	if string(a.raw) != want {
		a.Fatalf("got  %s\nwant %s", a.raw, want)
	}
}

func (a answer) str(key string) string {
	a.Helper()
	s, ok := a.json[key].(string)
	if !ok {
		a.Fatalf("no %s in %s", key, a.raw)
	}
	return s
}

func (u *user) create(in room.CreateInput) id.RoomID {
	u.w.Helper()
	in.Creator = u.id
	if in.Preset == "" {
		in.Preset = "public_chat"
	}
	r, err := u.w.core.Rooms.Create(u.w.ctx, in)
	u.w.must(err)
	return r
}

func (u *user) join(r id.RoomID) {
	u.w.Helper()
	_, err := u.w.core.Rooms.Join(u.w.ctx, room.JoinInput{User: u.id, RoomIDOrAlias: string(r)})
	u.w.must(err)
}

func (u *user) say(r id.RoomID, text string) id.EventID {
	u.w.Helper()
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	u.w.must(err)
	e, err := u.w.core.Rooms.Send(u.w.ctx, room.SendInput{RoomID: r, Sender: u.id, Type: "m.room.message", Content: content})
	u.w.must(err)
	return e
}

func (u *user) membership(r id.RoomID) string {
	u.w.Helper()
	m, _, err := u.w.core.Rooms.Member(u.w.ctx, r, u.id)
	u.w.must(err)
	return m.Membership
}
