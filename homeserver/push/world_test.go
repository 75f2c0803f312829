package push

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// world is one server, without its HTTP side.
type world struct {
	tb        testing.TB
	ctx       context.Context
	db        *database.DB
	stream    *stream.Stream
	accounts  *account.Accounts
	rooms     *room.Rooms
	ephemeral *ephemeral.Ephemeral
	push      *Push
	txn       atomic.Int64
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(newWorld(t, db, nil)) })
}

func newWorld(tb testing.TB, db *database.DB, client *http.Client) *world {
	tb.Helper()
	w := &world{tb: tb, ctx: context.Background(), db: db}
	cfg := config.Default()
	cfg.ServerName = "hs1"
	w.stream = stream.New(db)
	var err error
	if w.accounts, err = account.New(w.ctx, cfg, db, w.stream, account.Deps{DefaultRoomVersion: "12"}); err != nil {
		tb.Fatal(err)
	}
	seed := make([]byte, ed25519.SeedSize)
	w.rooms = room.New(room.Deps{DB: db, Stream: w.stream, Profile: w.profile,
		Signer: event.Signer{Server: "hs1", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}})
	times := timeline.New(timeline.Deps{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms})
	w.ephemeral = ephemeral.New(ephemeral.Options{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms})
	w.push = New(Options{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms, Ephemeral: w.ephemeral, Timelines: times, Client: client})
	streamtest.Run(tb, w.stream)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = w.push.Run(ctx) }()
	tb.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *world) profile(ctx context.Context, user id.UserID) (string, string, error) {
	p, err := w.accounts.Profile(ctx, user)
	return p.DisplayName, p.AvatarURL, err
}

func (w *world) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// eventually waits for a condition.
func (w *world) eventually(what string, ok func() bool) {
	w.tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			w.tb.Fatalf("never: %s", what)
		}
		select {
		case <-w.ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// user registers somebody.
func (w *world) user(name string) id.UserID {
	w.tb.Helper()
	s, err := w.accounts.Register(w.ctx, account.NewUser{Localpart: name, DeviceID: "DEV"})
	w.must(err)
	return s.UserID
}

// create makes a public room.
func (w *world) create(user id.UserID, members ...id.UserID) id.RoomID {
	w.tb.Helper()
	r, err := w.rooms.Create(w.ctx, room.CreateInput{Creator: user, Preset: "public_chat",
		CreationContent: json.RawMessage(fmt.Sprintf(`{"org.example.n":%d}`, w.txn.Add(1)))})
	w.must(err)
	for _, m := range members {
		w.join(m, r)
	}
	return r
}

func (w *world) join(user id.UserID, r id.RoomID) {
	w.tb.Helper()
	_, err := w.rooms.Join(w.ctx, room.JoinInput{User: user, RoomIDOrAlias: string(r)})
	w.must(err)
}

func (w *world) leave(user id.UserID, r id.RoomID) {
	w.tb.Helper()
	w.must(w.rooms.Leave(w.ctx, room.MemberInput{RoomID: r, Sender: user}))
}

func (w *world) say(user id.UserID, r id.RoomID, text string) id.EventID {
	w.tb.Helper()
	body, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	return w.send(user, r, "m.room.message", string(body))
}

func (w *world) reply(user id.UserID, r id.RoomID, text, relType string, parent id.EventID) id.EventID {
	w.tb.Helper()
	body, _ := json.Marshal(map[string]any{"msgtype": "m.text", "body": text,
		"m.relates_to": map[string]any{"rel_type": relType, "event_id": parent}})
	return w.send(user, r, "m.room.message", string(body))
}

func (w *world) send(user id.UserID, r id.RoomID, evType, content string) id.EventID {
	w.tb.Helper()
	return w.sendKey(user, r, evType, nil, content)
}

func (w *world) sendKey(user id.UserID, r id.RoomID, evType string, key *string, content string) id.EventID {
	w.tb.Helper()
	e, err := w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: user, DeviceID: "DEV", TxnID: fmt.Sprintf("%p-%d", w, w.txn.Add(1)),
		Type: evType, StateKey: key, Content: json.RawMessage(content)})
	w.must(err)
	return e
}

func (w *world) redact(user id.UserID, r id.RoomID, target id.EventID) {
	w.tb.Helper()
	content, _ := json.Marshal(map[string]any{"redacts": target})
	_, err := w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: user, DeviceID: "DEV", TxnID: fmt.Sprintf("%p-%d", w, w.txn.Add(1)),
		Type: "m.room.redaction", Redacts: target, Content: content})
	w.must(err)
}

func (w *world) read(user id.UserID, r id.RoomID, ev id.EventID, thread string) {
	w.tb.Helper()
	w.must(w.ephemeral.SetReceipt(w.ctx, ephemeral.Receipt{RoomID: r, UserID: user, Type: ephemeral.Read, ThreadID: thread, EventID: ev}))
}

func (w *world) readPrivately(user id.UserID, r id.RoomID, ev id.EventID) {
	w.tb.Helper()
	w.must(w.ephemeral.SetReceipt(w.ctx, ephemeral.Receipt{RoomID: r, UserID: user, Type: ephemeral.ReadPrivate, EventID: ev}))
}

func (w *world) counts(user id.UserID, r id.RoomID) Counts {
	w.tb.Helper()
	m, err := w.push.Counts(w.ctx, user, []id.RoomID{r}, w.stream.Head())
	w.must(err)
	return m[r]
}

// expect compares counts with what they should be: notifications and highlights of the main timeline, then of threads.
func (w *world) expect(what string, user id.UserID, r id.RoomID, n, h int, threads ...any) {
	w.tb.Helper()
	want := Counts{Notifications: n, Highlights: h}
	for i := 0; i+2 < len(threads); i += 3 {
		if want.Threads == nil {
			want.Threads = map[id.EventID]ThreadCounts{}
		}
		want.Threads[threads[i].(id.EventID)] = ThreadCounts{threads[i+1].(int), threads[i+2].(int)}
	}
	if got := w.counts(user, r); !sameCounts(got, want) {
		w.tb.Errorf("%s: counts are %+v, want %+v", what, got, want)
	}
}

func sameCounts(a, b Counts) bool {
	if a.Notifications != b.Notifications || a.Highlights != b.Highlights || len(a.Threads) != len(b.Threads) {
		return false
	}
	for k, v := range a.Threads {
		if b.Threads[k] != v {
			return false
		}
	}
	return true
}
