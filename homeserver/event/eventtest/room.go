package eventtest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// Room is a graph of events.
type Room struct {
	Version event.Version
	ID      id.RoomID
	Known   map[id.EventID]*event.Event
	Bad     map[id.EventID]bool // rejected
	Loads   int                 // how many events were asked for
	clock   int64
	count   int
}

// Draft is what a test says of an event.
type Draft struct {
	Type      string
	StateKey  *string
	Sender    id.UserID
	Content   string // JSON, "" is {}
	Timestamp int64  // 0: one millisecond after the event before
	Auth      []id.EventID
	Prev      []id.EventID
	Redacts   id.EventID
	Depth     int64
	RoomID    id.RoomID
}

// Key makes a state key.
func Key(s string) *string { return &s }

// State is a draft of a state event.
func State(sender id.UserID, eventType, stateKey, content string) Draft {
	return Draft{Type: eventType, StateKey: &stateKey, Sender: sender, Content: content}
}

// Member is a draft of a membership.
func Member(sender, target id.UserID, membership string) Draft {
	return State(sender, "m.room.member", string(target), fmt.Sprintf(`{"membership":%q}`, membership))
}

// Message is a draft of a message.
func Message(sender id.UserID) Draft {
	return Draft{Type: "m.room.message", Sender: sender, Content: `{"body":"hello","msgtype":"m.text"}`}
}

// Signer is the key of a server in all tests.
func Signer(server string) event.Signer {
	seed := sha256.Sum256([]byte(server))
	return event.Signer{Server: server, KeyID: "ed25519:test", Key: ed25519.NewKeyFromSeed(seed[:])}
}

// NewRoom makes the create event. The content gets room_version, and creator where the version wants it. name tells rooms
// of one creator apart.
func NewRoom(version, name string, creator id.UserID, content string) (*Room, *Branch) {
	r := &Room{Version: event.MustLookup(version), Known: map[id.EventID]*event.Event{}, Bad: map[id.EventID]bool{}, clock: 1_700_000_000_000}
	members := map[string]json.RawMessage{}
	if content != "" {
		must(json.Unmarshal([]byte(content), &members))
	}
	members["room_version"], _ = json.Marshal(version)
	if r.Version.CreatorInContent() && members["creator"] == nil {
		members["creator"], _ = json.Marshal(creator)
	}
	if r.Version.DomainlessRoomID() {
		members["name"], _ = json.Marshal(name)
	} else {
		r.ID = id.RoomID("!" + name + ":" + event.ServerOf(string(creator)))
	}
	raw, _ := json.Marshal(members)
	b := &Branch{Room: r, State: map[event.Key]id.EventID{}}
	create := b.Send(State(creator, "m.room.create", "", string(raw)))
	r.ID = create.RoomID()
	return r, b
}

// Make builds an event on the state and remembers it.
func (r *Room) Make(state map[event.Key]id.EventID, d Draft) *event.Event {
	r.count++
	r.clock++
	p := event.Proto{RoomID: r.ID, Type: d.Type, StateKey: d.StateKey, Sender: d.Sender, Content: json.RawMessage(d.Content),
		PrevEvents: d.Prev, AuthEvents: d.Auth, Depth: d.Depth, Timestamp: d.Timestamp, Redacts: d.Redacts}
	if d.RoomID != "" {
		p.RoomID = d.RoomID
	}
	if d.Content == "" {
		p.Content = json.RawMessage("{}")
	}
	if p.Timestamp == 0 {
		p.Timestamp = r.clock
	}
	server := event.ServerOf(string(d.Sender))
	if r.Version.IDInside() {
		p.EventID = id.EventID(fmt.Sprintf("$%d%s:%s", r.count, strings.Trim(d.Type, "m."), server))
	}
	if p.AuthEvents == nil {
		for _, key := range auth.Needed(r.Version, d.Type, d.StateKey, d.Sender, p.Content) {
			if eventID, has := state[key]; has {
				p.AuthEvents = append(p.AuthEvents, eventID)
			}
		}
	}
	for _, prev := range p.PrevEvents {
		if ev := r.Known[prev]; ev != nil && d.Depth == 0 {
			p.Depth = max(p.Depth, ev.Depth()+1)
		}
	}
	ev, err := event.Build(r.Version, p, Signer(server))
	must(err)
	r.Known[ev.ID()] = ev
	return ev
}

// Events and Rejected make a Room a source for state resolution.
func (r *Room) Events(_ context.Context, ids []id.EventID) (map[id.EventID]*event.Event, error) {
	out := make(map[id.EventID]*event.Event, len(ids))
	r.Loads += len(ids)
	for _, eventID := range ids {
		if ev := r.Known[eventID]; ev != nil {
			out[eventID] = ev
		}
	}
	return out, nil
}

func (r *Room) Rejected(eventID id.EventID) bool { return r.Bad[eventID] }

// AuthEvents are the known events that the event names.
func (r *Room) AuthEvents(ev *event.Event) []*event.Event {
	var out []*event.Event
	for _, eventID := range ev.AuthEvents() {
		if known := r.Known[eventID]; known != nil {
			out = append(out, known)
		}
	}
	return out
}

// Branch is a line of events in the room, with the state after it.
type Branch struct {
	Room  *Room
	State map[event.Key]id.EventID
	Heads []id.EventID
}

// Fork gives a second line that starts here.
func (b *Branch) Fork() *Branch {
	return &Branch{Room: b.Room, State: maps.Clone(b.State), Heads: append([]id.EventID(nil), b.Heads...)}
}

// Merge gives a line that follows both, on the given state.
func (b *Branch) Merge(other *Branch, state map[event.Key]id.EventID) *Branch {
	heads := append([]id.EventID(nil), b.Heads...)
	return &Branch{Room: b.Room, State: maps.Clone(state), Heads: append(heads, other.Heads...)}
}

// Make builds an event on this line, without adding it.
func (b *Branch) Make(d Draft) *event.Event {
	if d.Prev == nil {
		d.Prev = b.Heads
	}
	return b.Room.Make(b.State, d)
}

// Send builds an event and adds it, whatever the rules say.
func (b *Branch) Send(d Draft) *event.Event {
	ev := b.Make(d)
	b.Add(ev)
	return ev
}

// Add puts an event at the end of the line.
func (b *Branch) Add(ev *event.Event) {
	if ev.IsState() {
		b.State[ev.Key()] = ev.ID()
	}
	b.Heads = []id.EventID{ev.ID()}
}

// Try builds an event and adds it if the rules allow it.
func (b *Branch) Try(d Draft) (*event.Event, error) {
	ev := b.Make(d)
	if err := auth.Check(ev, b); err != nil {
		return ev, err
	}
	b.Add(ev)
	return ev, nil
}

// Must is Try for events that have to be allowed.
func (b *Branch) Must(d Draft) *event.Event {
	ev, err := b.Try(d)
	must(err)
	return ev
}

// Get makes a Branch an auth.State.
func (b *Branch) Get(key event.Key) *event.Event { return b.Room.Known[b.State[key]] }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
