package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// session finds out whose access token this is. It costs no statement if the token was seen before.
func (a *Accounts) session(ctx context.Context, token string) (*known, error) {
	key := keyOf(token)
	k := a.tokens.get(key)
	if k == nil {
		var err error
		if k, err = a.readSession(ctx, key); err != nil {
			return nil, err
		}
	}
	if k.expires > 0 && k.expires <= a.now().UnixMilli() {
		return nil, errExpiredToken
	}
	return k, nil
}

// keyOf hashes a token; one of usual length without allocating.
func keyOf(token string) tokenKey {
	var short [64]byte
	if len(token) > len(short) {
		return sha256.Sum256([]byte(token))
	}
	return sha256.Sum256(short[:copy(short[:], token)])
}

func (a *Accounts) readSession(ctx context.Context, key tokenKey) (*known, error) {
	metricTokenMisses.Inc()
	gen := a.tokens.generation.Load()
	hash := base64.RawURLEncoding.EncodeToString(key[:])
	r, found, err := a.findAccessToken(ctx, hash)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errUnknownToken
	}
	expired := r.expires > 0 && r.expires <= a.now().UnixMilli()
	if r.confirms != "" && !expired {
		if gen, err = a.confirmAccess(ctx, hash, r); err != nil {
			return nil, err
		}
	}
	k := &known{
		user: r.user, device: r.device, hash: hash, expires: r.expires,
		admin: r.admin, guest: r.guest, locked: r.locked, suspended: r.suspended,
	}
	a.tokens.put(key, k, gen)
	return k, nil
}

// confirmAccess notes the first use of an access token that came out of a refresh.
func (a *Accounts) confirmAccess(ctx context.Context, hash string, r accessRow) (gen uint64, err error) {
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := a.db.Exec(ctx, confirmAccessToken, hash); err != nil {
			return doing("confirming an access token", err)
		}
		return a.confirm(ctx, r.user, r.device, r.confirms)
	})
	a.tokens.dropDevice(r.user, r.device)
	return a.tokens.generation.Load(), err
}

var cachedKinds = stream.Kinds(stream.Session, stream.Profile, stream.AccountData)

// observe drops what the caches hold of the subjects of changes, here or in another process.
func (a *Accounts) observe(changes []stream.Change) {
	for i := range changes {
		a.forget(&changes[i])
	}
}

func (a *Accounts) forget(c *stream.Change) {
	switch c.Kind {
	case stream.Session:
		if c.Ref == "" || c.Ref[0] == '#' {
			a.tokens.dropUser(c.UserID)
		} else {
			a.tokens.dropDevice(c.UserID, id.DeviceID(c.Ref))
		}
	case stream.Profile:
		a.names.drop(c.UserID)
	case stream.AccountData:
		if c.RoomID == "" && c.Ref == ignoredUsers {
			a.ignored.drop(c.UserID)
		}
	}
}
