package account

import (
	"context"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const openIDLifetime = time.Hour

// NewOpenIDToken gives a token with which a third party learns who its holder is, and nothing else.
//
// spec: cs#openid
func (a *Accounts) NewOpenIDToken(ctx context.Context, user id.UserID) (token string, lifetime time.Duration, err error) {
	token, err = a.giveTicket(ctx, ticketOpenID, prefixOpenID, user, "", openIDLifetime)
	return token, openIDLifetime, err
}

// OpenIDUser tells whom an OpenID token names.
//
// spec: ss#get_matrixfederationv1openiduserinfo
func (a *Accounts) OpenIDUser(ctx context.Context, token string) (id.UserID, error) {
	t, found, err := a.findTicket(ctx, selectTicket, ticketOpenID, hashToken(token))
	if err != nil {
		return "", err
	}
	if !found {
		return "", mautrix.MUnknownToken.WithMessage("Unknown or expired OpenID token")
	}
	return t.user, nil
}
