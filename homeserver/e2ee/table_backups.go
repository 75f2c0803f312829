package e2ee

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

var tableBackups = database.NewTable("key_backups", "", database.Text("user_id"), database.Int("version"), database.Text("algorithm"),
	database.Text("auth_data"), database.Int("etag"), database.Int("key_count"), database.Int("deleted"))

var tableBackupSessions = database.NewTable("key_backup_sessions", `ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET
	first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,
	is_verified = excluded.is_verified, session_data = excluded.session_data`,
	database.Text("user_id"), database.Int("version"), database.Text("room_id"), database.Text("session_id"),
	database.Int("first_message_index"), database.Int("forwarded_count"), database.Int("is_verified"), database.Text("session_data"))

const (
	backupColumns    = `SELECT version, algorithm, auth_data, etag, key_count, deleted FROM key_backups `
	selectBackup     = backupColumns + `WHERE user_id = $1 AND version = $2`
	selectNewest     = backupColumns + `WHERE user_id = $1 AND deleted = 0 ORDER BY version DESC LIMIT 1`
	selectLastNumber = `SELECT COALESCE(MAX(version), 0) FROM key_backups WHERE user_id = $1`
	// lockBackup makes writers of one backup wait for each other.
	lockBackup       = `UPDATE key_backups SET etag = etag WHERE user_id = $1 AND version = $2`
	updateAuthData   = `UPDATE key_backups SET auth_data = $3 WHERE user_id = $1 AND version = $2 AND deleted = 0`
	updateKeyCount   = `UPDATE key_backups SET etag = etag + 1, key_count = key_count + $3 WHERE user_id = $1 AND version = $2`
	markDeleted      = `UPDATE key_backups SET deleted = 1, auth_data = '{}', key_count = 0 WHERE user_id = $1 AND version = $2`
	sessionColumns   = `SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data FROM key_backup_sessions `
	selectSessions   = sessionColumns + `WHERE user_id = $1 AND version = $2 AND session_id IN LIST($3)`
	selectAllOf      = sessionColumns + `WHERE user_id = $1 AND version = $2`
	selectRoomOf     = sessionColumns + `WHERE user_id = $1 AND version = $2 AND room_id = $3`
	selectSessionOf  = sessionColumns + `WHERE user_id = $1 AND version = $2 AND room_id = $3 AND session_id = $4`
	deleteAllOf      = `DELETE FROM key_backup_sessions WHERE user_id = $1 AND version = $2`
	deleteRoomOf     = `DELETE FROM key_backup_sessions WHERE user_id = $1 AND version = $2 AND room_id = $3`
	deleteSessionOf  = `DELETE FROM key_backup_sessions WHERE user_id = $1 AND version = $2 AND room_id = $3 AND session_id = $4`
	deleteBackups    = `DELETE FROM key_backups WHERE user_id = $1`
	deleteBackupKeys = `DELETE FROM key_backup_sessions WHERE user_id = $1`
)

// Backup is one version of a user's key backup.
type Backup struct {
	Version   int64
	Algorithm string
	AuthData  json.RawMessage
	Etag      int64
	Count     int64
	deleted   bool
}

type sessionRow struct {
	Room    id.RoomID
	Session string
	BackedUpKey
}

func (k *Keys) backupRow(ctx context.Context, query string, args ...any) (b Backup, found bool, err error) {
	var auth string
	var deleted int64
	err = k.db.QueryRow(ctx, query, args...).Scan(&b.Version, &b.Algorithm, &auth, &b.Etag, &b.Count, &deleted)
	if errors.Is(err, sql.ErrNoRows) {
		return b, false, nil
	}
	b.AuthData, b.deleted = json.RawMessage(auth), deleted != 0
	return b, err == nil, err
}

func (k *Keys) sessionRows(ctx context.Context, query string, args ...any) ([]sessionRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r sessionRow, err error) {
		var verified int64
		var data string
		err = s.Scan(&r.Room, &r.Session, &r.FirstMessageIndex, &r.ForwardedCount, &verified, &data)
		r.IsVerified, r.SessionData = verified != 0, json.RawMessage(data)
		return r, err
	}, query, args...)
}
