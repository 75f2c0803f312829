package room

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// away is the world outside: one server that signs invitations.
type away struct {
	Remote
	during  func() // what happens while the invitation is on its way
	refuse  error
	told    []json.RawMessage
	aliases map[id.RoomAlias]AliasTarget
}

func (a *away) SendInvite(_ context.Context, _ string, ev *event.Event, stripped []json.RawMessage) (json.RawMessage, error) {
	a.told = stripped
	if a.during != nil {
		a.during()
	}
	if a.refuse != nil {
		return nil, a.refuse
	}
	signed, err := ev.Sign(signer("away.test"))
	if err != nil {
		return nil, err
	}
	return signed.JSON(), nil
}

func (a *away) QueryAlias(_ context.Context, _ string, alias id.RoomAlias) (AliasTarget, error) {
	t, ok := a.aliases[alias]
	if !ok {
		return t, mautrix.MNotFound.WithMessage("no such alias")
	}
	return t, nil
}

func TestInvite_NobodyOfOtherServersWhereTheRoomDoesNotFederate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		out := &away{}
		w := start(t, db, func(d *Deps) { d.Remote = out })
		roomID := w.create(CreateInput{Preset: "private_chat", CreationContent: json.RawMessage(`{"m.federate":false}`)})
		err := w.Invite(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: far})
		wantCode(t, err, "M_FORBIDDEN", 403)
		if out.told != nil {
			t.Fatal("the other server was told of the room")
		}
	})
}

func TestInvite_RemoteUserThroughTheirServer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		out := &away{}
		w := start(t, db, func(d *Deps) { d.Remote = out })
		roomID := w.create(CreateInput{Preset: "private_chat", Invite: []id.UserID{far}})
		if w.membership(roomID, far) != Invited {
			t.Fatal("not invited")
		}
		m, _, _ := w.Member(w.ctx, roomID, far)
		if len(w.event(m.EventID).Signatures()) != 2 {
			t.Error("the invitation lacks a signature")
		}
		if len(out.told) < 3 || !strings.Contains(string(out.told[0])+string(out.told[1])+string(out.told[2]), `"auth_events"`) {
			t.Errorf("told %s", out.told)
		}
		wantLine(t, w.history(roomID))

		out.refuse = errors.New("away")
		if err := w.Invite(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: "@other:away.test"}); !errors.Is(err, out.refuse) {
			t.Errorf("refusal: %v", err)
		}
		if w.membership(roomID, "@other:away.test") != "" {
			t.Error("invited against the will of their server")
		}
	})
}

func TestInvite_RoomGoesOnWhileTheOtherServerSigns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		out := &away{}
		w := start(t, db, func(d *Deps) { d.Remote = out })
		roomID := w.public()
		out.during = func() {
			w.say(roomID, alice, "meanwhile")
			w.join(roomID, bob)
			w.set(roomID, alice, typeName, "", map[string]string{"name": "New name"})
		}
		if err := w.Invite(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: far}); err != nil {
			t.Fatal(err)
		}
		list := w.history(roomID)
		if n := len(list); list[n-1].Type() != typeMember || list[n-1].PrevEvents()[0] != list[n-5].ID() {
			t.Fatal("the invitation does not stand beside what happened")
		}
		last := w.say(roomID, bob, "both")
		if len(w.event(last).PrevEvents()) != 2 {
			t.Error("the two ends are not joined")
		}
		if w.membership(roomID, far) != Invited || w.membership(roomID, bob) != Joined {
			t.Error("something got lost")
		}
		state := w.state(roomID)
		for _, k := range []event.Key{{Type: typeName}, {Type: typeMember, StateKey: string(far)}, {Type: typeMember, StateKey: string(bob)}} {
			if state[k] == "" {
				t.Errorf("%v is missing in the state", k)
			}
		}
		again := start(t, db)
		if !mapsEqual(again.state(roomID), state) {
			t.Error("another state after a restart")
		}

		out.during = func() {
			if err := w.Ban(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: "@evil:away.test"}); err != nil {
				t.Error(err)
			}
		}
		err := w.Invite(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: "@evil:away.test"})
		wantCode(t, err, "M_FORBIDDEN", 403)
		if w.membership(roomID, "@evil:away.test") != Banned {
			t.Error("an invitation ended a ban")
		}
	})
}

