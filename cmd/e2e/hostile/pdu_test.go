package hostile

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// signer is a key of a server.
type signer struct {
	server string
	keyID  string
	key    ed25519.PrivateKey
}

func newSigner(server, keyID string) signer {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return signer{server, keyID, key}
}

func b64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

func (s signer) public() string { return b64(s.key.Public().(ed25519.PublicKey)) }

// signJSON signs an object in place.
func (s signer) signJSON(o obj) {
	s.put(o, s.of(without(o, "signatures", "unsigned")))
}

func (s signer) of(o obj) string { return b64(ed25519.Sign(s.key, encode(o))) }

func (s signer) put(o obj, sig string) {
	all, _ := o["signatures"].(obj)
	if all == nil {
		all = obj{}
		o["signatures"] = all
	}
	mine, _ := all[s.server].(obj)
	if mine == nil {
		mine = obj{}
		all[s.server] = mine
	}
	mine[s.keyID] = sig
}

func without(o obj, keys ...string) obj {
	out := make(obj, len(o))
	for k, v := range o {
		if !slices.Contains(keys, k) {
			out[k] = v
		}
	}
	return out
}

func only(o obj, keys ...string) obj {
	out := obj{}
	for k, v := range o {
		if slices.Contains(keys, k) {
			out[k] = v
		}
	}
	return out
}

func num(version string) int {
	n, _ := strconv.Atoi(version)
	return n
}

// redact leaves what the redaction algorithm of the room version leaves.
func redact(version string, ev obj) obj {
	v := num(version)
	keep := []string{"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events", "auth_events", "origin_server_ts"}
	if v < 11 {
		keep = append(keep, "prev_state", "origin", "membership")
	}
	out := only(ev, keep...)
	content, ok := ev["content"].(obj)
	if !ok {
		content = obj{}
	}
	kind, _ := ev["type"].(string)
	if kind == "m.room.create" && v >= 11 {
		out["content"] = content
		return out
	}
	left := only(content, kept(v, kind)...)
	if invite, ok := content["third_party_invite"].(obj); ok && kind == "m.room.member" && v >= 11 {
		if s, ok := invite["signed"]; ok {
			left["third_party_invite"] = obj{"signed": s}
		}
	}
	out["content"] = left
	return out
}

func kept(v int, kind string) []string {
	switch kind {
	case "m.room.member":
		if v >= 9 {
			return []string{"membership", "join_authorised_via_users_server"}
		}
		return []string{"membership"}
	case "m.room.create":
		return []string{"creator"}
	case "m.room.join_rules":
		if v >= 8 {
			return []string{"join_rule", "allow"}
		}
		return []string{"join_rule"}
	case "m.room.power_levels":
		levels := []string{"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
		if v >= 11 {
			levels = append(levels, "invite")
		}
		return levels
	case "m.room.aliases":
		if v < 6 {
			return []string{"aliases"}
		}
	case "m.room.history_visibility":
		return []string{"history_visibility"}
	case "m.room.redaction":
		if v >= 11 {
			return []string{"redacts"}
		}
	}
	return nil
}

// hash puts the content hash in.
func hash(ev obj) {
	sum := sha256.Sum256(encode(without(ev, "unsigned", "signatures", "hashes")))
	ev["hashes"] = obj{"sha256": b64(sum[:])}
}

// signEvent adds a signature in place.
func (s signer) signEvent(version string, ev obj) {
	s.put(ev, s.of(without(redact(version, ev), "signatures", "unsigned")))
}

// reference is the reference hash of an event.
func reference(version string, ev obj) []byte {
	sum := sha256.Sum256(encode(without(redact(version, ev), "signatures", "unsigned")))
	return sum[:]
}

// idOf is the event ID.
func idOf(version string, ev obj) string {
	switch v := num(version); {
	case v <= 2:
		s, _ := ev["event_id"].(string)
		return s
	case v == 3:
		return "$" + b64(reference(version, ev))
	default:
		return "$" + base64.RawURLEncoding.EncodeToString(reference(version, ev))
	}
}

// seal hashes and signs.
func (s signer) seal(version string, ev obj) obj {
	hash(ev)
	delete(ev, "signatures")
	s.signEvent(version, ev)
	return ev
}

func serverOf(user string) string {
	_, s, _ := strings.Cut(user, ":")
	return s
}

// key is where a state event stands.
type key struct{ kind, sk string }

func keyOf(ev obj) (key, bool) {
	sk, ok := ev["state_key"].(string)
	return key{text(ev, "type"), sk}, ok
}

// b64url makes what looks like an event ID of a word.
func b64url(word string) string {
	sum := sha256.Sum256([]byte(word))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
