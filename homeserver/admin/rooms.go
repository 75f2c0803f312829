package admin

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/room"
)

const typePowerLevels = "m.room.power_levels"

// MakeRoomAdmin gives a user the power of the most powerful local user in the room, who does it, and invites them if they
// could not join otherwise.
func (a *Admin) MakeRoomAdmin(ctx context.Context, r id.RoomID, user id.UserID) error {
	levels, err := a.rooms.PowerLevels(ctx, r)
	if err != nil {
		return err
	}
	by, power, err := a.mostPowerful(ctx, r, levels)
	if err != nil {
		return err
	}
	if by == "" || power < levels.Event(typePowerLevels, true) {
		return unknown("No local admin user in room")
	}
	if levels.User(user) < min(power, 100) {
		if err := a.setPower(ctx, r, by, user, power); err != nil {
			return err
		}
	}
	m, _, err := a.rooms.Member(ctx, r, user)
	if err != nil || m.Membership == room.Joined || m.Membership == room.Invited {
		return err
	}
	l, err := a.rooms.ListRoom(ctx, r)
	if err != nil || l.JoinRule == "public" {
		return err
	}
	return a.rooms.Invite(ctx, room.MemberInput{RoomID: r, Sender: by, Target: user, SkipPolicy: true})
}

// mostPowerful finds the local user with the greatest power in a room.
func (a *Admin) mostPowerful(ctx context.Context, r id.RoomID, levels auth.Levels) (best id.UserID, power int64, err error) {
	list, err := a.rooms.LocalJoined(ctx, r)
	for _, u := range list {
		if p := levels.User(u); best == "" || p > power {
			best, power = u, p
		}
	}
	return best, power, err
}

// usualAdmin is the power of administrators of a room, for those whom a creator without bounds appoints.
const usualAdmin = 100

func (a *Admin) setPower(ctx context.Context, r id.RoomID, by, user id.UserID, power int64) error {
	s, err := a.rooms.State(ctx, r)
	if err != nil {
		return err
	}
	old, err := s.Event(ctx, typePowerLevels, "")
	if err != nil {
		return err
	}
	content, users := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if old != nil {
		if err := json.Unmarshal(old.Content(), &content); err != nil {
			return doing("reading power levels", err)
		}
		_ = json.Unmarshal(content["users"], &users) // what is no object counts as absent
	}
	if power == auth.Infinite {
		power = usualAdmin
	}
	if users == nil {
		users = map[string]json.RawMessage{}
	}
	if users[string(user)], err = json.Marshal(power); err != nil {
		return err
	}
	if content["users"], err = json.Marshal(users); err != nil {
		return err
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	_, err = a.rooms.Send(ctx, room.SendInput{RoomID: r, Sender: by, Type: typePowerLevels, StateKey: new(string), Content: raw, SkipPolicy: true})
	return err
}

// JoinFor makes a user join a room; where they may not, the operator invites them first, if in the room.
func (a *Admin) JoinFor(ctx context.Context, operator, user id.UserID, r id.RoomID) error {
	join := func() error {
		_, err := a.rooms.Join(ctx, room.JoinInput{User: user, RoomIDOrAlias: string(r), SkipPolicy: true})
		return err
	}
	err := join()
	if !errors.Is(err, mautrix.MForbidden) || user == operator {
		return err
	}
	if m, _, readErr := a.rooms.Member(ctx, r, operator); readErr != nil || m.Membership != room.Joined {
		return errors.Join(readErr, err)
	}
	if err := a.rooms.Invite(ctx, room.MemberInput{RoomID: r, Sender: operator, Target: user, SkipPolicy: true}); err != nil {
		return err
	}
	return join()
}
