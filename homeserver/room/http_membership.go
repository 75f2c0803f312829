package room

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

type joinIn struct {
	RoomIDOrAlias string          `path:"roomIdOrAlias"`
	Via           []string        `query:"via"`
	ServerName    []string        `query:"server_name"`
	Reason        string          `json:"reason"`
	Timestamp     int64           `query:"ts"`
	_             struct{}        `body:"optional"`
	Body          json.RawMessage `body:"raw"`
}

// further is what a client adds to its member event beyond what the call itself defines.
func further(body json.RawMessage) json.RawMessage {
	var c map[string]json.RawMessage
	if json.Unmarshal(body, &c) != nil {
		return nil
	}
	for _, k := range []string{"reason", "third_party_signed", "membership", "displayname", "avatar_url", "join_authorised_via_users_server"} {
		delete(c, k)
	}
	if len(c) == 0 {
		return nil
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil
	}
	return raw
}

// PostJoin joins a room by ID or alias.
//
// spec: cs#post_matrixclientv3joinroomidoralias
func (r *Rooms) PostJoin(ctx context.Context, who web.Requester, in joinIn) (roomOut, error) {
	if err := active(who); err != nil {
		return roomOut{}, err
	}
	roomID, err := r.Join(ctx, JoinInput{User: who.UserID, RoomIDOrAlias: in.RoomIDOrAlias, Via: append(in.Via, in.ServerName...),
		Reason: in.Reason, Content: further(in.Body), DeviceID: who.DeviceID, Timestamp: massaged(who, in.Timestamp), Guest: who.Guest})
	return roomOut{roomID}, err
}

type roomIn struct {
	RoomID    id.RoomID       `path:"roomId"`
	Reason    string          `json:"reason"`
	Timestamp int64           `query:"ts"`
	_         struct{}        `body:"optional"`
	Body      json.RawMessage `body:"raw"`
}

// PostRoomJoin joins a room by ID.
//
// spec: cs#post_matrixclientv3roomsroomidjoin
func (r *Rooms) PostRoomJoin(ctx context.Context, who web.Requester, in roomIn) (roomOut, error) {
	if err := active(who); err != nil {
		return roomOut{}, err
	}
	if !event.ValidRoomID(string(in.RoomID)) {
		return roomOut{}, errInvalidRoomID
	}
	roomID, err := r.Join(ctx, JoinInput{User: who.UserID, RoomIDOrAlias: string(in.RoomID), Reason: in.Reason, Content: further(in.Body), DeviceID: who.DeviceID,
		Timestamp: massaged(who, in.Timestamp), Guest: who.Guest})
	return roomOut{roomID}, err
}

// PostLeave leaves a room, declines an invitation or takes a knock back.
//
// spec: cs#post_matrixclientv3roomsroomidleave
func (r *Rooms) PostLeave(ctx context.Context, who web.Requester, in roomIn) (struct{}, error) {
	return struct{}{}, r.Leave(ctx, MemberInput{RoomID: in.RoomID, Sender: who.UserID, Reason: in.Reason, DeviceID: who.DeviceID,
		Timestamp: massaged(who, in.Timestamp)})
}

type forgetIn struct {
	RoomID id.RoomID `path:"roomId"`
	_      struct{}  `body:"-"`
}

// PostForget takes a left room out of the user's view.
//
// spec: cs#post_matrixclientv3roomsroomidforget
func (r *Rooms) PostForget(ctx context.Context, who web.Requester, in forgetIn) (struct{}, error) {
	return struct{}{}, r.Forget(ctx, in.RoomID, who.UserID)
}

type otherIn struct {
	RoomID    id.RoomID `path:"roomId"`
	UserID    id.UserID `json:"user_id"`
	Reason    string    `json:"reason"`
	Timestamp int64     `query:"ts"`
}

func (in *otherIn) member(who web.Requester) (MemberInput, error) {
	if err := active(who); err != nil {
		return MemberInput{}, err
	}
	if in.UserID == "" {
		return MemberInput{}, errMissingParam.WithMessage("user_id is missing")
	}
	return MemberInput{RoomID: in.RoomID, Sender: who.UserID, Target: in.UserID, Reason: in.Reason, DeviceID: who.DeviceID,
		Timestamp: massaged(who, in.Timestamp)}, nil
}

type inviteIn struct {
	RoomID    id.RoomID `path:"roomId"`
	UserID    id.UserID `json:"user_id"`
	Reason    string    `json:"reason"`
	Medium    string    `json:"medium"`
	Timestamp int64     `query:"ts"`
}

// PostInvite invites a user by ID.
//
// spec: cs#post_matrixclientv3roomsroomidinvite
func (r *Rooms) PostInvite(ctx context.Context, who web.Requester, in inviteIn) (struct{}, error) {
	if in.Medium != "" && in.UserID == "" {
		return struct{}{}, web.MThreepidMediumNotSupported.WithMessage("Invitations by address need an identity server; there is none here")
	}
	other := otherIn{in.RoomID, in.UserID, in.Reason, in.Timestamp}
	m, err := other.member(who)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.Invite(ctx, m)
}

// PostKick puts a user out of a room.
//
// spec: cs#post_matrixclientv3roomsroomidkick
func (r *Rooms) PostKick(ctx context.Context, who web.Requester, in otherIn) (struct{}, error) {
	m, err := in.member(who)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.Kick(ctx, m)
}

// PostBan bans a user from a room.
//
// spec: cs#post_matrixclientv3roomsroomidban
func (r *Rooms) PostBan(ctx context.Context, who web.Requester, in otherIn) (struct{}, error) {
	m, err := in.member(who)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.Ban(ctx, m)
}

// PostUnban ends a ban.
//
// spec: cs#post_matrixclientv3roomsroomidunban
func (r *Rooms) PostUnban(ctx context.Context, who web.Requester, in otherIn) (struct{}, error) {
	m, err := in.member(who)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.Unban(ctx, m)
}

// PostKnock asks to be let into a room.
//
// spec: cs#post_matrixclientv3knockroomidoralias
func (r *Rooms) PostKnock(ctx context.Context, who web.Requester, in joinIn) (roomOut, error) {
	if err := active(who); err != nil {
		return roomOut{}, err
	}
	roomID, err := r.Knock(ctx, KnockInput{User: who.UserID, RoomIDOrAlias: in.RoomIDOrAlias, Via: append(in.Via, in.ServerName...),
		Reason: in.Reason, DeviceID: who.DeviceID})
	return roomOut{roomID}, err
}

type joinedRoomsOut struct {
	JoinedRooms []id.RoomID `json:"joined_rooms"`
}

// GetJoinedRooms lists the rooms that the user is in.
//
// spec: cs#get_matrixclientv3joined_rooms
func (r *Rooms) GetJoinedRooms(ctx context.Context, who web.Requester, _ struct{}) (joinedRoomsOut, error) {
	list, err := r.JoinedRooms(ctx, who.UserID)
	return joinedRoomsOut{list}, err
}
