package e2ee

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	selectRemoteList = `SELECT user_id, stream_id, stale, generation, retry_ts, failures FROM remote_device_lists WHERE user_id = $1`
	selectStaleLists = `SELECT user_id, stream_id, stale, generation, retry_ts, failures FROM remote_device_lists
		WHERE stale = 1 AND retry_ts <= $1 ORDER BY retry_ts LIMIT $2`
	// askForList notes that a list is about to be fetched, as of position $2.
	askForList = `INSERT INTO remote_device_lists (user_id, stream_id, stale, generation, asked_pos, retry_ts, failures)
		VALUES ($1, -1, 1, 0, $2, $3, 0)
		ON CONFLICT (user_id) DO UPDATE SET asked_pos = excluded.asked_pos WHERE remote_device_lists.stale = 1`
	markStale = `UPDATE remote_device_lists SET stale = 1, generation = generation + 1, retry_ts = $2, failures = 0
		WHERE user_id IN LIST($1)`
	markFetched = `UPDATE remote_device_lists SET stream_id = $2, stale = CASE WHEN generation = $3 THEN 0 ELSE 1 END,
		failures = 0, retry_ts = $4 WHERE user_id = $1`
	markFailed       = `UPDATE remote_device_lists SET failures = failures + 1, retry_ts = $2 WHERE user_id = $1 AND stale = 1`
	advanceList      = `UPDATE remote_device_lists SET stream_id = $2 WHERE user_id = $1 AND stale = 0 AND stream_id = $3`
	selectFresh      = `SELECT user_id FROM remote_device_lists WHERE user_id IN LIST($1) AND stale = 0`
	selectKept       = `SELECT user_id FROM remote_device_lists WHERE user_id IN LIST($1) AND asked_pos < $2`
	countKept        = `SELECT COUNT(*) FROM (SELECT 1 FROM remote_device_lists LIMIT 1) l`
	deleteRemoteList = `DELETE FROM remote_device_lists WHERE user_id = $1`

	selectRemoteDevices = `SELECT user_id, device_id, keys, display_name FROM remote_devices WHERE user_id IN LIST($1)`
	deleteRemoteDevice  = `DELETE FROM remote_devices WHERE user_id = $1 AND device_id = $2`
	deleteRemoteDevices = `DELETE FROM remote_devices WHERE user_id = $1`
)

var tableRemoteDevices = database.NewTable("remote_devices",
	"ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys, display_name = excluded.display_name",
	database.Text("user_id"), database.Text("device_id"), database.NullText("keys"), database.NullText("display_name"))

type remoteListRow struct {
	User       id.UserID
	StreamID   int64
	Stale      bool
	Generation int64
	RetryAt    int64
	Failures   int64
}

type remoteDeviceRow struct {
	User   id.UserID
	Device id.DeviceID
	Keys   json.RawMessage // nil: the device has no keys
	Name   string
}

func scanRemoteList(s database.Scanner) (r remoteListRow, err error) {
	var stale int64
	err = s.Scan(&r.User, &r.StreamID, &stale, &r.Generation, &r.RetryAt, &r.Failures)
	r.Stale = stale != 0
	return r, err
}

// remoteList returns one row; ok is false if the list of the user is not kept.
func (k *Keys) remoteList(ctx context.Context, user id.UserID) (r remoteListRow, ok bool, err error) {
	r, err = scanRemoteList(k.db.QueryRow(ctx, selectRemoteList, user))
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

func (k *Keys) staleLists(ctx context.Context, now int64, limit int) ([]remoteListRow, error) {
	return database.Rows(ctx, k.db, scanRemoteList, selectStaleLists, now, limit)
}

func (k *Keys) remoteDevices(ctx context.Context, users []id.UserID) ([]remoteDeviceRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r remoteDeviceRow, err error) {
		var keys, name sql.NullString
		err = s.Scan(&r.User, &r.Device, &keys, &name)
		if keys.Valid {
			r.Keys = json.RawMessage(keys.String)
		}
		r.Name = name.String
		return r, err
	}, selectRemoteDevices, database.List(users))
}

// usersWhere runs a query for user IDs out of a list of them, which is its first argument.
func (k *Keys) usersWhere(ctx context.Context, query string, users []id.UserID, more ...any) ([]id.UserID, error) {
	if len(users) == 0 {
		return nil, nil
	}
	return database.Rows(ctx, k.db, func(s database.Scanner) (u id.UserID, err error) {
		err = s.Scan(&u)
		return u, err
	}, query, append([]any{database.List(users)}, more...)...)
}
