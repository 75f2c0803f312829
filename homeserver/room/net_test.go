package room

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
)

// network joins servers in one process: what one asks another is answered by the other's Rooms.
type network struct {
	t       *testing.T
	mu      sync.Mutex
	servers map[string]*world
	down    map[string]bool
	calls   map[string]int // "server method"
	clock   atomic.Int64   // ms; every look moves it
	bend    func(server, method string, answer any)
}

const (
	here  = "here.test"
	there = "away.test"
	third = "third.test"
)

// Keys knows the keys of all servers.
func (n *network) Keys(_ context.Context, want []event.KeyRequest) (map[event.KeyRequest]event.VerifyKey, error) {
	out := map[event.KeyRequest]event.VerifyKey{}
	for _, q := range want {
		if s := signer(q.Server); s.KeyID == q.KeyID {
			out[q] = event.VerifyKey{Key: s.Public(), ValidUntil: 1 << 50}
		}
	}
	return out, nil
}

// eachNetwork runs a test in worlds of servers with databases of their own, on both engines.
func eachNetwork(t *testing.T, names []string, fn func(t *testing.T, n *network)) {
	t.Helper()
	for engine, open := range map[string]func(testing.TB) *database.DB{
		"sqlite": func(t testing.TB) *database.DB { return dbtest.SQLite(t) }, "postgres": func(t testing.TB) *database.DB { return dbtest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			n := &network{t: t, servers: map[string]*world{}, down: map[string]bool{}, calls: map[string]int{}}
			for _, name := range names {
				n.servers[name] = start(t, open(t), func(d *Deps) {
					d.Signer = signer(name)
					d.Remote = &wire{n, name}
					d.Keys = n
					d.Now = n.now
				})
			}
			fn(t, n)
		})
	}
}

// now gives every event a time of its own, later than all before on any server.
func (n *network) now() time.Time { return time.UnixMilli(1_700_000_000_000 + n.clock.Add(1)) }

func pair(t *testing.T, fn func(t *testing.T, n *network, a, b *world)) {
	t.Helper()
	eachNetwork(t, []string{here, there}, func(t *testing.T, n *network) { fn(t, n, n.servers[here], n.servers[there]) })
}

// wire is the Remote of one server.
type wire struct {
	n    *network
	from string
}

func (w *wire) to(server, method string) (*Rooms, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	w.n.calls[server+" "+method]++
	s := w.n.servers[server]
	if s == nil || w.n.down[server] {
		return nil, fmt.Errorf("%s cannot be reached", server)
	}
	return s.Rooms, nil
}

func (n *network) called(server, method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[server+" "+method]
}

func (w *wire) make(ctx context.Context, server, membership string, room id.RoomID, user id.UserID) (Template, error) {
	r, err := w.to(server, "make_"+membership)
	if err != nil {
		return Template{}, err
	}
	raw, v, err := r.Template(ctx, TemplateInput{Server: w.from, RoomID: room, User: user, Membership: membership, Versions: event.Versions()})
	t := Template{RoomVersion: v.ID(), Event: raw}
	if w.n.bend != nil && err == nil {
		w.n.bend(server, "make_"+membership, &t)
	}
	return t, err
}

func (w *wire) MakeJoin(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error) {
	return w.make(ctx, server, Joined, room, user)
}

func (w *wire) MakeLeave(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error) {
	return w.make(ctx, server, Left, room, user)
}

func (w *wire) MakeKnock(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error) {
	return w.make(ctx, server, Knocked, room, user)
}

// again is an event as it arrives over the wire.
func again(ev *event.Event) *event.Event {
	out, err := event.ParseUntrusted(ev.Version(), ev.JSON())
	if err != nil {
		panic(err)
	}
	return out
}

func rawOf(list []*Stored) []json.RawMessage {
	out := make([]json.RawMessage, len(list))
	for i, s := range list {
		out[i] = s.JSON()
	}
	return out
}

func (w *wire) SendJoin(ctx context.Context, server string, ev *event.Event) (JoinAnswer, error) {
	r, err := w.to(server, "send_join")
	if err != nil {
		return JoinAnswer{}, err
	}
	j, err := r.AcceptJoin(ctx, w.from, ev.RoomID(), again(ev), false)
	if err != nil {
		return JoinAnswer{}, err
	}
	a := JoinAnswer{Event: j.Event.JSON(), State: rawOf(j.State), AuthChain: rawOf(j.AuthChain), Servers: j.Servers}
	if w.n.bend != nil {
		w.n.bend(server, "send_join", &a)
	}
	return a, nil
}

func (w *wire) SendLeave(ctx context.Context, server string, ev *event.Event) error {
	r, err := w.to(server, "send_leave")
	if err != nil {
		return err
	}
	return r.AcceptLeave(ctx, w.from, ev.RoomID(), again(ev))
}

func (w *wire) SendKnock(ctx context.Context, server string, ev *event.Event) ([]json.RawMessage, error) {
	r, err := w.to(server, "send_knock")
	if err != nil {
		return nil, err
	}
	return r.AcceptKnock(ctx, w.from, ev.RoomID(), again(ev))
}

func (w *wire) SendInvite(ctx context.Context, server string, ev *event.Event, stripped []json.RawMessage) (json.RawMessage, error) {
	r, err := w.to(server, "invite")
	if err != nil {
		return nil, err
	}
	signed, err := r.AcceptInvite(ctx, w.from, ev.RoomID(), ev.Version(), again(ev), stripped)
	if err != nil {
		return nil, err
	}
	return signed.JSON(), nil
}

