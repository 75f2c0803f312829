package oauth

import (
	"context"
	"net/http"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
)

// Options are what an OAuth is built from.
type Options struct {
	Config   *config.Config
	DB       *database.DB
	Accounts *account.Accounts
	// HTTP calls OpenID providers.
	HTTP *http.Client
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// OAuth is the slice.
type OAuth struct {
	cfg       *config.Config
	db        *database.DB
	accounts  *account.Accounts
	http      *http.Client
	now       func() time.Time
	providers []*provider
}

const (
	pendingLifetime = 30 * time.Minute
	browserLifetime = 12 * time.Hour
	codeLifetime    = time.Minute
	spentLifetime   = 15 * time.Minute
	deviceLifetime  = 15 * time.Minute
	proofLifetime   = 10 * time.Minute
	sweepEvery      = 10 * time.Minute
)

// New builds the slice and tells package account of the ways to sign in that it adds.
func New(o Options) *OAuth {
	s := &OAuth{cfg: o.Config, db: o.DB, accounts: o.Accounts, http: o.HTTP, now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if s.http == nil {
		s.http = http.DefaultClient
	}
	for _, p := range o.Config.OAuth.Providers {
		s.providers = append(s.providers, &provider{cfg: p, o: s})
	}
	if !s.signOn() {
		return s
	}
	s.accounts.AddLoginFlow(s.loginFlow)
	s.accounts.AddStage(StageSSO, proofStage{s, StageSSO})
	s.accounts.AddStage(StageOAuth, proofStage{s, StageOAuth})
	s.accounts.AddOwnerStage(func(u account.User) string {
		if u.HasPassword() {
			return ""
		}
		return StageSSO
	})
	s.accounts.OnDeviceDeleted(func(ctx context.Context, user id.UserID, device id.DeviceID) error {
		_, err := s.db.Exec(ctx, deleteSession, user, device)
		return doing("removing a session", err)
	})
	return s
}

// signOn reports whether there is anything to sign in with here.
func (o *OAuth) signOn() bool { return o.cfg.OAuth.Enabled || len(o.providers) > 0 }

// Run removes what has expired, until ctx ends.
func (o *OAuth) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			// The next round finds what this one leaves.
			_, _ = o.db.Exec(ctx, sweepTickets, o.now().UnixMilli())
		}
	}
}

// loginFlow is the entry of GET /login. spec: cs#client-login-via-sso
func (o *OAuth) loginFlow() map[string]any {
	f := map[string]any{"type": "m.login.sso"}
	var list []map[string]string
	for _, p := range o.providers {
		entry := map[string]string{"id": p.cfg.ID, "name": p.cfg.Name}
		if p.cfg.Icon != "" {
			entry["icon"] = p.cfg.Icon
		}
		if p.cfg.Brand != "" {
			entry["brand"] = p.cfg.Brand
		}
		list = append(list, entry)
	}
	if len(list) > 0 {
		f["identity_providers"] = list
	}
	if o.cfg.OAuth.Enabled {
		f["oauth_aware_preferred"] = true
		f["org.matrix.msc3824.delegated_oidc_compatibility"] = true
	}
	return f
}

// base is the address under which clients reach this server, without a slash at its end.
func (o *OAuth) base() string { return strings.TrimSuffix(o.cfg.BaseURL(), "/") }

func (o *OAuth) at(path string) string { return o.base() + path }

// issuer of tokens. spec: cs#server-metadata-discovery
func (o *OAuth) issuer() string { return o.base() + "/" }

func (o *OAuth) mayRegister() bool {
	return o.cfg.Registration.Enabled && o.cfg.Passwords.Enabled
}
