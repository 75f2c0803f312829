package config

import (
	"encoding/base64"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// validate checks what types cannot say.
func (l *loader) validate() {
	c := l.cfg
	if !ValidServerName(c.ServerName) {
		l.wrong("server_name", "%q is not a server name such as example.org", c.ServerName)
	}
	l.url("public_base_url", c.PublicBaseURL)
	l.required("signing_key_file", c.SigningKeyFile)
	l.atLeast("memory_mb", c.MemoryMB, 16)
	l.listeners()
	l.database()
	l.passwords()
	l.federation()
	l.media()
	l.oneOf("rooms.encrypt_by_default", c.Rooms.EncryptByDefault, "none", "private", "all")
	l.oneOf("rooms.publish", c.Rooms.Publish, "everyone", "admins")
	l.oneOf("rooms.default_version", c.Rooms.DefaultVersion, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
	l.oneOf("log.level", c.Log.Level, "trace", "debug", "info", "warn", "error")
	l.oneOf("log.format", c.Log.Format, "json", "text", "auto")
	l.positive("sessions.access_token_lifetime", c.Sessions.AccessTokenLifetime)
	l.positive("sessions.login_token_lifetime", c.Sessions.LoginTokenLifetime)
	l.positive("presence.idle_after", c.Presence.IdleAfter)
	l.positive("push.timeout", c.Push.Timeout)
	l.positive("appservices.timeout", c.AppServices.Timeout)
	l.limits()
	for i, f := range c.AppServices.Files {
		if _, err := os.Stat(f); err != nil {
			l.wrong("appservices.files", "entry %d: %v", i+1, unwrapPath(err))
		}
	}
	if len(c.TURN.URIs) > 0 {
		if c.TURN.Secret == "" && (c.TURN.Username == "" || c.TURN.Password == "") {
			l.wrong("turn.uris", "needs turn.secret, or turn.username and turn.password")
		}
		l.positive("turn.lifetime", c.TURN.Lifetime)
	}
	l.providers()
	if m := c.Mail; m.Host != "" {
		l.oneOf("mail.security", m.Security, "starttls", "tls", "none")
		if m.Port < 1 || m.Port > 65535 {
			l.wrong("mail.port", "%d is not a port", m.Port)
		}
		if a, err := mail.ParseAddress(m.From); err != nil || a.Address != m.From {
			l.wrong("mail.from", "%q is not an address such as no-reply@example.org", m.From)
		}
	} else if c.Registration.RequireEmail {
		l.wrong("registration.require_email", "needs mail.host")
	}
	if s := c.ServerNotices.Localpart; s != "" && !localpart.MatchString(s) {
		l.wrong("server_notices.localpart", "%q is not a user name of a-z, 0-9 and . _ = - / +", s)
	}
	for key, s := range map[string]string{"avatar_url": c.ServerNotices.AvatarURL, "room_avatar_url": c.ServerNotices.RoomAvatarURL} {
		if s != "" && !strings.HasPrefix(s, "mxc://") {
			l.wrong("server_notices."+key, "%q is not a picture such as mxc://example.org/abc", s)
		}
	}
	if s := c.WellKnown.Server; s != "" && !ValidServerName(s) {
		l.wrong("well_known.server", "%q is not host:port", s)
	}
	if s := c.WellKnown.PolicyServerKey; s != "" {
		if key, err := base64.RawStdEncoding.DecodeString(s); err != nil || len(key) != 32 {
			l.wrong("well_known.policy_server_key", "%q is not a public Ed25519 key in base64", s)
		}
	}
	l.url("well_known.support.page", c.WellKnown.Support.Page)
}

var providerID = regexp.MustCompile(`^[a-zA-Z0-9._~-]{1,100}$`)

func (l *loader) providers() {
	seen := map[string]bool{}
	for i := range l.cfg.OAuth.Providers {
		p := &l.cfg.OAuth.Providers[i]
		key := "oauth.providers"
		if !providerID.MatchString(p.ID) || seen[p.ID] {
			l.wrong(key, "entry %d: id %q is not a short name, or comes twice", i+1, p.ID)
		}
		seen[p.ID] = true
		if p.Name == "" || p.ClientID == "" {
			l.wrong(key, "entry %d: name and client_id must not be empty", i+1)
		}
		if u, err := url.Parse(p.Issuer); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			l.wrong(key, "entry %d: issuer %q is not an address", i+1, p.Issuer)
		}
		if p.ClientSecretFile == "" {
			continue
		}
		text, err := os.ReadFile(p.ClientSecretFile)
		if err != nil {
			l.wrong(key, "entry %d: %v", i+1, unwrapPath(err))
			continue
		}
		p.ClientSecret = strings.TrimSpace(string(text))
	}
}

var localpart = regexp.MustCompile(`^[a-z0-9._=/+-]{1,200}$`)

func (l *loader) required(key, v string) {
	if v == "" {
		l.wrong(key, "must not be empty")
	}
}

func (l *loader) atLeast(key string, v, least int) {
	if v < least {
		l.wrong(key, "%d is too small, at least %d", v, least)
	}
}

func (l *loader) positive(key string, d Duration) {
	if d <= 0 {
		l.wrong(key, "must be more than 0")
	}
}

func (l *loader) oneOf(key, v string, values ...string) {
	if !slices.Contains(values, v) {
		l.wrong(key, "%q is none of %s", v, strings.Join(values, ", "))
	}
}

func (l *loader) url(key, v string) {
	if v == "" {
		return
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		l.wrong(key, "%q is not an address such as https://matrix.example.org", v)
	}
}

func (l *loader) listeners() {
	c := l.cfg
	seen := map[string]string{}
	for _, a := range []struct{ key, addr string }{
		{"listen.client", c.Listen.Client}, {"listen.federation", c.Listen.Federation}, {"listen.admin", c.Listen.Admin},
	} {
		if a.addr == "" {
			continue
		}
		_, port, err := net.SplitHostPort(a.addr)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
			l.wrong(a.key, "%q is not host:port", a.addr)
		} else if other, twice := seen[a.addr]; twice && n != 0 {
			l.wrong(a.key, "the same address as %s", other)
		}
		seen[a.addr] = a.key
	}
	l.required("listen.client", c.Listen.Client)
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		l.wrong("tls.cert_file", "cert_file and key_file belong together")
	}
	if c.TLS.CertFile == "" {
		if c.Listen.Federation != "" {
			l.wrong("listen.federation", "needs tls.cert_file and tls.key_file")
		}
		if c.TLS.Clients {
			l.wrong("tls.clients", "needs tls.cert_file and tls.key_file")
		}
	}
	if c.Listen.MaxBody < 64<<10 {
		l.wrong("listen.max_body", "%v is too small, at least 64K", c.Listen.MaxBody)
	}
}

