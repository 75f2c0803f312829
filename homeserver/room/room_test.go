package room

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	alice = id.UserID("@alice:here.test")
	bob   = id.UserID("@bob:here.test")
	carol = id.UserID("@carol:here.test")
	far   = id.UserID("@far:away.test")
)

// world is Rooms on a database.
type world struct {
	*Rooms
	t   testing.TB
	ctx context.Context
}

func signer(server string) event.Signer {
	key := ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%-32s", "seed of "+server))[:32])
	return event.Signer{Server: server, KeyID: "ed25519:1", Key: key}
}

// start runs a stream and Rooms on db; what change does to Deps is optional.
func start(t testing.TB, db *database.DB, change ...func(*Deps)) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := stream.New(db)
	d := Deps{DB: db, Stream: s, Signer: signer("here.test"), Profile: func(_ context.Context, u id.UserID) (string, string, error) {
		return "Name of " + u.Localpart(), "", nil
	}}
	for _, c := range change {
		c(&d)
	}
	r := New(d)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the stream does not end")
		}
	})
	return &world{r, t, ctx}
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(t, start(t, db)) })
}

func (w *world) create(in CreateInput) id.RoomID {
	w.t.Helper()
	if in.Creator == "" {
		in.Creator = alice
	}
	roomID, err := w.Create(w.ctx, in)
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	return roomID
}

func (w *world) public() id.RoomID {
	w.t.Helper()
	return w.create(CreateInput{Preset: "public_chat"})
}

func (w *world) join(roomID id.RoomID, user id.UserID) {
	w.t.Helper()
	if _, err := w.Join(w.ctx, JoinInput{User: user, RoomIDOrAlias: string(roomID)}); err != nil {
		w.t.Fatalf("%s joins: %v", user, err)
	}
}

func (w *world) say(roomID id.RoomID, user id.UserID, body string) id.EventID {
	w.t.Helper()
	eventID, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: user, Type: "m.room.message", Content: message(body)})
	if err != nil {
		w.t.Fatalf("%s says: %v", user, err)
	}
	return eventID
}

func (w *world) set(roomID id.RoomID, user id.UserID, evType, key string, content any) id.EventID {
	w.t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		w.t.Fatal(err)
	}
	eventID, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: user, Type: evType, StateKey: &key, Content: raw})
	if err != nil {
		w.t.Fatalf("%s sets %s: %v", user, evType, err)
	}
	return eventID
}

func message(body string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"msgtype":"m.text","body":%q}`, body))
}

func (w *world) membership(roomID id.RoomID, user id.UserID) string {
	w.t.Helper()
	m, _, err := w.Member(w.ctx, roomID, user)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Membership
}

func (w *world) event(eventID id.EventID) *Stored {
	w.t.Helper()
	ev, err := w.Event(w.ctx, eventID)
	if err != nil || ev == nil {
		w.t.Fatalf("event %s: %v %v", eventID, ev, err)
	}
	return ev
}

func (w *world) history(roomID id.RoomID) []*Stored {
	w.t.Helper()
	list, err := w.History(w.ctx, roomID, minOrder, false, 100_000)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// state is the current state as text, for comparing.
func (w *world) state(roomID id.RoomID) map[event.Key]id.EventID {
	w.t.Helper()
	s, err := w.State(w.ctx, roomID)
	if err != nil {
		w.t.Fatal(err)
	}
	return asMap(s)
}

func asMap(s *State) map[event.Key]id.EventID {
	m := map[event.Key]id.EventID{}
	s.Range(func(k event.Key, ref Ref) bool { m[k] = ref.EventID; return true })
	return m
}

func wantCode(t testing.TB, err error, code string, status int) {
	t.Helper()
	resp, ok := asRespError(err)
	if !ok || resp.ErrCode != code || resp.StatusCode != status {
		t.Fatalf("want %d %s, got %v (%+v)", status, code, err, resp)
	}
}

var _ = mautrix.MForbidden

func profileOf(name *string) func(context.Context, id.UserID) (string, string, error) {
	return func(context.Context, id.UserID) (string, string, error) { return *name, "", nil }
}
