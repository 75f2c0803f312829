package e2ee

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/event"
)

// An object is a JSON object read one level deep. Member names are compared exactly: decoding into a struct would fold
// their case, so that we and another server could read the same signed object differently.
type object map[string]json.RawMessage

// parseObject reads raw; anything but an object is an error.
func parseObject(raw json.RawMessage) (object, error) {
	trimmed := bytes.TrimLeft(raw, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, mautrix.MBadJSON.WithMessage("Expected a JSON object")
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, mautrix.MBadJSON.WithMessage("Malformed JSON object")
	}
	return o, nil
}

// read decodes the member into v; a missing or malformed member is an error.
func (o object) read(name string, v any) error {
	raw, ok := o[name]
	if !ok || string(raw) == "null" {
		return mautrix.MBadJSON.WithMessage("Missing member %q", name)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return mautrix.MBadJSON.WithMessage("Member %q has the wrong type", name)
	}
	return nil
}

// has tells whether there is a member that is not null.
func (o object) has(name string) bool {
	raw, ok := o[name]
	return ok && string(raw) != "null"
}

// canonical encodes the object in canonical form.
func (o object) canonical() (json.RawMessage, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, mautrix.MBadJSON.WithMessage("Malformed JSON object")
	}
	return canonical(raw)
}

// canonical brings raw into canonical form, which must be possible for whatever is to be signed.
func canonical(raw json.RawMessage) (json.RawMessage, error) {
	c, err := event.CanonicalJSON(raw)
	if err != nil {
		return nil, mautrix.MBadJSON.WithMessage("Not canonical JSON: %v", err)
	}
	return c, nil
}

// signatures are as in "signatures" of a signed object: entity → key ID → signature.
type signatures map[string]map[string]string

// withSignatures returns the object with more signatures; raw must be one of ours (canonical).
func withSignatures(raw json.RawMessage, more signatures) json.RawMessage {
	if len(more) == 0 {
		return raw
	}
	o, err := parseObject(raw)
	if err != nil {
		return raw
	}
	all := signatures{}
	if o.has("signatures") {
		if o.read("signatures", &all) != nil || all == nil {
			all = signatures{}
		}
	}
	for entity, sigs := range more {
		if all[entity] == nil {
			all[entity] = map[string]string{}
		}
		for keyID, sig := range sigs {
			all[entity][keyID] = sig
		}
	}
	return o.with("signatures", all)
}

// with returns the encoded object with one member replaced.
func (o object) with(name string, v any) json.RawMessage {
	member, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and maps of strings always encode
	}
	o[name] = member
	out, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return out
}

// withDisplayName returns device keys with unsigned.device_display_name.
func withDisplayName(raw json.RawMessage, name string) json.RawMessage {
	if name == "" || len(raw) < 2 || raw[len(raw)-1] != '}' {
		return raw
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return raw
	}
	out := make([]byte, 0, len(raw)+len(quoted)+48)
	out = append(out, raw[:len(raw)-1]...)
	if len(raw) > 2 {
		out = append(out, ',')
	}
	out = append(out, `"unsigned":{"device_display_name":`...)
	out = append(out, quoted...)
	return append(out, '}', '}')
}

// appendString appends s as a JSON string.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f || c == '<' || c == '>' || c == '&' {
			q, _ := json.Marshal(s)
			return append(out, q...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

// appendObject appends an object of encoded members, sorted by name.
func appendObject[K ~string](out []byte, members map[K]json.RawMessage) []byte {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, string(name))
	}
	sort.Strings(names)
	out = append(out, '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendString(out, name)
		out = append(out, ':')
		out = append(out, members[K(name)]...)
	}
	return append(out, '}')
}

// publicPart is the part of a key ID behind the algorithm: "ed25519:abc" → "abc".
func publicPart(keyID string) string {
	_, rest, _ := strings.Cut(keyID, ":")
	return rest
}
