package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	maxRemoteDevices = 5000 // devices of one remote user
	maxDisplayName   = 200
	resyncTimeout    = 30 * time.Second
	resyncBatch      = 32
	retryFirst       = 10 * time.Second
	retryMost        = time.Hour
)

// follow fetches the whole device list of a remote user and keeps it from then on. Updates that arrive meanwhile, here or
// at another replica, raise the generation, and the list stays stale.
func (k *Keys) follow(ctx context.Context, user id.UserID) (*userKeys, error) {
	if k.remote == nil {
		return nil, errNoFederation
	}
	unlock, err := k.resyncs.lock(ctx, user)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if fresh, err := k.freshLists(ctx, []id.UserID{user}); err != nil {
		return nil, err
	} else if fresh[user] {
		return k.keysOfOne(ctx, user) // somebody else has just done it
	}
	if _, err := k.db.Exec(ctx, askForList, user, k.stream.Head(), time.Now().Add(retryFirst).UnixMilli()); err != nil {
		return nil, fmt.Errorf("noting a device list: %w", err)
	}
	row, _, err := k.remoteList(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("reading a device list: %w", err)
	}
	list, err := k.remote.UserDevices(ctx, user.Homeserver(), user)
	if err != nil {
		metricLists.WithLabelValues("failed").Inc()
		k.noteFailure(ctx, row)
		return nil, err
	}
	metricLists.WithLabelValues("answered").Inc()
	if list == nil || list.UserID != user {
		k.noteFailure(ctx, row)
		return nil, fmt.Errorf("device list of another user")
	}
	if err := k.storeList(ctx, user, list, row); err != nil {
		return nil, err
	}
	k.users.drop(user)
	return k.keysOfOne(ctx, user)
}

func (k *Keys) noteFailure(ctx context.Context, row remoteListRow) {
	wait := min(retryFirst<<min(row.Failures, 10), retryMost)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := k.db.Exec(ctx, markFailed, row.User, time.Now().Add(wait).UnixMilli()); err != nil {
		k.log.Warn().Err(err).Str("user_id", string(row.User)).Msg("Cannot note that a device list was not fetched")
	}
}

// refFetched marks a change of what is known here, not of the list itself. It concerns caches alone.
const refFetched = "fetched"

// storeList replaces what is known of a user. Clients hear of it if it differs from what was known before, unless nothing
// was known: then they have been told to ask.
func (k *Keys) storeList(ctx context.Context, user id.UserID, list *UserDevices, before remoteListRow) error {
	devices := remoteRows(user, list)
	signing := remoteSigning(user, list)
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		done, err := k.db.Exec(ctx, markFetched, user, list.StreamID, before.Generation, time.Now().UnixMilli())
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err // no longer followed
		}
		differs, err := k.listDiffers(ctx, user, devices, signing)
		if err != nil || !differs {
			return err
		}
		for _, q := range []string{deleteRemoteDevices, deleteCrossSigning} {
			if _, err := k.db.Exec(ctx, q, user); err != nil {
				return err
			}
		}
		if err := k.db.Insert(ctx, tableRemoteDevices, devices...); err != nil {
			return err
		}
		if err := k.db.Insert(ctx, tableCrossSigning, signing...); err != nil {
			return err
		}
		ref := refFetched
		if before.StreamID >= 0 {
			ref = ""
		}
		_, err = k.stream.Append(ctx, stream.Change{Kind: stream.DeviceList, UserID: user, Ref: ref})
		return err
	})
	if err != nil {
		return fmt.Errorf("storing a device list: %w", err)
	}
	return nil
}

