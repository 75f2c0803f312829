package event

import (
	"time"

	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

const (
	maxKeyDocument = 256 << 10
	// MaxKeyValidity is how long a key counts after it was fetched, whatever its server says (ms).
	MaxKeyValidity = 7 * 24 * 3600 * 1000
)

// OldKey is a key that a server signed with until some time (ms).
type OldKey struct {
	Key     ed25519.PublicKey
	Expired int64
}

// ServerKeys is a checked key document. spec: ss#retrieving-server-keys
type ServerKeys struct {
	Server        string
	VerifyKeys    map[string]ed25519.PublicKey
	OldVerifyKeys map[string]OldKey
	ValidUntil    int64           // ms, at most seven days after it was fetched
	Raw           json.RawMessage // canonical, with all signatures, as notaries pass it on
}

// Find gives the key with that ID, current or old.
func (k *ServerKeys) Find(keyID string) (VerifyKey, bool) {
	if key, ok := k.VerifyKeys[keyID]; ok {
		return VerifyKey{Key: key, ValidUntil: k.ValidUntil}, true
	}
	if old, ok := k.OldVerifyKeys[keyID]; ok {
		return VerifyKey{Key: old.Key, ValidUntil: old.Expired, Expired: old.Expired}, true
	}
	return VerifyKey{}, false
}

// BuildServerKeys writes our own key document, signed with each of our current keys.
func BuildServerKeys(signers []Signer, old map[string]OldKey, validUntil int64) (json.RawMessage, error) {
	if len(signers) == 0 {
		return nil, errSigner
	}
	keys := map[string]string{}
	for _, s := range signers {
		if err := s.check(); err != nil {
			return nil, err
		}
		if s.Server != signers[0].Server {
			return nil, errors.New("signing keys of several servers")
		}
		keys[s.KeyID] = encode64(s.Public())
	}
	doc := []byte(`{"old_verify_keys":{`)
	for _, keyID := range sortedKeys(old) {
		doc = append(appendString(separate(doc), keyID), `:{"expired_ts":`...)
		doc = strconv.AppendInt(doc, old[keyID].Expired, 10)
		doc = append(appendString(append(doc, `,"key":`...), encode64(old[keyID].Key)), '}')
	}
	doc = appendString(append(doc, `},"server_name":`...), signers[0].Server)
	doc = strconv.AppendInt(append(doc, `,"valid_until_ts":`...), validUntil, 10)
	doc = append(doc, `,"verify_keys":{`...)
	for _, keyID := range sortedKeys(keys) {
		doc = append(appendString(separate(doc), keyID), `:{"key":`...)
		doc = append(appendString(doc, keys[keyID]), '}')
	}
	doc = append(doc, `}}`...)
	var err error
	for _, s := range signers {
		if doc, err = SignJSON(doc, s.Server, s.KeyID, s.Key); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// separate adds a comma unless an object was just opened.
func separate(dst []byte) []byte {
	if dst[len(dst)-1] == '{' || dst[len(dst)-1] == '[' {
		return dst
	}
	return append(dst, ',')
}

// ParseServerKeys reads and checks the key document of a server: it must carry that server's name and be signed with one of
// the keys it lists; none of its signatures with those keys may be wrong. now is in ms. Malformed keys are left out.
func ParseServerKeys(raw []byte, server string, now int64) (*ServerKeys, error) {
	if len(raw) > maxKeyDocument {
		return nil, errLong
	}
	obj, err := canonicalObject(raw)
	if err != nil {
		return nil, err
	}
	name, _ := findString(obj, "server_name")
	if name != server || !ValidServerName(name) {
		return nil, fmt.Errorf("key document is of %q, not of %s", clip(name, 60), server)
	}
	validUntil, ok := parseInt(find(obj, "valid_until_ts"))
	if !ok {
		return nil, errors.New("key document has no valid_until_ts")
	}
	k := &ServerKeys{Server: server, ValidUntil: min(validUntil, now+MaxKeyValidity), Raw: obj,
		VerifyKeys: map[string]ed25519.PublicKey{}, OldVerifyKeys: map[string]OldKey{}}
	Fields(find(obj, "verify_keys"), func(keyID string, value json.RawMessage) bool {
		if key, ok := publicKey(value); ok && ValidKeyID(keyID) {
			k.VerifyKeys[keyID] = key
		}
		return true
	})
	Fields(find(obj, "old_verify_keys"), func(keyID string, value json.RawMessage) bool {
		key, ok := publicKey(value)
		expired, hasTime := parseInt(find(value, "expired_ts"))
		if ok && hasTime && expired > 0 && ValidKeyID(keyID) {
			k.OldVerifyKeys[keyID] = OldKey{key, expired}
		}
		return true
	})
	if err := k.checkSignatures(); err != nil {
		return k, err
	}
	return k, k.secondOpinion(now)
}

// secondOpinion lets gomatrixserverlib judge the same document. A server's keys are the root of all trust in it and change
// rarely, so two implementations have to agree on them.
func (k *ServerKeys) secondOpinion(now int64) error {
	var doc gomatrixserverlib.ServerKeys
	if err := json.Unmarshal(k.Raw, &doc); err != nil {
		return nil // it has no opinion on documents with malformed keys, which are left out here
	}
	checks, _ := gomatrixserverlib.CheckKeys(spec.ServerName(k.Server), time.UnixMilli(now), doc)
	if checks.MatchingServerName {
		for _, c := range checks.Ed25519Checks {
			if c.ValidEd25519 && c.MatchingSignature {
				return nil
			}
		}
	}
	return fmt.Errorf("key document of %s: opinions about its signatures differ", k.Server)
}

func (k *ServerKeys) checkSignatures() error {
	message, good, tried := signedPart(k.Raw), 0, 0
	var err error
	Fields(Field(find(k.Raw, "signatures"), k.Server), func(keyID string, value json.RawMessage) bool {
		key, known := k.VerifyKeys[keyID]
		sig, ok := textOf(value)
		if !known || !ok {
			return true
		}
		if !verifies(key, message, sig) {
			err = fmt.Errorf("key document of %s: wrong signature with key %s", k.Server, keyID)
			return false
		}
		good++
		tried++
		return tried < maxSignatures
	})
	if err == nil && good == 0 {
		err = fmt.Errorf("key document of %s is not signed by itself", k.Server)
	}
	return err
}

func publicKey(value []byte) (ed25519.PublicKey, bool) {
	s, ok := findString(value, "key")
	if !ok {
		return nil, false
	}
	key, ok := decode64(s)
	return key, ok && len(key) == ed25519.PublicKeySize
}

// SplitServerKeys gives the documents in the answer of a notary, with the server each is about. Documents without a server
// name are left out; nothing is checked yet.
func SplitServerKeys(raw []byte) (map[string][]json.RawMessage, error) {
	obj, err := canonicalObject(raw)
	if err != nil {
		return nil, err
	}
	all := map[string][]json.RawMessage{}
	Items(find(obj, "server_keys"), func(doc json.RawMessage) bool {
		if name, _ := findString(doc, "server_name"); ValidServerName(name) {
			all[name] = append(all[name], doc)
		}
		return true
	})
	return all, nil
}
