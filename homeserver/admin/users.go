package admin

import (
	"context"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
)

// Address is a third-party identifier that an operator gives a user.
type Address struct {
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// UserChange is what an operator wants of an account. What is nil stays as it is.
type UserChange struct {
	Password               *string
	KeepDevices            bool // a new password leaves sessions alone
	DisplayName, AvatarURL *string
	Threepids              *[]Address
	Admin, Locked          *bool
	Deactivated            *bool
	Type                   *string
}

// local gives an account of this server; M_NOT_FOUND if there is none.
func (a *Admin) local(ctx context.Context, user id.UserID) (account.User, error) {
	if !a.accounts.Local(user) {
		return account.User{}, unknown("This endpoint can only be used with local users")
	}
	return a.accounts.GetUser(ctx, user)
}

// CreateUser makes an account without a session.
func (a *Admin) CreateUser(ctx context.Context, user id.UserID, c UserChange) error {
	localpart := user.Localpart()
	if a.accounts.UserID(localpart) != user || !account.ValidLocalpart(localpart) {
		return errBadUser
	}
	n := account.NewUser{Localpart: localpart, NoSession: true}
	if c.Password != nil {
		n.Password = *c.Password
	}
	if c.DisplayName != nil {
		n.DisplayName = *c.DisplayName
	}
	if c.Type != nil {
		n.Type = *c.Type
	}
	n.Admin = c.Admin != nil && *c.Admin
	if _, err := a.accounts.Register(ctx, n); err != nil {
		return err
	}
	c.Password, c.DisplayName, c.Type, c.Admin = nil, nil, nil, nil
	return a.changeUser(ctx, user, c)
}

// ChangeUser changes an account as by wants it.
func (a *Admin) ChangeUser(ctx context.Context, by id.UserID, u account.User, c UserChange) error {
	if u.ID == by {
		switch {
		case c.Admin != nil && !*c.Admin:
			return unknown("You may not demote yourself.")
		case c.Locked != nil && *c.Locked:
			return unknown("You may not lock yourself.")
		}
	}
	if c.Deactivated != nil && *c.Deactivated && !u.Deactivated {
		if err := a.accounts.Deactivate(ctx, u.ID, false); err != nil {
			return err
		}
		c.Password = nil
	}
	if c.Deactivated != nil && !*c.Deactivated && u.Deactivated {
		password := ""
		if c.Password != nil {
			password = *c.Password
		}
		if err := a.accounts.Reactivate(ctx, u.ID, password); err != nil {
			return err
		}
		c.Password = nil
	}
	c.Deactivated = nil
	return a.changeUser(ctx, u.ID, c)
}

func (a *Admin) changeUser(ctx context.Context, user id.UserID, c UserChange) error {
	if c.Password != nil {
		if err := a.accounts.SetPassword(ctx, account.NewPassword{User: user, Password: *c.Password, LogoutDevices: !c.KeepDevices}); err != nil {
			return err
		}
	}
	for _, text := range []struct {
		value *string
		set   func(context.Context, id.UserID, string) error
	}{{c.DisplayName, a.accounts.SetDisplayName}, {c.AvatarURL, a.accounts.SetAvatarURL}, {c.Type, a.accounts.SetUserType}} {
		if text.value != nil {
			if err := text.set(ctx, user, *text.value); err != nil {
				return err
			}
		}
	}
	for _, flag := range []struct {
		value *bool
		set   func(context.Context, id.UserID, bool) error
	}{{c.Admin, a.accounts.SetAdmin}, {c.Locked, a.accounts.SetLocked}} {
		if flag.value != nil {
			if err := flag.set(ctx, user, *flag.value); err != nil {
				return err
			}
		}
	}
	if c.Deactivated != nil && *c.Deactivated {
		return a.accounts.Deactivate(ctx, user, false)
	}
	if c.Threepids == nil {
		return nil
	}
	return a.setThreepids(ctx, user, *c.Threepids)
}

// setThreepids makes these the addresses of a user.
func (a *Admin) setThreepids(ctx context.Context, user id.UserID, want []Address) error {
	for _, t := range want {
		if err := a.accounts.SetThreepid(ctx, user, t.Medium, t.Address); err != nil {
			return err
		}
	}
	have, err := a.accounts.Threepids(ctx, user)
	if err != nil {
		return err
	}
	for _, t := range have {
		keep := false
		for _, w := range want {
			keep = keep || w.Medium == t.Medium && equalAddress(t.Medium, w.Address, t.Address)
		}
		if !keep {
			if err := a.accounts.DeleteThreepid(ctx, user, t.Medium, t.Address); err != nil {
				return err
			}
		}
	}
	return nil
}

func equalAddress(medium, a, b string) bool {
	if medium == "email" {
		return strings.EqualFold(a, b)
	}
	return a == b
}