func (l *loader) database() {
	d := l.cfg.Database
	l.required("database.url", d.URL)
	l.atLeast("database.max_connections", d.MaxConnections, 2)
	l.atLeast("database.read_connections", d.ReadConnections, 0)
	l.atLeast("database.cache_mb", d.CacheMB, 1)
	l.atLeast("database.replicas", d.Replicas, 1)
	if d.Replicas > 1 && !d.Postgres() {
		l.wrong("database.replicas", "several server processes need PostgreSQL")
	}
}

// Postgres says that the database is PostgreSQL.
func (d Database) Postgres() bool {
	return strings.HasPrefix(d.URL, "postgres://") || strings.HasPrefix(d.URL, "postgresql://")
}

func (l *loader) passwords() {
	p := l.cfg.Passwords
	if p.Argon2MemoryKB < 8*uint32(max(p.Argon2Parallel, 1)) || p.Argon2MemoryKB > 4<<20 {
		l.wrong("passwords.argon2_memory_kb", "must be from 8 (times argon2_parallel) to 4194304")
	}
	if p.Argon2Time < 1 || p.Argon2Time > 100 {
		l.wrong("passwords.argon2_time", "must be from 1 to 100")
	}
	if p.Argon2Parallel < 1 {
		l.wrong("passwords.argon2_parallel", "must be at least 1")
	}
	l.atLeast("passwords.min_length", p.MinLength, 1)
}

func (l *loader) federation() {
	f := l.cfg.Federation
	l.positive("federation.timeout", f.Timeout)
	l.positive("federation.join_timeout", f.JoinTimeout)
	l.positive("federation.max_backoff", f.MaxBackoff)
	for _, s := range f.TrustedKeyServers {
		if !ValidServerName(s) {
			l.wrong("federation.trusted_key_servers", "%q is not a server name", s)
		}
	}
	if f.CAFile != "" {
		if _, err := os.Stat(f.CAFile); err != nil {
			l.wrong("federation.ca_file", "%v", unwrapPath(err))
		}
	}
	if f.MaxBody < 1<<20 {
		l.wrong("federation.max_body", "%v is too small, at least 1M", f.MaxBody)
	}
}

func (l *loader) media() {
	m := l.cfg.Media
	l.required("media.path", m.Path)
	if m.MaxUpload < 1<<10 {
		l.wrong("media.max_upload", "%v is too small, at least 1K", m.MaxUpload)
	}
	l.atLeast("media.thumbnails.max_pixels", m.Thumbnails.MaxPixels, 1<<16)
	l.positive("media.pending_lifetime", m.PendingLifetime)
	l.positive("media.url_previews.timeout", m.URLPreviews.Timeout)
}

func (l *loader) limits() {
	for _, f := range fieldsOf(l.cfg) {
		b, ok := f.value.Interface().(Bucket)
		if !ok {
			continue
		}
		if b.PerSecond < 0 || b.PerSecond > 1e6 || b.PerSecond != b.PerSecond {
			l.wrong(f.key+".per_second", "must be from 0 to 1000000")
		}
		if b.PerSecond > 0 && b.Burst < 1 {
			l.wrong(f.key+".burst", "must be at least 1")
		}
	}
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,230}$`)

// ValidServerName says whether s is a server name: a DNS name or address, with
// or without port. spec: appendices#server-name
func ValidServerName(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host = s[:i]
		port := s[i+1:]
		if len(port) == 0 || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return false
		}
		if n, err := strconv.Atoi(port); err != nil || n > 65535 {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	return dnsName.MatchString(host)
}
