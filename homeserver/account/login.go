package account

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// Types of login.
//
// spec: cs#legacy-login
const (
	LoginPassword   = "m.login.password"
	LoginToken      = "m.login.token"
	LoginAppService = "m.login.application_service"
)

// identifier names a user in a login form.
//
// spec: cs#identifier-types
type identifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// UnmarshalJSON takes anything that is no such object for an empty one, so that the answer says what is missing.
func (i *identifier) UnmarshalJSON(raw []byte) error {
	type plainIdentifier identifier
	var p plainIdentifier
	if err := json.Unmarshal(raw, &p); err != nil {
		return err
	}
	*i = identifier(p)
	return nil
}

// identify finds the account that a login form names: by user ID or localpart, or by an address bound to it.
// The account may not exist; then found is false.
func (a *Accounts) identify(ctx context.Context, i identifier, legacy string) (u User, found bool, err error) {
	name := legacy
	switch {
	case i.Type == "m.id.user" || i.Type == "" && i.User != "":
		name = i.User
	case i.Type == "m.id.thirdparty" || i.Type == "" && i.Medium != "":
		owner, err := a.ThreepidOwner(ctx, i.Medium, i.Address)
		if err != nil || owner == "" {
			return User{}, false, err
		}
		return a.findUser(ctx, owner)
	case i.Type == "m.id.phone":
		return User{}, false, nil
	case i.Type != "":
		return User{}, false, mUnknown.WithMessage("Unknown type of identifier")
	}
	if name == "" {
		return User{}, false, mMissingParam.WithMessage("The user is missing")
	}
	user, ok := a.named(name)
	if !ok {
		return User{}, false, nil
	}
	u, found, err = a.findUser(ctx, user)
	if err != nil || found {
		return u, found, err
	}
	// Accounts made with capitals exist only where they came from another server.
	if lower := id.UserID(strings.ToLower(string(user))); lower != user {
		return a.findUser(ctx, lower)
	}
	return User{}, false, nil
}

// passwordLogin finds the account and checks its password, in about the same time whether or not there is one.
func (a *Accounts) passwordLogin(ctx context.Context, i identifier, legacy, password string) (User, error) {
	if !a.cfg.Passwords.Enabled {
		return User{}, mautrix.MForbidden.WithMessage("Passwords are not used on this server")
	}
	u, found, err := a.identify(ctx, i, legacy)
	if err != nil {
		return User{}, err
	}
	if !found || u.passwordHash == "" {
		if err := a.hasher.Waste(ctx, password); err != nil {
			return User{}, err
		}
		if found && u.Deactivated {
			return User{}, mUserDeactivated.WithMessage("This account has been deactivated")
		}
		return User{}, errBadLogin
	}
	ok, stale, err := a.hasher.Verify(ctx, u.passwordHash, password)
	if err != nil {
		return User{}, err
	}
	if !ok {
		return User{}, errBadLogin
	}
	if stale {
		if err := a.rehash(ctx, u, password); err != nil {
			return User{}, err
		}
	}
	return u, nil
}

// rehash brings a stored password into the form of today.
func (a *Accounts) rehash(ctx context.Context, u User, password string) error {
	hash, err := a.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = a.db.Exec(ctx, rehashPassword, u.ID, u.passwordHash, hash)
	return doing("storing a password anew", err)
}

// Login describes an attempt to log in.
type Login struct {
	Type        string
	Identifier  json.RawMessage
	User        string // legacy form of the identifier
	Password    string
	Token       string
	DeviceID    id.DeviceID
	DisplayName string
	Refreshable bool
	// Service is the application service that asks, if its token came with the request.
	Service string
	// Owns tells whether the service may act as a user.
	Owns func(id.UserID) bool
}

