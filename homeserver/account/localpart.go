package account

import (
	"crypto/rand"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// Bounds of what clients may name.
const (
	maxUserID      = 255
	maxDeviceID    = 255
	maxDeviceName  = 100
	maxType        = 255
	maxDisplayName = 256
	maxAvatarURL   = 1000
	maxPassword    = 512
)

// ServerName is the name of this server as it stands in user IDs.
func (a *Accounts) ServerName() string { return a.cfg.ServerName }

// Local reports whether the user belongs to this server (whether or not they exist).
func (a *Accounts) Local(user id.UserID) bool {
	_, server, ok := splitUser(string(user))
	return ok && server == a.cfg.ServerName
}

// UserID gives the user ID of a localpart on this server, unchecked.
func (a *Accounts) UserID(localpart string) id.UserID {
	return id.UserID("@" + localpart + ":" + a.cfg.ServerName)
}

func splitUser(user string) (localpart, server string, ok bool) {
	if !strings.HasPrefix(user, "@") {
		return "", "", false
	}
	localpart, server, ok = strings.Cut(user[1:], ":")
	return localpart, server, ok && server != ""
}

// newLocalpart checks a localpart that someone wants to have. Capitals are mapped to small letters, as existing
// clients expect; everything else outside the grammar is refused.
//
// spec: appendices#user-identifiers
func (a *Accounts) newLocalpart(wanted string, reserved bool) (string, error) {
	localpart := strings.ToLower(wanted)
	if !ValidLocalpart(localpart) {
		return "", mautrix.MInvalidUsername.WithMessage("A user name holds only a-z, 0-9 and . _ = - / +")
	}
	if strings.HasPrefix(localpart, "_") && !reserved {
		return "", mautrix.MInvalidUsername.WithMessage("A user name must not begin with _")
	}
	if len(a.UserID(localpart)) > maxUserID {
		return "", mautrix.MInvalidUsername.WithMessage("The user ID would be longer than %d bytes", maxUserID)
	}
	return localpart, nil
}

// ValidLocalpart reports whether a localpart is of the grammar of today.
func ValidLocalpart(localpart string) bool {
	if localpart == "" || len(localpart) > maxUserID {
		return false
	}
	for i := range len(localpart) {
		c := localpart[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '=', c == '-', c == '/', c == '+':
		default:
			return false
		}
	}
	return true
}

// ValidHistoricalLocalpart reports whether a localpart may stand in the ID of an account made long ago.
//
// spec: appendices#historical-user-ids
func ValidHistoricalLocalpart(localpart string) bool {
	if len(localpart) > maxUserID || !utf8.ValidString(localpart) {
		return false
	}
	for _, r := range localpart {
		if r == 0 || r == ':' || r >= 0xD800 && r <= 0xDFFF {
			return false
		}
	}
	return true
}

// named resolves what a person types into a login form: a user ID of this server or a localpart.
func (a *Accounts) named(user string) (id.UserID, bool) {
	if strings.HasPrefix(user, "@") {
		localpart, server, ok := splitUser(user)
		if !ok || server != a.cfg.ServerName || !ValidHistoricalLocalpart(localpart) {
			return "", false
		}
		return id.UserID(user), len(user) <= maxUserID
	}
	full := a.UserID(user)
	return full, user != "" && ValidHistoricalLocalpart(user) && len(full) <= maxUserID
}

// plain reports whether a text from outside may go into the database as a name: valid, bounded, without NUL.
func plain(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

const (
	lettersUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lettersLower = "abcdefghijklmnopqrstuvwxyz234567"
)

// randomText gives n random characters of an alphabet of at most 256 characters.
func randomText(alphabet string, n int) string {
	out := make([]byte, 0, n)
	limit := 256 - 256%len(alphabet) // above it the choice would be uneven
	var buf [32]byte
	for len(out) < n {
		_, _ = rand.Read(buf[:]) // never fails
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

// cut shortens a text to so many bytes without breaking a character, and takes NUL out.
func cut(s string, limit int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
