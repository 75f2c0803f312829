package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// DeviceListEDUs returns what another server must be told about the device list of a local user, in order: the changes
// behind a position, of each device only the last. With after = 0 that is the whole list, for a server that is to learn of
// the user (a room was joined). Each EDU names the one before it, so that a lost one is noticed.
// spec: ss#device-management
func (k *Keys) DeviceListEDUs(ctx context.Context, user id.UserID, after stream.Pos) ([]EDU, error) {
	rows, err := k.listChanges(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("reading device list changes: %w", err)
	}
	keys, err := k.keysOfOne(ctx, user)
	if err != nil {
		return nil, err
	}
	names, err := k.deviceNames(ctx, user)
	if err != nil {
		return nil, err
	}
	if after == 0 {
		rows = k.wholeList(rows, names)
	}
	return encodeChanges(user, after, rows, keys, names), nil
}

// wholeList leaves out devices that are gone, and adds those that never had keys.
func (k *Keys) wholeList(rows []listChangeRow, names map[id.DeviceID]string) []listChangeRow {
	var list []listChangeRow
	told := map[id.DeviceID]bool{}
	pos := int64(0)
	for _, row := range rows {
		_, alive := names[row.Device]
		if alive || row.Device == "" {
			list = append(list, row)
			told[row.Device] = true
		}
		pos = row.Pos
	}
	var silent []id.DeviceID
	for device := range names {
		if !told[device] {
			silent = append(silent, device)
		}
	}
	slices.Sort(silent)
	for _, device := range silent {
		list = append(list, listChangeRow{pos, device})
	}
	return list
}

// encodeChanges writes the newest change of each device as an EDU.
func encodeChanges(user id.UserID, after stream.Pos, rows []listChangeRow, keys *userKeys, names map[id.DeviceID]string) []EDU {
	last := map[id.DeviceID]int{}
	prev := int64(0)
	for i, row := range rows {
		if row.Pos <= int64(after) && row.Device != "" {
			prev = row.Pos
		}
		last[row.Device] = i
	}
	var out []EDU
	for i, row := range rows {
		if (row.Pos <= int64(after) && after > 0) || last[row.Device] != i {
			continue
		}
		if row.Device == "" {
			out = append(out, signingEDUs(user, keys)...)
			continue
		}
		u := deviceListUpdate{UserID: user, DeviceID: row.Device, StreamID: row.Pos, PrevID: []int64{}}
		if prev > 0 {
			u.PrevID = []int64{prev}
		}
		name, alive := names[row.Device]
		if alive {
			u.Keys, u.DisplayName = keys.devices[row.Device], name
		}
		u.Deleted = !alive
		if content, err := json.Marshal(u); err == nil {
			out = append(out, EDU{"m.device_list_update", content})
			prev = row.Pos
		}
	}
	return out
}

// signingEDUs tell the cross-signing keys, under the name of the specification and under the one before it.
func signingEDUs(user id.UserID, keys *userKeys) []EDU {
	content, err := json.Marshal(signingKeyUpdate{user, keys.signing[usageMaster], keys.signing[usageSelfSigning]})
	if err != nil {
		return nil
	}
	return []EDU{{"m.signing_key_update", content}, {"org.matrix.signing_key_update", content}}
}

// FederationDevices answers another server with the whole device list of a local user.
// spec: ss#get_matrixfederationv1userdevicesuserid
func (k *Keys) FederationDevices(ctx context.Context, user id.UserID) (*UserDevices, error) {
	if !k.accounts.Local(user) {
		return nil, mautrix.MNotFound.WithMessage("No user of this server")
	}
	// The position is read first: a change in between is then told again by its EDU, and none is missed.
	var pos int64
	if err := k.db.QueryRow(ctx, selectListPos, user).Scan(&pos); err != nil {
		return nil, fmt.Errorf("reading the device list position: %w", err)
	}
	keys, err := k.keysOfOne(ctx, user)
	if err != nil {
		return nil, err
	}
	out := &UserDevices{UserID: user, StreamID: pos, Devices: []UserDevice{}, MasterKey: keys.signing[usageMaster], SelfSigningKey: keys.signing[usageSelfSigning]}
	devices := make([]id.DeviceID, 0, len(keys.devices))
	for device := range keys.devices {
		devices = append(devices, device)
	}
	slices.Sort(devices)
	for _, device := range devices {
		out.Devices = append(out.Devices, UserDevice{device, keys.devices[device], keys.names[device]})
	}
	return out, nil
}

// DeviceDeleted removes the keys and waiting messages of a device. Accounts call it inside the transaction.
func (k *Keys) DeviceDeleted(ctx context.Context, user id.UserID, device id.DeviceID) error {
	done, err := k.db.Exec(ctx, deleteDeviceKeys, user, device)
	if err != nil {
		return fmt.Errorf("deleting device keys: %w", err)
	}
	had, err := done.RowsAffected()
	if err != nil {
		return fmt.Errorf("deleting device keys: %w", err)
	}
	name := owner(user, device)
	for _, q := range []string{deleteKeys, deleteFallback, deleteUploads} {
		if _, err := k.db.Exec(ctx, q, name); err != nil {
			return fmt.Errorf("deleting one-time keys: %w", err)
		}
	}
	if _, err := k.db.Exec(ctx, deleteInbox, user, device); err != nil {
		return fmt.Errorf("deleting to-device messages: %w", err)
	}
	if _, err := k.db.Exec(ctx, deleteSignaturesOn, user, user, device); err != nil {
		return fmt.Errorf("deleting signatures: %w", err)
	}
	if _, err := k.stream.Append(ctx, stream.Change{Kind: stream.KeyCount, UserID: user, Ref: string(device)}); err != nil {
		return err
	}
	if had == 0 {
		return nil
	}
	return k.announceInTx(ctx, user, device)
}

// DeviceChanged announces that a device came or got another name. Accounts call it inside the transaction. A device
// without keys is in nobody's list yet; that it exists is news for the caches of replicas alone.
func (k *Keys) DeviceChanged(ctx context.Context, user id.UserID, device id.DeviceID) error {
	keys, err := k.storedDeviceKeys(ctx, user, device)
	if err != nil {
		return fmt.Errorf("reading device keys: %w", err)
	}
	if keys == nil {
		_, err := k.stream.Append(ctx, stream.Change{Kind: stream.Session, UserID: user, Ref: string(device)})
		return err
	}
	return k.announceInTx(ctx, user, device)
}

// announceInTx is announceDevice for a transaction that is under way.
func (k *Keys) announceInTx(ctx context.Context, user id.UserID, device id.DeviceID) error {
	pos, err := k.stream.Append(ctx, stream.Change{Kind: stream.DeviceList, UserID: user})
	if err != nil {
		return err
	}
	return k.db.Insert(ctx, tableListChanges, []any{user, int64(pos), device, time.Now().UnixMilli()})
}
