package e2ee

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

var tableDehydrated = database.NewTable("dehydrated_devices", `ON CONFLICT (user_id) DO UPDATE SET device_id = excluded.device_id,
	device_data = excluded.device_data, display_name = excluded.display_name`,
	database.Text("user_id"), database.Text("device_id"), database.Text("device_data"), database.Text("display_name"))

const (
	selectDehydrated = `SELECT device_id, device_data, display_name FROM dehydrated_devices WHERE user_id = $1`
	deleteDehydrated = `DELETE FROM dehydrated_devices WHERE user_id = $1`
)

// Dehydrated is a device that exists on the server only, until its owner signs in and takes over what it received.
type Dehydrated struct {
	ID   id.DeviceID
	Data json.RawMessage
	Name string
}

func (k *Keys) findDehydrated(ctx context.Context, user id.UserID) (d Dehydrated, found bool, err error) {
	var data string
	err = k.db.QueryRow(ctx, selectDehydrated, user).Scan(&d.ID, &data, &d.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return d, false, nil
	}
	if err != nil {
		return d, false, fmt.Errorf("reading a dehydrated device: %w", err)
	}
	d.Data = json.RawMessage(data)
	return d, true, nil
}
