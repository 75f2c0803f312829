package event

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// XMatrix is the content of an Authorization header of another server. spec: ss#request-authentication
type XMatrix struct {
	Origin      string
	Destination string // "" if an old server does not name it
	KeyID       string
	Signature   string
}

const (
	scheme = "X-Matrix"
	// maxHeader bounds the header: two server names, a key and a signature are far below.
	maxHeader = 4096
)

var errXMatrix = errors.New("malformed X-Matrix authorization")

// IsXMatrix tells whether an Authorization header uses the scheme.
func IsXMatrix(header string) bool {
	return len(header) > len(scheme) && strings.EqualFold(header[:len(scheme)], scheme) &&
		(header[len(scheme)] == ' ' || header[len(scheme)] == '\t')
}

// ParseXMatrix reads one Authorization header as RFC 9110 section 11.4 has it. It takes linear time. Unknown parameters
// are ignored, known ones must not repeat; colons may stand outside of quotes.
func ParseXMatrix(header string) (XMatrix, error) {
	var x XMatrix
	if len(header) > maxHeader || !IsXMatrix(header) {
		return x, errXMatrix
	}
	rest := header[len(scheme):]
	seen := 0
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			break
		}
		name, value, after, ok := parameter(rest)
		if !ok {
			return x, errXMatrix
		}
		rest = after
		var field *string
		bit := 0
		switch {
		case strings.EqualFold(name, "origin"):
			field, bit = &x.Origin, 1
		case strings.EqualFold(name, "destination"):
			field, bit = &x.Destination, 2
		case strings.EqualFold(name, "key"):
			field, bit = &x.KeyID, 4
		case strings.EqualFold(name, "sig"), strings.EqualFold(name, "signature"):
			field, bit = &x.Signature, 8
		default:
			continue
		}
		if seen&bit != 0 {
			return x, errXMatrix
		}
		seen |= bit
		*field = value
	}
	if !ValidServerName(x.Origin) || !ValidKeyID(x.KeyID) || x.Signature == "" {
		return x, errXMatrix
	}
	return x, nil
}

// ParseXMatrixHeaders reads all Authorization headers of a request. They must agree about origin and destination.
func ParseXMatrixHeaders(headers []string) ([]XMatrix, error) {
	var all []XMatrix
	for _, h := range headers {
		if !IsXMatrix(h) {
			continue
		}
		x, err := ParseXMatrix(h)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 && (all[0].Origin != x.Origin || all[0].Destination != x.Destination) {
			return nil, errXMatrix
		}
		if all = append(all, x); len(all) > maxSignatures {
			return nil, errXMatrix
		}
	}
	if len(all) == 0 {
		return nil, errXMatrix
	}
	return all, nil
}

// parameter reads name=value at the start of s, and what must follow: the end or a comma.
func parameter(s string) (name, value, rest string, ok bool) {
	i := 0
	for i < len(s) && isToken(s[i]) {
		i++
	}
	name, rest = s[:i], strings.TrimLeft(s[i:], " \t")
	if name == "" || rest == "" || rest[0] != '=' {
		return "", "", "", false
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if rest != "" && rest[0] == '"' {
		value, rest, ok = quoted(rest)
	} else {
		i = 0
		for i < len(rest) && rest[i] > ' ' && rest[i] < 0x7f && rest[i] != ',' && rest[i] != '"' {
			i++
		}
		value, rest, ok = rest[:i], rest[i:], true
	}
	rest = strings.TrimLeft(rest, " \t")
	return name, value, rest, ok && (rest == "" || rest[0] == ',')
}

func quoted(s string) (value, rest string, ok bool) {
	end := strings.IndexAny(s[1:], `"\`)
	if end >= 0 && s[1+end] == '"' {
		return s[1 : 1+end], s[2+end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// String writes the header in the way that all servers read.
func (x XMatrix) String() string {
	var b strings.Builder
	b.Grow(64 + len(x.Origin) + len(x.Destination) + len(x.KeyID) + len(x.Signature))
	b.WriteString(scheme)
	b.WriteString(` origin="`)
	b.WriteString(x.Origin)
	if x.Destination != "" {
		b.WriteString(`",destination="`)
		b.WriteString(x.Destination)
	}
	b.WriteString(`",key="`)
	b.WriteString(x.KeyID)
	b.WriteString(`",sig="`)
	b.WriteString(x.Signature)
	b.WriteByte('"')
	return b.String()
}

// SignRequest gives the Authorization header for a request of ours. uri is the request target: path and query, as sent.
// An empty body is none. spec: ss#request-authentication
func SignRequest(method, uri, origin, destination string, body []byte, s Signer) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	message, _, err := requestMessage(method, uri, origin, destination, body)
	if err != nil {
		return "", err
	}
	return XMatrix{origin, destination, s.KeyID, s.sign(message)}.String(), nil
}

// Verify checks the signature of a request to us. uri is the raw request target. us is our name, to which the request must
// be addressed; what an old server signed has no destination. It gives the body in canonical form, nil for an empty one.
func (x XMatrix) Verify(method, uri, us string, body []byte, key ed25519.PublicKey) (canonicalBody []byte, err error) {
	if x.Destination != "" && x.Destination != us {
		return nil, fmt.Errorf("request is addressed to %s", clip(x.Destination, 60))
	}
	message, content, err := requestMessage(method, uri, x.Origin, x.Destination, body)
	if err != nil {
		return nil, err
	}
	if !verifies(key, message, x.Signature) {
		return nil, fmt.Errorf("wrong signature of %s with key %s", x.Origin, x.KeyID)
	}
	return content, nil
}

// requestMessage is the canonical JSON that a request's signature covers.
func requestMessage(method, uri, origin, destination string, body []byte) (message, content []byte, err error) {
	if !utf8.ValidString(uri) || !utf8.ValidString(method) || !utf8.ValidString(origin) || !utf8.ValidString(destination) {
		return nil, nil, errUTF8
	}
	b := append(make([]byte, 0, len(body)+len(uri)+len(origin)+len(destination)+96), '{')
	if len(body) > 0 {
		if content, err = LenientCanonicalJSON(body); err != nil {
			return nil, nil, err
		}
		b = append(append(b, `"content":`...), content...)
		b = append(b, ',')
	}
	if destination != "" {
		b = append(appendString(append(b, `"destination":`...), destination), ',')
	}
	b = appendString(append(b, `"method":`...), method)
	b = appendString(append(b, `,"origin":`...), origin)
	b = appendString(append(b, `,"uri":`...), uri)
	return append(b, '}'), content, nil
}
