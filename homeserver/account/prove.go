package account

import (
	"context"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// CheckPassword finds the user of a sign-in form: name is a user ID, a localpart or an e-mail address. A wrong name or password,
// a locked or a deactivated account are errors that the person may read.
func (a *Accounts) CheckPassword(ctx context.Context, name, password string) (User, error) {
	u, err := a.passwordLogin(ctx, identifier{}, name, password)
	switch {
	case err != nil:
		return User{}, err
	case u.Deactivated:
		return User{}, mUserDeactivated.WithMessage("This account has been deactivated")
	case u.Locked:
		return User{}, errUserLocked
	}
	return u, nil
}

// Refused reports whether an error is one that the person who asked may read, and gives its text.
func Refused(err error) (text string, ok bool) {
	e, ok := errors.AsType[mautrix.RespError](err)
	return e.Err, ok
}

// TokenOwner says to which device an access or refresh token belongs, whether it has expired or not. spent says that it is a
// refresh token that was exchanged, and whose successor is in use.
func (a *Accounts) TokenOwner(ctx context.Context, token string) (user id.UserID, device id.DeviceID, spent, found bool, err error) {
	hash := hashToken(token)
	if r, ok, err := a.findRefreshToken(ctx, hash); err != nil || ok {
		return r.user, r.device, r.spent, ok, err
	}
	r, ok, err := a.findAccessToken(ctx, hash)
	return r.user, r.device, false, ok, err
}
