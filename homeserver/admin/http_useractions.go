package admin

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

type resetPasswordIn struct {
	userIn
	Password      string `json:"new_password"`
	LogoutDevices *bool  `json:"logout_devices"`
}

// PostResetPassword sets a password, and ends all sessions unless told not to.
func (a *Admin) PostResetPassword(ctx context.Context, _ web.Requester, in resetPasswordIn) (struct{}, error) {
	if in.Password == "" {
		return struct{}{}, web.MMissingParam.WithMessage("new_password is missing")
	}
	if _, err := a.local(ctx, in.UserID); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.accounts.SetPassword(ctx, account.NewPassword{User: in.UserID, Password: in.Password, LogoutDevices: in.LogoutDevices == nil || *in.LogoutDevices})
}

type deactivateIn struct {
	userIn
	Erase bool     `json:"erase"`
	_     struct{} `body:"optional"`
}

type unbindOut struct {
	Result string `json:"id_server_unbind_result"`
}

// PostDeactivate ends an account.
//
// spec: cs#account-deactivation
func (a *Admin) PostDeactivate(ctx context.Context, _ web.Requester, in deactivateIn) (unbindOut, error) {
	if _, err := a.local(ctx, in.UserID); err != nil {
		return unbindOut{}, err
	}
	return unbindOut{"success"}, a.accounts.Deactivate(ctx, in.UserID, in.Erase)
}

type suspendUserIn struct {
	userIn
	Suspend *bool `json:"suspend"`
}

// PutSuspendUser suspends an account, or ends that.
//
// spec: cs#account-suspension
func (a *Admin) PutSuspendUser(ctx context.Context, who web.Requester, in suspendUserIn) (map[string]bool, error) {
	if in.Suspend == nil {
		return nil, web.MMissingParam.WithMessage("suspend is missing")
	}
	if _, err := a.local(ctx, in.UserID); err != nil {
		return nil, err
	}
	if in.UserID == who.UserID && *in.Suspend {
		return nil, unknown("You may not suspend yourself.")
	}
	return map[string]bool{"user_" + string(in.UserID) + "_suspended": *in.Suspend}, a.accounts.SetSuspended(ctx, in.UserID, *in.Suspend)
}

type adminOut struct {
	Admin bool `json:"admin"`
}

// GetUserAdmin says whether a user administers the server.
func (a *Admin) GetUserAdmin(ctx context.Context, _ web.Requester, in userIn) (adminOut, error) {
	u, err := a.local(ctx, in.UserID)
	return adminOut{u.Admin}, err
}

type putAdminIn struct {
	userIn
	Admin *bool `json:"admin"`
}

// PutUserAdmin makes a user an administrator of the server, or no longer one.
func (a *Admin) PutUserAdmin(ctx context.Context, who web.Requester, in putAdminIn) (struct{}, error) {
	if in.Admin == nil {
		return struct{}{}, web.MMissingParam.WithMessage("admin is missing")
	}
	u, err := a.local(ctx, in.UserID)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.ChangeUser(ctx, who.UserID, u, UserChange{Admin: in.Admin})
}

// PostShadowBan marks an account.
func (a *Admin) PostShadowBan(ctx context.Context, _ web.Requester, in userIn) (struct{}, error) {
	return a.shadowBan(ctx, in.UserID, true)
}

// DeleteShadowBan takes the mark away.
func (a *Admin) DeleteShadowBan(ctx context.Context, _ web.Requester, in userIn) (struct{}, error) {
	return a.shadowBan(ctx, in.UserID, false)
}

func (a *Admin) shadowBan(ctx context.Context, user id.UserID, on bool) (struct{}, error) {
	if _, err := a.local(ctx, user); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.accounts.SetShadowBanned(ctx, user, on)
}

type loginIn struct {
	userIn
	ValidUntil *int64   `json:"valid_until_ms"`
	_          struct{} `body:"optional"`
}

type tokenOut struct {
	Token string `json:"access_token"`
}

// PostUserLogin gives an access token for another user, without a device.
func (a *Admin) PostUserLogin(ctx context.Context, who web.Requester, in loginIn) (tokenOut, error) {
	if _, err := a.local(ctx, in.UserID); err != nil {
		return tokenOut{}, err
	}
	if in.UserID == who.UserID {
		return tokenOut{}, unknown("Cannot use admin API to login as self")
	}
	var lifetime time.Duration
	if in.ValidUntil != nil {
		if lifetime = time.Duration(min(*in.ValidUntil-a.now(), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond; lifetime <= 0 {
			return tokenOut{}, unknown("valid_until_ms has passed")
		}
	}
	token, err := a.accounts.Impersonate(ctx, in.UserID, lifetime)
	return tokenOut{token}, err
}

type userRoomsOut struct {
	Rooms []id.RoomID `json:"joined_rooms"`
	Total int         `json:"total"`
}

// GetUserRooms lists the rooms a user, of this server or another one, is in.
func (a *Admin) GetUserRooms(ctx context.Context, _ web.Requester, in userIn) (userRoomsOut, error) {
	list, err := a.rooms.JoinedRooms(ctx, in.UserID)
	if err != nil {
		return userRoomsOut{}, err
	}
	if len(list) == 0 && a.accounts.Local(in.UserID) {
		if _, err := a.accounts.GetUser(ctx, in.UserID); err != nil {
			return userRoomsOut{}, err
		}
	}
	slices.Sort(list)
	return userRoomsOut{list, len(list)}, nil
}

type membershipsOut struct {
	Memberships map[id.RoomID]string `json:"memberships"`
}

// GetUserMemberships lists all memberships of a user.
func (a *Admin) GetUserMemberships(ctx context.Context, _ web.Requester, in userIn) (membershipsOut, error) {
	if a.accounts.Local(in.UserID) {
		if _, err := a.accounts.GetUser(ctx, in.UserID); err != nil {
			return membershipsOut{}, err
		}
	}
	list, err := a.rooms.Memberships(ctx, in.UserID)
	out := membershipsOut{make(map[id.RoomID]string, len(list))}
	for r, m := range list {
		out.Memberships[r] = m.Membership
	}
	return out, err
}

type accountDataOut struct {
	Data struct {
		Global map[string]json.RawMessage               `json:"global"`
		Rooms  map[id.RoomID]map[string]json.RawMessage `json:"rooms"`
	} `json:"account_data"`
}

// GetUserAccountData gives all that a user's clients keep here.
func (a *Admin) GetUserAccountData(ctx context.Context, _ web.Requester, in userIn) (out accountDataOut, err error) {
	if _, err := a.local(ctx, in.UserID); err != nil {
		return out, err
	}
	list, err := a.accounts.AccountDataSince(ctx, in.UserID, 0, stream.Pos(math.MaxInt64))
	out.Data.Global, out.Data.Rooms = map[string]json.RawMessage{}, map[id.RoomID]map[string]json.RawMessage{}
	for _, d := range list {
		if d.RoomID == "" {
			out.Data.Global[d.Type] = d.Content
			continue
		}
		if out.Data.Rooms[d.RoomID] == nil {
			out.Data.Rooms[d.RoomID] = map[string]json.RawMessage{}
		}
		out.Data.Rooms[d.RoomID][d.Type] = d.Content
	}
	return out, err
}
