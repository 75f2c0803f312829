package admin

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

type userIn struct {
	UserID id.UserID `path:"userId"`
}

type lockIn struct {
	UserID id.UserID `path:"userId"`
	Locked *bool     `json:"locked"`
}

type lockOut struct {
	Locked bool `json:"locked"`
}

// GetLock says whether an account is locked.
//
// spec: cs#get_matrixclientv1adminlockuserid
func (a *Admin) GetLock(ctx context.Context, who web.Requester, in userIn) (lockOut, error) {
	u, err := a.moderated(ctx, who, in.UserID, false)
	return lockOut{u.Locked}, err
}

// PutLock locks an account, or unlocks it.
//
// spec: cs#put_matrixclientv1adminlockuserid cs#account-locking
func (a *Admin) PutLock(ctx context.Context, who web.Requester, in lockIn) (lockOut, error) {
	if in.Locked == nil {
		return lockOut{}, web.MMissingParam.WithMessage("locked is missing")
	}
	if _, err := a.moderated(ctx, who, in.UserID, true); err != nil {
		return lockOut{}, err
	}
	return lockOut{*in.Locked}, a.accounts.SetLocked(ctx, in.UserID, *in.Locked)
}

type suspendIn struct {
	UserID    id.UserID `path:"userId"`
	Suspended *bool     `json:"suspended"`
}

type suspendOut struct {
	Suspended bool `json:"suspended"`
}

// GetSuspension says whether an account is suspended.
//
// spec: cs#get_matrixclientv1adminsuspenduserid
func (a *Admin) GetSuspension(ctx context.Context, who web.Requester, in userIn) (suspendOut, error) {
	u, err := a.moderated(ctx, who, in.UserID, false)
	return suspendOut{u.Suspended}, err
}

// PutSuspension suspends an account, or ends that.
//
// spec: cs#put_matrixclientv1adminsuspenduserid cs#account-suspension
func (a *Admin) PutSuspension(ctx context.Context, who web.Requester, in suspendIn) (suspendOut, error) {
	if in.Suspended == nil {
		return suspendOut{}, web.MMissingParam.WithMessage("suspended is missing")
	}
	if _, err := a.moderated(ctx, who, in.UserID, true); err != nil {
		return suspendOut{}, err
	}
	return suspendOut{*in.Suspended}, a.accounts.SetSuspended(ctx, in.UserID, *in.Suspended)
}

// moderated gives the account that an administrator looks at or acts on: an active one of this server that does not
// administer it.
func (a *Admin) moderated(ctx context.Context, who web.Requester, user id.UserID, change bool) (u account.User, err error) {
	if !a.accounts.Local(user) {
		return u, errNotLocal
	}
	if change && user == who.UserID {
		return u, mautrix.MForbidden.WithMessage("Nobody can do this to their own account")
	}
	if u, err = a.accounts.GetUser(ctx, user); err != nil {
		return u, err
	}
	if u.Deactivated {
		return u, errNoUser
	}
	if u.Admin && user != who.UserID {
		return u, mautrix.MForbidden.WithMessage("The user administers this server")
	}
	return u, nil
}

type connection struct {
	IP        string `json:"ip"`
	LastSeen  int64  `json:"last_seen"`
	UserAgent string `json:"user_agent"`
}

type whoisSession struct {
	Connections []connection `json:"connections"`
}

type whoisDevice struct {
	Sessions []whoisSession `json:"sessions"`
}

type whoisOut struct {
	UserID  id.UserID                   `json:"user_id"`
	Devices map[id.DeviceID]whoisDevice `json:"devices"`
}

// GetWhois tells from where a user was last seen: to themselves and to administrators.
//
// spec: cs#get_matrixclientv3adminwhoisuserid
func (a *Admin) GetWhois(ctx context.Context, who web.Requester, in userIn) (whoisOut, error) {
	out := whoisOut{UserID: in.UserID, Devices: map[id.DeviceID]whoisDevice{}}
	if in.UserID != who.UserID && !who.Admin {
		return out, mautrix.MForbidden.WithMessage("Only administrators of this server may ask about others")
	}
	if !a.accounts.Local(in.UserID) {
		return out, errNotLocal
	}
	if _, err := a.accounts.GetUser(ctx, in.UserID); err != nil {
		return out, err
	}
	list, err := a.accounts.Devices(ctx, in.UserID)
	for _, d := range list {
		seen := whoisSession{Connections: []connection{}}
		if d.LastSeen > 0 {
			seen.Connections = append(seen.Connections, connection{d.LastIP, d.LastSeen, d.UserAgent})
		}
		out.Devices[d.ID] = whoisDevice{Sessions: []whoisSession{seen}}
	}
	return out, err
}
