package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// Tokens begin with letters that tell secret scanners, and people, what they have found.
const (
	prefixAccess  = "vda_"
	prefixRefresh = "vdr_"
	prefixLogin   = "vdl_"
	prefixOpenID  = "vdo_"
)

// newToken gives a random token and the hash under which it is kept.
func newToken(prefix string) (token, hash string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	token = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return token, hashToken(token)
}

// hashToken is the form in which the server knows a token.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Session is what a client gets when it has registered, logged in or refreshed.
type Session struct {
	UserID       id.UserID
	DeviceID     id.DeviceID
	AccessToken  string
	RefreshToken string
	ExpiresIn    time.Duration // zero: the access token does not expire
}

// NewSession describes a session to be started.
type NewSession struct {
	UserID      id.UserID
	DeviceID    id.DeviceID // empty: chosen here
	DisplayName string      // of a new device
	Refreshable bool
	Lifetime    time.Duration // of the access token; zero: as configured
}

// StartSession gives a user a device and tokens. Earlier tokens of the same device die.
//
// spec: cs#relationship-between-access-tokens-and-devices
func (a *Accounts) StartSession(ctx context.Context, n NewSession) (s Session, err error) {
	if err := a.checkNewDevice(ctx, n.UserID, n.DeviceID); err != nil {
		return Session{}, err
	}
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		s, err = a.startSession(ctx, n)
		return err
	})
	if err == nil && n.DeviceID != "" {
		a.tokens.dropDevice(n.UserID, n.DeviceID)
	}
	return s, err
}

// startSession does it inside a transaction.
func (a *Accounts) startSession(ctx context.Context, n NewSession) (Session, error) {
	known := false
	if n.DeviceID == "" {
		n.DeviceID = id.DeviceID(randomText(lettersUpper, 10))
	}
	created, err := a.putDevice(ctx, n.UserID, n.DeviceID, n.DisplayName)
	if err != nil {
		return Session{}, err
	}
	if known = !created; known {
		if err := a.dropDeviceTokens(ctx, n.UserID, n.DeviceID); err != nil {
			return Session{}, err
		}
	}
	s, err := a.issue(ctx, n, "")
	if err != nil {
		return Session{}, err
	}
	if known {
		err = a.announce(ctx, stream.Change{Kind: stream.Session, UserID: n.UserID, Ref: string(n.DeviceID)})
	}
	return s, err
}

// issue writes new tokens for a device that exists. from is the hash of the refresh token they came out of.
func (a *Accounts) issue(ctx context.Context, n NewSession, from string) (Session, error) {
	now := a.now()
	s := Session{UserID: n.UserID, DeviceID: n.DeviceID}
	refreshHash, expires := "", int64(0)
	lifetime := n.Lifetime
	if lifetime == 0 && n.Refreshable {
		lifetime = a.cfg.Sessions.AccessTokenLifetime.D()
	} else if lifetime == 0 {
		lifetime = a.cfg.Sessions.PlainTokenLifetime.D()
	}
	if lifetime > 0 {
		s.ExpiresIn = lifetime
		expires = now.Add(lifetime).UnixMilli()
	}
	if n.Refreshable {
		s.RefreshToken, refreshHash = newToken(prefixRefresh)
		until := int64(0)
		if d := a.cfg.Sessions.RefreshTokenLifetime.D(); d > 0 {
			until = now.Add(d).UnixMilli()
		}
		if _, err := a.db.Exec(ctx, insertRefreshToken, refreshHash, n.UserID, n.DeviceID, now.UnixMilli(), until, from); err != nil {
			return Session{}, doing("writing a refresh token", err)
		}
	}
	var hash string
	s.AccessToken, hash = newToken(prefixAccess)
	_, err := a.db.Exec(ctx, insertAccessToken, hash, n.UserID, n.DeviceID, now.UnixMilli(), expires, refreshHash, from)
	return s, doing("writing an access token", err)
}

// Impersonate gives an access token for a user without making a device. It never expires if lifetime is zero.
func (a *Accounts) Impersonate(ctx context.Context, user id.UserID, lifetime time.Duration) (string, error) {
	if _, err := a.GetUser(ctx, user); err != nil {
		return "", err
	}
	now, expires := a.now(), int64(0)
	if lifetime > 0 {
		expires = now.Add(lifetime).UnixMilli()
	}
	token, hash := newToken(prefixAccess)
	_, err := a.db.Exec(ctx, insertAccessToken, hash, user, "", now.UnixMilli(), expires, "", "")
	return token, doing("writing an access token", err)
}

// Refresh exchanges a refresh token for new tokens. The old ones stay usable until one of the new ones is used.
//
// spec: cs#refreshing-access-tokens
func (a *Accounts) Refresh(ctx context.Context, token string) (s Session, err error) {
	hash := hashToken(token)
	var touched refreshRow
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		r, found, err := a.findRefreshToken(ctx, hash)
		if err != nil {
			return err
		}
		u, known, err := a.findUser(ctx, r.user)
		switch {
		case err != nil:
			return err
		case !found || !known || u.Deactivated:
			return errUnknownToken.WithMessage("Unknown refresh token")
		case r.spent:
			return errExpiredToken.WithMessage("The refresh token has been used already")
		case r.expires > 0 && r.expires < a.now().UnixMilli():
			return errExpiredToken.WithMessage("The refresh token has expired")
		case u.Locked:
			return errUserLocked
		}
		touched = r
		if r.confirms != "" {
			if err := a.confirm(ctx, r.user, r.device, r.confirms); err != nil {
				return err
			}
		}
		// What an earlier attempt with the same token gave has never been used, else the token were spent.
		args := []any{r.user, r.device, hash}
		if err := execAll(ctx, a.db, "removing unused tokens", args, deleteUnconfirmed, deleteUnusedRefresh); err != nil {
			return err
		}
		s, err = a.issue(ctx, NewSession{UserID: r.user, DeviceID: r.device, Refreshable: true}, hash)
		return err
	})
	if err == nil && touched.confirms != "" {
		a.tokens.dropDevice(touched.user, touched.device)
	}
	return s, err
}

// confirm spends the refresh token from which a token that is now in use came: it, and the access token issued
// with it, are worth nothing from here on.
func (a *Accounts) confirm(ctx context.Context, user id.UserID, device id.DeviceID, from string) error {
	args := []any{user, device, from}
	if err := execAll(ctx, a.db, "spending a refresh token", args, deleteSpentAccess, deleteSpentRefresh, confirmRefreshToken); err != nil {
		return err
	}
	if _, err := a.db.Exec(ctx, spendRefreshToken, from); err != nil {
		return doing("spending a refresh token", err)
	}
	return a.announce(ctx, stream.Change{Kind: stream.Session, UserID: user, Ref: string(device)})
}

// dropDeviceTokens removes all tokens of a device, inside a transaction.
func (a *Accounts) dropDeviceTokens(ctx context.Context, user id.UserID, device id.DeviceID) error {
	return execAll(ctx, a.db, "removing tokens of a device", []any{user, device}, deleteDeviceAccess, deleteDeviceRefresh)
}
