package clientsync

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/push"
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
	times     *timeline.Timelines
	keys      *e2ee.Keys
	ephemeral *ephemeral.Ephemeral
	push      *push.Push
	syncs     *Syncs
	txn       atomic.Int64
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
	w.times = timeline.New(timeline.Deps{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms})
	w.keys = e2ee.New(e2ee.Deps{DB: db, Stream: w.stream, Accounts: e2ee.FromAccounts(w.accounts), Rooms: e2ee.FromRooms(w.rooms)})
	w.ephemeral = ephemeral.New(ephemeral.Options{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms, Presence: true})
	w.push = push.New(push.Options{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms, Ephemeral: w.ephemeral, Timelines: w.times})
	w.syncs = New(Deps{DB: db, Stream: w.stream, Accounts: w.accounts, Rooms: w.rooms, Timelines: w.times, ToDevice: w.keys, DeviceLists: w.keys,
		KeyCounts: w.keys, Receipts: w.ephemeral, Typing: w.ephemeral, Presence: w.ephemeral, PushCounts: w.push, PushRules: w.push,
		Policy: policy.New(w.stream, policy.Options{ServerName: "hs1", AccountData: func(ctx context.Context, u id.UserID, eventType string) (json.RawMessage, error) {
			return w.accounts.AccountData(ctx, u, "", eventType)
		}})})
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

// reply is the decoded answer of /sync.
type reply struct {
	NextBatch string `json:"next_batch"`
	Rooms     struct {
		Join   map[id.RoomID]joinedReply `json:"join"`
		Leave  map[id.RoomID]joinedReply `json:"leave"`
		Invite map[id.RoomID]struct {
			State events `json:"invite_state"`
		} `json:"invite"`
		Knock map[id.RoomID]struct {
			State events `json:"knock_state"`
		} `json:"knock"`
	} `json:"rooms"`
	AccountData events `json:"account_data"`
}

type joinedReply struct {
	Timeline struct {
		Events  []ev   `json:"events"`
		Limited bool   `json:"limited"`
		Prev    string `json:"prev_batch"`
	} `json:"timeline"`
	State       *events `json:"state"`
	StateAfter  *events `json:"state_after"`
	AccountData events  `json:"account_data"`
	Summary     struct {
		Heroes  []id.UserID `json:"m.heroes"`
		Joined  *int        `json:"m.joined_member_count"`
		Invited *int        `json:"m.invited_member_count"`
	} `json:"summary"`
}

type events struct {
	Events []ev `json:"events"`
}

type ev struct {
	ID       id.EventID      `json:"event_id"`
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key"`
	Sender   id.UserID       `json:"sender"`
	Content  json.RawMessage `json:"content"`
	RoomID   id.RoomID       `json:"room_id"`
	Unsigned struct {
		Membership string          `json:"membership"`
		Txn        string          `json:"transaction_id"`
		Prev       json.RawMessage `json:"prev_content"`
		Redacted   json.RawMessage `json:"redacted_because"`
		Age        *int64          `json:"age"`
	} `json:"unsigned"`
}

// options of a sync in tests.
type syncOptions struct {
	since  string
	filter string
	full   bool
	after  bool
	wait   time.Duration
	device id.DeviceID
}

func (w *world) request(user id.UserID, o syncOptions) request {
	w.tb.Helper()
	f, err := w.syncs.filter(w.ctx, user, o.filter)
	w.must(err)
	r := request{user: user, device: o.device, initial: o.since == "", full: o.full, filter: f, stateAfter: o.after}
	if o.since != "" {
		r.since, err = stream.ParseToken(o.since)
		w.must(err)
	}
	return r
}

func (w *world) raw(user id.UserID, o syncOptions) []byte {
	w.tb.Helper()
	var wait context.Context
	if o.wait > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(w.ctx, o.wait)
		defer cancel()
	}
	a, err := w.syncs.Sync(w.ctx, wait, w.request(user, o))
	w.must(err)
	return a.buf
}

func (w *world) sync(user id.UserID, o syncOptions) reply {
	w.tb.Helper()
	raw := w.raw(user, o)
	var r reply
	if err := json.Unmarshal(raw, &r); err != nil {
		w.tb.Fatalf("%v in %s", err, raw)
	}
	return r
}

func joinInput(u id.UserID, r id.RoomID) room.JoinInput {
	return room.JoinInput{User: u, RoomIDOrAlias: string(r)}
}

func newTestConns() *timeline.Cache[versionKey, *connection] {
	return timeline.NewCache[versionKey, *connection](1 << 20)
}
