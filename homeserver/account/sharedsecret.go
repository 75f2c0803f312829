package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"

	"maunium.net/go/mautrix"
)

// Registration nonces carry their expiry and are sealed by the server's secret; only used ones are written down.
const (
	nonceLifetime = time.Minute
	nonceBody     = 8 + 12
	nonceSize     = nonceBody + 16
)

// SecretRegistration is an account made by a tool that knows the shared secret.
type SecretRegistration struct {
	Nonce       string
	Username    string
	Password    string
	DisplayName string
	Admin       bool
	UserType    string
	MAC         string // hex of HMAC-SHA1
}

var errNoSharedSecret = mUnknown.WithMessage("Shared secret registration is not enabled")

// RegistrationNonce begins a registration with the shared secret.
func (a *Accounts) RegistrationNonce() (string, error) {
	if a.cfg.Registration.SharedSecret == "" {
		return "", errNoSharedSecret
	}
	b := make([]byte, 0, nonceSize)
	b = binary.BigEndian.AppendUint64(b, uint64(a.now().Add(nonceLifetime).UnixMilli()))
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails
	b = append(b, random[:]...)
	b = append(b, a.seal("nonce", b)[:16]...)
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// useNonce takes a nonce: it works once.
func (a *Accounts) useNonce(ctx context.Context, nonce string) error {
	bad := mUnknown.WithMessage("Unrecognised nonce")
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !hmac.Equal(b[nonceBody:], a.seal("nonce", b[:nonceBody])[:16]) {
		return bad
	}
	expires := int64(binary.BigEndian.Uint64(b))
	if expires < a.now().UnixMilli() {
		return bad
	}
	done, err := a.db.Exec(ctx, insertTicketOnce, ticketNonce, hashToken(nonce), "", "", expires)
	if err != nil {
		return doing("using a nonce", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return bad
	}
	return nil
}

// RegisterWithSecret makes an account for a tool that proves to know the shared secret, even if registration is closed.
func (a *Accounts) RegisterWithSecret(ctx context.Context, r SecretRegistration) (Session, error) {
	if a.cfg.Registration.SharedSecret == "" {
		return Session{}, errNoSharedSecret
	}
	given, err := hex.DecodeString(r.MAC)
	if err != nil || !hmac.Equal(given, a.secretMAC(r)) {
		return Session{}, mUnknown.WithMessage("HMAC incorrect").WithStatus(403)
	}
	if err := a.useNonce(ctx, r.Nonce); err != nil {
		return Session{}, err
	}
	if r.Username == "" || r.Password == "" {
		return Session{}, mautrix.MBadJSON.WithMessage("username and password must be given")
	}
	return a.Register(ctx, NewUser{
		Localpart: r.Username, Password: r.Password, Admin: r.Admin, Type: r.UserType, DisplayName: r.DisplayName,
	})
}

func (a *Accounts) secretMAC(r SecretRegistration) []byte {
	mac := hmac.New(sha1.New, []byte(a.cfg.Registration.SharedSecret))
	admin := "notadmin"
	if r.Admin {
		admin = "admin"
	}
	for i, part := range []string{r.Nonce, r.Username, r.Password, admin, r.UserType} {
		if i == 4 && part == "" {
			break
		}
		if i > 0 {
			mac.Write([]byte{0})
		}
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}
