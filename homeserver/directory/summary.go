package directory

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// Summary is what somebody outside may learn of a room.
type Summary struct {
	RoomID         id.RoomID    `json:"room_id"`
	Name           string       `json:"name,omitempty"`
	Topic          string       `json:"topic,omitempty"`
	AvatarURL      string       `json:"avatar_url,omitempty"`
	CanonicalAlias id.RoomAlias `json:"canonical_alias,omitempty"`
	JoinRule       string       `json:"join_rule,omitempty"`
	RoomType       string       `json:"room_type,omitempty"`
	Joined         int          `json:"num_joined_members"`
	WorldReadable  bool         `json:"world_readable"`
	GuestCanJoin   bool         `json:"guest_can_join"`
	Encryption     string       `json:"encryption,omitempty"`
	RoomVersion    string       `json:"room_version,omitempty"`
	AllowedRoomIDs []id.RoomID  `json:"allowed_room_ids,omitempty"`
}

// look is the part of a Summary that follows from the state.
type look struct {
	Summary
	children []child
	invited  bool // history is visible to the invited
}

// child is an m.space.child event of a space.
type child struct {
	RoomID    id.RoomID
	Via       []string
	Order     string
	Suggested bool
	Time      int64
	Stripped  json.RawMessage // with origin_server_ts
}

// errNoRoom is given for rooms that do not exist and for those that the asker may not know of alike.
var errNoRoom = mautrix.MNotFound.WithMessage("Room not found")

func (d *Directory) lookOf(ctx context.Context, roomID id.RoomID) (look, error) {
	info, err := d.Rooms.Info(ctx, roomID)
	if err != nil {
		return look{}, errNoRoom
	}
	if !info.Known {
		return look{}, errNoRoom
	}
	s, err := d.Rooms.State(ctx, roomID)
	if err != nil {
		return look{}, err
	}
	l, ok := d.looks.Get(s.ID())
	if !ok {
		if l, err = readLook(ctx, roomID, info, s); err != nil {
			return look{}, err
		}
		d.looks.Add(s.ID(), l)
	}
	l.Joined, _, err = d.Rooms.Counts(ctx, roomID)
	return l, err
}

func readLook(ctx context.Context, roomID id.RoomID, info room.Info, s *room.State) (look, error) {
	l := look{Summary: Summary{RoomID: roomID, JoinRule: "invite", RoomType: info.Type, RoomVersion: info.Version.ID()}}
	for _, f := range []struct {
		kind string
		read func(content json.RawMessage)
	}{
		{"m.room.name", func(c json.RawMessage) { l.Name, _ = event.FieldString(c, "name") }},
		{"m.room.topic", func(c json.RawMessage) { l.Topic, _ = event.FieldString(c, "topic") }},
		{"m.room.avatar", func(c json.RawMessage) { l.AvatarURL, _ = event.FieldString(c, "url") }},
		{"m.room.encryption", func(c json.RawMessage) { l.Encryption, _ = event.FieldString(c, "algorithm") }},
		{"m.room.canonical_alias", func(c json.RawMessage) {
			a, _ := event.FieldString(c, "alias")
			l.CanonicalAlias = id.RoomAlias(a)
		}},
		{"m.room.guest_access", func(c json.RawMessage) {
			g, _ := event.FieldString(c, "guest_access")
			l.GuestCanJoin = g == "can_join"
		}},
		{"m.room.history_visibility", func(c json.RawMessage) {
			h, _ := event.FieldString(c, "history_visibility")
			l.WorldReadable, l.invited = h == "world_readable", h == "invited"
		}},
		{"m.room.join_rules", func(c json.RawMessage) { readJoinRules(c, &l.Summary) }},
	} {
		ev, err := s.Event(ctx, f.kind, "")
		if err != nil {
			return l, err
		}
		if ev != nil {
			f.read(ev.Content())
		}
	}
	if info.Type != "m.space" {
		return l, nil
	}
	evs, err := s.Events(ctx, func(k event.Key) bool { return k.Type == "m.space.child" })
	if err != nil {
		return l, err
	}
	for _, ev := range evs {
		if c, ok := readChild(ev); ok {
			l.children = append(l.children, c)
		}
	}
	sortChildren(l.children)
	return l, nil
}

