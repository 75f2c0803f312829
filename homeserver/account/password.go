package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
	"maunium.net/go/mautrix"
)

// hashCost says what one password hash costs.
type hashCost struct {
	memory uint32 // KiB of argon2id
	passes uint32
	lanes  uint8
	pepper string // appended to passwords whose hash is bcrypt (accounts from another server)
}

// PasswordPolicy is what a new password must fulfil. Its JSON form is what clients ask at /password_policy.
type PasswordPolicy struct {
	MinLength int  `json:"m.minimum_length,omitempty"`
	Digit     bool `json:"m.require_digit,omitempty"`
	Symbol    bool `json:"m.require_symbol,omitempty"`
	Lowercase bool `json:"m.require_lowercase,omitempty"`
	Uppercase bool `json:"m.require_uppercase,omitempty"`
}

// Check tells what a new password lacks.
func (p PasswordPolicy) Check(password string) error {
	if len(password) > maxPassword {
		return mautrix.MInvalidParam.WithMessage("The password is longer than %d bytes", maxPassword)
	}
	var digit, symbol, lower, upper bool
	length := 0
	for _, r := range password {
		length++
		switch {
		case unicode.IsDigit(r):
			digit = true
		case unicode.IsLower(r):
			lower = true
		case unicode.IsUpper(r):
			upper = true
		case !unicode.IsLetter(r):
			symbol = true
		}
	}
	switch {
	case length < max(p.MinLength, 1):
		return mWeakPassword.WithMessage("The password needs at least %d characters", max(p.MinLength, 1))
	case p.Digit && !digit:
		return mWeakPassword.WithMessage("The password needs a digit")
	case p.Symbol && !symbol:
		return mWeakPassword.WithMessage("The password needs a character that is neither letter nor digit")
	case p.Lowercase && !lower:
		return mWeakPassword.WithMessage("The password needs a small letter")
	case p.Uppercase && !upper:
		return mWeakPassword.WithMessage("The password needs a capital letter")
	}
	return nil
}

// hasher keeps passwords as argon2id; a bounded number is computed at once, and a bounded number waits.
type hasher struct {
	cost  hashCost
	slots chan struct{}
	queue chan struct{}
}

func newHasher(cost hashCost) *hasher {
	cost.memory, cost.passes, cost.lanes = max(cost.memory, 64), max(cost.passes, 1), max(cost.lanes, 1)
	slots := runtime.GOMAXPROCS(0)
	return &hasher{cost: cost, slots: make(chan struct{}, slots), queue: make(chan struct{}, 256*slots)}
}

// take waits for a slot; the returned function gives it back.
func (h *hasher) take(ctx context.Context) (func(), error) {
	select {
	case h.queue <- struct{}{}:
		defer func() { <-h.queue }()
	default:
		return nil, limitExceeded(2 * time.Second)
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const saltBytes, keyBytes = 16, 32

// Hash gives the stored form of a password.
func (h *hasher) Hash(ctx context.Context, password string) (string, error) {
	release, err := h.take(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	defer observeHash(time.Now())
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey(normal(password), salt, h.cost.passes, h.cost.memory, h.cost.lanes, keyBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.cost.memory, h.cost.passes,
		h.cost.lanes, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// Verify compares a password with its stored form. stale says that the form should be made anew.
func (h *hasher) Verify(ctx context.Context, encoded, password string) (ok, stale bool, err error) {
	if len(password) > maxPassword {
		return false, false, nil
	}
	release, err := h.take(ctx)
	if err != nil {
		return false, false, err
	}
	defer release()
	defer observeHash(time.Now())
	if strings.HasPrefix(encoded, "$2") {
		ok, err = h.verifyBcrypt(encoded, password)
		return ok, ok, err
	}
	p, err := parseArgon(encoded)
	if err != nil {
		return false, false, fmt.Errorf("reading a stored password: %w", err)
	}
	key := argon2.IDKey(normal(password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.key)))
	ok = subtle.ConstantTimeCompare(key, p.key) == 1
	stale = p.memory != h.cost.memory || p.passes != h.cost.passes || p.lanes != h.cost.lanes
	return ok, ok && stale, nil
}

// Waste takes as long as Verify, so that nobody learns from the time whether an account exists.
func (h *hasher) Waste(ctx context.Context, password string) error {
	if len(password) > maxPassword {
		return nil
	}
	_, err := h.Hash(ctx, password)
	return err
}

func (h *hasher) verifyBcrypt(encoded, password string) (bool, error) {
	secret := append(normal(password), h.cost.pepper...)
	if len(secret) > 72 {
		secret = secret[:72]
	}
	err := bcrypt.CompareHashAndPassword([]byte(encoded), secret)
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading a stored password: %w", err)
	}
	return true, nil
}

// normal is one form of a password whatever keyboard wrote it.
func normal(password string) []byte { return norm.NFKC.Bytes([]byte(password)) }

type argonParams struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

func parseArgon(encoded string) (p argonParams, err error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return p, errors.New("unknown form of hash")
	}
	var version int
	if _, err = fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return p, errors.New("unknown version of argon2id")
	}
	if _, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes); err != nil {
		return p, fmt.Errorf("parameters of argon2id: %w", err)
	}
	if p.memory > 4<<20 || p.passes == 0 || p.passes > 64 || p.lanes == 0 {
		return p, errors.New("parameters of argon2id out of bounds")
	}
	if p.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return p, fmt.Errorf("salt: %w", err)
	}
	if p.key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return p, fmt.Errorf("key: %w", err)
	}
	if len(p.key) < 16 || len(p.key) > 128 {
		return p, errors.New("key of odd length")
	}
	return p, nil
}
