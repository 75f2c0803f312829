package account

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// User is an account of this server.
type User struct {
	ID         id.UserID
	Created    int64  // ms
	AppService string // the service that made it, or empty
	Type       string // bot, support or empty

	Admin, Guest, Deactivated, Erased, Locked, Suspended, ShadowBanned bool

	passwordHash string
}

// HasPassword reports whether the user can log in with a password.
func (u User) HasPassword() bool { return u.passwordHash != "" }

// refFlags is the reference of a Session change that concerns all sessions of a user: a lock, a suspension, the admin
// flag. Device IDs never begin with #.
const refFlags = "#flags"

// Exists reports whether the user has, or has had, an account here.
func (a *Accounts) Exists(ctx context.Context, user id.UserID) (bool, error) {
	if !a.Local(user) || !plain(string(user), maxUserID) {
		return false, nil
	}
	var one int
	err := a.db.QueryRow(ctx, selectUserExists, user).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, doing("looking for a user", err)
}

// GetUser gives the account; M_NOT_FOUND if there is none.
func (a *Accounts) GetUser(ctx context.Context, user id.UserID) (User, error) {
	if !plain(string(user), maxUserID) {
		return User{}, errNoUser
	}
	u, found, err := a.findUser(ctx, user)
	if err == nil && !found {
		return User{}, errNoUser
	}
	return u, err
}

// Active reports whether there is such an account and it is not deactivated.
func (a *Accounts) Active(ctx context.Context, user id.UserID) (bool, error) {
	if !a.Local(user) || !plain(string(user), maxUserID) {
		return false, nil
	}
	u, found, err := a.findUser(ctx, user)
	return found && !u.Deactivated, err
}

// CountUsers counts the accounts that are neither guests nor deactivated.
func (a *Accounts) CountUsers(ctx context.Context) (n int64, err error) {
	err = a.db.QueryRow(ctx, countUsers).Scan(&n)
	return n, doing("counting users", err)
}

// SetAdmin makes a user an administrator of the server, or no longer one.
func (a *Accounts) SetAdmin(ctx context.Context, user id.UserID, on bool) error {
	return a.setFlag(ctx, updateAdmin, user, on)
}

// SetLocked locks or unlocks an account.
//
// spec: cs#account-locking
func (a *Accounts) SetLocked(ctx context.Context, user id.UserID, on bool) error {
	return a.setFlag(ctx, updateLocked, user, on)
}

// SetSuspended suspends an account or ends that.
//
// spec: cs#account-suspension
func (a *Accounts) SetSuspended(ctx context.Context, user id.UserID, on bool) error {
	return a.setFlag(ctx, updateSuspended, user, on)
}

// SetShadowBanned marks an account whose actions nobody else shall see.
func (a *Accounts) SetShadowBanned(ctx context.Context, user id.UserID, on bool) error {
	return a.setFlag(ctx, updateShadow, user, on)
}

// SetUserType sets the type of an account (bot, support or empty).
func (a *Accounts) SetUserType(ctx context.Context, user id.UserID, kind string) error {
	if !plain(kind, maxType) {
		return mautrix.MInvalidParam.WithMessage("Not a user type")
	}
	return a.changeUser(ctx, user, updateType, kind)
}

func (a *Accounts) setFlag(ctx context.Context, statement string, user id.UserID, on bool) error {
	return a.changeUser(ctx, user, statement, bit(on))
}

func (a *Accounts) changeUser(ctx context.Context, user id.UserID, statement string, value any) error {
	if !plain(string(user), maxUserID) {
		return errNoUser
	}
	err := a.db.Tx(ctx, func(ctx context.Context) error {
		done, err := a.db.Exec(ctx, statement, user, value)
		if err != nil {
			return doing("changing a user", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNoUser)
		}
		return a.announce(ctx, stream.Change{Kind: stream.Session, UserID: user, Ref: refFlags})
	})
	a.tokens.dropUser(user)
	return err
}

// announce appends changes, as the last write of the transaction.
func (a *Accounts) announce(ctx context.Context, changes ...stream.Change) error {
	_, err := a.stream.Append(ctx, changes...)
	return doing("announcing a change", err)
}

// NotSuspended refuses with M_USER_SUSPENDED what a suspended user may not do.
//
// spec: cs#account-suspension
func (a *Accounts) NotSuspended(ctx context.Context, user id.UserID) error {
	u, found, err := a.findUser(ctx, user)
	if err == nil && found && u.Suspended {
		return errSuspended
	}
	return err
}
