package room

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

type aliasIn struct {
	RoomAlias id.RoomAlias `path:"roomAlias"`
	_         struct{}     `body:"-"`
}

type aliasOut struct {
	RoomID  id.RoomID `json:"room_id"`
	Servers []string  `json:"servers"`
}

// GetAlias tells which room an alias points to.
//
// spec: cs#get_matrixclientv3directoryroomroomalias
func (r *Rooms) GetAlias(ctx context.Context, _ web.Requester, in aliasIn) (aliasOut, error) {
	if !event.ValidAlias(string(in.RoomAlias)) {
		return aliasOut{}, web.Errorf(errInvalidRoomID, "Not a room alias")
	}
	roomID, servers, err := r.ResolveAlias(ctx, in.RoomAlias)
	return aliasOut{roomID, servers}, err
}

type putAliasIn struct {
	RoomAlias id.RoomAlias `path:"roomAlias"`
	RoomID    id.RoomID    `json:"room_id"`
}

// PutAlias makes an alias.
//
// spec: cs#put_matrixclientv3directoryroomroomalias
func (r *Rooms) PutAlias(ctx context.Context, who web.Requester, in putAliasIn) (struct{}, error) {
	if err := active(who); err != nil {
		return struct{}{}, err
	}
	if !event.ValidRoomID(string(in.RoomID)) {
		return struct{}{}, errInvalidRoomID.WithMessage("room_id must be a room ID")
	}
	return struct{}{}, r.CreateAlias(ctx, who.UserID, serviceOf(who), in.RoomAlias, in.RoomID)
}

// DeleteRoomAlias removes an alias.
//
// spec: cs#delete_matrixclientv3directoryroomroomalias
func (r *Rooms) DeleteRoomAlias(ctx context.Context, who web.Requester, in aliasIn) (struct{}, error) {
	if err := active(who); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.DeleteAlias(ctx, who.UserID, who.Admin, serviceOf(who), in.RoomAlias)
}

type aliasesIn struct {
	RoomID id.RoomID `path:"roomId"`
}

type aliasesOut struct {
	Aliases []id.RoomAlias `json:"aliases"`
}

// GetAliases lists the local aliases of a room.
//
// spec: cs#get_matrixclientv3roomsroomidaliases
func (r *Rooms) GetAliases(ctx context.Context, who web.Requester, in aliasesIn) (aliasesOut, error) {
	list, err := r.ListAliases(ctx, who.UserID, who.Admin, in.RoomID)
	if list == nil {
		list = []id.RoomAlias{}
	}
	return aliasesOut{list}, err
}
