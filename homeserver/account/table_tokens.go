package account

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// Statements on access_tokens and refresh_tokens. confirms is the hash of the refresh token a token came out of,
// until it is used for the first time.
const (
	insertAccessToken = `INSERT INTO access_tokens (hash, user_id, device_id, created, expires, refresh, confirms)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`
	selectAccessToken = `SELECT t.user_id, t.device_id, t.expires, t.confirms, u.admin, u.guest, u.locked, u.suspended
		FROM access_tokens t JOIN users u ON u.user_id = t.user_id WHERE t.hash = $1 AND u.deactivated = 0`
	confirmAccessToken  = `UPDATE access_tokens SET confirms = '' WHERE hash = $1`
	deleteOneAccess     = `DELETE FROM access_tokens WHERE hash = $1`
	deleteSpentAccess   = `DELETE FROM access_tokens WHERE user_id = $1 AND device_id = $2 AND refresh = $3`
	deleteUnconfirmed   = `DELETE FROM access_tokens WHERE user_id = $1 AND device_id = $2 AND confirms = $3`
	deleteDeviceAccess  = `DELETE FROM access_tokens WHERE user_id = $1 AND device_id = $2`
	deleteLooseAccess   = `DELETE FROM access_tokens WHERE user_id = $1 AND device_id = '' AND hash <> $2`
	deleteExpiredTokens = `DELETE FROM access_tokens WHERE expires > 0 AND expires < $1`

	insertRefreshToken = `INSERT INTO refresh_tokens (hash, user_id, device_id, created, expires, confirms)
		VALUES ($1, $2, $3, $4, $5, $6)`
	selectRefreshToken  = `SELECT user_id, device_id, expires, confirms, spent FROM refresh_tokens WHERE hash = $1`
	confirmRefreshToken = `UPDATE refresh_tokens SET confirms = '' WHERE user_id = $1 AND device_id = $2 AND confirms = $3`
	spendRefreshToken   = `UPDATE refresh_tokens SET spent = 1 WHERE hash = $1`
	deleteSpentRefresh  = `DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = $2 AND spent = 1 AND hash <> $3`
	deleteUnusedRefresh = `DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = $2 AND confirms = $3`
	deleteDeviceRefresh = `DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = $2`
)

type accessRow struct {
	user                            id.UserID
	device                          id.DeviceID
	expires                         int64
	confirms                        string
	admin, guest, locked, suspended bool
}

func (a *Accounts) findAccessToken(ctx context.Context, hash string) (r accessRow, found bool, err error) {
	var admin, guest, locked, suspended int64
	err = a.db.QueryRow(ctx, selectAccessToken, hash).
		Scan(&r.user, &r.device, &r.expires, &r.confirms, &admin, &guest, &locked, &suspended)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	r.admin, r.guest, r.locked, r.suspended = admin != 0, guest != 0, locked != 0, suspended != 0
	return r, err == nil, doing("reading an access token", err)
}

type refreshRow struct {
	user     id.UserID
	device   id.DeviceID
	expires  int64
	confirms string
	spent    bool
}

func (a *Accounts) findRefreshToken(ctx context.Context, hash string) (r refreshRow, found bool, err error) {
	var spent int64
	err = a.db.QueryRow(ctx, selectRefreshToken, hash).Scan(&r.user, &r.device, &r.expires, &r.confirms, &spent)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	r.spent = spent != 0
	return r, err == nil, doing("reading a refresh token", err)
}

// execAll runs statements that share their arguments.
func execAll(ctx context.Context, db *database.DB, what string, args []any, statements ...string) error {
	for _, q := range statements {
		if _, err := db.Exec(ctx, q, args...); err != nil {
			return doing(what, err)
		}
	}
	return nil
}
