package account

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const userColumns = `user_id, COALESCE(password_hash, ''), created, COALESCE(appservice, ''), COALESCE(user_type, ''),
	admin, guest, deactivated, erased, locked, suspended, shadow_banned`

const (
	insertUser = `INSERT INTO users (user_id, password_hash, created, appservice, user_type, admin, guest)
		VALUES ($1, NULLIF($2, ''), $3, NULLIF($4, ''), NULLIF($5, ''), $6, $7) ON CONFLICT (user_id) DO NOTHING`
	selectUser       = `SELECT ` + userColumns + ` FROM users WHERE user_id = $1`
	lockUser         = `UPDATE users SET created = created WHERE user_id = $1`
	updatePassword   = `UPDATE users SET password_hash = NULLIF($2, '') WHERE user_id = $1 AND deactivated = 0`
	rehashPassword   = `UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2`
	updateAdmin      = `UPDATE users SET admin = $2 WHERE user_id = $1`
	updateLocked     = `UPDATE users SET locked = $2 WHERE user_id = $1`
	updateSuspended  = `UPDATE users SET suspended = $2 WHERE user_id = $1`
	updateShadow     = `UPDATE users SET shadow_banned = $2 WHERE user_id = $1`
	updateType       = `UPDATE users SET user_type = NULLIF($2, '') WHERE user_id = $1`
	deactivateUser   = `UPDATE users SET deactivated = 1, password_hash = NULL, admin = 0, erased = CASE WHEN $2 = 1 THEN 1 ELSE erased END WHERE user_id = $1`
	reactivateUser   = `UPDATE users SET deactivated = 0, erased = 0, password_hash = NULLIF($2, '') WHERE user_id = $1`
	selectUserExists = `SELECT 1 FROM users WHERE user_id = $1`
	countUsers       = `SELECT COUNT(*) FROM users WHERE deactivated = 0 AND guest = 0`
)

func scanUser(row database.Scanner) (u User, err error) {
	var admin, guest, deactivated, erased, locked, suspended, shadow int64
	err = row.Scan(&u.ID, &u.passwordHash, &u.Created, &u.AppService, &u.Type,
		&admin, &guest, &deactivated, &erased, &locked, &suspended, &shadow)
	u.Admin, u.Guest, u.Deactivated, u.Erased = admin != 0, guest != 0, deactivated != 0, erased != 0
	u.Locked, u.Suspended, u.ShadowBanned = locked != 0, suspended != 0, shadow != 0
	return u, err
}

// findUser reads one row; found is false if there is none.
func (a *Accounts) findUser(ctx context.Context, user id.UserID) (u User, found bool, err error) {
	u, err = scanUser(a.db.QueryRow(ctx, selectUser, user))
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, false, nil
	}
	return u, err == nil, doing("reading a user", err)
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