func readJoinRules(content json.RawMessage, s *Summary) {
	rule, _ := event.FieldString(content, "join_rule")
	if rule != "" {
		s.JoinRule = rule
	}
	if rule != "restricted" && rule != "knock_restricted" {
		return
	}
	event.Items(event.Field(content, "allow"), func(item json.RawMessage) bool {
		kind, _ := event.FieldString(item, "type")
		r, _ := event.FieldString(item, "room_id")
		if kind == "m.room_membership" && r != "" {
			s.AllowedRoomIDs = append(s.AllowedRoomIDs, id.RoomID(r))
		}
		return len(s.AllowedRoomIDs) < 100
	})
}

// accessible says whether a user may learn of a room (spec: cs#get_matrixclientv1roomsroomidhierarchy). An empty user
// is nobody in particular.
func (d *Directory) accessible(ctx context.Context, l look, user id.UserID) (bool, error) {
	switch l.JoinRule {
	case "public", "knock", "knock_restricted":
		return true, nil
	}
	if l.WorldReadable {
		return true, nil
	}
	if user == "" {
		return false, nil
	}
	m, ok, err := d.Rooms.Member(ctx, l.RoomID, user)
	if err != nil {
		return false, err
	}
	if ok && (m.Membership == "join" || m.Membership == "invite") {
		return true, nil
	}
	if l.JoinRule != "restricted" {
		return false, nil
	}
	return d.inAny(ctx, l.AllowedRoomIDs, user)
}

func (d *Directory) inAny(ctx context.Context, rooms []id.RoomID, user id.UserID) (bool, error) {
	for _, r := range rooms {
		m, ok, err := d.Rooms.Member(ctx, r, user)
		if err != nil && !errors.Is(err, mautrix.MNotFound) {
			return false, err
		}
		if err == nil && ok && m.Membership == "join" {
			return true, nil
		}
	}
	return false, nil
}

// accessibleTo says whether a server may learn of a room: like a user outside, or one of its users is inside or may be.
func (d *Directory) accessibleTo(ctx context.Context, l look, server string) (bool, error) {
	if ok, err := d.accessible(ctx, l, ""); ok || err != nil {
		return ok, err
	}
	rooms := []id.RoomID{l.RoomID}
	if l.JoinRule == "restricted" {
		rooms = append(rooms, l.AllowedRoomIDs...)
	}
	for _, r := range rooms {
		servers, err := d.Rooms.JoinedServers(ctx, r)
		if err != nil {
			continue
		}
		for _, s := range servers {
			if s == server {
				return true, nil
			}
		}
	}
	invited, err := d.Rooms.Members(ctx, l.RoomID, "invite")
	if err != nil {
		return false, err
	}
	for _, m := range invited {
		if m.UserID.Homeserver() == server {
			return true, nil
		}
	}
	return false, nil
}

// RoomSummary is a Summary with the asker's own membership.
type RoomSummary struct {
	Summary
	Membership string `json:"membership,omitempty"`
}

// Summarize tells what a user may learn of a room (spec: cs#get_matrixclientv1room_summaryroomidoralias). Rooms that
// this server is not in are asked for at via.
func (d *Directory) Summarize(ctx context.Context, user id.UserID, roomID id.RoomID, via []string) (RoomSummary, error) {
	out := RoomSummary{}
	if user != "" {
		if m, ok, err := d.Rooms.Member(ctx, roomID, user); err == nil && ok {
			out.Membership = m.Membership
		}
	}
	l, err := d.lookOf(ctx, roomID)
	if err == nil && l.Joined > 0 {
		ok, err := d.accessible(ctx, l, user)
		if err != nil {
			return out, err
		}
		if !ok {
			return out, errNoRoom
		}
		out.Summary = l.Summary
		return out, nil
	}
	node, err := d.askHierarchy(ctx, roomID, via, false)
	if err != nil {
		return out, errNoRoom
	}
	if ok, err := d.accessible(ctx, look{Summary: node.Room.Summary}, user); err != nil || !ok {
		return out, errors.Join(err, errNoRoom)
	}
	out.Summary = node.Room.Summary
	return out, nil
}
