package e2ee

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	maxUploadKeys = 1000 // one-time keys in one upload
	maxStoredKeys = 2000 // one-time keys of one device
	uploadTries   = 5
)

// An Upload is what a device publishes about itself.
type Upload struct {
	DeviceKeys   json.RawMessage
	OneTimeKeys  map[string]json.RawMessage
	FallbackKeys map[string]json.RawMessage
}

// Upload stores keys of a device and returns how many one-time keys of each algorithm are left.
// spec: cs#post_matrixclientv3keysupload
func (k *Keys) Upload(ctx context.Context, user id.UserID, device id.DeviceID, up Upload) (map[string]int, error) {
	var deviceKeys json.RawMessage
	var err error
	if len(up.DeviceKeys) > 0 && string(up.DeviceKeys) != "null" {
		if deviceKeys, err = checkDeviceKeys(user, device, up.DeviceKeys); err != nil {
			return nil, err
		}
	}
	if len(up.OneTimeKeys) > maxUploadKeys || len(up.FallbackKeys) > 20 {
		return nil, mautrix.MTooLarge.WithMessage("Too many keys in one upload")
	}
	oneTime, err := checkOneTimeKeys(up.OneTimeKeys)
	if err != nil {
		return nil, err
	}
	fallback, err := checkOneTimeKeys(up.FallbackKeys)
	if err != nil {
		return nil, err
	}
	if deviceKeys != nil || len(oneTime) > 0 || len(fallback) > 0 {
		unlock, err := k.uploads.lock(ctx, user)
		if err != nil {
			return nil, err
		}
		defer unlock()
		err = stream.ErrConflict
		for n := 0; errors.Is(err, stream.ErrConflict) && n < uploadTries; n++ {
			err = k.storeUpload(ctx, user, device, deviceKeys, oneTime, fallback)
		}
		if err != nil {
			return nil, err
		}
	}
	counts, _, err := k.KeyCounts(ctx, user, device)
	return counts, err
}

// storeUpload commits what is new. A repeated upload changes nothing and announces nothing. Another replica may take an
// upload of the same device at the same time; the guard lets one of them see the other.
func (k *Keys) storeUpload(ctx context.Context, user id.UserID, device id.DeviceID, deviceKeys json.RawMessage, oneTime, fallback []oneTimeKey) error {
	u := &stream.Unit{}
	name := owner(user, device)
	version, err := k.uploadsOf(ctx, name)
	if err != nil {
		return fmt.Errorf("counting uploads: %w", err)
	}
	fresh, err := k.newOneTimeKeys(ctx, name, oneTime)
	if err != nil {
		return err
	}
	seq := k.clock.next() << 12
	for i, key := range fresh {
		u.Writes = append(u.Writes, stream.Write{Table: tableOneTimeKeys, Row: []any{name, key.Algorithm, seq + int64(i), key.KeyID, key.Key}})
	}
	replaced, err := k.newFallbackKeys(ctx, name, fallback)
	if err != nil {
		return err
	}
	for _, key := range replaced {
		u.Writes = append(u.Writes, stream.Write{Table: tableFallbackKeys, Row: []any{name, key.Algorithm, key.KeyID, key.Key, 0}})
	}
	if len(u.Writes) > 0 {
		u.Guard = &stream.Guard{Table: uploadGuard, Key: name, Expect: version, Next: version + 1}
		u.Changes = append(u.Changes, stream.Change{Kind: stream.KeyCount, UserID: user, Ref: string(device)})
	}
	if deviceKeys != nil {
		old, err := k.storedDeviceKeys(ctx, user, device)
		if err != nil {
			return err
		}
		if string(old) != string(deviceKeys) {
			u.Writes = append(u.Writes, stream.Write{Table: tableDeviceKeys, Row: []any{user, device, string(deviceKeys)}})
			announceDevice(u, user, device)
			if old != nil {
				if err := k.takeBackSignatures(ctx, u, user, device); err != nil {
					return err
				}
			}
		}
	}
	if len(u.Writes) == 0 {
		return nil
	}
	if _, err := k.stream.Commit(ctx, u); err != nil {
		return fmt.Errorf("storing keys: %w", err)
	}
	return nil
}

