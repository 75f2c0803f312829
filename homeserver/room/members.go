package room

import (
	"context"
	"encoding/json"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Event types that this package knows.
const (
	typeCreate      = "m.room.create"
	typeMember      = "m.room.member"
	typePowerLevels = "m.room.power_levels"
	typeJoinRules   = "m.room.join_rules"
	typeVisibility  = "m.room.history_visibility"
	typeGuestAccess = "m.room.guest_access"
	typeName        = "m.room.name"
	typeTopic       = "m.room.topic"
	typeAvatar      = "m.room.avatar"
	typeCanonical   = "m.room.canonical_alias"
	typeEncryption  = "m.room.encryption"
	typeRedaction   = "m.room.redaction"
	typeTombstone   = "m.room.tombstone"
	typeServerACL   = "m.room.server_acl"
)

// Memberships.
const (
	Joined  = "join"
	Invited = "invite"
	Left    = "leave"
	Banned  = "ban"
	Knocked = "knock"
)

// Member is someone's membership in a room, as the current state says or, for a room that is not known here, as an
// invitation, a knock or their end says.
type Member struct {
	RoomID      id.RoomID
	UserID      id.UserID
	Membership  string
	EventNID    int64
	EventID     id.EventID
	Sender      id.UserID
	Pos         stream.Pos // of the member event
	Forgotten   bool
	DisplayName string
	AvatarURL   string
}

// memberContent is what this package reads of a member event.
type memberContent struct {
	Membership  string `json:"membership"`
	DisplayName any    `json:"displayname"`
	AvatarURL   any    `json:"avatar_url"`
}

func memberOf(s *Stored) Member {
	m := Member{RoomID: s.RoomID(), Membership: s.Membership(), EventNID: s.NID, EventID: s.ID(), Sender: s.Sender(), Pos: s.Pos}
	if k := s.StateKey(); k != nil {
		m.UserID = id.UserID(*k)
	}
	var c memberContent
	if s.RedactedBy == "" && json.Unmarshal(s.Content(), &c) == nil {
		m.DisplayName, _ = c.DisplayName.(string)
		m.AvatarURL, _ = c.AvatarURL.(string)
	}
	return m
}

// memberChanged takes a change of the current state that concerns a membership into the unit.
func (b *batch) memberChanged(ctx context.Context, c StateChange, change int) error {
	var before string
	if c.Old.NID != 0 {
		ev, err := b.r.eventByNID(ctx, c.Old.NID)
		if err != nil {
			return fmt.Errorf("membership before: %w", err)
		}
		before = ev.Membership()
	}
	m := Member{RoomID: b.room, UserID: id.UserID(c.Key.StateKey), Membership: Left}
	if c.New.NID != 0 {
		ev, err := b.r.eventByNID(ctx, c.New.NID)
		if err != nil {
			return fmt.Errorf("membership: %w", err)
		}
		m = memberOf(ev)
	}
	b.setMember(m, before, change)
	return nil
}

// setMember takes a membership into the unit and counts it.
func (b *batch) setMember(m Member, before string, change int) {
	b.members = append(b.members, memberChange{Member: m, change: change, before: before})
	local := event.ServerOf(string(m.UserID)) == b.r.server
	for _, c := range []struct {
		membership string
		by         int64
	}{{before, -1}, {m.Membership, 1}} {
		switch {
		case c.membership == Joined:
			b.now.joined += c.by
			if local {
				b.now.joinedLocal += c.by
			}
		case c.membership == Invited:
			b.now.invited += c.by
		}
	}
}

func (b *batch) writeMember(m *memberChange) {
	var pos any = int64(m.Pos)
	if m.change >= 0 {
		pos = stream.PosOf(m.change)
	}
	b.write(b.r.tables.members, memberRow(b.nid, m.Member, pos)...)
}

// Member is someone's membership in a room.
func (r *Rooms) Member(ctx context.Context, roomID id.RoomID, user id.UserID) (Member, bool, error) {
	if u, ok := r.users.get(user); ok {
		if rooms, ok := u.known(); ok {
			m, ok := rooms[roomID]
			return m, ok, nil
		}
	}
	if r.local(user) {
		rooms, err := r.Memberships(ctx, user)
		if err != nil {
			return Member{}, false, err
		}
		m, ok := rooms[roomID]
		return m, ok, nil
	}
	return r.readMember(ctx, roomID, user)
}

// Members lists the memberships of a room, all or those of one kind.
func (r *Rooms) Members(ctx context.Context, roomID id.RoomID, membership string) ([]Member, error) {
	return r.readMembers(ctx, roomID, membership)
}

// JoinedRooms lists the rooms that a user, local or not, is joined to.
func (r *Rooms) JoinedRooms(ctx context.Context, user id.UserID) ([]id.RoomID, error) {
	rooms, err := r.Memberships(ctx, user)
	if err != nil {
		return nil, err
	}
	list := make([]id.RoomID, 0, len(rooms))
	for roomID, m := range rooms {
		if m.Membership == Joined {
			list = append(list, roomID)
		}
	}
	return list, nil
}

// RoomsOf is JoinedRooms.
func (r *Rooms) RoomsOf(ctx context.Context, user id.UserID) ([]id.RoomID, error) {
	return r.JoinedRooms(ctx, user)
}

// SharesRoom says whether two users are joined to the same room.
func (r *Rooms) SharesRoom(ctx context.Context, a, b id.UserID) (bool, error) {
	of, err := r.Memberships(ctx, a)
	if err != nil {
		return false, err
	}
	other, err := r.Memberships(ctx, b)
	if err != nil {
		return false, err
	}
	if len(of) > len(other) {
		of, other = other, of
	}
	for roomID, m := range of {
		if m.Membership == Joined && other[roomID].Membership == Joined {
			return true, nil
		}
	}
	return false, nil
}

// UsersSharing lists all users joined to a room that this user is joined to, with the user.
func (r *Rooms) UsersSharing(ctx context.Context, user id.UserID) ([]id.UserID, error) {
	rooms, err := r.JoinedRooms(ctx, user)
	if err != nil {
		return nil, err
	}
	seen := map[id.UserID]struct{}{}
	list := []id.UserID{}
	for _, roomID := range rooms {
		users, err := r.JoinedMembers(ctx, roomID)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			if _, ok := seen[u]; !ok {
				seen[u] = struct{}{}
				list = append(list, u)
			}
		}
	}
	return list, nil
}

func (r *Rooms) local(user id.UserID) bool { return event.ServerOf(string(user)) == r.server }
