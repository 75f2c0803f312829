package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/cryptohelper"
	"maunium.net/go/mautrix/crypto/verificationhelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// patience is how long something may take that takes no time on an idle machine.
const patience = 40 * time.Second

const password = "correct horse battery staple"

// person is one device of a user: a mautrix client that speaks encrypted and syncs all the time.
type person struct {
	*mautrix.Client
	t      testing.TB
	ctx    context.Context
	helper *cryptohelper.CryptoHelper
	verify *verificationhelper.VerificationHelper
	asked  *questions

	mu     sync.Mutex
	events []*event.Event
	news   chan struct{} // closed and renewed when events grow
}

// register makes an account on the server and its first device.
func (s *server) register(name string) *person {
	t := s.w.t
	t.Helper()
	cli, err := mautrix.NewClient(s.base, "", "")
	must(t, err)
	res, err := cli.RegisterDummy(t.Context(), &mautrix.ReqRegister[any]{Username: name, Password: password, InitialDeviceDisplayName: name})
	must(t, err)
	return s.person(cli, res.UserID, res.DeviceID, res.AccessToken)
}

// login makes one more device of a user.
func (s *server) login(user id.UserID) *person {
	t := s.w.t
	t.Helper()
	cli, err := mautrix.NewClient(s.base, "", "")
	must(t, err)
	res, err := cli.Login(t.Context(), &mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Password: password,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: user.String()},
	})
	must(t, err)
	return s.person(cli, res.UserID, res.DeviceID, res.AccessToken)
}

func (s *server) person(cli *mautrix.Client, user id.UserID, device id.DeviceID, token string) *person {
	t := s.w.t
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &person{Client: cli, t: t, ctx: ctx, news: make(chan struct{}), asked: &questions{}}
	cli.UserID, cli.AccessToken = user, token
	cli.DeviceID = device
	cli.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: 2 * time.Minute}
	cli.DefaultHTTPRetries, cli.DefaultHTTPBackoff = 3, 200*time.Millisecond
	cli.Log = zerolog.Nop()
	syncer := impatient{mautrix.NewDefaultSyncer()}
	cli.Syncer = syncer

	var err error
	p.helper, err = cryptohelper.NewCryptoHelper(cli, []byte("pickle"), cryptoStore(t, filepath.Join(s.w.dir, "client-"+string(device)+".db")))
	must(t, err)
	must(t, p.helper.Init(ctx))
	cli.Crypto = p.helper
	p.verify = verificationhelper.NewVerificationHelper(cli, p.machine(), nil, p.asked, false, false, true)
	must(t, p.verify.Init(ctx))
	syncer.OnEvent(p.note)

	synced := make(chan struct{})
	go func() {
		defer close(synced)
		_ = cli.SyncWithContext(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-synced
		cli.Client.CloseIdleConnections()
		_ = p.helper.Close()
	})
	return p
}

// cryptoStore opens a database for keys, without cgo.
func cryptoStore(t testing.TB, file string) *dbutil.Database {
	t.Helper()
	raw, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_time_format=sqlite&_pragma=foreign_keys(1)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(10000)")
	must(t, err)
	db, err := dbutil.NewWithDB(raw, "sqlite3")
	must(t, err)
	return db
}

// impatient tries again at once when a sync fails.
type impatient struct{ *mautrix.DefaultSyncer }

func (impatient) OnFailedSync(*mautrix.RespSync, error) (time.Duration, error) {
	return 100 * time.Millisecond, nil
}

func (p *person) machine() *crypto.OlmMachine { return p.helper.Machine() }

func (p *person) note(_ context.Context, evt *event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, evt)
	close(p.news)
	p.news = make(chan struct{})
}

// await waits until an event comes, or has come, by sync.
func (p *person) await(what string, is func(*event.Event) bool) *event.Event {
	p.t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		p.mu.Lock()
		fresh, news := p.events[seen:], p.news
		seen = len(p.events)
		p.mu.Unlock()
		for _, evt := range fresh {
			if is(evt) {
				return evt
			}
		}
		select {
		case <-news:
		case <-deadline:
			p.t.Fatalf("%s (%s) waits in vain for %s; it saw:\n%s", p.UserID, p.DeviceID, what, p.story())
		}
	}
}

// story tells the events seen, for people.
func (p *person) story() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, evt := range p.events {
		raw := string(evt.Content.VeryRaw)
		if len(raw) > 200 {
			raw = raw[:200]
		}
		fmt.Fprintf(&b, "  %s %s %s %s %s\n", evt.RoomID, evt.ID, evt.Type.Type, evt.Sender, raw)
	}
	return b.String()
}

// awaitText waits for a decrypted message with this text.
func (p *person) awaitText(room id.RoomID, from id.UserID, text string) *event.Event {
	p.t.Helper()
	return p.await(fmt.Sprintf("%q of %s", text, from), func(evt *event.Event) bool {
		m, ok := evt.Content.Parsed.(*event.MessageEventContent)
		return ok && evt.RoomID == room && evt.Sender == from && evt.Type == event.EventMessage && m.Body == text
	})
}

// awaitMember waits until the user has this membership in the room.
func (p *person) awaitMember(room id.RoomID, user id.UserID, membership event.Membership) *event.Event {
	p.t.Helper()
	return p.await(fmt.Sprintf("%s of %s", membership, user), func(evt *event.Event) bool {
		m, ok := evt.Content.Parsed.(*event.MemberEventContent)
		return ok && evt.RoomID == room && evt.Type == event.StateMember && evt.GetStateKey() == user.String() && m.Membership == membership
	})
}

// until waits for a condition that others bring about.
func until(t testing.TB, what string, is func() (bool, error)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, err := is()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s (%v)", what, err)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// questions is what the two sides of a verification show to people.
type questions struct {
	mu       sync.Mutex
	requests []id.VerificationTransactionID
	ready    map[id.VerificationTransactionID]bool
	shown    map[id.VerificationTransactionID]string
	done     map[id.VerificationTransactionID]bool
	refused  map[id.VerificationTransactionID]string
}

func (q *questions) with(fn func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready == nil {
		q.ready, q.shown = map[id.VerificationTransactionID]bool{}, map[id.VerificationTransactionID]string{}
		q.done, q.refused = map[id.VerificationTransactionID]bool{}, map[id.VerificationTransactionID]string{}
	}
	fn()
}

func (q *questions) VerificationRequested(_ context.Context, txn id.VerificationTransactionID, _ id.UserID, _ id.DeviceID) {
	q.with(func() { q.requests = append(q.requests, txn) })
}

func (q *questions) VerificationReady(_ context.Context, txn id.VerificationTransactionID, _ id.DeviceID, _, _ bool, _ *verificationhelper.QRCode) {
	q.with(func() { q.ready[txn] = true })
}

func (q *questions) VerificationCancelled(_ context.Context, txn id.VerificationTransactionID, code event.VerificationCancelCode, reason string) {
	q.with(func() { q.refused[txn] = string(code) + " " + reason })
}

func (q *questions) VerificationDone(_ context.Context, txn id.VerificationTransactionID, _ event.VerificationMethod) {
	q.with(func() { q.done[txn] = true })
}

func (q *questions) ShowSAS(_ context.Context, txn id.VerificationTransactionID, emojis []rune, _ []string, decimals []int) {
	q.with(func() { q.shown[txn] = fmt.Sprint(string(emojis), decimals) })
}
