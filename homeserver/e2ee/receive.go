package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// deviceListUpdate is the content of m.device_list_update.
type deviceListUpdate struct {
	UserID      id.UserID       `json:"user_id"`
	DeviceID    id.DeviceID     `json:"device_id"`
	StreamID    int64           `json:"stream_id"`
	PrevID      []int64         `json:"prev_id,omitempty"`
	Deleted     bool            `json:"deleted,omitempty"`
	Keys        json.RawMessage `json:"keys,omitempty"`
	DisplayName string          `json:"device_display_name,omitempty"`
}

// ReceiveDeviceList takes an m.device_list_update from another server. An update that does not follow the last one makes
// the list stale; the worker then fetches it whole. What cannot be right is ignored.
// spec: ss#mdevice_list_update
func (k *Keys) ReceiveDeviceList(ctx context.Context, origin string, content json.RawMessage) error {
	var u deviceListUpdate
	if json.Unmarshal(content, &u) != nil || u.UserID.Homeserver() != origin || k.accounts.Local(u.UserID) ||
		len(u.DeviceID) == 0 || len(u.DeviceID) > maxDeviceIDLen || len(u.PrevID) > 1000 {
		return nil
	}
	if known, err := k.isInteresting(ctx, u.UserID); err != nil || !known {
		return err
	}
	row, kept, err := k.remoteList(ctx, u.UserID)
	switch {
	case err != nil:
		return fmt.Errorf("reading a device list: %w", err)
	case (!kept || row.Stale) && u.keyless():
		return nil // in nobody's list
	case !kept || row.Stale:
		return k.touchList(ctx, u.UserID)
	case u.StreamID <= row.StreamID:
		return nil // known already
	case u.follows(row.StreamID):
		return k.applyUpdate(ctx, u, row.StreamID)
	}
	if err := k.spoil(ctx, u.UserID); err != nil {
		return fmt.Errorf("marking a device list: %w", err)
	}
	return nil
}

// follows tells whether nothing was missed since the last known update.
func (u *deviceListUpdate) follows(last int64) bool {
	return len(u.PrevID) > 0 && !slices.ContainsFunc(u.PrevID, func(prev int64) bool { return prev > last })
}

// keyless tells whether the device has no keys, like one that has just signed in. Servers tell of it all the same.
func (u *deviceListUpdate) keyless() bool {
	return !u.Deleted && (len(u.Keys) == 0 || string(u.Keys) == "null" || string(u.Keys) == "{}")
}

// isInteresting tells whether a remote user shares a room with someone here.
func (k *Keys) isInteresting(ctx context.Context, user id.UserID) (bool, error) {
	rooms, err := k.rooms.RoomsOf(ctx, user)
	if err != nil {
		return false, fmt.Errorf("rooms of a remote user: %w", err)
	}
	for _, room := range rooms {
		local, err := k.rooms.LocalJoined(ctx, room)
		if err != nil {
			return false, fmt.Errorf("local members: %w", err)
		}
		if len(local) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// touchList tells clients that a list changed which is not up to date here, so that they ask for it. A fetch that is under
// way leaves the list stale.
func (k *Keys) touchList(ctx context.Context, user id.UserID) error {
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		if err := k.spoil(ctx, user); err != nil {
			return err
		}
		_, err := k.stream.Append(ctx, stream.Change{Kind: stream.DeviceList, UserID: user})
		return err
	})
	if err != nil {
		return fmt.Errorf("announcing a device list: %w", err)
	}
	return nil
}

// applyUpdate stores one device. If the list has moved on meanwhile it is spoiled instead.
func (k *Keys) applyUpdate(ctx context.Context, u deviceListUpdate, last int64) error {
	keys, _, invalid := checkRemoteDevice(u.UserID, u.DeviceID, u.Keys)
	if invalid != nil || u.Deleted {
		keys = nil // a device without keys, or with keys that nobody can use
	}
	known, err := k.keysOfOne(ctx, u.UserID)
	if err != nil {
		return err
	}
	_, had := known.devices[u.DeviceID]
	err = k.db.Tx(ctx, func(ctx context.Context) error {
		done, err := k.db.Exec(ctx, advanceList, u.UserID, u.StreamID, last)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, k.spoil(ctx, u.UserID))
		}
		if u.Deleted {
			_, err = k.db.Exec(ctx, deleteRemoteDevice, u.UserID, u.DeviceID)
		} else {
			err = k.db.Insert(ctx, tableRemoteDevices, []any{u.UserID, u.DeviceID, keys, clip(u.DisplayName)})
		}
		if err != nil || (!had && keys == nil) {
			return err
		}
		_, err = k.stream.Append(ctx, stream.Change{Kind: stream.DeviceList, UserID: u.UserID})
		return err
	})
	if err != nil {
		return fmt.Errorf("storing a device update: %w", err)
	}
	return nil
}

// signingKeyUpdate is the content of m.signing_key_update.
type signingKeyUpdate struct {
	UserID         id.UserID       `json:"user_id"`
	MasterKey      json.RawMessage `json:"master_key,omitempty"`
	SelfSigningKey json.RawMessage `json:"self_signing_key,omitempty"`
}

// ReceiveSigningKeys takes an m.signing_key_update from another server.
// spec: ss#msigning_key_update
func (k *Keys) ReceiveSigningKeys(ctx context.Context, origin string, content json.RawMessage) error {
	var u signingKeyUpdate
	if json.Unmarshal(content, &u) != nil || u.UserID.Homeserver() != origin || k.accounts.Local(u.UserID) {
		return nil
	}
	if known, err := k.isInteresting(ctx, u.UserID); err != nil || !known {
		return err
	}
	row, kept, err := k.remoteList(ctx, u.UserID)
	if err != nil {
		return fmt.Errorf("reading a device list: %w", err)
	}
	if !kept || row.Stale {
		return k.touchList(ctx, u.UserID)
	}
	return k.applySigning(ctx, u)
}

func (k *Keys) applySigning(ctx context.Context, u signingKeyUpdate) error {
	rows := remoteSigning(u.UserID, &UserDevices{MasterKey: u.MasterKey, SelfSigningKey: u.SelfSigningKey})
	stored, err := k.storedSigning(ctx, u.UserID)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(row []any) bool {
		return string(stored[row[1].(string)]) == string(row[2].(json.RawMessage))
	})
	if len(rows) == 0 {
		return nil
	}
	err = k.db.Tx(ctx, func(ctx context.Context) error {
		if err := k.db.Insert(ctx, tableCrossSigning, rows...); err != nil {
			return err
		}
		_, err := k.stream.Append(ctx, stream.Change{Kind: stream.DeviceList, UserID: u.UserID})
		return err
	})
	if err != nil {
		return fmt.Errorf("storing cross-signing keys: %w", err)
	}
	return nil
}
