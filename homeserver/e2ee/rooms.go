package e2ee

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// Rooms is what e2ee needs to know of rooms and memberships.
type Rooms interface {
	// RoomsOf lists the rooms a user, local or remote, has joined as far as this server knows.
	RoomsOf(ctx context.Context, user id.UserID) ([]id.RoomID, error)
	// JoinedMembers lists the members of a room.
	JoinedMembers(ctx context.Context, room id.RoomID) ([]id.UserID, error)
	// LocalJoined lists the members of a room that are users of this server.
	LocalJoined(ctx context.Context, room id.RoomID) ([]id.UserID, error)
	// Sharing tells which of the others are in a room together with the user.
	Sharing(ctx context.Context, user id.UserID, others []id.UserID) (map[id.UserID]bool, error)
	// JoinedAt returns the position of a user's membership in a room, and whether it is "join".
	JoinedAt(ctx context.Context, room id.RoomID, user id.UserID) (stream.Pos, bool, error)
	// Transition tells the membership before and after a change of kind Membership.
	Transition(ctx context.Context, c stream.Change) (before, after string, err error)
}

// step is what a membership event changed. Most are neither: a new display name, an invite.
type step uint8

const (
	stepNone step = iota
	stepJoined
	stepLeft
)

// stepOf returns what a change of kind Membership did; it never changes, so it is remembered.
func (k *Keys) stepOf(ctx context.Context, c stream.Change) (step, error) {
	if s, ok := k.steps.get(c.Pos); ok {
		return s, nil
	}
	before, after, err := k.rooms.Transition(ctx, c)
	if err != nil {
		return stepNone, err
	}
	s := stepNone
	switch {
	case after == "join" && before != "join":
		s = stepJoined
	case after != "join" && before == "join":
		s = stepLeft
	}
	k.steps.put(c.Pos, s)
	return s, nil
}