// invitation is what a server that is inside a room sends to the user's server.
func invitation(t *testing.T, target id.UserID) *event.Event {
	t.Helper()
	v, err := event.Lookup("11")
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.Build(v, event.Proto{RoomID: "!far:away.test", Type: typeMember, StateKey: (*string)(&target), Sender: far,
		Content: json.RawMessage(`{"membership":"invite"}`), PrevEvents: []id.EventID{"$p" + id.EventID(strings.Repeat("x", 42))},
		AuthEvents: []id.EventID{}, Depth: 9, Timestamp: 5}, signer("away.test"))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestOutside_InvitationCanBeDeclined(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ev := invitation(t, bob)
		told := []json.RawMessage{json.RawMessage(`{"type":"m.room.name","state_key":"","sender":"@far:away.test","content":{"name":"Far"},"depth":3}`),
			json.RawMessage(`{"type":"m.room.create","state_key":"","sender":"@far:away.test","content":{},"origin_server_ts":7}`), json.RawMessage(`3`)}
		since := w.stream.Head()
		for range 2 { // a repetition changes nothing
			if _, err := w.recordOutside(w.ctx, ev.RoomID(), ev.Version(), ev, told); err != nil {
				t.Fatal(err)
			}
		}
		m, _, err := w.Member(w.ctx, ev.RoomID(), bob)
		if err != nil || m.Membership != Invited || m.Pos != since+1 || w.stream.Head() != since+1 {
			t.Fatalf("%+v %v, head %d", m, err, w.stream.Head())
		}
		kinds, err := w.stream.Touched(w.ctx, since, w.stream.Head(), []stream.Topic{stream.UserTopic(bob)})
		if err != nil || !kinds[stream.UserTopic(bob)].Has(stream.Membership) {
			t.Errorf("bob is not told: %v %v", kinds, err)
		}
		list, err := w.InviteState(w.ctx, ev.RoomID(), bob)
		if err != nil || len(list) != 3 || strings.Contains(string(list[0]), "depth") || !strings.Contains(string(list[1]), `"origin_server_ts":7`) {
			t.Errorf("invite state %s %v", list, err)
		}
		if s, err := w.State(w.ctx, ev.RoomID()); err != nil || s.Len() != 0 {
			t.Errorf("state %v %v", s, err)
		}
		_, err = w.Send(w.ctx, SendInput{RoomID: ev.RoomID(), Sender: bob, Type: "m.x"})
		wantCode(t, err, "M_FORBIDDEN", 403)
		if err := w.Leave(w.ctx, MemberInput{RoomID: ev.RoomID(), Sender: bob}); err != nil {
			t.Fatal(err)
		}
		if w.membership(ev.RoomID(), bob) != Left {
			t.Error("the invitation stays")
		}
		if err := w.Forget(w.ctx, ev.RoomID(), bob); err != nil {
			t.Error(err)
		}
		if rooms, err := w.JoinedRooms(w.ctx, bob); err != nil || len(rooms) != 0 {
			t.Errorf("joined %v %v", rooms, err)
		}
	})
}

func TestOutside_ServersToAskComeFromTheInvitation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		out := &away{aliases: map[id.RoomAlias]AliasTarget{"#x:away.test": {"!far:away.test", []string{"third.test", "here.test"}}}}
		w := start(t, db, func(d *Deps) { d.Remote = out })
		far := &recorder{}
		w.elsewhere = far
		ev := invitation(t, bob)
		if _, err := w.recordOutside(w.ctx, ev.RoomID(), ev.Version(), ev, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: "!far:away.test", Via: []string{"other.test"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Join(w.ctx, JoinInput{User: carol, RoomIDOrAlias: "#x:away.test"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Knock(w.ctx, KnockInput{User: carol, RoomIDOrAlias: "#x:away.test"}); err != nil {
			t.Fatal(err)
		}
		_, err := w.Join(w.ctx, JoinInput{User: carol, RoomIDOrAlias: "#y:away.test"})
		wantCode(t, err, "M_NOT_FOUND", 404)
		want := [][]string{{"away.test", "other.test"}, {"away.test", "third.test"}, {"away.test", "third.test"}}
		if !slices.EqualFunc(far.asked, want, slices.Equal[[]string]) {
			t.Errorf("asked %v, want %v", far.asked, want)
		}
	})
}

type recorder struct {
	mu    sync.Mutex
	asked [][]string
}

func (r *recorder) note(_ context.Context, m outsideMember) (id.EventID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, m.Via)
	return "$x", nil
}
func (r *recorder) join(ctx context.Context, m outsideMember) (id.EventID, error) {
	return r.note(ctx, m)
}
func (r *recorder) leave(ctx context.Context, m outsideMember) (id.EventID, error) {
	return r.note(ctx, m)
}
func (r *recorder) knock(ctx context.Context, m outsideMember) (id.EventID, error) {
	return r.note(ctx, m)
}

// notes is a projection that counts messages.
type notes struct{ table *database.Table }

func (n notes) Project(_ context.Context, ev *Stored, before *State) ([]stream.Write, []stream.Change, error) {
	if ev.Type() != "m.note" {
		return nil, nil, nil
	}
	if before.Len() == 0 || ev.Pos != 0 {
		return nil, nil, errors.New("a projection sees the wrong thing")
	}
	return []stream.Write{{Table: n.table, Row: []any{"key-" + string(ev.ID()), stream.PosOf(0), OrderOfRow(ev)}},
			{Table: n.table, Row: []any{"own-" + string(ev.ID()), stream.PosOf(1), int64(0)}}},
		[]stream.Change{{Kind: stream.PushCount, UserID: ev.Sender(), Ref: string(ev.ID())}}, nil
}

func TestProjection_RowsComeWithTheEvent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		if _, err := db.Exec(context.Background(), `CREATE TABLE notes (k TEXT PRIMARY KEY, pos BIGINT NOT NULL, ord BIGINT NOT NULL)`); err != nil {
			t.Fatal(err)
		}
		w := start(t, db)
		w.AddProjection(notes{database.NewTable("notes", "", database.Text("k"), database.Int("pos"), database.Int("ord"))})
		roomID := w.public()
		var sent []id.EventID
		for range 3 {
			eventID, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: alice, Type: "m.note"})
			if err != nil {
				t.Fatal(err)
			}
			sent = append(sent, eventID)
		}
		for _, eventID := range sent {
			ev := w.event(eventID)
			var pos, ord int64
			if err := db.QueryRow(w.ctx, `SELECT pos, ord FROM notes WHERE k = $1`, "key-"+string(eventID)).Scan(&pos, &ord); err != nil {
				t.Fatal(err)
			}
			if stream.Pos(pos) != ev.Pos || Order(ord) != ev.Order {
				t.Errorf("position %d, order %d, want %d, %d", pos, ord, ev.Pos, ev.Order)
			}
			if err := db.QueryRow(w.ctx, `SELECT pos, ord FROM notes WHERE k = $1`, "own-"+string(eventID)).Scan(&pos, &ord); err != nil {
				t.Fatal(err)
			}
			if stream.Pos(pos) != ev.Pos+1 {
				t.Errorf("position of the further change %d, want %d", pos, ev.Pos+1)
			}
		}
	})
}
