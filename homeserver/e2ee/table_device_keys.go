package e2ee

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

var tableDeviceKeys = database.NewTable("device_keys", "ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
	database.Text("user_id"), database.Text("device_id"), database.Text("keys"))

const (
	selectDeviceKeys     = `SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2`
	selectUsersKeys      = `SELECT user_id, device_id, keys FROM device_keys WHERE user_id IN LIST($1)`
	deleteDeviceKeys     = `DELETE FROM device_keys WHERE user_id = $1 AND device_id = $2`
	selectCrossSigning   = `SELECT user_id, usage, key FROM cross_signing_keys WHERE user_id IN LIST($1)`
	deleteCrossSigning   = `DELETE FROM cross_signing_keys WHERE user_id = $1`
	selectSignatures     = `SELECT signer, target_user, target_id, key_id, signature FROM key_signatures WHERE signer IN LIST($1)`
	deleteSignaturesOn   = `DELETE FROM key_signatures WHERE signer = $1 AND target_user = $2 AND target_id = $3`
	selectListChanges    = `SELECT pos, device_id FROM device_list_changes WHERE user_id = $1 ORDER BY pos`
	selectListPos        = `SELECT COALESCE(MAX(pos), 0) FROM device_list_changes WHERE user_id = $1 AND device_id <> ''`
	deleteOldListChanges = `DELETE FROM device_list_changes WHERE ts < $1 AND EXISTS (
		SELECT 1 FROM device_list_changes n WHERE n.user_id = device_list_changes.user_id
		AND n.device_id = device_list_changes.device_id AND n.pos > device_list_changes.pos)`
)

var tableCrossSigning = database.NewTable("cross_signing_keys", "ON CONFLICT (user_id, usage) DO UPDATE SET key = excluded.key",
	database.Text("user_id"), database.Text("usage"), database.Text("key"))

var tableSignatures = database.NewTable("key_signatures",
	"ON CONFLICT (signer, target_user, target_id, key_id) DO UPDATE SET signature = excluded.signature",
	database.Text("signer"), database.Text("target_user"), database.Text("target_id"), database.Text("key_id"), database.Text("signature"))

var tableListChanges = database.NewTable("device_list_changes", "ON CONFLICT (user_id, pos, device_id) DO NOTHING",
	database.Text("user_id"), database.Int("pos"), database.Text("device_id"), database.Int("ts"))

type deviceKeysRow struct {
	User   id.UserID
	Device id.DeviceID
	Keys   json.RawMessage
}

type crossSigningRow struct {
	User  id.UserID
	Usage string
	Key   json.RawMessage
}

type signatureRow struct {
	Signer, TargetUser         id.UserID
	TargetID, KeyID, Signature string
}

type listChangeRow struct {
	Pos    int64
	Device id.DeviceID
}

func (k *Keys) deviceKeysOf(ctx context.Context, users []id.UserID) ([]deviceKeysRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r deviceKeysRow, err error) {
		var keys string
		err = s.Scan(&r.User, &r.Device, &keys)
		r.Keys = json.RawMessage(keys)
		return r, err
	}, selectUsersKeys, database.List(users))
}

func (k *Keys) crossSigningOf(ctx context.Context, users []id.UserID) ([]crossSigningRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r crossSigningRow, err error) {
		var key string
		err = s.Scan(&r.User, &r.Usage, &key)
		r.Key = json.RawMessage(key)
		return r, err
	}, selectCrossSigning, database.List(users))
}

func (k *Keys) signaturesBy(ctx context.Context, users []id.UserID) ([]signatureRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r signatureRow, err error) {
		err = s.Scan(&r.Signer, &r.TargetUser, &r.TargetID, &r.KeyID, &r.Signature)
		return r, err
	}, selectSignatures, database.List(users))
}

func (k *Keys) listChanges(ctx context.Context, user id.UserID) ([]listChangeRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r listChangeRow, err error) {
		err = s.Scan(&r.Pos, &r.Device)
		return r, err
	}, selectListChanges, user)
}