// Login proves who somebody is and starts a session.
//
// spec: cs#post_matrixclientv3login
func (a *Accounts) Login(ctx context.Context, in Login) (Session, error) {
	s, err := a.login(ctx, in)
	kind, result := in.Type, "ok"
	if kind != LoginPassword && kind != LoginToken && kind != LoginAppService {
		kind = "other"
	}
	if err != nil {
		result = "refused"
		if _, known := errors.AsType[mautrix.RespError](err); !known {
			result = "failed"
		}
	}
	metricLogins.WithLabelValues(kind, result).Inc()
	return s, err
}

func (a *Accounts) login(ctx context.Context, in Login) (Session, error) {
	u, err := a.prove(ctx, in)
	if err != nil {
		return Session{}, err
	}
	switch {
	case u.Deactivated:
		return Session{}, mUserDeactivated.WithMessage("This account has been deactivated")
	case u.Locked:
		return Session{}, errUserLocked
	}
	return a.StartSession(ctx, NewSession{
		UserID: u.ID, DeviceID: in.DeviceID, DisplayName: in.DisplayName, Refreshable: in.Refreshable,
	})
}

func (a *Accounts) prove(ctx context.Context, in Login) (User, error) {
	var i identifier
	if len(in.Identifier) > 0 && json.Unmarshal(in.Identifier, &i) != nil {
		return User{}, mautrix.MBadJSON.WithMessage("The identifier must be an object of texts")
	}
	switch in.Type {
	case LoginPassword:
		return a.passwordLogin(ctx, i, in.User, in.Password)
	case LoginToken:
		return a.tokenLogin(ctx, in.Token)
	case LoginAppService:
		return a.serviceLogin(ctx, in, i)
	case "":
		return User{}, mMissingParam.WithMessage("The type of login is missing")
	}
	return User{}, mUnknown.WithMessage("Unknown type of login")
}

func (a *Accounts) tokenLogin(ctx context.Context, token string) (User, error) {
	t, found, err := a.findTicket(ctx, takeTicket, ticketLogin, hashToken(token))
	if err != nil {
		return User{}, err
	}
	if !found {
		return User{}, mautrix.MForbidden.WithMessage("Unknown or expired login token")
	}
	return a.GetUser(ctx, t.user)
}

// serviceLogin gives an application service a session of one of its users.
//
// spec: cs#appservice-login
func (a *Accounts) serviceLogin(ctx context.Context, in Login, i identifier) (User, error) {
	if in.Service == "" {
		return User{}, mautrix.MForbidden.WithMessage("Only application services log in this way")
	}
	name := i.User
	if name == "" {
		name = in.User
	}
	user, ok := a.named(name)
	if !ok {
		return User{}, mautrix.MForbidden.WithMessage("Unknown user")
	}
	if in.Owns == nil || !in.Owns(user) {
		return User{}, mautrix.MExclusive.WithMessage("The user is not in the namespace of this application service")
	}
	u, found, err := a.findUser(ctx, user)
	if err == nil && !found {
		return User{}, mautrix.MForbidden.WithMessage("The user has not been registered")
	}
	return u, err
}

// NewLoginToken gives a token with which another client logs in once as this user.
//
// spec: cs#post_matrixclientv1loginget_token
func (a *Accounts) NewLoginToken(ctx context.Context, user id.UserID) (token string, expiresInMs int64, err error) {
	lifetime := a.cfg.Sessions.LoginTokenLifetime.D()
	if lifetime <= 0 {
		lifetime = defaultLoginToken
	}
	token, err = a.giveTicket(ctx, ticketLogin, prefixLogin, user, "", lifetime)
	return token, lifetime.Milliseconds(), err
}

// LoginFlows are the types of login offered.
func (a *Accounts) LoginFlows() []map[string]any {
	flows := make([]map[string]any, 0, 4)
	if a.cfg.Passwords.Enabled {
		flows = append(flows, map[string]any{"type": LoginPassword})
	}
	for _, fn := range a.hooks.loginFlows {
		if f := fn(); f != nil {
			flows = append(flows, f)
		}
	}
	token := map[string]any{"type": LoginToken}
	if a.cfg.Sessions.LoginTokens {
		token["get_login_token"] = true
	}
	return append(flows, token, map[string]any{"type": LoginAppService})
}