// takeBackSignatures removes what the user signed of a device whose keys are replaced: it was made for the old ones.
func (k *Keys) takeBackSignatures(ctx context.Context, u *stream.Unit, user id.UserID, device id.DeviceID) error {
	keys, err := k.keysOfOne(ctx, user)
	if err != nil {
		return err
	}
	for keyID := range keys.made[user][string(device)] {
		u.Writes = append(u.Writes, stream.Write{Table: tableSignatures, Row: []any{user, user, device, keyID, ""}})
	}
	return nil
}

// announceDevice adds to the unit that a device of a local user changed; device "" stands for the cross-signing keys.
func announceDevice(u *stream.Unit, user id.UserID, devices ...id.DeviceID) {
	at := -1
	for i, c := range u.Changes {
		if c.Kind == stream.DeviceList && c.UserID == user && c.Ref == "" {
			at = i
		}
	}
	if at < 0 {
		at = len(u.Changes)
		u.Changes = append(u.Changes, stream.Change{Kind: stream.DeviceList, UserID: user})
	}
	now := time.Now().UnixMilli()
	for _, device := range devices {
		u.Writes = append(u.Writes, stream.Write{Table: tableListChanges, Row: []any{user, stream.PosOf(at), device, now}})
	}
}

func (k *Keys) storedDeviceKeys(ctx context.Context, user id.UserID, device id.DeviceID) (json.RawMessage, error) {
	var keys string
	err := k.db.QueryRow(ctx, selectDeviceKeys, user, device).Scan(&keys)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return json.RawMessage(keys), err
}

// newOneTimeKeys leaves out what is stored already. The same ID with another key is an error: a client that lost its
// state would otherwise publish keys that it cannot use.
func (k *Keys) newOneTimeKeys(ctx context.Context, name string, keys []oneTimeKey) ([]oneTimeKey, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ids := make([]string, len(keys))
	for i := range keys {
		ids[i] = keys[i].KeyID
	}
	stored, err := k.storedKeys(ctx, name, ids)
	if err != nil {
		return nil, fmt.Errorf("reading one-time keys: %w", err)
	}
	if len(stored) == 0 && len(keys) <= maxStoredKeys/2 {
		return keys, k.checkRoom(ctx, name, len(keys))
	}
	known := make(map[string]string, len(stored))
	for _, s := range stored {
		known[s.fullID()] = s.Key
	}
	var fresh []oneTimeKey
	for _, key := range keys {
		old, ok := known[key.fullID()]
		if ok && old != key.Key {
			return nil, mautrix.MInvalidParam.WithMessage("One time key %s already exists with another value", key.fullID())
		}
		if !ok {
			fresh = append(fresh, key)
		}
	}
	return fresh, k.checkRoom(ctx, name, len(fresh))
}

// checkRoom bounds the one-time keys of a device.
func (k *Keys) checkRoom(ctx context.Context, name string, more int) error {
	if more == 0 {
		return nil
	}
	user, device := splitOwner(name)
	counts, _, err := k.KeyCounts(ctx, user, device)
	if err != nil {
		return err
	}
	for _, n := range counts {
		more += n
	}
	if more > maxStoredKeys {
		return mautrix.MInvalidParam.WithMessage("The device has too many one-time keys")
	}
	return nil
}

// newFallbackKeys leaves out those that are stored already, so that repeating an upload does not make a used key fresh.
func (k *Keys) newFallbackKeys(ctx context.Context, name string, keys []oneTimeKey) ([]oneTimeKey, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	stored, err := k.fallbackKeys(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading fallback keys: %w", err)
	}
	known := make(map[string]oneTimeKey, len(stored))
	for _, s := range stored {
		known[s.Algorithm] = s.oneTimeKey
	}
	byAlgorithm := make(map[string]bool, len(keys))
	var fresh []oneTimeKey
	for _, key := range keys {
		if byAlgorithm[key.Algorithm] {
			return nil, mautrix.MInvalidParam.WithMessage("More than one fallback key of one algorithm")
		}
		byAlgorithm[key.Algorithm] = true
		if known[key.Algorithm] != key {
			fresh = append(fresh, key)
		}
	}
	return fresh, nil
}
