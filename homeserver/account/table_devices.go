package account

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const deviceColumns = `device_id, COALESCE(display_name, ''), created, last_seen_ts, COALESCE(last_seen_ip, ''), COALESCE(user_agent, '')`

const (
	insertDevice = `INSERT INTO devices (user_id, device_id, display_name, created, last_seen_ts) VALUES ($1, $2, NULLIF($3, ''), $4, $4)
		ON CONFLICT (user_id, device_id) DO NOTHING`
	selectDevices      = `SELECT ` + deviceColumns + ` FROM devices WHERE user_id = $1 ORDER BY device_id`
	countDevices       = `SELECT COUNT(*) FROM devices WHERE user_id IN LIST($1)`
	selectDevice       = `SELECT ` + deviceColumns + ` FROM devices WHERE user_id = $1 AND device_id = $2`
	updateDeviceName   = `UPDATE devices SET display_name = NULLIF($3, '') WHERE user_id = $1 AND device_id = $2`
	updateDeviceSeen   = `UPDATE devices SET last_seen_ts = $3, last_seen_ip = $4, user_agent = $5 WHERE user_id = $1 AND device_id = $2 AND last_seen_ts <= $3`
	deleteDevice       = `DELETE FROM devices WHERE user_id = $1 AND device_id = $2`
	selectDeviceExists = `SELECT 1 FROM devices WHERE user_id = $1 AND device_id = $2`
)

func scanDevice(row database.Scanner) (d Device, err error) {
	err = row.Scan(&d.ID, &d.DisplayName, &d.Created, &d.LastSeen, &d.LastIP, &d.UserAgent)
	return d, err
}

func (a *Accounts) findDevice(ctx context.Context, user id.UserID, device id.DeviceID) (d Device, found bool, err error) {
	d, err = scanDevice(a.db.QueryRow(ctx, selectDevice, user, device))
	if errors.Is(err, sql.ErrNoRows) {
		return Device{}, false, nil
	}
	return d, err == nil, doing("reading a device", err)
}
