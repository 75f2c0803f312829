package federation

import (
	"context"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// destinations are the servers that must hear of an event: those in the room when it was sent, and the server of whoever was
// removed by it. An invite goes to its target by its own call.
func (r *rows) destinations(ctx context.Context, ev *room.Stored) ([]string, error) {
	servers, err := r.moves.serversAt(ctx, ev)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(servers)+1)
	for _, s := range servers {
		if s != r.o.f.ServerName {
			out = append(out, s)
		}
	}
	if ev.Type() == "m.room.member" && ev.StateKey() != nil && (ev.Membership() == room.Left || ev.Membership() == room.Banned) {
		if target := id.UserID(*ev.StateKey()).Homeserver(); target != "" && target != r.o.f.ServerName && !slices.Contains(out, target) {
			out = append(out, target)
		}
	}
	return out, nil
}

// moves tells which servers were in a room at an event, from those that are in it now and the memberships that changed since:
// the stream is read later than it is written, and who came in between must not get what was said before.
type moves struct {
	rooms  *room.Rooms
	stream *stream.Stream
	upTo   map[id.RoomID][]stream.Change // memberships that changed, of rooms asked for before
}

func (m *moves) serversAt(ctx context.Context, ev *room.Stored) ([]string, error) {
	servers, err := m.rooms.JoinedServers(ctx, ev.RoomID())
	if err != nil {
		return nil, err
	}
	now, err := m.rooms.State(ctx, ev.RoomID())
	if err != nil {
		return nil, err
	}
	if now.ID() == ev.CurrentID {
		return servers, nil
	}
	changed, err := m.since(ctx, ev)
	if err != nil || len(changed) == 0 {
		return servers, err
	}
	return m.undo(ctx, ev, servers, changed)
}

// since lists the memberships that changed after an event. The events of one room are asked for in their order.
func (m *moves) since(ctx context.Context, ev *room.Stored) ([]stream.Change, error) {
	all, ok := m.upTo[ev.RoomID()]
	if !ok {
		var err error
		if all, err = m.stream.Changes(ctx, ev.Pos, m.stream.Head(), stream.Kinds(stream.Membership), []stream.Topic{stream.RoomTopic(ev.RoomID())}); err != nil {
			return nil, err
		}
	}
	for len(all) > 0 && all[0].Pos <= ev.Pos {
		all = all[1:]
	}
	m.upTo[ev.RoomID()] = all
	return all, nil
}

// undo takes changes of memberships back.
func (m *moves) undo(ctx context.Context, ev *room.Stored, servers []string, changed []stream.Change) ([]string, error) {
	first := map[id.UserID]stream.Change{}
	for _, c := range changed {
		if _, seen := first[c.UserID]; !seen && c.RoomID == ev.RoomID() {
			first[c.UserID] = c
		}
	}
	members, err := m.rooms.JoinedMembers(ctx, ev.RoomID())
	if err != nil {
		return nil, err
	}
	affected, stayed := map[string]bool{}, map[string]bool{}
	for user := range first {
		affected[user.Homeserver()] = true
	}
	for _, user := range members {
		if _, moved := first[user]; !moved {
			stayed[user.Homeserver()] = true
		}
	}
	for user, c := range first {
		s := user.Homeserver()
		if stayed[s] {
			continue
		}
		was, err := m.joinedBefore(ctx, c)
		if err != nil {
			return nil, err
		}
		stayed[s] = was
	}
	out := make([]string, 0, len(servers)+len(affected))
	for _, s := range servers {
		if !affected[s] {
			out = append(out, s)
		}
	}
	for s := range affected {
		if stayed[s] {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out, nil
}

// joinedBefore says whether the user of a membership change was in the room before it.
func (m *moves) joinedBefore(ctx context.Context, c stream.Change) (bool, error) {
	ev, err := m.rooms.Event(ctx, id.EventID(c.Ref))
	if err != nil || ev == nil {
		return false, err
	}
	before, err := m.rooms.StateBefore(ctx, ev)
	if err != nil || before == nil {
		return false, err
	}
	was, err := before.Event(ctx, "m.room.member", string(c.UserID))
	return err == nil && was != nil && was.Membership() == room.Joined, err
}

// serversOfUser lists the other servers in the rooms of a user, but for one room.
func (o *outbound) serversOfUser(ctx context.Context, user id.UserID, except id.RoomID) ([]string, error) {
	rooms, err := o.f.Rooms.RoomsOf(ctx, user)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{o.f.ServerName: true}
	var out []string
	for _, r := range rooms {
		if r == except {
			continue
		}
		servers, err := o.f.Rooms.JoinedServers(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, s := range servers {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out, nil
}
