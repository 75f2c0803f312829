package account

import (
	"context"
	"database/sql"
	"errors"
	"regexp"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	tokenColumns       = `token, uses_allowed, completed, expires, created`
	insertRegToken     = `INSERT INTO registration_tokens (token, uses_allowed, completed, expires, created) VALUES ($1, $2, 0, $3, $4) ON CONFLICT (token) DO NOTHING`
	selectRegToken     = `SELECT ` + tokenColumns + ` FROM registration_tokens WHERE token = $1`
	selectRegTokens    = `SELECT ` + tokenColumns + ` FROM registration_tokens ORDER BY created, token`
	updateRegToken     = `UPDATE registration_tokens SET uses_allowed = $2, expires = $3 WHERE token = $1`
	deleteRegToken     = `DELETE FROM registration_tokens WHERE token = $1`
	useRegToken        = `UPDATE registration_tokens SET completed = completed + 1 WHERE token = $1 AND (uses_allowed IS NULL OR completed < uses_allowed) AND (expires IS NULL OR expires > $2)`
	maxRegToken        = 64
	lettersToken       = lettersUpper + "abcdefghijklmnopqrstuvwxyz0123456789_-"
	defaultTokenLength = 16
)

var tokenGrammar = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// RegistrationToken lets people register.
//
// spec: cs#token-authenticated-registration
type RegistrationToken struct {
	Token       string
	UsesAllowed *int64 // nil: any number
	Completed   int64
	Expires     *int64 // ms; nil: never
	Created     int64
}

func scanRegToken(row database.Scanner) (t RegistrationToken, err error) {
	err = row.Scan(&t.Token, &t.UsesAllowed, &t.Completed, &t.Expires, &t.Created)
	return t, err
}

// Valid reports whether the token can still be used.
func (t RegistrationToken) Valid(nowMs int64) bool {
	return (t.UsesAllowed == nil || t.Completed < *t.UsesAllowed) && (t.Expires == nil || *t.Expires > nowMs)
}

// NewRegistrationToken makes a token; an empty text is replaced by a random one.
func (a *Accounts) NewRegistrationToken(ctx context.Context, t RegistrationToken) (RegistrationToken, error) {
	if t.Token == "" {
		t.Token = randomText(lettersToken, defaultTokenLength)
	}
	if !tokenGrammar.MatchString(t.Token) {
		return t, mautrix.MInvalidParam.WithMessage("A token has 1 to %d characters of A-Z, a-z, 0-9 and . _ ~ -", maxRegToken)
	}
	if err := checkRegToken(t); err != nil {
		return t, err
	}
	t.Completed, t.Created = 0, a.now().UnixMilli()
	done, err := a.db.Exec(ctx, insertRegToken, t.Token, t.UsesAllowed, t.Expires, t.Created)
	if err != nil {
		return t, doing("writing a registration token", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return t, errors.Join(err, mautrix.MInvalidParam.WithMessage("This token exists already"))
	}
	return t, nil
}

func checkRegToken(t RegistrationToken) error {
	if t.UsesAllowed != nil && *t.UsesAllowed < 0 || t.Expires != nil && *t.Expires < 0 {
		return mautrix.MInvalidParam.WithMessage("Numbers must not be negative")
	}
	return nil
}

// RegistrationTokens lists all tokens.
func (a *Accounts) RegistrationTokens(ctx context.Context) ([]RegistrationToken, error) {
	ts, err := database.Rows(ctx, a.db, scanRegToken, selectRegTokens)
	return ts, doing("listing registration tokens", err)
}

// GetRegistrationToken gives one token; M_NOT_FOUND if there is none.
func (a *Accounts) GetRegistrationToken(ctx context.Context, token string) (RegistrationToken, error) {
	t, found, err := a.findRegToken(ctx, token)
	if err == nil && !found {
		err = mautrix.MNotFound.WithMessage("Unknown registration token")
	}
	return t, err
}

func (a *Accounts) findRegToken(ctx context.Context, token string) (t RegistrationToken, found bool, err error) {
	if !plain(token, maxRegToken) {
		return t, false, nil
	}
	t, err = scanRegToken(a.db.QueryRow(ctx, selectRegToken, token))
	if errors.Is(err, sql.ErrNoRows) {
		return t, false, nil
	}
	return t, err == nil, doing("reading a registration token", err)
}

// SetRegistrationToken changes the limits of a token.
func (a *Accounts) SetRegistrationToken(ctx context.Context, t RegistrationToken) error {
	if err := checkRegToken(t); err != nil {
		return err
	}
	if _, err := a.GetRegistrationToken(ctx, t.Token); err != nil {
		return err
	}
	_, err := a.db.Exec(ctx, updateRegToken, t.Token, t.UsesAllowed, t.Expires)
	return doing("changing a registration token", err)
}

// DeleteRegistrationToken removes a token.
func (a *Accounts) DeleteRegistrationToken(ctx context.Context, token string) error {
	if _, err := a.GetRegistrationToken(ctx, token); err != nil {
		return err
	}
	_, err := a.db.Exec(ctx, deleteRegToken, token)
	return doing("deleting a registration token", err)
}

// RegistrationTokenValid reports whether a token could be used now.
func (a *Accounts) RegistrationTokenValid(ctx context.Context, token string) (bool, error) {
	t, found, err := a.findRegToken(ctx, token)
	return found && t.Valid(a.now().UnixMilli()), err
}

// useRegistrationToken counts a use, inside the transaction of a registration; it fails if none is left.
func (a *Accounts) useRegistrationToken(ctx context.Context, token string) error {
	done, err := a.db.Exec(ctx, useRegToken, token, a.now().UnixMilli())
	if err != nil {
		return doing("using a registration token", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, mautrix.MForbidden.WithMessage("This registration token has been used up"))
	}
	return nil
}
