package account

import (
	"context"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// Deactivate ends an account: no password, no session, no third-party identifier. The user ID is never given away
// again. The change of kind Deactivation tells followers to take the user out of rooms and directories. With erase,
// what the user kept here goes too.
//
// spec: cs#account-deactivation
func (a *Accounts) Deactivate(ctx context.Context, user id.UserID, erase bool) error {
	if !plain(string(user), maxUserID) {
		return errNoUser
	}
	err := a.db.Tx(ctx, func(ctx context.Context) error {
		done, err := a.db.Exec(ctx, deactivateUser, user, bit(erase))
		if err != nil {
			return doing("deactivating a user", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNoUser)
		}
		doomed := []string{deleteUserThreepids, deleteUserTickets}
		if erase {
			doomed = append(doomed, deleteUserFilters, deleteUserProfile)
		}
		if err := execAll(ctx, a.db, "removing what a user kept", []any{user}, doomed...); err != nil {
			return err
		}
		if err := a.deleteAllDevices(ctx, user, "", ""); err != nil {
			return err
		}
		changes := []stream.Change{
			{Kind: stream.Deactivation, UserID: user},
			{Kind: stream.Session, UserID: user, Ref: refFlags},
			{Kind: stream.UserDirectory, UserID: user},
		}
		if erase {
			changes = append(changes, stream.Change{Kind: stream.Profile, UserID: user, Ref: fieldAll})
		}
		if err := a.announce(ctx, changes...); err != nil || !erase {
			return err
		}
		// After the head of the stream is locked, as everyone who writes account data does.
		return execAll(ctx, a.db, "removing account data", []any{user}, deleteUserAccountData)
	})
	a.tokens.dropUser(user)
	a.names.drop(user)
	a.ignored.drop(user)
	return err
}

// Reactivate opens a deactivated account again, with a password or without.
func (a *Accounts) Reactivate(ctx context.Context, user id.UserID, password string) error {
	hash := ""
	if password != "" {
		if err := a.Policy().Check(password); err != nil {
			return err
		}
		var err error
		if hash, err = a.hasher.Hash(ctx, password); err != nil {
			return err
		}
	}
	return a.db.Tx(ctx, func(ctx context.Context) error {
		done, err := a.db.Exec(ctx, reactivateUser, user, hash)
		if err != nil {
			return doing("reactivating a user", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNoUser)
		}
		return a.announce(ctx, stream.Change{Kind: stream.Session, UserID: user, Ref: refFlags},
			stream.Change{Kind: stream.UserDirectory, UserID: user})
	})
}
