package room

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// strippedTypes is what those invited or knocking may see of a room. spec: cs#stripped-state
var strippedTypes = []string{typeCreate, typeName, typeAvatar, typeTopic, typeJoinRules, typeCanonical, typeEncryption}

// InviteState is what someone invited or knocking sees of a room: stripped state, with the event of their own membership.
func (r *Rooms) InviteState(ctx context.Context, roomID id.RoomID, user id.UserID) ([]json.RawMessage, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return nil, err
	}
	if !h.inside() && !h.deserted() {
		return r.outsideState(ctx, roomID, user)
	}
	own, err := h.state.Event(ctx, typeMember, string(user))
	if err != nil {
		return nil, err
	}
	evs, err := r.strippedEvents(ctx, h.state, own)
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, len(evs))
	for i, ev := range evs {
		list[i] = clientStripped(ev.Event)
	}
	return list, nil
}

// strippedEvents is the part of a state that is told to someone whose own member event is given (or nil): with the member event
// of whoever sent it.
func (r *Rooms) strippedEvents(ctx context.Context, s *State, own *Stored) ([]*Stored, error) {
	keys := make([]event.Key, len(strippedTypes), len(strippedTypes)+2)
	for i, t := range strippedTypes {
		keys[i] = event.Key{Type: t}
	}
	if own != nil {
		if string(own.Sender()) != *own.StateKey() {
			keys = append(keys, event.Key{Type: typeMember, StateKey: string(own.Sender())})
		}
		keys = append(keys, own.Key())
	}
	return s.EventsOfKeys(ctx, keys)
}

// StrippedPDUs is the part of a state that is told to other servers whose users are invited or knock.
// spec: ss#put_matrixfederationv2inviteroomideventid
func (r *Rooms) StrippedPDUs(ctx context.Context, s *State, sender id.UserID) ([]json.RawMessage, error) {
	evs, err := r.strippedEvents(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	if sender != "" {
		ev, err := s.Event(ctx, typeMember, string(sender))
		if err != nil {
			return nil, err
		}
		if ev != nil {
			evs = append(evs, ev)
		}
	}
	list := make([]json.RawMessage, len(evs))
	for i, ev := range evs {
		list[i] = ev.Pruned().JSON()
	}
	return list, nil
}

// clientStripped is stripped state for clients; that of the create event also says when. spec: cs#stripped-state
func clientStripped(ev *event.Event) json.RawMessage {
	raw := event.StrippedState(ev)
	if !ev.Is(typeCreate, "") {
		return raw
	}
	return withTimestamp(raw, ev.Timestamp())
}

// withTimestamp puts origin_server_ts at its place in a stripped event.
func withTimestamp(raw json.RawMessage, ts int64) json.RawMessage {
	out := append(json.RawMessage(nil), raw[:len(raw)-1]...)
	out = append(out, `,"origin_server_ts":`...)
	return append(strconv.AppendInt(out, ts, 10), '}')
}

// outsideState is what other servers told about a room with an invitation or a knock.
func (r *Rooms) outsideState(ctx context.Context, roomID id.RoomID, user id.UserID) ([]json.RawMessage, error) {
	told, err := r.readStripped(ctx, roomID, user)
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, 0, len(told)+1)
	for _, raw := range told {
		s, ok := event.ParseStripped(raw)
		if !ok {
			continue
		}
		out := s.JSON()
		var when struct {
			TS int64 `json:"origin_server_ts"`
		}
		if s.Type == typeCreate && json.Unmarshal(raw, &when) == nil && when.TS > 0 {
			out = withTimestamp(out, when.TS)
		}
		list = append(list, out)
	}
	m, ok, err := r.Member(ctx, roomID, user)
	if err != nil || !ok {
		return list, err
	}
	ev, err := r.Event(ctx, m.EventID)
	if err != nil || ev == nil {
		return list, err
	}
	return append(list, event.StrippedState(ev.Event)), nil
}

