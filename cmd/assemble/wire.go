package assemble

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/appservices"
	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/federation"
	"github.com/viaduc/viaduc/homeserver"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Server is an assembled server.
type Server struct {
	cfg    *config.Config
	log    zerolog.Logger
	db     *database.DB
	stream *stream.Stream
	policy *policy.Policy
	core   *homeserver.Homeserver
	fed    *federation.Federation // nil: no federation
	apps   *appservices.AppServices
	web    *web.Server
}

// New assembles a server. Nothing runs or listens before Run. Close it if Run is never called.
func New(ctx context.Context, cfg *config.Config, version string, log zerolog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log}
	signers, err := event.LoadOrCreateSigners(cfg.ServerName, cfg.SigningKeyFile)
	if err != nil {
		return nil, err
	}
	services, err := appservices.Load(cfg.ServerName, cfg.AppServices.Files, cfg.AppServices.Folder)
	if err != nil {
		return nil, err
	}
	if s.db, err = OpenDatabase(ctx, cfg); err != nil {
		return nil, err
	}
	if err := s.build(ctx, signers, appservices.NewServices(services), version); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

// OpenDatabase opens the configured database, bringing its schema up to date.
func OpenDatabase(ctx context.Context, cfg *config.Config) (*database.DB, error) {
	return database.Open(ctx, database.Options{URL: cfg.Database.URL, MaxConns: cfg.Database.MaxConnections,
		ReadConns: cfg.Database.ReadConnections, CacheMB: cfg.Database.CacheMB,
		Alone: cfg.Database.Replicas <= 1})
}

func (s *Server) build(ctx context.Context, signers []event.Signer, services *appservices.Services, version string) error {
	cfg := s.cfg
	s.stream = stream.New(s.db)
	s.policy = policy.New(s.stream, policy.Options{ServerName: cfg.ServerName, AllowServers: cfg.Federation.AllowServers, DenyServers: cfg.Federation.DenyServers,
		AccountData: func(ctx context.Context, user id.UserID, eventType string) (json.RawMessage, error) {
			return s.core.Accounts.AccountData(ctx, user, "", eventType)
		}})
	blobs, err := media.NewDisk(cfg.Media.Path)
	if err != nil {
		return err
	}
	var client *federation.Client
	var remote homeserver.Remote
	if cfg.Federation.Enabled {
		if client, err = s.federationClient(signers[0]); err != nil {
			return err
		}
		remote = client
	}
	keys := federation.NewKeyRing(federation.KeyOptions{ServerName: cfg.ServerName, Signers: signers, Client: client, DB: s.db, Notaries: cfg.Federation.TrustedKeyServers})
	s.core, err = homeserver.New(ctx, homeserver.Options{
		Config: cfg, DB: s.db, Stream: s.stream, Signer: signers[0], Keys: keys, Remote: remote, Policy: s.policy, Blobs: blobs,
		Previews:     outbound(cfg.Media.URLPreviews.DenyNetworks, cfg.Media.URLPreviews.AllowNetworks).Client(cfg.Media.URLPreviews.Timeout.D()),
		Mail:         mail.New(cfg.Mail, s.db, nil),
		Providers:    outbound(cfg.OAuth.DenyNetworks, nil).Client(20 * time.Second),
		Gateways:     outbound(cfg.Push.DenyNetworks, cfg.Push.AllowNetworks).Client(cfg.Push.Timeout.D()),
		AliasAllowed: aliasAllowed(services),
		AskForAlias:  func(ctx context.Context, alias id.RoomAlias) bool { return s.apps.QueryAlias(ctx, alias) },
		Exclusive:    services.ExclusiveUser,
		Version:      version,
		Log:          s.log,
	})
	if err != nil {
		return err
	}
	if client != nil {
		s.fed = federation.New(federation.Options{ServerName: cfg.ServerName, Version: version, Signer: signers[0], DB: s.db, Stream: s.stream,
			Client: client, Keys: keys, Accounts: s.core.Accounts, Rooms: s.core.Rooms, E2EE: s.core.Keys, Ephemeral: s.core.Ephemeral,
			Media: s.core.Media, Directory: s.core.Directory, MaxBackoff: cfg.Federation.MaxBackoff.D(),
			HideProfiles: !cfg.Federation.Profiles, HideDeviceNames: !cfg.Federation.DeviceNames, NoPresence: !cfg.Presence.Federate, Log: s.log})
	}
	s.apps = appservices.New(s.appserviceOptions(services))
	s.web = web.New(cfg, web.Deps{Log: s.log, Servers: keys, Users: &account.Gate{Accounts: s.core.Accounts,
		AppService: func(ctx context.Context, r *http.Request, token string) (web.Requester, bool, error) {
			return services.Authenticate(ctx, s.core.Accounts, r, token)
		}}})
	s.web.Handle(s.Routes()...)
	return nil
}

// Routes is the whole table.
func (s *Server) Routes() []web.Route {
	rows := append(s.core.Routes(), s.apps.Routes()...)
	rows = append(rows, wellKnownRoutes(s.cfg)...)
	if s.fed != nil {
		rows = append(rows, s.fed.Routes()...)
	}
	return rows
}

func (s *Server) federationClient(signer event.Signer) (*federation.Client, error) {
	cfg := s.cfg.Federation
	out := outbound(cfg.DenyNetworks, cfg.AllowNetworks)
	if cfg.CAFile != "" {
		var err error
		if out.CAs, err = web.CAFile(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	return federation.NewClient(federation.ClientOptions{ServerName: s.cfg.ServerName, Signer: signer, Outbound: out, Timeout: cfg.Timeout.D(),
		JoinTimeout: cfg.JoinTimeout.D(), Allowed: s.policy.Server}), nil
}

// outbound makes the way out with these deny and allow lists.
func outbound(deny, allow []config.Network) *web.Outbound {
	return &web.Outbound{Deny: web.Prefixes(deny), Allow: web.Prefixes(allow)}
}

func (s *Server) appserviceOptions(services *appservices.Services) appservices.Options {
	return appservices.Options{
		Services: services, Client: outbound(s.cfg.AppServices.DenyNetworks, nil).Client(s.cfg.AppServices.Timeout.D() + 5*time.Second),
		Stream: s.stream, Rooms: s.core.Rooms, E2EE: s.core.Keys, Ephemeral: s.core.Ephemeral, Pending: appservices.NewPending(s.db),
		Render: s.core.RenderForServices, UserExists: s.core.Accounts.Exists, Timeout: s.cfg.AppServices.Timeout.D(), Log: s.log,
	}
}

// aliasAllowed keeps the aliases that services reserved for themselves.
func aliasAllowed(services *appservices.Services) func(context.Context, id.UserID, string, id.RoomAlias) error {
	return func(_ context.Context, _ id.UserID, service string, alias id.RoomAlias) error {
		if services.ExclusiveAlias(alias, service) {
			return mautrix.RespError{ErrCode: "M_EXCLUSIVE", Err: "This alias is reserved by an application service", StatusCode: http.StatusBadRequest}
		}
		return nil
	}
}
