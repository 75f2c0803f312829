package event

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"maunium.net/go/mautrix/id"
)

// ReferenceHash is the hash of the redacted event without signatures. spec: ss#calculating-the-reference-hash-for-an-event
func (e *Event) ReferenceHash() [32]byte { return sha256.Sum256(e.SigningBytes()) }

// SigningBytes are what signatures of the event cover: the redacted event without signatures.
func (e *Event) SigningBytes() []byte {
	return appendRedacted(make([]byte, 0, len(e.json)), e.version, e.json, e.kind, false)
}

// referenceID calculates the ID of an event of version 3 or later.
func (e *Event) referenceID() id.EventID { return hashID(e.version, e.ReferenceHash()) }

func hashID(v Version, sum [32]byte) id.EventID {
	enc := base64.RawURLEncoding
	if !v.URLSafeEventIDs() {
		enc = base64.RawStdEncoding
	}
	var buf [44]byte
	buf[0] = '$'
	enc.Encode(buf[1:], sum[:])
	return id.EventID(buf[:])
}

// contentHash is the hash of a canonical event without unsigned, signatures and hashes.
// spec: ss#calculating-the-content-hash-for-an-event
func contentHash(obj []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte{'{'})
	first := true
	from, to := 0, 0 // a run of members to be hashed together
	flush := func() {
		if to > from {
			if !first {
				h.Write([]byte{','})
			}
			first = false
			h.Write(obj[from:to])
		}
	}
	for w := walk(obj); ; {
		start := w.i
		key, _, ok := w.next()
		if !ok {
			break
		}
		if k := string(key); k == "hashes" || k == "signatures" || k == "unsigned" {
			flush()
			from, to = w.i, w.i
			continue
		}
		if from == to {
			from = start
		}
		to = w.i - 1
	}
	flush()
	h.Write([]byte{'}'})
	h.Sum(sum[:0])
	return sum
}

// decode64 reads base64 with or without padding, in the standard or the URL-safe alphabet. spec: appendices#unpadded-base64
func decode64(s string) ([]byte, bool) {
	s = strings.TrimRight(s, "=")
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := enc.DecodeString(s)
	return b, err == nil
}

// encode64 writes unpadded base64.
func encode64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }
