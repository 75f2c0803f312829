package room

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// JoinInput is a room that a local user wants to enter.
type JoinInput struct {
	User          id.UserID
	RoomIDOrAlias string
	Via           []string
	Reason        string
	Content       json.RawMessage
	DeviceID      id.DeviceID
	Timestamp     int64
	Guest         bool
	SkipPolicy    bool
}

// Join makes a user a member of a room. spec: cs#post_matrixclientv3joinroomidoralias
func (r *Rooms) Join(ctx context.Context, in JoinInput) (id.RoomID, error) {
	roomID, via, err := r.find(ctx, in.RoomIDOrAlias, in.Via)
	if err != nil {
		return "", err
	}
	m := &MemberInput{RoomID: roomID, Sender: in.User, Target: in.User, Reason: in.Reason, Content: in.Content,
		DeviceID: in.DeviceID, Timestamp: in.Timestamp, SkipPolicy: in.SkipPolicy}
	_, err = r.join(ctx, m, via, in.Guest)
	return roomID, err
}

// find turns what a client named into a room ID and servers to ask.
func (r *Rooms) find(ctx context.Context, roomIDOrAlias string, via []string) (id.RoomID, []string, error) {
	switch {
	case event.ValidRoomID(roomIDOrAlias):
		return id.RoomID(roomIDOrAlias), via, nil
	case event.ValidAlias(roomIDOrAlias):
		roomID, servers, err := r.ResolveAlias(ctx, id.RoomAlias(roomIDOrAlias))
		return roomID, append(append([]string(nil), servers...), via...), err
	}
	return "", nil, errInvalidRoomID
}

func (r *Rooms) join(ctx context.Context, in *MemberInput, via []string, guest bool) (id.EventID, error) {
	if !in.SkipPolicy {
		if err := r.allow(ctx, Action{Kind: ActionJoin, User: in.Sender, RoomID: in.RoomID}); err != nil {
			return "", err
		}
	}
	if err := r.notBlocked(ctx, in.RoomID); err != nil {
		return "", err
	}
	content, err := r.memberContent(ctx, in, Joined)
	if err != nil {
		return "", err
	}
	e, err := r.acquire(ctx, in.RoomID)
	if isNotFound(err) {
		return r.joinElsewhere(ctx, in, via, content)
	}
	if err != nil {
		return "", err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return "", err
	}
	if !h.inside() {
		return r.joinElsewhere(ctx, in, via, content)
	}
	if guest {
		if err := guestsAllowed(ctx, h.state); err != nil {
			return "", err
		}
	}
	return r.joinInside(ctx, e, in, via, content)
}

// joinInside joins a room that we are inside. A restricted room may need somebody elsewhere to let the user in.
func (r *Rooms) joinInside(ctx context.Context, e *roomEntry, in *MemberInput, via []string, content json.RawMessage) (id.EventID, error) {
	h, err := e.committed(ctx)
	if err != nil {
		return "", err
	}
	authoriser, err := r.authoriserFor(ctx, e, h, in.Target)
	if errors.Is(err, errUnableToAuth) {
		servers, memberErr := r.JoinedServers(ctx, e.id)
		if memberErr != nil {
			return "", memberErr
		}
		return r.joinElsewhere(ctx, in, r.viaOf(via, servers), content)
	}
	if err != nil {
		return "", err
	}
	if authoriser != "" {
		if content, err = withMember(content, "join_authorised_via_users_server", authoriser); err != nil {
			return "", err
		}
	}
	plain := len(in.Content) == 0 && in.Reason == ""
	return r.setMembership(ctx, e, in, content, func(_ context.Context, _ *batch, now string, _ *Stored) error {
		if now == Joined && plain {
			return errSame
		}
		return nil
	})
}

func withMember(content json.RawMessage, key string, value any) (json.RawMessage, error) {
	var c map[string]any
	if err := json.Unmarshal(content, &c); err != nil {
		return nil, err
	}
	c[key] = value
	return json.Marshal(c)
}

func guestsAllowed(ctx context.Context, s *State) error {
	ev, err := s.Event(ctx, typeGuestAccess, "")
	if err != nil {
		return err
	}
	if ev != nil {
		if rule, _ := ev.FieldString("guest_access"); rule == "can_join" {
			return nil
		}
	}
	return mautrix.RespError{ErrCode: "M_GUEST_ACCESS_FORBIDDEN", StatusCode: 403, Err: "Guests cannot join this room"}
}

// authoriserFor names a local user who lets someone into a restricted room: "" if nobody has to, errUnableToAuth if nobody
// of this server can, M_FORBIDDEN if the user fulfils none of the conditions. spec: cs#restricted-rooms
func (r *Rooms) authoriserFor(ctx context.Context, e *roomEntry, h *head, user id.UserID) (id.UserID, error) {
	if !e.version.Restricted() {
		return "", nil
	}
	v := &view{ctx: ctx, s: h.state}
	rule := auth.JoinRule(v)
	if rule != "restricted" && !(rule == "knock_restricted" && e.version.KnockRestricted()) {
		return "", v.err
	}
	member, err := h.state.Event(ctx, typeMember, string(user))
	if err != nil {
		return "", err
	}
	if member != nil {
		switch member.Membership() {
		case Joined, Invited:
			return "", nil
		case Banned:
			return "", mautrix.MForbidden.WithMessage("You are banned from this room")
		}
	}
	ok, err := r.Allowed(ctx, h.state, user)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", mautrix.MForbidden.WithMessage("You belong to none of the rooms whose members may join this room")
	}
	return r.inviter(ctx, e, h.state)
}

// Allowed says whether someone is in a room whose members the join rules of a state let in. For users of other servers only
// rooms known here count.
func (r *Rooms) Allowed(ctx context.Context, s *State, user id.UserID) (bool, error) {
	rooms, err := r.allowRooms(ctx, s)
	if err != nil || len(rooms) == 0 {
		return false, err
	}
	mine, err := r.Memberships(ctx, user)
	if err != nil {
		return false, err
	}
	for _, roomID := range rooms {
		if mine[roomID].Membership != Joined {
			continue
		}
		info, err := r.Info(ctx, roomID)
		if err != nil {
			return false, err
		}
		if info.Inside { // what is known of a room that this server left may have changed
			return true, nil
		}
	}
	return false, nil
}

// AllowRooms lists the rooms whose members the join rules of a state let in.
func (r *Rooms) allowRooms(ctx context.Context, s *State) ([]id.RoomID, error) {
	ev, err := s.Event(ctx, typeJoinRules, "")
	if err != nil || ev == nil {
		return nil, err
	}
	var c struct {
		Allow []json.RawMessage `json:"allow"`
	}
	_ = json.Unmarshal(ev.Content(), &c) // a list of another shape lets nobody in
	var rooms []id.RoomID
	for _, raw := range c.Allow {
		var a struct {
			Type   string    `json:"type"`
			RoomID id.RoomID `json:"room_id"`
		}
		if json.Unmarshal(raw, &a) == nil && a.Type == "m.room_membership" && a.RoomID != "" {
			rooms = append(rooms, a.RoomID)
		}
	}
	return rooms, nil
}

// inviter finds a local user whose power suffices to invite.
func (r *Rooms) inviter(ctx context.Context, e *roomEntry, s *State) (id.UserID, error) {
	v := &view{ctx: ctx, s: s}
	levels := auth.PowerLevels(v)
	if v.err != nil {
		return "", v.err
	}
	ro, err := e.members(ctx)
	if err != nil {
		return "", err
	}
	var best id.UserID
	var power int64
	ro.local.each(func(k nameKey, _ struct{}) bool {
		if p := levels.User(id.UserID(k)); p >= levels.Invite && (best == "" || p > power) {
			best, power = id.UserID(k), p
		}
		return true
	})
	if best == "" {
		return "", errUnableToAuth.WithMessage("Nobody of this server may invite into the room")
	}
	return best, nil
}

// joinElsewhere joins through a server that is inside the room.
func (r *Rooms) joinElsewhere(ctx context.Context, in *MemberInput, via []string, content json.RawMessage) (id.EventID, error) {
	via = r.viaOrRoom(r.viaOf(r.inviteServers(ctx, in.RoomID, in.Target), via), in.RoomID)
	if r.elsewhere == nil || len(via) == 0 {
		return "", errNoServers
	}
	return r.elsewhere.join(ctx, outsideMember{in.RoomID, in.Target, via, content})
}

// viaOrRoom is the server that a room is named after, if no other is known.
func (r *Rooms) viaOrRoom(via []string, roomID id.RoomID) []string {
	if len(via) == 0 {
		return r.viaOf([]string{event.ServerOf(string(roomID))})
	}
	return via
}

// inviteServers are those that an invitation came from.
func (r *Rooms) inviteServers(ctx context.Context, roomID id.RoomID, user id.UserID) []string {
	m, ok, err := r.Member(ctx, roomID, user)
	if err != nil || !ok || m.Membership != Invited {
		return nil
	}
	return []string{event.ServerOf(string(m.Sender))}
}