// recordOutside stores a membership of a local user in a room that nobody of this server is inside: the event as an
// outlier, the membership, and what was told about the room (nil: leave what is there).
func (r *Rooms) recordOutside(ctx context.Context, roomID id.RoomID, v event.Version, ev *event.Event, stripped []json.RawMessage) (*Stored, error) {
	if !ev.IsState() || ev.Type() != typeMember {
		return nil, fmt.Errorf("%s is no membership", ev.ID())
	}
	e := r.use(roomID)
	defer r.release(e)
	var s *Stored
	err := r.writeRoom(ctx, e, v, func(ctx context.Context, b *batch) error {
		if b.now.inside() {
			return errBadState.WithMessage("Somebody of this server is in the room already")
		}
		old, err := b.r.Event(ctx, ev.ID())
		if err != nil {
			return err
		}
		if old != nil {
			s = old
			return nil
		}
		if s, err = b.add(ctx, placed{ev: ev, outlier: true}); err != nil {
			return err
		}
		m := memberOf(s)
		b.members = append(b.members, memberChange{Member: m, change: len(b.changes)})
		b.changes = append(b.changes, stream.Change{Kind: stream.Membership, RoomID: roomID, UserID: m.UserID, Ref: string(ev.ID())})
		if stripped == nil {
			return nil
		}
		raw, err := json.Marshal(stripped)
		if err != nil {
			return err
		}
		b.write(b.r.tables.stripped, b.nid, string(m.UserID), string(raw))
		return nil
	})
	return s, err
}

// leaveOutside declines an invitation or takes back a knock where nobody of this server is inside. If no other server can
// be asked, the user is rid of it all the same.
func (r *Rooms) leaveOutside(ctx context.Context, e *roomEntry, in *MemberInput, content json.RawMessage) (id.EventID, error) {
	m, ok, err := r.Member(ctx, e.id, in.Target)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", mautrix.MForbidden.WithMessage("You are not in this room")
	}
	switch m.Membership {
	case Left:
		return m.EventID, nil
	case Banned:
		return "", mautrix.MForbidden.WithMessage("You are banned from this room")
	}
	if r.elsewhere != nil {
		via := r.viaOf([]string{event.ServerOf(string(m.Sender)), event.ServerOf(string(e.id))}, r.outsideServers(ctx, e.id, in.Target))
		if len(via) > 0 {
			if eventID, err := r.elsewhere.leave(ctx, outsideMember{e.id, in.Target, via, content}); err == nil {
				return eventID, nil
			}
		}
	}
	return r.leaveAlone(ctx, e, m, content)
}

// leaveAlone records a leave that no other server takes part in.
func (r *Rooms) leaveAlone(ctx context.Context, e *roomEntry, m Member, content json.RawMessage) (id.EventID, error) {
	was, err := r.Event(ctx, m.EventID)
	if err != nil {
		return "", err
	}
	p := event.Proto{RoomID: e.id, Type: typeMember, StateKey: (*string)(&m.UserID), Sender: m.UserID, Content: content,
		PrevEvents: []id.EventID{}, AuthEvents: []id.EventID{}, Depth: 1, Timestamp: r.now()}
	if was != nil {
		p.PrevEvents, p.Depth = []id.EventID{was.ID()}, was.Depth()+1
		p.AuthEvents = append(append(p.AuthEvents, was.AuthEvents()...), was.ID())
	}
	if e.version.IDInside() {
		p.EventID = r.newEventID()
	}
	ev, err := event.Build(e.version, p, r.Signer)
	if err != nil {
		return "", err
	}
	if _, err := r.recordOutside(ctx, e.id, e.version, ev, nil); err != nil {
		return "", err
	}
	return ev.ID(), nil
}

// forget marks a membership as forgotten.
func (r *Rooms) forget(ctx context.Context, m Member) error {
	e, err := r.acquire(ctx, m.RoomID)
	if err != nil {
		return err
	}
	defer r.release(e)
	err = r.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := r.db.Exec(ctx, sqlForget, e.nid, string(m.UserID)); err != nil {
			return err
		}
		_, err := r.stream.Append(ctx, stream.Change{Kind: stream.Forgotten, RoomID: m.RoomID, UserID: m.UserID})
		return err
	})
	if err != nil {
		return fmt.Errorf("forgetting %s: %w", m.RoomID, err)
	}
	if u, ok := r.users.peek(m.UserID); ok {
		u.drop()
	}
	return nil
}
