package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

type registrationToken struct {
	Token       string `json:"token"`
	UsesAllowed *int64 `json:"uses_allowed"`
	Pending     int64  `json:"pending"`
	Completed   int64  `json:"completed"`
	Expires     *int64 `json:"expiry_time"`
}

func registrationTokenOf(t account.RegistrationToken) registrationToken {
	return registrationToken{t.Token, t.UsesAllowed, 0, t.Completed, t.Expires}
}

type listTokensIn struct {
	Valid *bool `query:"valid"`
}

type registrationTokensOut struct {
	Tokens []registrationToken `json:"registration_tokens"`
}

// GetRegistrationTokens lists tokens with which people register.
//
// spec: cs#token-authenticated-registration
func (a *Admin) GetRegistrationTokens(ctx context.Context, _ web.Requester, in listTokensIn) (registrationTokensOut, error) {
	list, err := a.accounts.RegistrationTokens(ctx)
	out := registrationTokensOut{[]registrationToken{}}
	for _, t := range list {
		if in.Valid == nil || t.Valid(a.now()) == *in.Valid {
			out.Tokens = append(out.Tokens, registrationTokenOf(t))
		}
	}
	return out, err
}

type regTokenIn struct {
	Token string `path:"token"`
}

// GetRegistrationToken tells about one token.
func (a *Admin) GetRegistrationToken(ctx context.Context, _ web.Requester, in regTokenIn) (registrationToken, error) {
	t, err := a.accounts.GetRegistrationToken(ctx, in.Token)
	return registrationTokenOf(t), err
}

type newTokenIn struct {
	Token       *string  `json:"token"`
	UsesAllowed *int64   `json:"uses_allowed"`
	Expires     *int64   `json:"expiry_time"`
	Length      *int     `json:"length"`
	_           struct{} `body:"optional"`
}

const (
	usualToken = 16
	maxToken   = 64
)

// PostRegistrationToken makes a token.
func (a *Admin) PostRegistrationToken(ctx context.Context, _ web.Requester, in newTokenIn) (registrationToken, error) {
	t := account.RegistrationToken{UsesAllowed: in.UsesAllowed, Expires: in.Expires}
	length := usualToken
	if in.Length != nil {
		length = *in.Length
	}
	switch {
	case in.Token != nil && *in.Token == "":
		return registrationToken{}, mautrix.MInvalidParam.WithMessage("token must not be empty")
	case in.Token != nil:
		t.Token = *in.Token
	case length < 1 || length > maxToken:
		return registrationToken{}, mautrix.MInvalidParam.WithMessage("length must be from 1 to %d", maxToken)
	default:
		t.Token = (rand.Text() + rand.Text() + rand.Text())[:length]
	}
	if err := a.future(in.Expires); err != nil {
		return registrationToken{}, err
	}
	t, err := a.accounts.NewRegistrationToken(ctx, t)
	return registrationTokenOf(t), err
}

func (a *Admin) future(ts *int64) error {
	if ts != nil && *ts < a.now() {
		return mautrix.MInvalidParam.WithMessage("expiry_time must not be in the past")
	}
	return nil
}

type putTokenIn struct {
	regTokenIn
	UsesAllowed json.RawMessage `json:"uses_allowed"`
	Expires     json.RawMessage `json:"expiry_time"`
}

// PutRegistrationToken changes the limits that are named; null takes one away.
func (a *Admin) PutRegistrationToken(ctx context.Context, _ web.Requester, in putTokenIn) (registrationToken, error) {
	t, err := a.accounts.GetRegistrationToken(ctx, in.Token)
	if err != nil {
		return registrationToken{}, err
	}
	for _, f := range []struct {
		raw json.RawMessage
		to  **int64
	}{{in.UsesAllowed, &t.UsesAllowed}, {in.Expires, &t.Expires}} {
		if f.raw == nil {
			continue
		}
		*f.to = nil
		if err := json.Unmarshal(f.raw, f.to); err != nil {
			return registrationToken{}, mautrix.MInvalidParam.WithMessage("Limits are numbers or null")
		}
	}
	if in.Expires != nil {
		if err := a.future(t.Expires); err != nil {
			return registrationToken{}, err
		}
	}
	return registrationTokenOf(t), a.accounts.SetRegistrationToken(ctx, t)
}

// DeleteRegistrationToken removes a token.
func (a *Admin) DeleteRegistrationToken(ctx context.Context, _ web.Requester, in regTokenIn) (struct{}, error) {
	return struct{}{}, a.accounts.DeleteRegistrationToken(ctx, in.Token)
}

type versionOut struct {
	Version string `json:"server_version"`
}

// GetServerVersion names this program; tools ask it to see whether these paths are served.
func (a *Admin) GetServerVersion(context.Context, web.Requester, struct{}) (versionOut, error) {
	return versionOut{a.Version}, nil
}
