package account

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/web"
)

// Authenticate tells whose access token this is.
//
// spec: cs#using-access-tokens
func (a *Accounts) Authenticate(ctx context.Context, token string) (web.Requester, error) {
	k, err := a.session(ctx, token)
	if err != nil {
		return web.Requester{}, err
	}
	if k.locked {
		return web.Requester{}, errUserLocked
	}
	return k.requester(), nil
}

func (k *known) requester() web.Requester {
	return web.Requester{
		UserID: k.user, DeviceID: k.device, Token: k.hash, Guest: k.guest, Admin: k.admin, Suspended: k.suspended,
	}
}

// Gate is the web.Authenticator of the client API: application services first, if there are any, then users.
type Gate struct {
	Accounts *Accounts
	// AppService knows the tokens of application services; ok is false for others. May be nil.
	AppService func(ctx context.Context, r *http.Request, token string) (who web.Requester, ok bool, err error)
	// Token knows tokens that are not of this package (compatibility with other issuers). May be nil.
	Token func(ctx context.Context, r *http.Request, token string) (who web.Requester, ok bool, err error)
	// Allow may refuse users who are who they say, such as those whose account has run out. May be nil.
	Allow func(ctx context.Context, r *http.Request, who web.Requester) error
}

// Authenticate implements web.Authenticator.
func (g *Gate) Authenticate(ctx context.Context, r *http.Request, auth web.Auth) (web.Requester, error) {
	token, err := web.BearerToken(r)
	if err != nil {
		return web.Requester{}, err
	}
	for _, other := range []func(context.Context, *http.Request, string) (web.Requester, bool, error){g.AppService, g.Token} {
		if other == nil {
			continue
		}
		if who, ok, err := other(ctx, r, token); ok || err != nil {
			return who, err
		}
	}
	who, err := g.user(ctx, r, token)
	if err != nil && auth == web.Optional && forNobody(r.URL.Path) {
		if _, refused := errors.AsType[mautrix.RespError](err); refused {
			return web.Requester{}, nil
		}
	}
	return who, err
}

func (g *Gate) user(ctx context.Context, r *http.Request, token string) (web.Requester, error) {
	a := g.Accounts
	k, err := a.session(ctx, token)
	if err != nil {
		return web.Requester{}, err
	}
	if k.locked && !leaves(r.URL.Path) {
		return web.Requester{}, errUserLocked
	}
	a.noteSeen(k, func() string {
		if addr := web.ClientAddr(ctx); addr.IsValid() {
			return addr.String()
		}
		return ""
	}, r.Header.Get("User-Agent"))
	who := k.requester()
	if g.Allow != nil && !leaves(r.URL.Path) {
		if err := g.Allow(ctx, r, who); err != nil {
			return web.Requester{}, err
		}
	}
	return who, nil
}

// leaves reports whether the path is open to locked accounts.
//
// spec: cs#account-locking
func leaves(path string) bool {
	return strings.HasSuffix(path, "/logout") || strings.HasSuffix(path, "/logout/all")
}

// forNobody reports whether the path is for those who are not signed in yet, where a token that is worth nothing any
// more does not matter: clients send what they have.
func forNobody(path string) bool {
	return strings.HasSuffix(path, "/login") || strings.HasSuffix(path, "/register") || strings.HasSuffix(path, "/versions")
}

// UserInteractive lets a sensitive operation of the requester pass if auth proves that it is them. operation names
// it: what is completed for one operation is worth nothing for another. Application services need not confirm.
//
// spec: cs#user-interactive-authentication-api
func (a *Accounts) UserInteractive(ctx context.Context, who web.Requester, auth json.RawMessage, operation string) error {
	if who.AppService != nil {
		return nil
	}
	return a.ConfirmOwner(ctx, who.UserID, who.DeviceID, operation, auth)
}

// notSuspended refuses what suspended users may not do.
func notSuspended(who web.Requester) error {
	if who.Suspended {
		return errSuspended
	}
	return nil
}
