package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/viaduc/viaduc/config"
)

// testCmd is the homeserver under test suites. The arguments are those of
// cmd/e2e/hs-start.
type testCmd struct {
	ServerName     string `arg:"" help:"Matrix server name."`
	DataDir        string `arg:"" help:"Folder of the data; the same folder is the same server again."`
	ClientAddr     string `arg:"" help:"Address of the client API, plain HTTP."`
	FederationAddr string `arg:"" help:"Address of the federation API, HTTPS."`
	Cert           string `arg:"" help:"TLS certificate (PEM)."`
	Key            string `arg:"" help:"TLS key (PEM)."`
	CA             string `arg:"" help:"The only certificate authority trusted for other servers (PEM)."`
	Secret         string `arg:"" help:"Shared secret of registration."`
	AppserviceDir  string `arg:"" help:"Folder of application service registrations."`

	Database string `env:"VIADUC_DATABASE" help:"PostgreSQL URL; each data folder gets a database of its own on that server. Empty: SQLite in the data folder."`
	Admin    string `env:"VIADUC_TEST_ADMIN_LISTEN" help:"Address of an admin listener, for metrics and profiles."`
}

// Run serves with everything open.
func (cmd testCmd) Run(e *env) error {
	cfg := cmd.config()
	if cmd.Database != "" {
		url, err := testDatabase(e.ctx, cmd.Database, cmd.DataDir)
		if err != nil {
			return err
		}
		cfg.Database.URL = url
	}
	return serve(e.ctx, cfg, newLog(cfg.Log, os.Stderr), nil)
}

// config opens all that test suites need, and nothing of it is reachable from
// a configuration file.
func (cmd testCmd) config() *config.Config {
	in := func(name string) string { return filepath.Join(cmd.DataDir, name) }
	cfg := config.Default()
	cfg.ServerName = cmd.ServerName
	cfg.PublicBaseURL = "http://" + cmd.ClientAddr
	cfg.SigningKeyFile = in("signing.key")
	cfg.MemoryMB = 64
	cfg.Listen.Client, cfg.Listen.Federation, cfg.Listen.Admin = cmd.ClientAddr, cmd.FederationAddr, cmd.Admin
	cfg.Listen.ShutdownTimeout = 5e9
	cfg.TLS = config.TLS{CertFile: cmd.Cert, KeyFile: cmd.Key}
	cfg.Database.URL = in("viaduc.db")
	cfg.Database.CacheMB = 16
	cfg.Registration = config.Registration{Enabled: true, Guests: true, SharedSecret: cmd.Secret}
	cfg.Passwords.Argon2MemoryKB, cfg.Passwords.Argon2Time, cfg.Passwords.MinLength = 8, 1, 1
	cfg.Federation.DenyNetworks, cfg.Federation.CAFile = nil, cmd.CA
	cfg.Federation.DeviceNames = true
	cfg.Media.Path = in("media")
	cfg.Media.AllowUnauthenticated = true
	cfg.Media.URLPreviews.Enabled, cfg.Media.URLPreviews.DenyNetworks = true, nil
	cfg.Push.DenyNetworks, cfg.AppServices.DenyNetworks = nil, nil
	cfg.AppServices.Folder = cmd.AppserviceDir
	cfg.TURN.URIs, cfg.TURN.Secret = []string{"turn:" + cmd.ServerName + ":3478?transport=udp"}, cmd.Secret
	cfg.Limits.Enabled = false
	cfg.Log = config.Log{Level: "warn", Format: "json"}
	if level := os.Getenv("VIADUC_LOG_LEVEL"); level != "" {
		cfg.Log.Level = strings.ToLower(level)
		cfg.Log.Requests = true
	}
	cfg.Experimental.EnableAll()
	cfg.Test = config.Test{OpenRegistration: true}
	return cfg
}
