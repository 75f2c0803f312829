package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// Follow registers the followers of this package. It is called once, before the stream runs.
func (r *Rooms) Follow() {
	r.stream.Follow("room.profile", stream.Kinds(stream.Profile), r.followProfiles)
	r.stream.Follow("room.deactivation", stream.Kinds(stream.Deactivation), r.followDeactivations)
}

// followProfiles lets the member events of the rooms that a user is joined to show the new profile.
// spec: cs#events-on-change-of-profile-information
func (r *Rooms) followProfiles(ctx context.Context, changes []stream.Change) error {
	done := map[id.UserID]bool{}
	for _, c := range changes {
		if done[c.UserID] || !r.local(c.UserID) {
			continue
		}
		done[c.UserID] = true
		rooms, err := r.JoinedRooms(ctx, c.UserID)
		if err != nil {
			return err
		}
		for _, roomID := range rooms {
			if err := r.showProfile(ctx, roomID, c.UserID); err != nil {
				return err
			}
		}
	}
	return nil
}

// showProfile renews the member event of a user in one room. A room that refuses is left as it is.
func (r *Rooms) showProfile(ctx context.Context, roomID id.RoomID, user id.UserID) error {
	s, err := r.State(ctx, roomID)
	if err != nil {
		return err
	}
	ev, err := s.Event(ctx, typeMember, string(user))
	if err != nil || ev == nil || ev.Membership() != Joined {
		return err
	}
	var was map[string]json.RawMessage
	if err := json.Unmarshal(ev.Content(), &was); err != nil {
		return fmt.Errorf("content of %s: %w", ev.ID(), err)
	}
	for _, key := range []string{"displayname", "avatar_url", "reason", "is_direct"} {
		delete(was, key)
	}
	base, err := json.Marshal(was)
	if err != nil {
		return err
	}
	in := &MemberInput{RoomID: roomID, Sender: user, Target: user, Content: base, SkipPolicy: true}
	content, err := r.memberContent(ctx, in, Joined)
	if err != nil {
		return err
	}
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return err
	}
	defer r.release(e)
	_, err = r.setMembership(ctx, e, in, content, func(_ context.Context, _ *batch, now string, _ *Stored) error {
		if now != Joined {
			return errSame
		}
		return nil
	})
	return r.survivable(ctx, roomID, err)
}

// survivable drops errors that repeating does not help against.
func (r *Rooms) survivable(ctx context.Context, roomID id.RoomID, err error) error {
	if resp, ok := asRespError(err); ok && resp.StatusCode < 500 && !errors.Is(err, context.Canceled) {
		zerolog.Ctx(ctx).Debug().Err(err).Str("room_id", string(roomID)).Msg("A room did not take a change of one of its members")
		return nil
	}
	return err
}

// followDeactivations makes deactivated users leave all their rooms.
func (r *Rooms) followDeactivations(ctx context.Context, changes []stream.Change) error {
	for _, c := range changes {
		if !r.local(c.UserID) {
			continue
		}
		rooms, err := r.Memberships(ctx, c.UserID)
		if err != nil {
			return err
		}
		for roomID, m := range rooms {
			switch m.Membership {
			case Joined, Invited, Knocked:
			default:
				continue
			}
			err := r.Leave(ctx, MemberInput{RoomID: roomID, Sender: c.UserID, SkipPolicy: true})
			if err := r.survivable(ctx, roomID, err); err != nil {
				return err
			}
		}
	}
	return nil
}
