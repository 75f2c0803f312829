package e2ee

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// followMemberships looks for remote users whose device lists can no longer be complete: their server tells us of changes
// only while they share a room with someone here.
func (k *Keys) followMemberships(ctx context.Context, changes []stream.Change) error {
	if k.remote == nil {
		return nil
	}
	var any int
	if err := k.db.QueryRow(ctx, countKept).Scan(&any); err != nil || any == 0 {
		return err
	}
	for _, c := range changes {
		s, err := k.stepOf(ctx, c)
		if err != nil {
			return fmt.Errorf("reading a membership: %w", err)
		}
		if s == stepNone {
			continue
		}
		suspects := []id.UserID{c.UserID}
		if k.accounts.Local(c.UserID) {
			if suspects, err = k.suspects(ctx, c); err != nil {
				return err
			}
		}
		if err := k.checkKept(ctx, suspects, c.Pos); err != nil {
			return err
		}
	}
	return nil
}

// suspects are the members of a room in which a local user moved, if nobody else from here was in it all the time.
func (k *Keys) suspects(ctx context.Context, c stream.Change) ([]id.UserID, error) {
	stays, err := k.anyLocalSince(ctx, c.RoomID, c.Pos)
	if err != nil || stays {
		return nil, err
	}
	members, err := k.rooms.JoinedMembers(ctx, c.RoomID)
	if err != nil {
		return nil, fmt.Errorf("members of a room: %w", err)
	}
	return members, nil
}

// anyLocalSince tells whether a user of this server has been in the room since before pos.
func (k *Keys) anyLocalSince(ctx context.Context, room id.RoomID, pos stream.Pos) (bool, error) {
	local, err := k.rooms.LocalJoined(ctx, room)
	if err != nil {
		return false, fmt.Errorf("local members of a room: %w", err)
	}
	for _, user := range local {
		at, in, err := k.rooms.JoinedAt(ctx, room, user)
		if err != nil {
			return false, fmt.Errorf("reading a membership: %w", err)
		}
		if in && at < pos {
			return true, nil
		}
	}
	return false, nil
}

// checkKept spoils or forgets the kept lists of those users who have not shared a room with someone here since before pos.
// Lists that were asked for later are right.
func (k *Keys) checkKept(ctx context.Context, users []id.UserID, pos stream.Pos) error {
	kept, err := k.usersWhere(ctx, selectKept, users, pos)
	if err != nil {
		return fmt.Errorf("reading device lists: %w", err)
	}
	for _, user := range kept {
		rooms, err := k.rooms.RoomsOf(ctx, user)
		if err != nil {
			return fmt.Errorf("rooms of a remote user: %w", err)
		}
		shares, always := false, false
		for _, room := range rooms {
			local, err := k.rooms.LocalJoined(ctx, room)
			if err != nil {
				return fmt.Errorf("local members of a room: %w", err)
			}
			shares = shares || len(local) > 0
			if always, err = k.together(ctx, room, user, pos); err != nil || always {
				if err != nil {
					return err
				}
				break
			}
		}
		switch {
		case always:
		case shares:
			err = k.spoil(ctx, user)
		default:
			err = k.unfollow(ctx, user)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// together tells whether the user and someone from here have both been in the room since before pos.
func (k *Keys) together(ctx context.Context, room id.RoomID, user id.UserID, pos stream.Pos) (bool, error) {
	at, in, err := k.rooms.JoinedAt(ctx, room, user)
	if err != nil {
		return false, fmt.Errorf("reading a membership: %w", err)
	}
	if !in || at >= pos {
		return false, nil
	}
	return k.anyLocalSince(ctx, room, pos)
}
