package e2ee

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// FromAccounts shows accounts as e2ee sees them.
func FromAccounts(a *account.Accounts) Accounts { return accountsView{a} }

type accountsView struct{ *account.Accounts }

func (a accountsView) DeviceNames(ctx context.Context, user id.UserID) (map[id.DeviceID]string, error) {
	devices, err := a.Devices(ctx, user)
	if err != nil {
		return nil, err
	}
	names := make(map[id.DeviceID]string, len(devices))
	for _, d := range devices {
		names[d.ID] = d.DisplayName
	}
	return names, nil
}

// Attach registers what e2ee does when devices come, change and go.
func (k *Keys) Attach(a *account.Accounts) {
	a.OnDeviceDeleted(k.DeviceDeleted)
	a.OnDeviceChanged(k.DeviceChanged)
	a.SetDeviceReserved(k.DeviceReserved)
}

// FromRooms shows rooms as e2ee sees them.
func FromRooms(r *room.Rooms) Rooms { return roomsView{r} }

type roomsView struct{ *room.Rooms }

// fewOthers is up to how many users are looked up one by one; more are looked for in the rooms of the user.
const fewOthers = 8

func (r roomsView) Sharing(ctx context.Context, user id.UserID, others []id.UserID) (map[id.UserID]bool, error) {
	out := make(map[id.UserID]bool, len(others))
	if len(others) <= fewOthers {
		for _, other := range others {
			shares, err := r.SharesRoom(ctx, user, other)
			if err != nil {
				return nil, err
			}
			if shares {
				out[other] = true
			}
		}
		return out, nil
	}
	wanted := make(map[id.UserID]struct{}, len(others))
	for _, other := range others {
		wanted[other] = struct{}{}
	}
	rooms, err := r.RoomsOf(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, roomID := range rooms {
		members, err := r.JoinedMembers(ctx, roomID)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if _, ok := wanted[m]; ok {
				out[m] = true
				delete(wanted, m)
			}
		}
		if len(wanted) == 0 {
			break
		}
	}
	return out, nil
}

func (r roomsView) JoinedAt(ctx context.Context, roomID id.RoomID, user id.UserID) (stream.Pos, bool, error) {
	m, ok, err := r.Member(ctx, roomID, user)
	if err != nil || !ok || m.Membership != room.Joined {
		return 0, false, err
	}
	return m.Pos, true, nil
}

// Transition compares a member event with the state before it. An event that is not stored here (an invite from outside)
// neither enters nor leaves.
func (r roomsView) Transition(ctx context.Context, c stream.Change) (before, after string, err error) {
	ev, err := r.Event(ctx, id.EventID(c.Ref))
	if err != nil || ev == nil || ev.StateKey() == nil {
		return "", "", err
	}
	after = ev.Membership()
	if ev.StateID == 0 {
		return "", after, nil
	}
	state, err := r.StateBefore(ctx, ev)
	if err != nil {
		return "", "", err
	}
	old, err := state.Event(ctx, "m.room.member", *ev.StateKey())
	if err != nil || old == nil {
		return "", after, err
	}
	return old.Membership(), after, nil
}
