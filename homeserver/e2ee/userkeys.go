package e2ee

import (
	"context"
	"encoding/json"
	"fmt"

	"maunium.net/go/mautrix/id"
)

// Names of cross-signing keys, as in "usage".
const (
	usageMaster      = "master"
	usageSelfSigning = "self_signing"
	usageUserSigning = "user_signing"
)

// userKeys is everything that is known about the keys of one user. It is immutable once in the cache.
type userKeys struct {
	devices  map[id.DeviceID]json.RawMessage // with the user's own signatures, without display names
	names    map[id.DeviceID]string
	all      json.RawMessage                            // shown, encoded
	signing  map[string]json.RawMessage                 // cross-signing keys by usage, with the user's own signatures
	masterID string                                     // public part of the master key
	made     map[id.UserID]map[string]map[string]string // signatures on keys of others: user → target → key ID
}

// keysOf returns the keys of users, local or remote, from the cache or the database; never from another server.
func (k *Keys) keysOf(ctx context.Context, users []id.UserID) (map[id.UserID]*userKeys, error) {
	return k.users.get(ctx, users, k.loadKeys)
}

func (k *Keys) keysOfOne(ctx context.Context, user id.UserID) (*userKeys, error) {
	m, err := k.keysOf(ctx, []id.UserID{user})
	return m[user], err
}

func (k *Keys) loadKeys(ctx context.Context, users []id.UserID) (map[id.UserID]*userKeys, error) {
	out := make(map[id.UserID]*userKeys, len(users))
	var local, remote []id.UserID
	for _, user := range users {
		out[user] = &userKeys{devices: map[id.DeviceID]json.RawMessage{}, signing: map[string]json.RawMessage{}}
		if k.accounts.Local(user) {
			local = append(local, user)
		} else {
			remote = append(remote, user)
		}
	}
	err := k.db.Snapshot(ctx, func(ctx context.Context) error {
		if err := k.loadSigning(ctx, users, out); err != nil {
			return err
		}
		if err := k.loadLocal(ctx, local, out); err != nil {
			return err
		}
		return k.loadRemote(ctx, remote, out)
	})
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	for _, user := range local {
		if len(out[user].devices) == 0 {
			continue
		}
		if out[user].names, err = k.deviceNames(ctx, user); err != nil {
			return nil, err
		}
	}
	for _, u := range out {
		u.finish()
	}
	return out, nil
}

func (k *Keys) loadSigning(ctx context.Context, users []id.UserID, out map[id.UserID]*userKeys) error {
	keys, err := k.crossSigningOf(ctx, users)
	for _, row := range keys {
		out[row.User].signing[row.Usage] = row.Key
	}
	return err
}

func (k *Keys) loadLocal(ctx context.Context, users []id.UserID, out map[id.UserID]*userKeys) error {
	if len(users) == 0 {
		return nil
	}
	devices, err := k.deviceKeysOf(ctx, users)
	if err != nil {
		return err
	}
	for _, row := range devices {
		out[row.User].devices[row.Device] = row.Keys
	}
	sigs, err := k.signaturesBy(ctx, users)
	if err != nil {
		return err
	}
	for _, row := range sigs {
		if row.Signature == "" {
			continue // taken back, because the key has changed
		}
		u := out[row.Signer]
		if u.made == nil {
			u.made = map[id.UserID]map[string]map[string]string{}
		}
		if u.made[row.TargetUser] == nil {
			u.made[row.TargetUser] = map[string]map[string]string{}
		}
		if u.made[row.TargetUser][row.TargetID] == nil {
			u.made[row.TargetUser][row.TargetID] = map[string]string{}
		}
		u.made[row.TargetUser][row.TargetID][row.KeyID] = row.Signature
	}
	for user, u := range out {
		own := u.made[user]
		for device, keys := range u.devices {
			u.devices[device] = withSignatures(keys, signedBy(user, own[string(device)]))
		}
		if master := u.signing[usageMaster]; master != nil {
			u.signing[usageMaster] = withSignatures(master, signedBy(user, own[signingPublic(master)]))
		}
	}
	return nil
}

func signedBy(user id.UserID, sigs map[string]string) signatures {
	if len(sigs) == 0 {
		return nil
	}
	return signatures{string(user): sigs}
}

func (k *Keys) loadRemote(ctx context.Context, users []id.UserID, out map[id.UserID]*userKeys) error {
	if len(users) == 0 {
		return nil
	}
	devices, err := k.remoteDevices(ctx, users)
	for _, row := range devices {
		u := out[row.User]
		if row.Keys != nil {
			u.devices[row.Device] = row.Keys
		}
		if row.Name != "" {
			if u.names == nil {
				u.names = map[id.DeviceID]string{}
			}
			u.names[row.Device] = row.Name
		}
	}
	return err
}

// finish computes what answers are made of.
func (u *userKeys) finish() {
	u.all = appendObject(nil, u.show(nil))
	u.masterID = signingPublic(u.signing[usageMaster])
}

// show returns devices as clients and other servers see them; none named means all.
func (u *userKeys) show(devices []id.DeviceID) map[id.DeviceID]json.RawMessage {
	shown := make(map[id.DeviceID]json.RawMessage, len(u.devices))
	if len(devices) == 0 {
		for device, keys := range u.devices {
			shown[device] = withDisplayName(keys, u.names[device])
		}
	}
	for _, device := range devices {
		if keys, ok := u.devices[device]; ok {
			shown[device] = withDisplayName(keys, u.names[device])
		}
	}
	return shown
}

// pick returns the encoded devices that were asked for; none means all.
func (u *userKeys) pick(devices []id.DeviceID) json.RawMessage {
	if len(devices) == 0 {
		return u.all
	}
	return appendObject(nil, u.show(devices))
}

// deviceNames lists the devices of a local user with display names, the dehydrated one too, from the cache.
func (k *Keys) deviceNames(ctx context.Context, user id.UserID) (map[id.DeviceID]string, error) {
	return k.names.one(ctx, user, func(ctx context.Context) (map[id.DeviceID]string, error) {
		names, err := k.accounts.DeviceNames(ctx, user)
		if err != nil {
			return nil, fmt.Errorf("listing devices: %w", err)
		}
		d, found, err := k.findDehydrated(ctx, user)
		if found {
			names[d.ID] = d.Name
		}
		return names, err
	})
}

// signingPublic is the public part of a cross-signing key, "" if it has none.
func signingPublic(raw json.RawMessage) string {
	if raw == nil {
		return ""
	}
	var keys map[string]string
	o, err := parseObject(raw)
	if err != nil || o.read("keys", &keys) != nil {
		return ""
	}
	for keyID := range keys {
		return publicPart(keyID)
	}
	return ""
}
