package account

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type passwordIn struct {
	NewPassword   *string         `json:"new_password"`
	LogoutDevices *bool           `json:"logout_devices"`
	Auth          json.RawMessage `json:"auth"`

	_ struct{} `body:"optional"`
}

// PostPassword changes the password, of the user who asks or of whoever proves to be their owner.
//
// spec: cs#post_matrixclientv3accountpassword
func (a *Accounts) PostPassword(ctx context.Context, who web.Requester, in passwordIn) (struct{}, error) {
	if !a.cfg.Passwords.Enabled {
		return struct{}{}, mautrix.MForbidden.WithMessage("Passwords are not used on this server")
	}
	if in.NewPassword != nil {
		if err := a.Policy().Check(*in.NewPassword); err != nil {
			return struct{}{}, err
		}
	}
	user, err := a.confirmAccount(ctx, who, in.Auth, "password")
	if err != nil {
		return struct{}{}, err
	}
	if in.NewPassword == nil {
		return struct{}{}, web.MMissingParam.WithMessage("The new password is missing")
	}
	return struct{}{}, a.SetPassword(ctx, NewPassword{
		User: user, Password: *in.NewPassword, LogoutDevices: in.LogoutDevices == nil || *in.LogoutDevices,
		KeepDevice: who.DeviceID, KeepToken: who.Token,
	})
}

// confirmAccount lets the owner of an account confirm, whether or not they are signed in.
func (a *Accounts) confirmAccount(ctx context.Context, who web.Requester, auth json.RawMessage, operation string) (id.UserID, error) {
	if who.UserID != "" {
		return who.UserID, a.UserInteractive(ctx, who, auth, operation)
	}
	if len(auth) > 0 && string(auth) != "null" {
		var named struct {
			Identifier json.RawMessage `json:"identifier"`
			User       string          `json:"user"`
		}
		if json.Unmarshal(auth, &named) != nil {
			return "", mautrix.MBadJSON.WithMessage("auth must be an object")
		}
		if err := limitLogin(ctx, a, Login{Type: LoginPassword, Identifier: named.Identifier, User: named.User}); err != nil {
			return "", err
		}
	}
	flows := [][]string{{StagePassword}}
	if operation == "password" && a.deps.Mail.Enabled() {
		flows = append(flows, []string{StageEmail})
	}
	done, err := a.Confirm(ctx, Challenge{Operation: operation, Flows: flows}, auth)
	if err == nil && done.User == "" {
		err = mautrix.MForbidden.WithMessage("Nobody was proven")
	}
	return done.User, err
}

// GetPasswordPolicy says what a new password must fulfil.
//
// msc: 2000
func (a *Accounts) GetPasswordPolicy(context.Context, web.Requester, struct{}) (PasswordPolicy, error) {
	return a.Policy(), nil
}

type deactivateIn struct {
	Auth     json.RawMessage `json:"auth"`
	IDServer string          `json:"id_server"`
	Erase    bool            `json:"erase"`

	_ struct{} `body:"optional"`
}

type unbindOut struct {
	Result string `json:"id_server_unbind_result"`
}

// PostDeactivate ends the account.
//
// spec: cs#post_matrixclientv3accountdeactivate
func (a *Accounts) PostDeactivate(ctx context.Context, who web.Requester, in deactivateIn) (unbindOut, error) {
	user, err := a.confirmAccount(ctx, who, in.Auth, "deactivate")
	if err != nil {
		return unbindOut{}, err
	}
	// No identifier of this server was ever bound at an identity server, so all of them are unbound.
	return unbindOut{"success"}, a.Deactivate(ctx, user, in.Erase)
}

type threepidsOut struct {
	Threepids []Threepid `json:"threepids"`
}

// GetThreepids lists the addresses of the user.
//
// spec: cs#get_matrixclientv3account3pid
func (a *Accounts) GetThreepids(ctx context.Context, who web.Requester, _ struct{}) (threepidsOut, error) {
	list, err := a.Threepids(ctx, who.UserID)
	if list == nil {
		list = []Threepid{}
	}
	return threepidsOut{list}, err
}

// PostThreepidBind refuses: identity servers are not used.
//
// spec: cs#post_matrixclientv3account3pidbind
func (a *Accounts) PostThreepidBind(context.Context, web.Requester, optionalBody) (struct{}, error) {
	return struct{}{}, web.MThreepidDenied.WithMessage("This server does not use identity servers")
}

type threepidIn struct {
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

func (in threepidIn) check() error {
	if in.Medium == "" || in.Address == "" {
		return web.MMissingParam.WithMessage("medium and address must be given")
	}
	return nil
}

// PostThreepidDelete takes an address from the account.
//
// spec: cs#post_matrixclientv3account3piddelete
func (a *Accounts) PostThreepidDelete(ctx context.Context, who web.Requester, in threepidIn) (unbindOut, error) {
	if err := in.check(); err != nil {
		return unbindOut{}, err
	}
	if err := notSuspended(who); err != nil {
		return unbindOut{}, err
	}
	return unbindOut{"no-support"}, a.DeleteThreepid(ctx, who.UserID, in.Medium, in.Address)
}

// PostThreepidUnbind has nothing to do: identity servers are not used.
//
// spec: cs#post_matrixclientv3account3pidunbind
func (a *Accounts) PostThreepidUnbind(_ context.Context, _ web.Requester, in threepidIn) (unbindOut, error) {
	return unbindOut{"no-support"}, in.check()
}
