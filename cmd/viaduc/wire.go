package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/cmd/assemble"
	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

// server is the assembled homeserver, as the commands see it.
type server interface {
	// Run serves until ctx ends, and returns when all has ended.
	Run(ctx context.Context) error
	// Routes is the whole table, for printing.
	Routes() []web.Route
	// Health returns why the server is not well.
	Health(ctx context.Context) error
	operator
}

// operator is what administrators do from the command line.
type operator interface {
	AddUser(ctx context.Context, localpart, password string, admin bool) (id.UserID, error)
	SetPassword(ctx context.Context, user id.UserID, password string, logout bool) error
	SetAdmin(ctx context.Context, user id.UserID, admin bool) error
	Deactivate(ctx context.Context, user id.UserID, erase bool) error
	// ListUsers returns up to limit users whose ID follows after.
	ListUsers(ctx context.Context, after id.UserID, limit int) ([]account, error)
	// NewRegistrationToken makes a token, or takes the given one; uses 0 is
	// without limit, a zero expires for ever.
	NewRegistrationToken(ctx context.Context, token string, uses int, expires time.Time) (string, error)
}

// account is a user as `viaduc admin user list` shows it.
type account struct {
	UserID      id.UserID `json:"user_id"`
	DisplayName string    `json:"display_name,omitempty"`
	Admin       bool      `json:"admin,omitempty"`
	Guest       bool      `json:"guest,omitempty"`
	Deactivated bool      `json:"deactivated,omitempty"`
	Created     int64     `json:"created"`
}

// assembled puts the server together.
func assembled(cfg *config.Config, log zerolog.Logger) (server, error) {
	s, err := assemble.New(context.Background(), cfg, version(), log)
	if err != nil {
		return nil, err
	}
	return assembledServer{s}, nil
}

// assembledServer shows users as the commands print them.
type assembledServer struct{ *assemble.Server }

func (s assembledServer) ListUsers(ctx context.Context, after id.UserID, limit int) ([]account, error) {
	page, err := s.Server.ListUsers(ctx, after, limit)
	users := make([]account, len(page))
	for i, u := range page {
		users[i] = account{UserID: u.ID, DisplayName: u.DisplayName, Admin: u.Admin, Guest: u.Guest, Deactivated: u.Deactivated, Created: u.Created}
	}
	return users, err
}

// migrated opens the database, which brings it to this version, and closes it.
func migrated(ctx context.Context, cfg *config.Config) error {
	db, err := assemble.OpenDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	return db.Close()
}

// bridges are the bridges in this binary, by name.
func bridges() map[string]func(ctx context.Context, configFile string, log zerolog.Logger) error {
	return nil
}
