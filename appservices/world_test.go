package appservices

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

const domain = "hs.test"

// world is a server with application services, without listeners.
type world struct {
	t      *testing.T
	ctx    context.Context
	db     *database.DB
	stream *stream.Stream
	core   *homeserver.Homeserver
	apps   *AppServices
	web    http.Handler
	stop   func()
	n      atomic.Int64
}

// options change how a world is built.
type options struct {
	local   map[string]http.Handler
	timeout time.Duration
}

func newWorld(t *testing.T, db *database.DB, services []*Service, o options) *world {
	t.Helper()
	w := &world{t: t, ctx: context.Background(), db: db, stream: stream.New(db)}
	cfg := config.Default()
	cfg.ServerName = domain
	cfg.Limits.Enabled = false
	cfg.Test.OpenRegistration = true
	list := NewServices(services)
	signer := event.Signer{Server: domain, KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	blobs, err := media.NewDisk(t.TempDir())
	w.must(err)
	w.core, err = homeserver.New(w.ctx, homeserver.Options{Config: cfg, DB: db, Stream: w.stream, Signer: signer, Blobs: blobs,
		AskForAlias: func(ctx context.Context, alias id.RoomAlias) bool { return w.apps.QueryAlias(ctx, alias) },
		Exclusive:   list.ExclusiveUser, Log: zerolog.Nop(), Previews: http.DefaultClient, Gateways: http.DefaultClient})
	w.must(err)
	w.apps = New(Options{Services: list, Client: http.DefaultClient, Stream: w.stream, Rooms: w.core.Rooms, E2EE: w.core.Keys,
		Ephemeral: w.core.Ephemeral, Pending: NewPending(db), Render: w.core.RenderForServices, UserExists: w.core.Accounts.Exists,
		Local: o.local, Timeout: o.timeout, Log: zerolog.Nop()})
	server := web.New(cfg, web.Deps{Log: zerolog.Nop(), Users: &account.Gate{Accounts: w.core.Accounts,
		AppService: func(ctx context.Context, r *http.Request, token string) (web.Requester, bool, error) {
			return list.Authenticate(ctx, w.core.Accounts, r, token)
		}}})
	server.Handle(append(w.core.Routes(), w.apps.Routes()...)...)
	w.web = server.Handler()
	w.run()
	return w
}

// run runs the workers until the test ends or stop is called.
func (w *world) run() {
	ctx, cancel := context.WithCancel(zerolog.Nop().WithContext(context.Background()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.stream.Run(ctx) })
	wg.Go(func() { _ = w.core.Run(ctx) })
	w.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(w.stop)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// user registers somebody and returns the access token as well.
func (w *world) user(name string) (id.UserID, string) {
	w.t.Helper()
	s, err := w.core.Accounts.Register(w.ctx, account.NewUser{Localpart: name, DeviceID: "DEV"})
	w.must(err)
	return s.UserID, s.AccessToken
}

func (w *world) room(creator id.UserID) id.RoomID {
	w.t.Helper()
	r, err := w.core.Rooms.Create(w.ctx, room.CreateInput{Creator: creator, Preset: "public_chat",
		CreationContent: json.RawMessage(fmt.Sprintf(`{"n":%d}`, w.n.Add(1)))})
	w.must(err)
	return r
}

func (w *world) say(user id.UserID, r id.RoomID, text string) id.EventID {
	w.t.Helper()
	body, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	e, err := w.core.Rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: user, TxnID: fmt.Sprint(w.n.Add(1)), Type: "m.room.message", Content: body})
	w.must(err)
	return e
}

func (w *world) join(user id.UserID, r id.RoomID) {
	w.t.Helper()
	_, err := w.core.Rooms.Join(w.ctx, room.JoinInput{User: user, RoomIDOrAlias: string(r)})
	w.must(err)
}

// answer is what the client-server API said.
type answer struct {
	t    *testing.T
	Code int
	Body string
	JSON map[string]any
}

func (a answer) is(code int, errcode string) answer {
	a.t.Helper()
	if got, _ := a.JSON["errcode"].(string); a.Code != code || got != errcode {
		a.t.Fatalf("answer is %d %s, want %d %s", a.Code, a.Body, code, errcode)
	}
	return a
}

