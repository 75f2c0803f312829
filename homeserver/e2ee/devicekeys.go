package e2ee

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

const (
	maxDeviceKeys  = 64 << 10 // bytes of one device's identity keys, or of one cross-signing key
	maxDeviceIDLen = 255
	ownerSeparator = "\x1f"
)

// errInvalidSignature is what a wrong signature is answered with.
var errInvalidSignature = mautrix.RespError{ErrCode: "M_INVALID_SIGNATURE", StatusCode: 400}

// owner names a device in one column.
func owner(user id.UserID, device id.DeviceID) string {
	return string(user) + ownerSeparator + string(device)
}

// splitOwner takes owner apart.
func splitOwner(o string) (id.UserID, id.DeviceID) {
	user, device, _ := strings.Cut(o, ownerSeparator)
	return id.UserID(user), id.DeviceID(device)
}

// checkDeviceKeys checks identity keys and returns them in canonical form, without "unsigned". A signature of the
// device itself must be right if there is one; absence is left to the clients, who trust no unsigned device.
// spec: cs#post_matrixclientv3keysupload
func checkDeviceKeys(user id.UserID, device id.DeviceID, raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) > maxDeviceKeys {
		return nil, mautrix.MTooLarge.WithMessage("Device keys are too large")
	}
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	var (
		gotUser    id.UserID
		gotDevice  id.DeviceID
		algorithms []string
		keys       map[string]string
		sigs       signatures
	)
	for name, v := range map[string]any{"user_id": &gotUser, "device_id": &gotDevice, "algorithms": &algorithms, "keys": &keys, "signatures": &sigs} {
		if err := o.read(name, v); err != nil {
			return nil, err
		}
	}
	if gotUser != user || gotDevice != device {
		return nil, mautrix.MInvalidParam.WithMessage("Device keys belong to another user or device")
	}
	for keyID := range keys {
		if !strings.Contains(keyID, ":") {
			return nil, mautrix.MBadJSON.WithMessage("Malformed key ID in device keys")
		}
	}
	delete(o, "unsigned")
	c, err := o.canonical()
	if err != nil {
		return nil, err
	}
	keyID := "ed25519:" + string(device)
	if sigs[string(user)][keyID] == "" {
		return c, nil
	}
	if err := verify(c, user, keyID, keys[keyID]); err != nil {
		return nil, err
	}
	return c, nil
}

// verify checks one signature made with an ed25519 key in unpadded Base64.
func verify(signed json.RawMessage, signer id.UserID, keyID, public string) error {
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(public, "="))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return mautrix.MInvalidParam.WithMessage("Malformed public key %q", keyID)
	}
	if err := event.VerifyJSON(signed, string(signer), keyID, key); err != nil {
		return errInvalidSignature.WithMessage("Signature by %q is not valid", keyID)
	}
	return nil
}

// oneTimeKey is one entry of one_time_keys or fallback_keys.
type oneTimeKey struct {
	Algorithm string
	KeyID     string // the part behind the algorithm
	Key       string // canonical JSON
}

func (k oneTimeKey) fullID() string { return k.Algorithm + ":" + k.KeyID }

// checkOneTimeKeys checks the keys of an upload.
// spec: cs#key-algorithms
func checkOneTimeKeys(in map[string]json.RawMessage) ([]oneTimeKey, error) {
	out := make([]oneTimeKey, 0, len(in))
	for fullID, raw := range in {
		algorithm, keyID, ok := strings.Cut(fullID, ":")
		if !ok || algorithm == "" || keyID == "" || len(fullID) > 255 {
			return nil, mautrix.MInvalidParam.WithMessage("Malformed one-time key ID")
		}
		if len(raw) > 4096 {
			return nil, mautrix.MTooLarge.WithMessage("One-time key is too large")
		}
		key, err := canonical(raw)
		if err != nil {
			return nil, err
		}
		if err := checkOneTimeKey(algorithm, key); err != nil {
			return nil, err
		}
		out = append(out, oneTimeKey{algorithm, keyID, string(key)})
	}
	return out, nil
}

// checkOneTimeKey checks the shape: a string, or an object with "key" (and with "signatures" if the algorithm is a
// signed one).
func checkOneTimeKey(algorithm string, key json.RawMessage) error {
	signed := strings.HasPrefix(algorithm, "signed_")
	if len(key) > 2 && key[0] == '"' && !signed {
		return nil
	}
	if key[0] != '{' {
		return mautrix.MBadJSON.WithMessage("One-time key has the wrong type")
	}
	if public, ok := event.FieldString(key, "key"); !ok || public == "" {
		return mautrix.MBadJSON.WithMessage("One-time key without key")
	}
	sigs := event.Field(key, "signatures")
	if sigs == nil && !signed {
		return nil
	}
	if !textsOfTexts(sigs) {
		return mautrix.MBadJSON.WithMessage("One-time key without signatures")
	}
	return nil
}

// textsOfTexts tells whether raw, which is canonical JSON, is an object of objects of strings.
func textsOfTexts(raw json.RawMessage) bool {
	ok := len(raw) > 0 && raw[0] == '{'
	event.Fields(raw, func(_ string, inner json.RawMessage) bool {
		ok = ok && inner[0] == '{'
		event.Fields(inner, func(_ string, v json.RawMessage) bool {
			ok = ok && v[0] == '"'
			return ok
		})
		return ok
	})
	return ok
}
