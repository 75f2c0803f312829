package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// SigningKeys are the cross-signing keys of an upload; nil ones stay as they are.
type SigningKeys struct {
	Master, SelfSigning, UserSigning json.RawMessage
}

func (s SigningKeys) byUsage() map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for usage, raw := range map[string]json.RawMessage{usageMaster: s.Master, usageSelfSigning: s.SelfSigning, usageUserSigning: s.UserSigning} {
		if len(raw) > 0 && string(raw) != "null" {
			m[usage] = raw
		}
	}
	return m
}

// UploadSigningKeys stores cross-signing keys. confirm is called when the user must prove to be the owner of the account:
// not for what is stored already, and not for the first keys.
// spec: cs#post_matrixclientv3keysdevice_signingupload
// msc: 3967
func (k *Keys) UploadSigningKeys(ctx context.Context, user id.UserID, up SigningKeys, confirm func(ctx context.Context) error) error {
	given := up.byUsage()
	for usage, raw := range given {
		key, err := checkSigningKey(user, usage, raw)
		if err != nil {
			return err
		}
		given[usage] = key
	}
	unlock, err := k.uploads.lock(ctx, user)
	if err != nil {
		return err
	}
	defer unlock()
	stored, err := k.storedSigning(ctx, user)
	if err != nil {
		return err
	}
	fresh := map[string]json.RawMessage{}
	for usage, key := range given {
		if string(stored[usage]) != string(key) {
			fresh[usage] = key
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if stored[usageMaster] != nil {
		if err := confirm(ctx); err != nil {
			return err
		}
	}
	if err := k.checkSigningSet(ctx, user, stored, fresh); err != nil {
		return err
	}
	u := &stream.Unit{}
	for usage, key := range fresh {
		u.Writes = append(u.Writes, stream.Write{Table: tableCrossSigning, Row: []any{user, usage, string(key)}})
	}
	announceDevice(u, user, "")
	_, err = k.stream.Commit(ctx, u)
	if err != nil {
		return fmt.Errorf("storing cross-signing keys: %w", err)
	}
	return nil
}

func (k *Keys) storedSigning(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	rows, err := k.crossSigningOf(ctx, []id.UserID{user})
	if err != nil {
		return nil, fmt.Errorf("reading cross-signing keys: %w", err)
	}
	m := make(map[string]json.RawMessage, len(rows))
	for _, row := range rows {
		m[row.Usage] = row.Key
	}
	return m, nil
}

// checkSigningKey checks the shape of a cross-signing key and returns it in canonical form, without "unsigned".
func checkSigningKey(user id.UserID, usage string, raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) > maxDeviceKeys {
		return nil, mautrix.MTooLarge.WithMessage("Cross-signing key is too large")
	}
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	var (
		gotUser id.UserID
		usages  []string
		keys    map[string]string
	)
	for name, v := range map[string]any{"user_id": &gotUser, "usage": &usages, "keys": &keys} {
		if err := o.read(name, v); err != nil {
			return nil, err
		}
	}
	if o.has("signatures") {
		var sigs signatures
		if err := o.read("signatures", &sigs); err != nil {
			return nil, err
		}
	}
	switch {
	case gotUser != user:
		return nil, mautrix.MInvalidParam.WithMessage("Cross-signing key belongs to another user")
	case !slices.Contains(usages, usage):
		return nil, mautrix.MInvalidParam.WithMessage("Cross-signing key is not for %q", usage)
	case len(keys) != 1:
		return nil, mautrix.MInvalidParam.WithMessage("A cross-signing key has exactly one key")
	}
	for keyID, public := range keys {
		if publicPart(keyID) == "" || publicPart(keyID) != public {
			return nil, mautrix.MInvalidParam.WithMessage("The ID of a cross-signing key is its public key")
		}
	}
	delete(o, "unsigned")
	return o.canonical()
}

// checkSigningSet checks that the other keys are signed by the master key, and that no key has the name of a device.
func (k *Keys) checkSigningSet(ctx context.Context, user id.UserID, stored, fresh map[string]json.RawMessage) error {
	master := fresh[usageMaster]
	if master == nil {
		master = stored[usageMaster]
	}
	if master == nil {
		return mautrix.MInvalidParam.WithMessage("There is no master key")
	}
	masterID := signingPublic(master)
	for usage, key := range fresh {
		if usage == usageMaster {
			continue
		}
		if err := verify(key, user, "ed25519:"+masterID, masterID); err != nil {
			return err
		}
	}
	names, err := k.deviceNames(ctx, user)
	if err != nil {
		return err
	}
	for _, key := range fresh {
		if _, taken := names[id.DeviceID(signingPublic(key))]; taken {
			return mautrix.MInvalidParam.WithMessage("A device has the name of the cross-signing key")
		}
	}
	return nil
}

// DeviceReserved tells whether a device ID is the public part of a cross-signing key of the user, and so not free.
func (k *Keys) DeviceReserved(ctx context.Context, user id.UserID, device id.DeviceID) (bool, error) {
	stored, err := k.storedSigning(ctx, user)
	for _, key := range stored {
		if signingPublic(key) == string(device) {
			return true, nil
		}
	}
	return false, err
}
