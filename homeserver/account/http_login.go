package account

import (
	"context"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type loginFlowsOut struct {
	Flows []map[string]any `json:"flows"`
}

// GetLogin lists the ways to log in.
//
// spec: cs#get_matrixclientv3login
func (a *Accounts) GetLogin(context.Context, web.Requester, struct{}) (loginFlowsOut, error) {
	return loginFlowsOut{a.LoginFlows()}, nil
}

type loginIn struct {
	Type       string          `json:"type"`
	Identifier json.RawMessage `json:"identifier"`
	User       string          `json:"user"`
	Medium     string          `json:"medium"`
	Address    string          `json:"address"`
	Password   string          `json:"password"`
	Token      string          `json:"token"`
	DeviceID   id.DeviceID     `json:"device_id"`
	DeviceName string          `json:"initial_device_display_name"`
	Refresh    bool            `json:"refresh_token"`
}

// PostLogin starts a session.
//
// spec: cs#post_matrixclientv3login
func (a *Accounts) PostLogin(ctx context.Context, who web.Requester, in loginIn) (sessionOut, error) {
	l := Login{
		Type: in.Type, Identifier: in.Identifier, User: in.User, Password: in.Password, Token: in.Token,
		DeviceID: in.DeviceID, DisplayName: in.DeviceName, Refreshable: in.Refresh,
	}
	if len(l.Identifier) == 0 && in.Medium != "" {
		raw, err := json.Marshal(identifier{Type: "m.id.thirdparty", Medium: in.Medium, Address: in.Address})
		if err != nil {
			return sessionOut{}, doing("reading a login", err)
		}
		l.Identifier = raw
	}
	if who.AppService != nil {
		service := who.AppService
		l.Service = service.ID
		l.Owns = func(user id.UserID) bool { return user == service.Sender || service.Owns != nil && service.Owns(user) }
	}
	if err := limitLogin(ctx, a, l); err != nil {
		return sessionOut{}, err
	}
	s, err := a.Login(ctx, l)
	return a.sessionOut(s), err
}

// limitLogin counts attempts on one account, from wherever they come.
func limitLogin(ctx context.Context, a *Accounts, l Login) error {
	if l.Type != LoginPassword {
		return nil
	}
	var i identifier
	if json.Unmarshal(l.Identifier, &i) != nil || i.User == "" {
		i.User = l.User + i.Address
	}
	if user, ok := a.named(i.User); ok {
		return web.TakeLimit(ctx, web.LimitLogin, strings.ToLower(string(user)))
	}
	return nil
}

type authIn struct {
	Auth json.RawMessage `json:"auth"`

	_ struct{} `body:"optional"`
}

type loginTokenOut struct {
	LoginToken  string `json:"login_token"`
	ExpiresInMs int64  `json:"expires_in_ms"`
}

// PostLoginGetToken gives a token with which another client logs in as the same user.
//
// spec: cs#post_matrixclientv1loginget_token
func (a *Accounts) PostLoginGetToken(ctx context.Context, who web.Requester, in authIn) (loginTokenOut, error) {
	if !a.cfg.Sessions.LoginTokens {
		return loginTokenOut{}, mautrix.MForbidden.WithMessage("Login tokens are disabled")
	}
	// Always asked anew, whatever the grace: each further client is a decision of its own.
	u, err := a.GetUser(ctx, who.UserID)
	if err != nil {
		return loginTokenOut{}, err
	}
	flows := a.ownerFlows(u)
	if len(flows) == 0 {
		return loginTokenOut{}, mautrix.MForbidden.WithMessage("This account cannot confirm the operation").WithStatus(400)
	}
	if _, err := a.Confirm(ctx, Challenge{Operation: "login/get_token", User: who.UserID, Flows: flows}, in.Auth); err != nil {
		return loginTokenOut{}, err
	}
	token, expires, err := a.NewLoginToken(ctx, who.UserID)
	return loginTokenOut{token, expires}, err
}

type refreshIn struct {
	RefreshToken *string `json:"refresh_token"`
}

type refreshOut struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresInMs  int64  `json:"expires_in_ms,omitempty"`
}

// PostRefresh exchanges a refresh token for new tokens.
//
// spec: cs#post_matrixclientv3refresh
func (a *Accounts) PostRefresh(ctx context.Context, _ web.Requester, in refreshIn) (refreshOut, error) {
	if in.RefreshToken == nil {
		return refreshOut{}, web.MMissingParam.WithMessage("The refresh token is missing")
	}
	s, err := a.Refresh(ctx, *in.RefreshToken)
	return refreshOut{s.AccessToken, s.RefreshToken, s.ExpiresIn.Milliseconds()}, err
}

type optionalBody struct {
	_ struct{} `body:"optional"`
}

// PostLogout ends the session that asks.
//
// spec: cs#post_matrixclientv3logout
func (a *Accounts) PostLogout(ctx context.Context, who web.Requester, _ optionalBody) (struct{}, error) {
	if who.AppService != nil {
		return struct{}{}, mautrix.MForbidden.WithMessage("The token of an application service does not log out")
	}
	return struct{}{}, a.Logout(ctx, who.UserID, who.DeviceID, who.Token)
}

// PostLogoutAll ends all sessions of the user.
//
// spec: cs#post_matrixclientv3logoutall
func (a *Accounts) PostLogoutAll(ctx context.Context, who web.Requester, _ optionalBody) (struct{}, error) {
	if who.AppService != nil {
		return struct{}{}, mautrix.MForbidden.WithMessage("The token of an application service does not log out")
	}
	return struct{}{}, a.LogoutAll(ctx, who.UserID)
}

type whoamiOut struct {
	UserID   id.UserID   `json:"user_id"`
	DeviceID id.DeviceID `json:"device_id,omitempty"`
	IsGuest  bool        `json:"is_guest,omitempty"`
}

// GetWhoami says who is asking.
//
// spec: cs#get_matrixclientv3accountwhoami
func (a *Accounts) GetWhoami(_ context.Context, who web.Requester, _ struct{}) (whoamiOut, error) {
	return whoamiOut{who.UserID, who.DeviceID, who.Guest}, nil
}
