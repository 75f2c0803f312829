package clientsync

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix/id"
)

const (
	selectConnection = `SELECT state FROM sliding_connections WHERE user_id = $1 AND device_id = $2 AND conn_id = $3 AND version = $4`
	insertConnection = `INSERT INTO sliding_connections (user_id, device_id, conn_id, version, parent, created, state) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	// A client that lost an answer asks again from the state before: it and what was made of it stay.
	deleteOldConnections  = `DELETE FROM sliding_connections WHERE user_id = $1 AND device_id = $2 AND conn_id = $3 AND version <> $4 AND parent <> $4`
	deleteManyConnections = `DELETE FROM sliding_connections WHERE user_id = $1 AND device_id = $2 AND version NOT IN
	(SELECT c.version FROM sliding_connections c WHERE c.user_id = $1 AND c.device_id = $2 ORDER BY c.created DESC, c.version DESC LIMIT $3)`
	deleteDeviceConnections = `DELETE FROM sliding_connections WHERE user_id = $1 AND device_id = $2`
)

// maxConnections bounds the states kept for a device, over all its connections.
const maxConnections = 40

func (s *Syncs) readConnection(ctx context.Context, key connKey, version int64) ([]byte, error) {
	var raw []byte
	err := s.DB.QueryRow(ctx, selectConnection, string(key.user), string(key.device), key.conn, version).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return raw, err
}

func (s *Syncs) writeConnection(ctx context.Context, key connKey, version, parent int64, raw []byte, now int64) error {
	user, device := string(key.user), string(key.device)
	return s.DB.Tx(ctx, func(ctx context.Context) error {
		if _, err := s.DB.Exec(ctx, deleteOldConnections, user, device, key.conn, parent); err != nil {
			return err
		}
		if _, err := s.DB.Exec(ctx, insertConnection, user, device, key.conn, version, parent, now, string(raw)); err != nil {
			return err
		}
		_, err := s.DB.Exec(ctx, deleteManyConnections, user, device, maxConnections)
		return err
	})
}

// ForgetDevice drops the connections of a device that is deleted; it runs in the caller's transaction.
func (s *Syncs) ForgetDevice(ctx context.Context, user id.UserID, device id.DeviceID) error {
	_, err := s.DB.Exec(ctx, deleteDeviceConnections, string(user), string(device))
	return err
}
