package timeline

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// access is what somebody may read of a room as a whole; single events are still checked by Visible.
type access struct {
	user   id.UserID
	room   id.RoomID
	joined bool
	member room.Member
	until  room.Order   // nothing after it: newest for members and peekers, the leave for those who left
	left   *room.Stored // the event that ended the membership, for those who left
}

var errNotInRoom = mautrix.MForbidden.WithMessage("You aren't a member of the room and weren't previously a member of the room.")

// access admits members, those who were members (up to their leave, unless they forgot the room), and everybody where the
// history is world readable.
func (t *Timelines) access(ctx context.Context, user id.UserID, roomID id.RoomID) (*access, error) {
	m, ok, err := t.rooms.Member(ctx, roomID, user)
	if err != nil {
		return nil, err
	}
	a := &access{user: user, room: roomID, member: m, until: newest}
	if ok && m.Membership == memberJoin {
		a.joined = true
		return a, nil
	}
	if ok && !m.Forgotten && (m.Membership == memberLeave || m.Membership == memberBan) {
		v := Viewer{t: t, user: user, room: roomID, member: m, key: memberKey(user)}
		if err := v.findUntil(ctx); err != nil {
			return nil, err
		}
		if v.wasIn {
			if a.left, err = t.rooms.Event(ctx, m.EventID); err != nil {
				return nil, err
			}
			a.until = a.left.Order
			return a, nil
		}
	}
	if ok && m.Forgotten {
		return nil, errNotInRoom
	}
	st, err := t.rooms.State(ctx, roomID)
	if err := ignoreNotFound(err); err != nil {
		return nil, err
	}
	if st == nil || st.Len() == 0 {
		return nil, errNotInRoom
	}
	v, err := t.visibilityIn(ctx, st)
	if err != nil {
		return nil, err
	}
	if v != visibleWorld {
		return nil, errNotInRoom
	}
	return a, nil
}

// MayRead refuses those who may know nothing of a room as a whole.
func (t *Timelines) MayRead(ctx context.Context, user id.UserID, roomID id.RoomID) error {
	_, err := t.access(ctx, user, roomID)
	return err
}

// state is the room's state as the reader may know it: the current one, or that of the moment they left.
func (t *Timelines) state(ctx context.Context, a *access) (*room.State, error) {
	if a.left != nil {
		return t.rooms.StateAfter(ctx, a.left)
	}
	return t.rooms.State(ctx, a.room)
}

func memberKey(user id.UserID) event.Key { return event.Key{Type: typeMember, StateKey: string(user)} }

// eventState lets the authorisation rules read a state.
type eventState struct {
	ctx context.Context
	st  *room.State
}

// Get implements auth.State.
func (s eventState) Get(key event.Key) *event.Event {
	ev, err := s.st.Event(s.ctx, key.Type, key.StateKey)
	if err != nil || ev == nil {
		return nil
	}
	return ev.Event
}
