package assemble

import (
	"context"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
)

// AddUser makes a user with a password.
func (s *Server) AddUser(ctx context.Context, localpart, password string, admin bool) (id.UserID, error) {
	session, err := s.core.Accounts.Register(ctx, account.NewUser{Localpart: localpart, Password: password, Admin: admin, NoSession: true})
	return session.UserID, err
}

// SetPassword sets a user's password, and ends all sessions if logout is set.
func (s *Server) SetPassword(ctx context.Context, user id.UserID, password string, logout bool) error {
	return s.core.Accounts.SetPassword(ctx, account.NewPassword{User: user, Password: password, LogoutDevices: logout})
}

// SetAdmin gives or takes the right to administer.
func (s *Server) SetAdmin(ctx context.Context, user id.UserID, admin bool) error {
	return s.core.Accounts.SetAdmin(ctx, user, admin)
}

// Deactivate ends an account.
func (s *Server) Deactivate(ctx context.Context, user id.UserID, erase bool) error {
	return s.core.Accounts.Deactivate(ctx, user, erase)
}

// ListUsers pages through users by ID.
func (s *Server) ListUsers(ctx context.Context, after id.UserID, limit int) ([]account.UserListing, error) {
	page, _, err := s.core.Accounts.ListUsers(ctx, account.UserQuery{After: after, Limit: int64(limit)})
	return page, err
}

// NewRegistrationToken makes a token, or takes the given one.
func (s *Server) NewRegistrationToken(ctx context.Context, token string, uses int, expires time.Time) (string, error) {
	t := account.RegistrationToken{Token: token}
	if uses > 0 {
		n := int64(uses)
		t.UsesAllowed = &n
	}
	if !expires.IsZero() {
		ms := expires.UnixMilli()
		t.Expires = &ms
	}
	made, err := s.core.Accounts.NewRegistrationToken(ctx, t)
	return made.Token, err
}