func (a answer) ok() answer {
	a.t.Helper()
	return a.is(200, "")
}

// call asks the client-server API.
func (w *world) call(method, path, token, body string) answer {
	w.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.RemoteAddr = "192.0.2.1:1000"
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.web.ServeHTTP(rec, req)
	a := answer{t: w.t, Code: rec.Code, Body: rec.Body.String()}
	_ = json.Unmarshal(rec.Body.Bytes(), &a.JSON) // lists stay in Body
	return a
}

// delivered is one transaction as it arrived.
type delivered struct {
	ID        string
	Body      string
	Token     string
	Events    []got             `json:"events"`
	Ephemeral []got             `json:"ephemeral"`
	ToDevice  []json.RawMessage `json:"to_device"`
	Lists     struct {
		Changed []id.UserID `json:"changed"`
	} `json:"org.matrix.msc3202.device_lists"`
	Counts map[id.UserID]map[id.DeviceID]map[string]int `json:"org.matrix.msc3202.device_one_time_keys_count"`
}

type got struct {
	Type     string         `json:"type"`
	RoomID   id.RoomID      `json:"room_id"`
	EventID  id.EventID     `json:"event_id"`
	Sender   id.UserID      `json:"sender"`
	StateKey *string        `json:"state_key"`
	Content  map[string]any `json:"content"`
}

// bridge is a scriptable application service.
type bridge struct {
	t   *testing.T
	srv *httptest.Server
	// script may answer a request; false leaves it to the default: 200 {}.
	script func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	calls []string // method and target
	tries []delivered
	taken []delivered
}

func newBridge(t *testing.T) *bridge {
	b := &bridge{t: t}
	b.srv = httptest.NewServer(b)
	t.Cleanup(b.srv.Close)
	return b
}

// ServeHTTP answers as an application service.
func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	d := delivered{Body: string(raw), Token: r.Header.Get("Authorization")}
	txn, isTxn := strings.CutPrefix(r.URL.Path, "/_matrix/app/v1/transactions/")
	b.mu.Lock()
	b.calls = append(b.calls, r.Method+" "+r.RequestURI)
	if isTxn {
		d.ID = txn
		if err := json.Unmarshal(raw, &d); err != nil {
			b.t.Errorf("transaction %s: %v", txn, err)
		}
		b.tries = append(b.tries, d)
	}
	script := b.script
	b.mu.Unlock()
	if script != nil && script(w, r) {
		return
	}
	if isTxn {
		b.mu.Lock()
		b.taken = append(b.taken, d)
		b.mu.Unlock()
	}
	_, _ = w.Write([]byte("{}"))
}

func (b *bridge) scripted(fn func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = fn
}

// events are those of all transactions taken so far.
func (b *bridge) events() (out []got) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.taken {
		out = append(out, d.Events...)
	}
	return out
}

func (b *bridge) ephemeral(kind string) (out []got) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.taken {
		for _, e := range d.Ephemeral {
			if e.Type == kind {
				out = append(out, e)
			}
		}
	}
	return out
}

func (b *bridge) attempts() []delivered {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]delivered(nil), b.tries...)
}

func (b *bridge) called() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.calls...)
}

func (b *bridge) has(eventID id.EventID) bool {
	for _, e := range b.events() {
		if e.EventID == eventID {
			return true
		}
	}
	return false
}

// until waits for a condition.
func (w *world) until(what string, fn func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if fn() {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// service is a registration for a bridge at an address.
func service(t *testing.T, url string, change func(r *Registration)) *Service {
	t.Helper()
	r := Registration{ID: "irc", ASToken: "as", HSToken: "hs", SenderLocalpart: "ircbot",
		Namespaces: Namespaces{Users: []Namespace{{Exclusive: true, Regex: `@_irc_.*`}}, Aliases: []Namespace{{Exclusive: true, Regex: `#_irc_.*`}}}}
	if url != "" {
		r.URL = &url
	}
	if change != nil {
		change(&r)
	}
	s, err := NewService(domain, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
