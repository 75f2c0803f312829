package timeline

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

// world is one server, without its HTTP side.
type world struct {
	tb       testing.TB
	ctx      context.Context
	db       *database.DB
	stream   *stream.Stream
	accounts *account.Accounts
	rooms    *room.Rooms
	times    *Timelines
	txn      atomic.Int64
}

func newWorld(tb testing.TB, db *database.DB) *world {
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
	w.rooms = room.New(room.Deps{DB: db, Stream: w.stream,
		Signer: event.Signer{Server: "hs1", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}})
	w.times = New(Deps{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms})
	streamtest.Run(tb, w.stream)
	return w
}

func (w *world) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
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
func (w *world) create(user id.UserID, in ...room.CreateInput) id.RoomID {
	w.tb.Helper()
	c := room.CreateInput{Preset: "public_chat"}
	if len(in) > 0 {
		c = in[0]
	}
	c.Creator = user
	if c.CreationContent == nil { // rooms made in the same millisecond differ
		c.CreationContent = json.RawMessage(fmt.Sprintf(`{"org.example.n":%d}`, w.txn.Add(1)))
	}
	r, err := w.rooms.Create(w.ctx, c)
	w.must(err)
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

func (w *world) invite(user id.UserID, r id.RoomID, target id.UserID) {
	w.tb.Helper()
	w.must(w.rooms.Invite(w.ctx, room.MemberInput{RoomID: r, Sender: user, Target: target}))
}

// say sends a message.
func (w *world) say(user id.UserID, r id.RoomID, text string) id.EventID {
	w.tb.Helper()
	body, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	return w.send(user, r, "m.room.message", nil, string(body))
}

func (w *world) set(user id.UserID, r id.RoomID, evType, key, content string) id.EventID {
	w.tb.Helper()
	return w.send(user, r, evType, &key, content)
}

func (w *world) send(user id.UserID, r id.RoomID, evType string, key *string, content string) id.EventID {
	w.tb.Helper()
	e, err := w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: user, DeviceID: "DEV", TxnID: fmt.Sprint("t", w.txn.Add(1)),
		Type: evType, StateKey: key, Content: json.RawMessage(content)})
	w.must(err)
	return e
}
