package account

import (
	"context"
	"encoding/json"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// dummyStage is passed by asking.
//
// spec: cs#dummy-auth
type dummyStage struct{}

func (dummyStage) Check(context.Context, Attempt) (Proof, error) { return Proof{}, nil }

// passwordStage proves a user of this server by password.
//
// spec: cs#password-based
type passwordStage struct{ a *Accounts }

func (s passwordStage) Check(ctx context.Context, at Attempt) (Proof, error) {
	var in struct {
		Identifier identifier `json:"identifier"`
		User       string     `json:"user"`
		Password   *string    `json:"password"`
	}
	if json.Unmarshal(at.Auth, &in) != nil || in.Password == nil {
		return Proof{}, mMissingParam.WithMessage("The password is missing")
	}
	if in.Identifier.Type == "" && in.User == "" && at.Challenge.User != "" {
		in.User = string(at.Challenge.User) // whose account it is, is known
	}
	if at.Challenge.User != "" {
		// Nobody learns here whether they guessed the password of somebody else.
		if u, found, err := s.a.identify(ctx, in.Identifier, in.User); err != nil || found && u.ID != at.Challenge.User {
			return Proof{User: u.ID}, err
		}
	}
	u, err := s.a.passwordLogin(ctx, in.Identifier, in.User, *in.Password)
	if err != nil {
		return Proof{}, err
	}
	return Proof{User: u.ID}, nil
}

// tokenStage lets those register who hold a registration token.
//
// spec: cs#token-authenticated-registration
type tokenStage struct{ a *Accounts }

func (s tokenStage) Check(ctx context.Context, at Attempt) (Proof, error) {
	var in struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(at.Auth, &in) != nil || in.Token == "" {
		return Proof{}, mMissingParam.WithMessage("The registration token is missing")
	}
	valid, err := s.a.RegistrationTokenValid(ctx, in.Token)
	if err != nil {
		return Proof{}, err
	}
	if !valid {
		return Proof{}, respError("M_UNAUTHORIZED", 401).WithMessage("This registration token is not valid")
	}
	return Proof{Note: in.Token}, nil
}

// ConfirmOwner lets a sensitive operation of a signed-in user pass if auth proves that it is them.
func (a *Accounts) ConfirmOwner(ctx context.Context, user id.UserID, device id.DeviceID, operation string, auth json.RawMessage) error {
	u, err := a.GetUser(ctx, user)
	if err != nil {
		return err
	}
	if a.deps.ConfirmGrace > 0 && device != "" {
		d, found, err := a.findDevice(ctx, user, device)
		if err != nil {
			return err
		}
		if found && a.now().Sub(time.UnixMilli(d.Created)) < a.deps.ConfirmGrace {
			return nil
		}
	}
	flows := a.ownerFlows(u)
	if len(flows) == 0 {
		return mautrix.MForbidden.WithMessage("This account has no way to confirm the operation here")
	}
	_, err = a.Confirm(ctx, Challenge{Operation: operation, User: user, Flows: flows}, auth)
	return err
}

// ownerFlows are the ways in which a user can prove to be the owner of their account.
func (a *Accounts) ownerFlows(u User) (flows [][]string) {
	if u.HasPassword() && a.cfg.Passwords.Enabled {
		flows = append(flows, []string{StagePassword})
	}
	for _, fn := range a.hooks.ownerStages {
		if stage := fn(u); stage != "" {
			flows = append(flows, []string{stage})
		}
	}
	return flows
}

// AddOwnerStage offers a further stage (added by AddStage) to users who can pass it; fn names it, or gives "".
func (a *Accounts) AddOwnerStage(fn func(User) string) {
	a.hooks.ownerStages = append(a.hooks.ownerStages, fn)
}
