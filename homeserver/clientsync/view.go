package clientsync

import (
	"context"
	"reflect"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// view is what a user's requests wait on. It is derived from one immutable map of memberships and kept as long as that map is
// the current one.
type view struct {
	identity uintptr // of the map
	members  map[id.RoomID]room.Member
	joined   []id.RoomID    // sorted
	topics   []stream.Topic // the user's own, then those of the joined rooms in the same order
	newest   stream.Pos     // of any membership
}

// view returns the user's rooms and topics.
func (s *Syncs) view(ctx context.Context, user id.UserID) (*view, error) {
	members, err := s.Rooms.Memberships(ctx, user)
	if err != nil {
		return nil, err
	}
	identity := reflect.ValueOf(members).Pointer()
	if v, ok := s.views.Get(user); ok && v.identity == identity {
		return v, nil
	}
	v := &view{identity: identity, members: members}
	for roomID, m := range members {
		if m.Membership == memberJoin {
			v.joined = append(v.joined, roomID)
		}
		v.newest = max(v.newest, m.Pos)
	}
	slices.Sort(v.joined)
	v.topics = make([]stream.Topic, 1, len(v.joined)+1)
	v.topics[0] = stream.UserTopic(user)
	for _, roomID := range v.joined {
		v.topics = append(v.topics, stream.RoomTopic(roomID))
	}
	s.views.Put(user, v, int64(len(v.topics))+4)
	return v, nil
}

const (
	typeMember = "m.room.member"
	typeCreate = "m.room.create"
	typeName   = "m.room.name"
	typeAlias  = "m.room.canonical_alias"

	memberJoin   = "join"
	memberInvite = "invite"
	memberLeave  = "leave"
	memberBan    = "ban"
	memberKnock  = "knock"
)
