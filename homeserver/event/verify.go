package event

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// KeyRequest asks for one key of one server. At is the time (ms) at which it has to be valid, 0 if that does not matter.
type KeyRequest struct {
	Server string
	KeyID  string
	At     int64
}

// VerifyKey is a public key of a server.
type VerifyKey struct {
	Key        ed25519.PublicKey
	ValidUntil int64 // ms; already limited to seven days after it was fetched. spec: ss#retrieving-server-keys
	Expired    int64 // ms; not 0 for an old key: since then it must not sign any more
}

// ValidAt tells whether a signature made at that time (ms) counts. spec: rooms/v5#signing-key-validity-period
func (k VerifyKey) ValidAt(at int64) bool {
	if k.Expired != 0 {
		return at <= k.Expired
	}
	return at <= k.ValidUntil
}

// KeySource finds keys of servers. Keys which it cannot find are missing in the answer; the error is for failures that
// concern all of them.
type KeySource interface {
	Keys(ctx context.Context, want []KeyRequest) (map[KeyRequest]VerifyKey, error)
}

// ErrKeysMissing says that a signature could not be checked as no key was found: trying again later may help.
var ErrKeysMissing = errors.New("no usable key found")

// RequiredServers lists the servers that must have signed the event, and fails if the event names none properly.
// spec: ss#validating-hashes-and-signatures-on-received-events
func (e *Event) RequiredServers() ([]string, error) {
	var servers []string
	add := func(server string) {
		for _, s := range servers {
			if s == server {
				return
			}
		}
		servers = append(servers, server)
	}
	sender := e.SenderServer()
	if !e.ThirdPartyInvite() {
		add(sender)
	}
	if e.version.IDInside() {
		if server := ServerOf(string(e.id)); server != sender {
			add(server)
		}
	}
	if e.version.Restricted() && e.kind == "m.room.member" && find(e.content, "join_authorised_via_users_server") != nil {
		// rooms/v8#authorisation-rules 4.2.1
		authoriser := string(e.Authoriser())
		if !ValidUserID(authoriser) {
			return nil, errors.New("join_authorised_via_users_server is no user ID")
		}
		add(ServerOf(authoriser))
	}
	return servers, nil
}

type signatureCheck struct {
	event   int
	server  string
	request KeyRequest
	value   string
}

// VerifySignatures checks the signatures that each event needs. The answer has one entry for each event, nil if the event
// is properly signed. All keys are asked for at once. Of a server's signatures those with unknown or expired keys are
// skipped, all others must be right, and one must remain.
func VerifySignatures(ctx context.Context, src KeySource, evs []*Event) []error {
	errs := make([]error, len(evs))
	required := make([][]string, len(evs))
	var checks []signatureCheck
	var want []KeyRequest
	asked := map[KeyRequest]struct{}{}
	for i, e := range evs {
		if required[i], errs[i] = e.RequiredServers(); errs[i] != nil {
			continue
		}
		signatures := find(e.json, "signatures")
		for _, server := range required[i] {
			found := e.collect(i, server, signatures)
			if len(found) == 0 {
				errs[i] = fmt.Errorf("no signature of %s", server)
				break
			}
			for _, c := range found {
				if _, ok := asked[c.request]; !ok {
					asked[c.request] = struct{}{}
					want = append(want, c.request)
				}
			}
			checks = append(checks, found...)
		}
	}
	if len(want) == 0 {
		return errs
	}
	keys, err := src.Keys(ctx, want)
	if err != nil {
		for i := range errs {
			if errs[i] == nil && len(required[i]) > 0 {
				errs[i] = fmt.Errorf("looking keys up: %w", err)
			}
		}
		return errs
	}
	judge(evs, required, checks, keys, errs)
	return errs
}

// collect lists the signatures of one server that could count.
func (e *Event) collect(i int, server string, signatures []byte) []signatureCheck {
	var found []signatureCheck
	var at int64
	if e.version.EnforceKeyValidity() {
		at = e.ts
	}
	Fields(Field(signatures, server), func(keyID string, value json.RawMessage) bool {
		sig, ok := textOf(value)
		if !ok || !ValidKeyID(keyID) {
			return true
		}
		if b, ok := decode64(sig); !ok || len(b) != ed25519.SignatureSize {
			return true
		}
		found = append(found, signatureCheck{i, server, KeyRequest{server, keyID, at}, sig})
		return len(found) < maxSignatures
	})
	return found
}

// judge sets errs for all events that are not properly signed. checks stand in the order of the events and their servers.
func judge(evs []*Event, required [][]string, checks []signatureCheck, keys map[KeyRequest]VerifyKey, errs []error) {
	message, of := []byte(nil), -1
	good := make(map[string]bool, 2)
	for n, c := range checks {
		if n == 0 || checks[n-1].event != c.event {
			clear(good)
		}
		e := evs[c.event]
		if errs[c.event] == nil {
			key, ok := keys[c.request]
			switch {
			case !ok || len(key.Key) != ed25519.PublicKeySize || e.version.EnforceKeyValidity() && !key.ValidAt(e.ts):
			default:
				if of != c.event {
					message, of = e.SigningBytes(), c.event
				}
				if verifies(key.Key, message, c.value) {
					good[c.server] = true
				} else {
					errs[c.event] = fmt.Errorf("wrong signature of %s with key %s", c.server, c.request.KeyID)
				}
			}
		}
		if last := n+1 == len(checks) || checks[n+1].event != c.event; last && errs[c.event] == nil {
			for _, server := range required[c.event] {
				if !good[server] {
					errs[c.event] = fmt.Errorf("signature of %s: %w", server, ErrKeysMissing)
				}
			}
		}
	}
}

// ValidKeyID: the algorithm is ed25519, and the version consists of letters, digits and underscores (others are refused by
// many servers, but seen). spec: ss#retrieving-server-keys
func ValidKeyID(keyID string) bool {
	version, ok := strings.CutPrefix(keyID, algorithm)
	if !ok || version == "" || len(keyID) > MaxFieldBytes {
		return false
	}
	for i := 0; i < len(version); i++ {
		if c := version[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == ',' {
			return false
		}
	}
	return true
}
