package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
)

// Kinds of grants.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

var errOff = mautrix.MUnrecognized.WithMessage("This server does not use OAuth 2.0").WithStatus(http.StatusNotFound)

type tokens struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in,omitempty"`
	Refresh   string `json:"refresh_token,omitempty"`
	Scope     string `json:"scope"`
}

// PostToken exchanges a grant for tokens.
//
// spec: cs#refresh-token-grant, RFC 6749 section 4.1.3
func (o *OAuth) PostToken(w http.ResponseWriter, r *http.Request) error {
	if !o.cfg.OAuth.Enabled {
		return errOff
	}
	f, err := form(w, r)
	if err != nil {
		return err
	}
	clientID := f.Get("client_id")
	c, err := o.client(r.Context(), clientID)
	if err != nil {
		return err
	}
	if c == nil {
		return problem{"invalid_client", "Unknown client", http.StatusUnauthorized}
	}
	grant := f.Get("grant_type")
	if slices.Contains([]string{grantCode, grantRefresh, grantDevice}, grant) && !slices.Contains(c.GrantTypes, grant) {
		return invalid("unauthorized_client", "The client has not registered this grant type")
	}
	var t tokens
	switch grant {
	case grantCode:
		t, err = o.exchangeCode(r.Context(), clientID, c, f.Get("code"), f.Get("redirect_uri"), f.Get("code_verifier"))
	case grantRefresh:
		t, err = o.refresh(r.Context(), clientID, f.Get("refresh_token"))
	case grantDevice:
		t, err = o.exchangeDevice(r.Context(), clientID, c, f.Get("device_code"))
	case "":
		return invalid("invalid_request", "grant_type is missing")
	default:
		return invalid("unsupported_grant_type", "Unknown grant type")
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, t)
}

// spent remembers what came out of a code.
type spent struct {
	User   id.UserID   `json:"user"`
	Device id.DeviceID `json:"device"`
}

func (o *OAuth) exchangeCode(ctx context.Context, clientID string, c *Client, code, redirectURI, given string) (tokens, error) {
	p := &pending{}
	found, err := o.take(ctx, kindCode, code, p)
	if err != nil {
		return tokens{}, err
	}
	if !found {
		return tokens{}, o.codeAgain(ctx, code)
	}
	sum := sha256.Sum256([]byte(given))
	proof := base64.RawURLEncoding.EncodeToString(sum[:])
	if p.ClientID != clientID || p.RedirectURI != redirectURI || !verifier.MatchString(given) ||
		subtle.ConstantTimeCompare([]byte(proof), []byte(p.Challenge)) != 1 {
		return tokens{}, invalid("invalid_grant", "The code is not for this client, address or verifier")
	}
	if err := o.keep(ctx, kindSpent, code, spent{p.User, p.DeviceID}, spentLifetime); err != nil {
		return tokens{}, err
	}
	return o.startSession(ctx, clientID, c, p.User, p.DeviceID, p.Scope)
}

// codeAgain ends what came out of a code that is presented twice: one of the two has stolen it. RFC 6749 section 4.1.2
func (o *OAuth) codeAgain(ctx context.Context, code string) error {
	var s spent
	found, err := o.take(ctx, kindSpent, code, &s)
	if err == nil && found {
		err = o.accounts.DeleteDevices(ctx, s.User, s.Device)
	}
	if err != nil {
		return err
	}
	return invalid("invalid_grant", "Unknown or expired code")
}

func (o *OAuth) startSession(ctx context.Context, clientID string, c *Client, user id.UserID, device id.DeviceID, scope string) (tokens, error) {
	s, err := o.accounts.StartSession(ctx, account.NewSession{UserID: user, DeviceID: device, DisplayName: c.title(),
		Refreshable: slices.Contains(c.GrantTypes, grantRefresh)})
	if text, refused := account.Refused(err); refused {
		return tokens{}, invalid("invalid_grant", text)
	}
	if err != nil {
		return tokens{}, err
	}
	if _, err := o.db.Exec(ctx, putSession, user, device, clientID); err != nil {
		return tokens{}, doing("writing a session", err)
	}
	return tokens{s.AccessToken, "Bearer", int64(s.ExpiresIn.Seconds()), s.RefreshToken, scope}, nil
}

// refresh gives new tokens. A token that comes again after its successor was used ends the session. RFC 9700 section 4.14.2
func (o *OAuth) refresh(ctx context.Context, clientID, token string) (tokens, error) {
	gone := invalid("invalid_grant", "Unknown or expired refresh token")
	user, device, spent, found, err := o.accounts.TokenOwner(ctx, token)
	if err != nil {
		return tokens{}, err
	}
	if !found {
		return tokens{}, gone
	}
	owner, err := o.clientOf(ctx, user, device)
	if err != nil {
		return tokens{}, err
	}
	if owner != clientID {
		return tokens{}, gone
	}
	if spent {
		if err := o.accounts.DeleteDevices(ctx, user, device); err != nil {
			return tokens{}, err
		}
		return tokens{}, gone
	}
	s, err := o.accounts.Refresh(ctx, token)
	if _, refused := account.Refused(err); refused {
		return tokens{}, gone
	}
	if err != nil {
		return tokens{}, err
	}
	return tokens{s.AccessToken, "Bearer", int64(s.ExpiresIn.Seconds()), s.RefreshToken, scopeAPI + " " + scopeDevice + string(device)}, nil
}

// PostRevoke ends the session of a token. An unknown token is none to be worried about.
//
// spec: cs#token-revocation, RFC 7009
func (o *OAuth) PostRevoke(w http.ResponseWriter, r *http.Request) error {
	if !o.cfg.OAuth.Enabled {
		return errOff
	}
	f, err := form(w, r)
	if err != nil {
		return err
	}
	token := f.Get("token")
	if token == "" {
		return invalid("invalid_request", "token is missing")
	}
	user, device, _, found, err := o.accounts.TokenOwner(r.Context(), token)
	if err != nil {
		return err
	}
	if found && device != "" {
		owner, err := o.clientOf(r.Context(), user, device)
		if err != nil {
			return err
		}
		if asked := f.Get("client_id"); asked != "" && asked != owner {
			return problem{"invalid_client", "The token was not given to this client", http.StatusUnauthorized}
		}
		if err := o.accounts.DeleteDevices(r.Context(), user, device); err != nil {
			return err
		}
	}
	return answer(w, http.StatusOK, struct{}{})
}
