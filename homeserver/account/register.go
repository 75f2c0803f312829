package account

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const defaultLoginToken = 2 * time.Minute

// RefRegistered is the reference of the UserDirectory change that a new account appends; followers let it join rooms.
const RefRegistered = "registered"

// NewUser describes an account to be made.
type NewUser struct {
	Localpart   string // empty: chosen here
	Password    string // empty: no login by password
	Admin       bool
	Guest       bool
	Type        string // bot, support or empty
	AppService  string // the service that makes it, or empty
	DisplayName string // of the profile; empty: the localpart

	// RegistrationToken is counted as used, if given.
	RegistrationToken string
	// Email is an address that has been validated.
	Email string

	NoSession   bool // the account gets no device
	DeviceID    id.DeviceID
	DeviceName  string
	Refreshable bool
}

// Available says whether somebody may have a localpart. The localpart is returned as it would be registered.
func (a *Accounts) Available(ctx context.Context, wanted, appService string) (string, error) {
	localpart, err := a.newLocalpart(wanted, appService != "")
	if err != nil {
		return "", err
	}
	user := a.UserID(localpart)
	if a.hooks.exclusive != nil && a.hooks.exclusive(user, appService) {
		return "", mautrix.MExclusive.WithMessage("This user ID is reserved by an application service")
	}
	exists, err := a.Exists(ctx, user)
	if err == nil && exists {
		return "", errInUse
	}
	return localpart, err
}

var errInUse = mautrix.MUserInUse.WithMessage("The user ID is already taken")

// Register makes an account and, unless told not to, its first session.
//
// spec: cs#post_matrixclientv3register
func (a *Accounts) Register(ctx context.Context, n NewUser) (Session, error) {
	if err := a.prepare(ctx, &n); err != nil {
		return Session{}, err
	}
	hash, err := "", error(nil)
	if n.Password != "" {
		if hash, err = a.hasher.Hash(ctx, n.Password); err != nil {
			return Session{}, err
		}
	}
	user := a.UserID(n.Localpart)
	s := Session{UserID: user}
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		if err := a.insertAccount(ctx, user, n, hash); err != nil {
			return err
		}
		if n.NoSession {
			return nil
		}
		s, err = a.startSession(ctx, NewSession{
			UserID: user, DeviceID: n.DeviceID, DisplayName: n.DeviceName, Refreshable: n.Refreshable,
		})
		return err
	})
	if err == nil {
		metricRegistrations.WithLabelValues(n.kind()).Inc()
	}
	return s, err
}

func (n NewUser) kind() string {
	switch {
	case n.Guest:
		return "guest"
	case n.AppService != "":
		return "application service"
	}
	return "user"
}

// prepare checks what is asked for before anything costly is done.
func (a *Accounts) prepare(ctx context.Context, n *NewUser) (err error) {
	if n.Localpart == "" {
		n.Localpart = randomText(lettersLower, 14)
	}
	if n.Localpart, err = a.Available(ctx, n.Localpart, n.AppService); err != nil {
		return err
	}
	if n.Password != "" {
		if err := a.Policy().Check(n.Password); err != nil {
			return err
		}
	}
	if !plain(n.Type, maxType) {
		return mautrix.MInvalidParam.WithMessage("Not a user type")
	}
	if n.AppService == "" {
		for _, fn := range a.hooks.mayRegister {
			if err := fn(ctx, a.UserID(n.Localpart)); err != nil {
				return err
			}
		}
	}
	return a.checkNewDevice(ctx, a.UserID(n.Localpart), n.DeviceID)
}

// insertAccount writes user and profile, inside a transaction.
func (a *Accounts) insertAccount(ctx context.Context, user id.UserID, n NewUser, hash string) error {
	done, err := a.db.Exec(ctx, insertUser, user, hash, a.now().UnixMilli(), n.AppService, n.Type, bit(n.Admin), bit(n.Guest))
	if err != nil {
		return doing("writing a user", err)
	}
	if rows, err := done.RowsAffected(); err != nil || rows == 0 {
		return errors.Join(err, errInUse)
	}
	if n.RegistrationToken != "" {
		if err := a.useRegistrationToken(ctx, n.RegistrationToken); err != nil {
			return err
		}
	}
	if n.Email != "" {
		if err := a.SetThreepid(ctx, user, "email", n.Email); err != nil {
			return err
		}
	}
	born := stream.Change{Kind: stream.UserDirectory, UserID: user, Ref: RefRegistered}
	name := n.DisplayName
	if name == "" && !n.Guest {
		name = n.Localpart
	}
	if name == "" {
		return a.announce(ctx, born)
	}
	value, err := json.Marshal(cut(name, maxDisplayName))
	if err != nil {
		return doing("writing a profile", err)
	}
	if err := a.writeProfile(ctx, user, map[string]json.RawMessage{FieldDisplayName: value}); err != nil {
		return err
	}
	return a.announce(ctx, born, stream.Change{Kind: stream.Profile, UserID: user, Ref: FieldDisplayName})
}

// EnsureUser makes an account for a user of an application service unless it exists. The namespace is not checked here.
func (a *Accounts) EnsureUser(ctx context.Context, user id.UserID, appService string) error {
	localpart, server, ok := splitUser(string(user))
	if !ok || server != a.cfg.ServerName || !ValidHistoricalLocalpart(localpart) || len(user) > maxUserID {
		return mautrix.MInvalidUsername.WithMessage("Not a user ID of this server")
	}
	if exists, err := a.Exists(ctx, user); err != nil || exists {
		return err
	}
	err := a.db.Tx(ctx, func(ctx context.Context) error {
		return a.insertAccount(ctx, user, NewUser{Localpart: localpart, AppService: appService}, "")
	})
	if e, is := errors.AsType[mautrix.RespError](err); is && e.ErrCode == errInUse.ErrCode {
		return nil // somebody else was faster
	}
	return err
}

// Policy is what a new password must fulfil.
func (a *Accounts) Policy() PasswordPolicy {
	p := a.cfg.Passwords
	return PasswordPolicy{
		MinLength: p.MinLength, Digit: p.RequireDigit, Symbol: p.RequireSymbol,
		Lowercase: p.RequireLowercase, Uppercase: p.RequireUppercase,
	}
}

// registrationFlows are the ways to register for people without anyone's help.
func (a *Accounts) registrationFlows() [][]string {
	var flow []string
	if a.cfg.Registration.RequireToken && !a.cfg.Test.OpenRegistration {
		flow = append(flow, StageToken)
	}
	if a.deps.Mail.Enabled() && a.cfg.Registration.RequireEmail {
		return [][]string{append(flow, StageEmail)}
	}
	if len(flow) == 0 {
		flow = []string{StageDummy}
	}
	flows := [][]string{flow}
	if a.deps.Mail.Enabled() { // whoever wants to give an address may
		flows = append(flows, append(slices.Clone(flow), StageEmail))
	}
	return flows
}

// registrationOpen reports whether people may register.
func (a *Accounts) registrationOpen() bool {
	return a.cfg.Registration.Enabled || a.cfg.Test.OpenRegistration
}