// listDiffers compares with what is stored.
func (k *Keys) listDiffers(ctx context.Context, user id.UserID, devices, signing [][]any) (bool, error) {
	stored, err := k.remoteDevices(ctx, []id.UserID{user})
	if err != nil {
		return false, err
	}
	known := make(map[id.DeviceID]remoteDeviceRow, len(stored))
	for _, row := range stored {
		known[row.Device] = row
	}
	keys, err := k.storedSigning(ctx, user)
	if err != nil {
		return false, err
	}
	if len(known) != len(devices) || len(keys) != len(signing) {
		return true, nil
	}
	for _, row := range devices {
		old, ok := known[row[1].(id.DeviceID)]
		if !ok || string(old.Keys) != string(row[2].(json.RawMessage)) || old.Name != row[3].(string) {
			return true, nil
		}
	}
	for _, row := range signing {
		if string(keys[row[1].(string)]) != string(row[2].(json.RawMessage)) {
			return true, nil
		}
	}
	return false, nil
}

func remoteRows(user id.UserID, list *UserDevices) [][]any {
	rows := make([][]any, 0, len(list.Devices))
	seen := make(map[id.DeviceID]bool, len(list.Devices))
	for _, d := range list.Devices {
		keys, _, err := checkRemoteDevice(user, d.DeviceID, d.Keys)
		if err != nil || seen[d.DeviceID] || len(rows) == maxRemoteDevices {
			continue
		}
		seen[d.DeviceID] = true
		rows = append(rows, []any{user, d.DeviceID, keys, clip(d.DisplayName)})
	}
	return rows
}

func remoteSigning(user id.UserID, list *UserDevices) [][]any {
	var rows [][]any
	for usage, raw := range map[string]json.RawMessage{usageMaster: list.MasterKey, usageSelfSigning: list.SelfSigningKey} {
		if key, err := checkSigningKey(user, usage, raw); err == nil {
			rows = append(rows, []any{user, usage, key})
		}
	}
	return rows
}

// checkRemoteDevice checks keys that another server tells about its user, and returns them without "unsigned", and the
// display name from there. Keys that are not canonical, or of somebody else, are not taken.
func checkRemoteDevice(user id.UserID, device id.DeviceID, raw json.RawMessage) (keys json.RawMessage, name string, err error) {
	if len(device) == 0 || len(device) > maxDeviceIDLen {
		return nil, "", errInvalidSignature.WithMessage("Malformed device ID")
	}
	keys, err = checkDeviceKeys(user, device, raw)
	if err != nil {
		return nil, "", err
	}
	if o, err := parseObject(raw); err == nil && o.has("unsigned") {
		if u, err := parseObject(o["unsigned"]); err == nil && u.has("device_display_name") {
			_ = u.read("device_display_name", &name) // a name of another type is no name
		}
	}
	return keys, clip(name), nil
}

// clip bounds a display name.
func clip(name string) string {
	for i := range name {
		if i > maxDisplayName {
			return name[:i]
		}
	}
	return name
}

// followLater notes lists to be fetched by the worker.
func (k *Keys) followLater(ctx context.Context, users []id.UserID) error {
	now, head := time.Now().UnixMilli(), k.stream.Head()
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		for _, user := range users {
			if _, err := k.db.Exec(ctx, askForList, user, head, now); err != nil {
				return err
			}
		}
		return nil
	})
	k.kick()
	return err
}

// kick wakes the worker.
func (k *Keys) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// spoil marks lists as not to be believed, because updates may have been missed.
func (k *Keys) spoil(ctx context.Context, users ...id.UserID) error {
	_, err := k.db.Exec(ctx, markStale, database.List(users), time.Now().UnixMilli())
	k.kick()
	return err
}

// unfollow forgets the list of a remote user who shares no room with anyone here.
func (k *Keys) unfollow(ctx context.Context, user id.UserID) error {
	return k.db.Tx(ctx, func(ctx context.Context) error {
		for _, q := range []string{deleteRemoteList, deleteRemoteDevices, deleteCrossSigning} {
			if _, err := k.db.Exec(ctx, q, user); err != nil {
				return fmt.Errorf("forgetting a device list: %w", err)
			}
		}
		return nil
	})
}
