package account

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// localNotificationSettings are types of account data that belong to a device, whose ID follows.
var localNotificationSettings = [...]string{"m.local_notification_settings.", "org.matrix.msc3890.local_notification_settings."}

const selectAccountDataTypes = `SELECT type FROM account_data WHERE user_id = $1 AND room_id = '' AND type IN LIST($2) AND content <> '{}'`

// deleteDeviceSettings empties the account data about devices that are gone, inside a transaction that holds the head of
// the stream: nobody else writes account data meanwhile.
//
// msc: 3890
func (a *Accounts) deleteDeviceSettings(ctx context.Context, user id.UserID, gone []id.DeviceID) error {
	types := make([]string, 0, len(gone)*len(localNotificationSettings))
	for _, device := range gone {
		for _, prefix := range localNotificationSettings {
			types = append(types, prefix+string(device))
		}
	}
	types, err := database.Rows(ctx, a.db, database.Scan1[string], selectAccountDataTypes, user, database.List(types))
	if err != nil || len(types) == 0 {
		return doing("looking for settings of devices", err)
	}
	changes := make([]stream.Change, len(types))
	for i, t := range types {
		changes[i] = stream.Change{Kind: stream.AccountData, UserID: user, Ref: t}
	}
	first, err := a.stream.Append(ctx, changes...)
	if err != nil {
		return doing("announcing a change", err)
	}
	rows := make([][]any, len(types))
	for i, t := range types {
		rows[i] = []any{user, "", t, "{}", int64(first) + int64(i)}
	}
	return doing("removing settings of devices", a.db.Insert(ctx, tableAccountData, rows...))
}
