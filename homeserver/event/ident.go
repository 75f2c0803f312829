package event

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// ValidServerName checks the grammar of server names, with IP literals and port. spec: appendices#server-name
func ValidServerName(s string) bool {
	host, ok := serverHost(s)
	if !ok {
		return false
	}
	if host[0] == '[' {
		return validIPv6(host)
	}
	digitsOnly := true
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case '0' <= c && c <= '9' || c == '.':
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-':
			digitsOnly = false
		default:
			return false
		}
	}
	return !digitsOnly || !looksLikeIPv4(host) || validIPv4(host)
}

// serverHost cuts the port off.
func serverHost(s string) (host string, ok bool) {
	if s == "" || len(s) > MaxFieldBytes {
		return "", false
	}
	host = s
	from := 0
	if s[0] == '[' {
		from = strings.IndexByte(s, ']')
		if from < 0 {
			return "", false
		}
	}
	if colon := strings.IndexByte(s[from:], ':'); colon >= 0 {
		colon += from
		port := s[colon+1:]
		if len(port) < 1 || len(port) > 5 {
			return "", false
		}
		n := 0
		for i := 0; i < len(port); i++ {
			if port[i] < '0' || port[i] > '9' {
				return "", false
			}
			n = n*10 + int(port[i]-'0')
		}
		if n > 65535 {
			return "", false
		}
		host = s[:colon]
	}
	return host, host != ""
}

func validIPv6(host string) bool {
	if len(host) < 4 || host[len(host)-1] != ']' || strings.IndexByte(host, '%') >= 0 {
		return false
	}
	addr, err := netip.ParseAddr(host[1 : len(host)-1])
	return err == nil && addr.Is6()
}

// looksLikeIPv4: four runs of digits, which can be nothing else than an address.
func looksLikeIPv4(host string) bool { return strings.Count(host, ".") == 3 }

func validIPv4(host string) bool {
	for part := range strings.SplitSeq(host, ".") {
		if len(part) < 1 || len(part) > 3 {
			return false
		}
		n := 0
		for i := 0; i < len(part); i++ {
			n = n*10 + int(part[i]-'0')
		}
		if n > 255 {
			return false
		}
	}
	return true
}

// HostOf gives the host part of a server name: without port, with the brackets of an IPv6 literal. "" if it is invalid.
func HostOf(server string) string {
	if !ValidServerName(server) {
		return ""
	}
	host, _ := serverHost(server)
	return host
}

// ValidUserID accepts everything that may stand in rooms: historical user IDs too. spec: appendices#historical-user-ids
func ValidUserID(s string) bool { return validNamed(s, '@', 0) }

// StateOwner is the user whom a state key belongs to in versions with OwnedState; ok is false if a key that begins like a user
// ID has none. msc: 3757
func StateOwner(key string) (owner string, ok bool) {
	if len(key) == 0 || key[0] != '@' {
		return "", true
	}
	if colon := strings.IndexByte(key, ':'); colon > 0 {
		if end := strings.IndexByte(key[colon:], '_'); end > 0 {
			key = key[:colon+end]
		}
	}
	return key, ValidUserID(key)
}

// ValidAlias checks a room alias. spec: appendices#room-aliases
func ValidAlias(s string) bool { return validNamed(s, '#', 1) }

// ValidRoomID accepts room IDs of any version. spec: appendices#room-ids
func ValidRoomID(s string) bool {
	if strings.IndexByte(s, ':') < 0 {
		return validHash(s, '!', true)
	}
	return validNamed(s, '!', 0)
}

// ValidEventID accepts event IDs of any version. spec: appendices#event-ids
func ValidEventID(s string) bool {
	if strings.IndexByte(s, ':') < 0 {
		return validHash(s, '$', true) || validHash(s, '$', false)
	}
	return validNamed(s, '$', 0)
}

// ValidRoomID checks a room ID of this version. spec: rooms/v12#event-format
func (v Version) ValidRoomID(s string) bool {
	if v.DomainlessRoomID() {
		return validHash(s, '!', true)
	}
	return validNamed(s, '!', 0)
}

// ValidEventID checks an event ID of this version. spec: rooms/v1#event-ids, rooms/v3#event-ids, rooms/v4#event-ids
func (v Version) ValidEventID(s string) bool {
	if v.IDInside() {
		return validNamed(s, '$', 0)
	}
	return validHash(s, '$', v.URLSafeEventIDs())
}

// CompliantUserID is stricter than ValidUserID: what may be told to clients outside of events, visible ASCII that is not
// empty. spec: appendices#historical-user-ids
func CompliantUserID(s string) bool {
	if !ValidUserID(s) {
		return false
	}
	local, _, _ := strings.Cut(s[1:], ":")
	for i := 0; i < len(local); i++ {
		if local[i] < 0x21 || local[i] > 0x7e {
			return false
		}
	}
	return local != ""
}

// ValidNewUserID is the strictest: the grammar for new users. spec: appendices#user-identifiers
func ValidNewUserID(s string) bool {
	if !ValidUserID(s) {
		return false
	}
	local, _, _ := strings.Cut(s[1:], ":")
	return ValidLocalpart(local)
}

// ValidLocalpart is the grammar of localparts of new users.
func ValidLocalpart(local string) bool {
	for i := 0; i < len(local); i++ {
		c := local[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._=-/+", c) >= 0) {
			return false
		}
	}
	return local != ""
}

// validNamed: sigil, localpart of at least that many bytes without colon and NUL, colon, server name.
func validNamed(s string, sigil byte, least int) bool {
	if len(s) < 3 || len(s) > MaxFieldBytes || s[0] != sigil {
		return false
	}
	colon := strings.IndexByte(s, ':')
	if colon < 1+least {
		return false
	}
	local := s[1:colon]
	return strings.IndexByte(local, 0) < 0 && utf8.ValidString(local) && ValidServerName(s[colon+1:])
}

// validHash: sigil and 43 characters of base64.
func validHash(s string, sigil byte, urlSafe bool) bool {
	if len(s) != 44 || s[0] != sigil {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
		case urlSafe && (c == '-' || c == '_'), !urlSafe && (c == '+' || c == '/'):
		default:
			return false
		}
	}
	return true
}
