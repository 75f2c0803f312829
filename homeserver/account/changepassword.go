package account

import (
	"context"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// NewPassword describes a change of password.
type NewPassword struct {
	User          id.UserID
	Password      string
	LogoutDevices bool
	KeepDevice    id.DeviceID // the session that asks stays
	KeepToken     string      // hash of its token, if it has no device
}

// SetPassword changes a password. Confirming it is the caller's matter.
//
// spec: cs#post_matrixclientv3accountpassword
func (a *Accounts) SetPassword(ctx context.Context, n NewPassword) error {
	if err := a.Policy().Check(n.Password); err != nil {
		return err
	}
	hash, err := a.hasher.Hash(ctx, n.Password)
	if err != nil {
		return err
	}
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		done, err := a.db.Exec(ctx, updatePassword, n.User, hash)
		if err != nil {
			return doing("changing a password", err)
		}
		if rows, err := done.RowsAffected(); err != nil || rows == 0 {
			return errors.Join(err, errNoUser)
		}
		if _, err := a.db.Exec(ctx, deleteUserTickets, n.User); err != nil {
			return doing("removing login tokens", err)
		}
		if !n.LogoutDevices {
			return nil
		}
		if err := a.deleteAllDevices(ctx, n.User, n.KeepDevice, n.KeepToken); err != nil {
			return err
		}
		return a.announce(ctx, stream.Change{Kind: stream.Session, UserID: n.User, Ref: refFlags})
	})
	a.tokens.dropUser(n.User)
	return err
}
