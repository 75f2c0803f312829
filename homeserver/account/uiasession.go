package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"maunium.net/go/mautrix"
)

// The identifier of a user-interactive session is sealed by the server's secret, so that no row is needed before
// a stage has been passed: 8 bytes expiry, 12 random, 16 of the hash of operation and user, 16 of the seal.
const (
	sealedBody = 8 + 12 + 16
	sealedSize = sealedBody + 16
)

var errSessionGone = errors.New("session unknown or expired")

func (a *Accounts) sealSession(c Challenge) string {
	b := make([]byte, 0, sealedSize)
	b = binary.BigEndian.AppendUint64(b, uint64(a.now().Add(uiaLifetime).UnixMilli()))
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails
	b = append(b, random[:]...)
	b = append(b, c.fingerprint()...)
	b = append(b, a.seal("uia", b)[:16]...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (c Challenge) fingerprint() []byte {
	sum := sha256.Sum256([]byte(c.Operation + "\x00" + string(c.User)))
	return sum[:16]
}

func (a *Accounts) seal(purpose string, body []byte) []byte {
	mac := hmac.New(sha256.New, a.secret)
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write(body)
	return mac.Sum(nil)
}

// checkSession tells whether a session was given out by this server for this operation and user, and still stands.
func (a *Accounts) checkSession(token string, c *Challenge) error {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != sealedSize || !hmac.Equal(b[sealedBody:], a.seal("uia", b[:sealedBody])[:16]) {
		return errSessionGone
	}
	if int64(binary.BigEndian.Uint64(b)) < a.now().UnixMilli() {
		return errSessionGone
	}
	if c != nil && !hmac.Equal(b[20:sealedBody], c.fingerprint()) {
		return mautrix.MForbidden.WithMessage("This session was opened to confirm something else")
	}
	return nil
}
