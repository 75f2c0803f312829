package timeline

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// MembersIn is the request of GetMembers.
type MembersIn struct {
	RoomID        id.RoomID `path:"roomId"`
	At            string    `query:"at"`
	Membership    string    `query:"membership"`
	NotMembership string    `query:"not_membership"`
}

// GetMembers lists membership events.
//
// spec: cs#get_matrixclientv3roomsroomidmembers
func (t *Timelines) GetMembers(ctx context.Context, who web.Requester, in MembersIn) (web.Bytes, error) {
	for _, m := range []string{in.Membership, in.NotMembership} {
		switch m {
		case "", memberJoin, memberInvite, memberLeave, memberBan, memberKnock:
		default:
			return nil, mautrix.MInvalidParam.WithMessage("Unknown membership")
		}
	}
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	st, err := t.stateAtToken(ctx, a, in.At)
	if err != nil {
		return nil, err
	}
	evs, err := st.Events(ctx, func(k event.Key) bool { return k.Type == typeMember })
	if err != nil {
		return nil, err
	}
	kept := evs[:0:0]
	for _, ev := range evs {
		m := ev.Membership()
		if in.Membership != "" && m == in.Membership || in.NotMembership != "" && m != in.NotMembership ||
			in.Membership == "" && in.NotMembership == "" {
			kept = append(kept, ev)
		}
	}
	dst := append(make([]byte, 0, 500*len(kept)+16), `{"chunk":[`...)
	return append(t.AppendState(dst, kept, RenderOptions{ForUser: who.UserID}), ']', '}'), nil
}

// stateAtToken is the state at a place in the history, never later than what the reader may know.
func (t *Timelines) stateAtToken(ctx context.Context, a *access, token string) (*room.State, error) {
	if token == "" {
		return t.state(ctx, a)
	}
	if pos, ok := moment(token); ok {
		if a.left != nil && a.left.Pos <= pos {
			return t.state(ctx, a)
		}
		return t.rooms.StateAt(ctx, a.room, pos)
	}
	at, err := t.place(ctx, a.room, token)
	if err != nil {
		return nil, err
	}
	if at >= a.until {
		return t.state(ctx, a)
	}
	evs, err := t.history(ctx, a.room, at, true, 1)
	if err != nil {
		return nil, err
	}
	if len(evs) == 0 {
		return t.state(ctx, a)
	}
	return t.rooms.StateAfter(ctx, evs[0])
}

// GetJoinedMembers lists who is in the room, for members of it. A name or an avatar that is not set is null, not absent:
// existing clients and test suites look for the member.
//
// spec: cs#get_matrixclientv3roomsroomidjoined_members
func (t *Timelines) GetJoinedMembers(ctx context.Context, who web.Requester, in RoomIn) (web.Bytes, error) {
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	if !a.joined && who.AppService == nil {
		return nil, mautrix.MForbidden.WithMessage("You aren't a member of the room.")
	}
	members, err := t.rooms.Members(ctx, in.RoomID, memberJoin)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, 120*len(members)+16), `{"joined":{`...)
	for _, m := range members {
		dst = append(appendKey(dst, string(m.UserID)), `{"display_name":`...)
		dst = appendOrNull(dst, m.DisplayName)
		dst = append(dst, `,"avatar_url":`...)
		dst = append(appendOrNull(dst, m.AvatarURL), '}')
	}
	return append(dst, '}', '}'), nil
}

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}
