package event

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"maunium.net/go/mautrix"
)

// Signer is a server name with one of its keys. KeyID has the algorithm in front: "ed25519:a_AbCd".
type Signer struct {
	Server string
	KeyID  string
	Key    ed25519.PrivateKey
}

// Public is the key that verifies.
func (s Signer) Public() ed25519.PublicKey { return s.Key.Public().(ed25519.PublicKey) }

const algorithm = "ed25519:"

// maxSignatures bounds how many signatures of one server are looked at.
const maxSignatures = 32

var errSigner = errors.New("signing key is not usable")

func (s Signer) check() error {
	if len(s.Key) != ed25519.PrivateKeySize || !strings.HasPrefix(s.KeyID, algorithm) || s.Server == "" {
		return errSigner
	}
	return nil
}

func (s Signer) sign(message []byte) string { return encode64(ed25519.Sign(s.Key, message)) }

// Sign adds a signature to the event. spec: ss#adding-hashes-and-signatures-to-outgoing-events
func (e *Event) Sign(s Signer) (*Event, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return e.withSignatures(map[string]map[string]string{s.Server: {s.KeyID: s.sign(e.SigningBytes())}})
}

// AddSignatures takes signatures over that someone else made (an authorising server, a policy server). Those that the
// event has already stay as they are. The caller verifies them with Verify. spec: ss#asking-for-a-policy-server-signature-on-an-event
func (e *Event) AddSignatures(signatures json.RawMessage) (*Event, error) {
	obj, err := LenientCanonicalJSON(signatures)
	if err != nil {
		return nil, err
	}
	add := signaturesOf(append(append([]byte(`{"signatures":`), obj...), '}'))
	have := e.Signatures()
	for server, keys := range add {
		for keyID := range keys {
			if _, ok := have[server][keyID]; ok || !ValidServerName(server) {
				delete(keys, keyID)
			}
		}
	}
	return e.withSignatures(add)
}

func (e *Event) withSignatures(add map[string]map[string]string) (*Event, error) {
	signatures := mergeSignatures(find(e.json, "signatures"), add)
	out := make([]byte, 0, len(e.json)+len(signatures))
	out = append(out, '{')
	for w := walk(e.json); ; {
		key, value, ok := w.next()
		if !ok {
			break
		}
		if string(key) == "signatures" {
			value = signatures
		}
		out = append(append(appendKey(out, key), ':'), value...)
	}
	out = append(out, '}')
	if len(out) > MaxEventBytes {
		return nil, mautrix.MTooLarge.WithMessage("Event is longer than %d bytes", MaxEventBytes)
	}
	s := &Event{version: e.version, redacted: e.redacted, id: e.id, roomID: e.roomID, json: out, unsigned: e.unsigned}
	if err := s.readHeader(); err != nil {
		return nil, err
	}
	return s, nil
}

// Verify checks one signature of the event.
func (e *Event) Verify(server, keyID string, key ed25519.PublicKey) error {
	sig, ok := textOf(Field(Field(find(e.json, "signatures"), server), keyID))
	if !ok {
		return fmt.Errorf("no signature of %s with key %s", clip(server, 60), clip(keyID, 60))
	}
	if !verifies(key, e.SigningBytes(), sig) {
		return fmt.Errorf("wrong signature of %s with key %s", clip(server, 60), clip(keyID, 60))
	}
	return nil
}

// HasSignatureOf tells whether the event names a signature of the server; it need not be right.
func (e *Event) HasSignatureOf(server string) bool {
	w := walk(Field(find(e.json, "signatures"), server))
	_, _, ok := w.next()
	return ok
}

func verifies(key ed25519.PublicKey, message []byte, signature string) bool {
	sig, ok := decode64(signature)
	return ok && len(sig) == ed25519.SignatureSize && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig)
}