func (w *wire) Event(ctx context.Context, server string, eventID id.EventID) (json.RawMessage, error) {
	r, err := w.to(server, "event")
	if err != nil {
		return nil, err
	}
	s, err := r.EventFor(ctx, w.from, eventID)
	if err != nil {
		return nil, err
	}
	return s.JSON(), nil
}

func (w *wire) StateIDs(ctx context.Context, server string, room id.RoomID, at id.EventID) (state, chain []id.EventID, err error) {
	r, err := w.to(server, "state_ids")
	if err != nil {
		return nil, nil, err
	}
	s, c, err := r.StateFor(ctx, w.from, room, at)
	for _, ev := range s {
		state = append(state, ev.ID())
	}
	for _, ev := range c {
		chain = append(chain, ev.ID())
	}
	return state, chain, err
}

func (w *wire) State(ctx context.Context, server string, room id.RoomID, at id.EventID) (state, chain []json.RawMessage, err error) {
	r, err := w.to(server, "state")
	if err != nil {
		return nil, nil, err
	}
	s, c, err := r.StateFor(ctx, w.from, room, at)
	return rawOf(s), rawOf(c), err
}

func (w *wire) MissingEvents(ctx context.Context, server string, room id.RoomID, q MissingQuery) ([]json.RawMessage, error) {
	r, err := w.to(server, "get_missing_events")
	if err != nil {
		return nil, err
	}
	list, err := r.MissingFor(ctx, w.from, room, q.Earliest, q.Latest, q.Limit, q.MinDepth)
	raw := rawOf(list)
	if w.n.bend != nil {
		w.n.bend(server, "get_missing_events", &raw)
	}
	return raw, err
}

func (w *wire) Backfill(ctx context.Context, server string, room id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error) {
	r, err := w.to(server, "backfill")
	if err != nil {
		return nil, err
	}
	list, err := r.BackfillFor(ctx, w.from, room, from, limit)
	return rawOf(list), err
}

func (w *wire) EventAuth(ctx context.Context, server string, room id.RoomID, eventID id.EventID) ([]json.RawMessage, error) {
	r, err := w.to(server, "event_auth")
	if err != nil {
		return nil, err
	}
	list, err := r.AuthChainFor(ctx, w.from, room, eventID)
	return rawOf(list), err
}

func (w *wire) QueryAlias(ctx context.Context, server string, alias id.RoomAlias) (AliasTarget, error) {
	r, err := w.to(server, "directory")
	if err != nil {
		return AliasTarget{}, err
	}
	room, servers, err := r.ResolveLocalAlias(ctx, alias)
	return AliasTarget{room, servers}, err
}

func (w *wire) TimestampToEvent(ctx context.Context, server string, room id.RoomID, ts int64, backwards bool) (id.EventID, error) {
	r, err := w.to(server, "timestamp_to_event")
	if err != nil {
		return "", err
	}
	s, err := r.EventAt(ctx, room, ts, !backwards)
	if err != nil || s == nil {
		return "", mautrix.MNotFound
	}
	return s.ID(), nil
}

// deliver sends events from one server to another, as one transaction.
func (n *network) deliver(from, to *world, evs ...*event.Event) map[id.EventID]error {
	n.t.Helper()
	byRoom := map[id.RoomID][]*event.Event{}
	for _, ev := range evs {
		byRoom[ev.RoomID()] = append(byRoom[ev.RoomID()], again(ev))
	}
	out := map[id.EventID]error{}
	for room, list := range byRoom {
		for eventID, err := range to.Receive(to.ctx, from.server, room, list) {
			out[eventID] = err
		}
	}
	return out
}

// send delivers stored events of a server and wants them taken.
func (n *network) send(from, to *world, ids ...id.EventID) {
	n.t.Helper()
	var evs []*event.Event
	for _, eventID := range ids {
		evs = append(evs, from.event(eventID).Event)
	}
	for eventID, err := range n.deliver(from, to, evs...) {
		if err != nil {
			n.t.Fatalf("%s did not take %s: %v", to.server, eventID, err)
		}
	}
}

// user is a user of the world's server.
func (w *world) user(name string) id.UserID { return id.UserID("@" + name + ":" + w.server) }

// last is the newest live event of a room.
func (w *world) last(roomID id.RoomID) *Stored {
	w.t.Helper()
	list, err := w.History(w.ctx, roomID, 1<<62, true, 1)
	if err != nil || len(list) == 0 {
		w.t.Fatalf("no history: %v", err)
	}
	return list[0]
}

// joinVia joins a room through other servers.
func (w *world) joinVia(roomID id.RoomID, user id.UserID, via ...string) {
	w.t.Helper()
	if _, err := w.Join(w.ctx, JoinInput{User: user, RoomIDOrAlias: string(roomID), Via: via}); err != nil {
		w.t.Fatalf("%s joins: %v", user, err)
	}
}

// sameState wants two servers to agree about a room.
func (n *network) sameState(a, b *world, roomID id.RoomID) {
	n.t.Helper()
	x, y := a.state(roomID), b.state(roomID)
	for k, v := range x {
		if y[k] != v {
			n.t.Errorf("%v is %s on %s and %s on %s", k, v, a.server, y[k], b.server)
		}
	}
	for k, v := range y {
		if x[k] == "" {
			n.t.Errorf("%v is %s on %s only", k, v, b.server)
		}
	}
}
