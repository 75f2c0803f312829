package account

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type registerIn struct {
	Kind         string          `query:"kind"`
	Type         string          `json:"type"`
	Auth         json.RawMessage `json:"auth"`
	Username     string          `json:"username"`
	User         string          `json:"user"` // older application services
	Password     string          `json:"password"`
	DeviceID     id.DeviceID     `json:"device_id"`
	DeviceName   string          `json:"initial_device_display_name"`
	InhibitLogin bool            `json:"inhibit_login"`
	Refresh      bool            `json:"refresh_token"`

	_ struct{} `body:"optional"`
}

type sessionOut struct {
	UserID       id.UserID   `json:"user_id"`
	AccessToken  string      `json:"access_token,omitempty"`
	DeviceID     id.DeviceID `json:"device_id,omitempty"`
	HomeServer   string      `json:"home_server,omitempty"`
	RefreshToken string      `json:"refresh_token,omitempty"`
	ExpiresInMs  int64       `json:"expires_in_ms,omitempty"`
	WellKnown    any         `json:"well_known,omitempty"`
}

func (a *Accounts) sessionOut(s Session) sessionOut {
	return sessionOut{
		UserID: s.UserID, AccessToken: s.AccessToken, DeviceID: s.DeviceID, HomeServer: a.cfg.ServerName,
		RefreshToken: s.RefreshToken, ExpiresInMs: s.ExpiresIn.Milliseconds(),
	}
}

// PostRegister makes an account.
//
// spec: cs#post_matrixclientv3register
func (a *Accounts) PostRegister(ctx context.Context, who web.Requester, in registerIn) (sessionOut, error) {
	switch in.Kind {
	case "guest":
		return a.registerGuest(ctx, in)
	case "", "user":
	default:
		return sessionOut{}, mautrix.MInvalidParam.WithMessage("kind is guest or user")
	}
	if in.Type == LoginAppService || who.AppService != nil && in.Type == "" && len(in.Auth) == 0 {
		return a.registerServiceUser(ctx, who, in)
	}
	n := NewUser{
		Localpart: in.Username, Password: in.Password, NoSession: in.InhibitLogin,
		DeviceID: in.DeviceID, DeviceName: in.DeviceName, Refreshable: in.Refresh,
	}
	if err := a.confirmRegistration(ctx, &n, in.Auth); err != nil {
		return sessionOut{}, err
	}
	s, err := a.Register(ctx, n)
	return a.sessionOut(s), err
}

// confirmRegistration checks what is asked for, then lets the person pass the stages.
func (a *Accounts) confirmRegistration(ctx context.Context, n *NewUser, auth json.RawMessage) (err error) {
	if !a.registrationOpen() {
		return mautrix.MForbidden.WithMessage("Registration is disabled")
	}
	if n.Localpart != "" {
		if n.Localpart, err = a.Available(ctx, n.Localpart, ""); err != nil {
			return err
		}
	}
	if n.Password != "" {
		if err := a.Policy().Check(n.Password); err != nil {
			return err
		}
	}
	done, err := a.Confirm(ctx, Challenge{Operation: "register", Flows: a.registrationFlows()}, auth)
	if err != nil {
		return err
	}
	if n.Password == "" {
		return web.MMissingParam.WithMessage("The password is missing")
	}
	n.RegistrationToken, n.Email = done.Proofs[StageToken], done.Proofs[StageEmail]
	return nil
}

// registerGuest ignores all the client asks for but the name of the device.
//
// spec: cs#guest-access
func (a *Accounts) registerGuest(ctx context.Context, in registerIn) (sessionOut, error) {
	if !a.cfg.Registration.Guests {
		return sessionOut{}, web.MGuestAccessForbidden.WithMessage("Guest accounts are disabled")
	}
	s, err := a.Register(ctx, NewUser{Guest: true, DeviceName: in.DeviceName})
	return a.sessionOut(s), err
}

// registerServiceUser makes a user of an application service.
//
// spec: as#server-admin-style-permissions
func (a *Accounts) registerServiceUser(ctx context.Context, who web.Requester, in registerIn) (sessionOut, error) {
	if who.AppService == nil {
		return sessionOut{}, mautrix.MUnknownToken.WithMessage("Only application services register in this way")
	}
	name := in.Username
	if name == "" {
		name = in.User
	}
	if name == "" {
		return sessionOut{}, web.MMissingParam.WithMessage("The user name is missing")
	}
	localpart, err := a.newLocalpart(name, true)
	if err != nil {
		return sessionOut{}, err
	}
	if user := a.UserID(localpart); who.AppService.Owns == nil || !who.AppService.Owns(user) && user != who.AppService.Sender {
		return sessionOut{}, mautrix.MExclusive.WithMessage("The user is not in the namespace of this application service")
	}
	s, err := a.Register(ctx, NewUser{
		Localpart: localpart, AppService: who.AppService.ID, NoSession: in.InhibitLogin,
		DeviceID: in.DeviceID, DeviceName: in.DeviceName, Refreshable: in.Refresh,
	})
	return a.sessionOut(s), err
}

type availableIn struct {
	Username *string `query:"username"`
}

type availableOut struct {
	Available bool `json:"available"`
}

// GetRegisterAvailable says whether a user name may be had.
//
// spec: cs#get_matrixclientv3registeravailable
func (a *Accounts) GetRegisterAvailable(ctx context.Context, _ web.Requester, in availableIn) (availableOut, error) {
	if !a.registrationOpen() {
		return availableOut{}, mautrix.MForbidden.WithMessage("Registration is disabled")
	}
	if in.Username == nil {
		return availableOut{}, web.MMissingParam.WithMessage("The user name is missing")
	}
	_, err := a.Available(ctx, *in.Username, "")
	return availableOut{err == nil}, err
}

type tokenValidityIn struct {
	Token *string `query:"token"`
}

type tokenValidityOut struct {
	Valid bool `json:"valid"`
}

// GetRegistrationTokenValidity says whether a registration token could be used.
//
// spec: cs#get_matrixclientv1registermloginregistration_tokenvalidity
func (a *Accounts) GetRegistrationTokenValidity(ctx context.Context, _ web.Requester, in tokenValidityIn) (tokenValidityOut, error) {
	if !a.registrationOpen() {
		return tokenValidityOut{}, mautrix.MForbidden.WithMessage("Registration is disabled")
	}
	if in.Token == nil {
		return tokenValidityOut{}, web.MMissingParam.WithMessage("The token is missing")
	}
	valid, err := a.RegistrationTokenValid(ctx, *in.Token)
	return tokenValidityOut{valid}, err
}

type nonceOut struct {
	Nonce string `json:"nonce"`
}

// GetSharedSecretNonce begins a registration by a tool that knows the shared secret.
func (a *Accounts) GetSharedSecretNonce(context.Context, web.Requester, struct{}) (nonceOut, error) {
	nonce, err := a.RegistrationNonce()
	return nonceOut{nonce}, err
}

type secretIn struct {
	Nonce       string `json:"nonce"`
	Username    string `json:"username"`
	Password    string `json:"password"`
	DisplayName string `json:"displayname"`
	Admin       bool   `json:"admin"`
	UserType    string `json:"user_type"`
	MAC         string `json:"mac"`
}

// PostSharedSecretRegister makes an account for a tool that knows the shared secret.
func (a *Accounts) PostSharedSecretRegister(ctx context.Context, _ web.Requester, in secretIn) (sessionOut, error) {
	s, err := a.RegisterWithSecret(ctx, SecretRegistration(in))
	return a.sessionOut(s), err
}