// SignJSON signs an object. The answer is canonical, with the signature added and unsigned kept. spec: appendices#signing-details
func SignJSON(raw []byte, server, keyID string, key ed25519.PrivateKey) ([]byte, error) {
	s := Signer{server, keyID, key}
	if err := s.check(); err != nil {
		return nil, err
	}
	obj, err := canonicalObject(raw)
	if err != nil {
		return nil, err
	}
	add := map[string]map[string]string{server: {keyID: s.sign(signedPart(obj))}}
	signatures := mergeSignatures(find(obj, "signatures"), add)
	out := append(make([]byte, 0, len(obj)+len(signatures)), '{')
	done := false
	put := func() {
		out = append(append(appendKey(out, "signatures"), ':'), signatures...)
		done = true
	}
	for w := walk(obj); ; {
		k, value, ok := w.next()
		if !ok {
			break
		}
		if !done && afterSignatures(k) {
			put()
		}
		if string(k) != "signatures" {
			out = append(append(appendKey(out, k), ':'), value...)
		}
	}
	if !done {
		put()
	}
	return append(out, '}'), nil
}

// afterSignatures: the key sorts behind "signatures".
func afterSignatures(key []byte) bool {
	k := string(key)
	if strings.IndexByte(k, '\\') >= 0 {
		k = string(appendDecoded(nil, key))
	}
	return k > "signatures"
}

// VerifyJSON checks that the object has a right signature of the server with that key. spec: appendices#checking-for-a-signature
func VerifyJSON(raw []byte, server, keyID string, key ed25519.PublicKey) error {
	obj, err := canonicalObject(raw)
	if err != nil {
		return err
	}
	sig, ok := textOf(Field(Field(find(obj, "signatures"), server), keyID))
	if !ok {
		return fmt.Errorf("no signature of %s with key %s", clip(server, 60), clip(keyID, 60))
	}
	if !verifies(key, signedPart(obj), sig) {
		return fmt.Errorf("wrong signature of %s with key %s", clip(server, 60), clip(keyID, 60))
	}
	return nil
}

// SignaturesOf lists the signatures of an object: server (or user), key ID, signature. Malformed entries are left out.
func SignaturesOf(raw []byte) (map[string]map[string]string, error) {
	obj, err := canonicalObject(raw)
	if err != nil {
		return nil, err
	}
	return signaturesOf(obj), nil
}

func canonicalObject(raw []byte) ([]byte, error) {
	obj, err := LenientCanonicalJSON(raw)
	if err == nil && obj[0] != '{' {
		return nil, errObject
	}
	return obj, err
}

// signedPart is a canonical object without signatures and unsigned.
func signedPart(obj []byte) []byte {
	out := append(make([]byte, 0, len(obj)), '{')
	for w := walk(obj); ; {
		k, value, ok := w.next()
		if !ok {
			return append(out, '}')
		}
		if s := string(k); s != "signatures" && s != "unsigned" {
			out = append(append(appendKey(out, k), ':'), value...)
		}
	}
}

func signaturesOf(obj []byte) map[string]map[string]string {
	all := map[string]map[string]string{}
	Fields(find(obj, "signatures"), func(server string, keys json.RawMessage) bool {
		Fields(keys, func(keyID string, value json.RawMessage) bool {
			if sig, ok := textOf(value); ok {
				if all[server] == nil {
					all[server] = map[string]string{}
				}
				all[server][keyID] = sig
			}
			return true
		})
		return true
	})
	return all
}

// mergeSignatures writes a signatures object with the old entries and the new ones. New ones win.
func mergeSignatures(old []byte, add map[string]map[string]string) []byte {
	all := signaturesOf(append(append([]byte(`{"signatures":`), old...), '}'))
	for server, keys := range add {
		for keyID, sig := range keys {
			if all[server] == nil {
				all[server] = map[string]string{}
			}
			all[server][keyID] = sig
		}
	}
	out := []byte{'{'}
	for _, server := range sortedKeys(all) {
		quoted := appendString(nil, server)
		out = append(appendKey(out, quoted[1:len(quoted)-1]), ':', '{')
		for _, keyID := range sortedKeys(all[server]) {
			quoted = appendString(quoted[:0], keyID)
			out = append(appendKey(out, quoted[1:len(quoted)-1]), ':')
			out = appendString(out, all[server][keyID])
		}
		out = append(out, '}')
	}
	return append(out, '}')
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// appendSignatures writes the signatures object of a new event.
func appendSignatures(dst []byte, s Signer, sig []byte) []byte {
	dst = append(dst, `{`...)
	dst = append(appendString(dst, s.Server), ":{"...)
	dst = append(appendString(dst, s.KeyID), `:"`...)
	dst = base64.RawStdEncoding.AppendEncode(dst, sig)
	return append(dst, `"}}`...)
}
