package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/viaduc/viaduc/homeserver/event"
)

// maxTrials bounds how many signatures of one third-party invite are tried. Real ones have one signature and two keys.
const maxTrials = 64

// checkThirdPartyInvite: rule 5.4.1 of version 12.
func (c *check) checkThirdPartyInvite(target string, tpi json.RawMessage) *Error {
	rule := c.text.invite + ".1"
	if membership(c.state, target) == memberBan {
		return reject(rule+".1", "the user is banned")
	}
	if !isObject(tpi) || event.Field(tpi, "signed") == nil {
		return reject(rule+".2", "there is nothing signed")
	}
	signed := event.Field(tpi, "signed")
	mxid, hasUser := fieldString(signed, "mxid")
	token, hasToken := fieldString(signed, "token")
	if !hasUser || !hasToken {
		return reject(rule+".3", "no user or no token is signed")
	}
	if mxid != target {
		return reject(rule+".4", "the signature is for another user")
	}
	issued := c.state.Get(event.Key{Type: typeThirdParty, StateKey: token})
	if issued == nil {
		return reject(rule+".5", "the room does not know the token")
	}
	if issued.Sender() != c.ev.Sender() {
		return reject(rule+".6", "the token is of another sender")
	}
	if !signedByOneOf(signed, inviteKeys(issued)) {
		return reject(rule+".8", "no signature fits a key of the invite")
	}
	return nil
}

// inviteKeys are the public keys that an m.room.third_party_invite names.
func inviteKeys(issued *event.Event) []ed25519.PublicKey {
	keys := appendKey(nil, issued.Content())
	if more := issued.Field("public_keys"); isArray(more) {
		event.Items(more, func(entry json.RawMessage) bool {
			keys = appendKey(keys, entry)
			return len(keys) < maxTrials
		})
	}
	return keys
}

// appendKey reads the public_key of an object: unpadded base64 in either alphabet. spec: cs#mroomthird_party_invite
func appendKey(keys []ed25519.PublicKey, object json.RawMessage) []ed25519.PublicKey {
	encoded, ok := fieldString(object, "public_key")
	if !ok {
		return keys
	}
	encoded = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(encoded, "="))
	key, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return keys
	}
	return append(keys, key)
}

// signedByOneOf tries every signature with every key, in the order in which they are written.
func signedByOneOf(signed json.RawMessage, keys []ed25519.PublicKey) (found bool) {
	trials := 0
	eachSignature(signed, func(server, keyID string) bool {
		for _, key := range keys {
			if trials++; trials > maxTrials {
				return false
			}
			if event.VerifyJSON(signed, server, keyID, key) == nil {
				found = true
				return false
			}
		}
		return true
	})
	return found
}

// eachSignature calls fn for the Ed25519 signatures of the object until it returns false.
func eachSignature(signed json.RawMessage, fn func(server, keyID string) bool) {
	more := true
	eachObject(event.Field(signed, "signatures"), func(server string, byKey json.RawMessage) bool {
		eachObject(byKey, func(keyID string, _ json.RawMessage) bool {
			if strings.HasPrefix(keyID, "ed25519:") {
				more = fn(server, keyID)
			}
			return more
		})
		return more
	})
}

func eachObject(object json.RawMessage, fn func(key string, value json.RawMessage) bool) {
	if isObject(object) {
		event.Fields(object, fn)
	}
}

func fieldString(object json.RawMessage, key string) (string, bool) {
	if !isObject(object) {
		return "", false
	}
	return event.FieldString(object, key)
}
