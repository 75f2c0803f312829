package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/viaduc/viaduc/homeserver/event"
)

// hostOf is the host of a server name, without port.
func hostOf(name string) string {
	if host, _, err := net.SplitHostPort(name); err == nil {
		return host
	}
	return strings.Trim(name, "[]")
}

func (d *doctor) serverName(context.Context) []finding {
	host := hostOf(d.cfg.ServerName)
	switch {
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return hint("set server_name before there are users; it can never be changed afterwards",
			"%s works on this machine only", d.cfg.ServerName)
	case net.ParseIP(host) != nil:
		return hint("use a DNS name: an address cannot be moved to another machine", "%s is an address", d.cfg.ServerName)
	case !strings.Contains(host, "."):
		return hint("use a full DNS name", "%s has no domain", d.cfg.ServerName)
	case strings.ToLower(host) != host:
		return hint("use small letters", "%s has capitals, which many programs do not expect", d.cfg.ServerName)
	}
	return ok("%s", d.cfg.ServerName)
}

func (d *doctor) signingKey(context.Context) []finding {
	file := d.cfg.SigningKeyFile
	mode, only, err := private(file)
	if errors.Is(err, os.ErrNotExist) {
		return hint("it is made at the first start; if this server ran before, put its key back", "%s does not exist", file)
	}
	if err != nil {
		return wrong("let the server's user read it", "%v", err)
	}
	signers, err := event.LoadSigners(d.cfg.ServerName, file)
	if err != nil {
		return wrong("restore it from your copy", "%v", err)
	}
	if !only {
		return wrong("chmod 600 "+file, "%s can be read by others (%v)", file, mode)
	}
	return ok("%s, %s", file, signers[0].KeyID)
}

func (d *doctor) certificate(context.Context) []finding {
	c := d.cfg.TLS
	if c.CertFile == "" {
		if d.cfg.Federation.Enabled {
			return ok("none here: a proxy has to speak TLS for clients and other servers")
		}
		return ok("none here: a proxy has to speak TLS for clients")
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return wrong("check tls.cert_file and tls.key_file", "%v", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return wrong("check tls.cert_file", "%v", err)
	}
	var out []finding
	left := leaf.NotAfter.Sub(d.now())
	switch {
	case left < 0:
		out = append(out, wrong("renew it", "%s ended on %s", c.CertFile, leaf.NotAfter.Format(time.DateOnly))...)
	case left < 14*24*time.Hour:
		out = append(out, hint("renew it; it is read again without a restart", "%s ends on %s", c.CertFile, leaf.NotAfter.Format(time.DateOnly))...)
	default:
		out = append(out, ok("%s, until %s", c.CertFile, leaf.NotAfter.Format(time.DateOnly))...)
	}
	name := d.cfg.WellKnown.Server
	if name == "" {
		name = d.cfg.ServerName
	}
	if err := leaf.VerifyHostname(hostOf(name)); err != nil {
		out = append(out, wrong("get a certificate for "+hostOf(name), "it is not for %s, which other servers will ask for", hostOf(name))...)
	}
	if len(pair.Certificate) == 1 && leaf.Issuer.String() != leaf.Subject.String() {
		out = append(out, hint("put the chain of the authority into the file too", "only one certificate in the file: others may not find its issuer")...)
	}
	if mode, only, err := private(c.KeyFile); err == nil && !only && mode&0o007 != 0 {
		out = append(out, wrong("chmod 600 "+c.KeyFile, "%s can be read by everyone", c.KeyFile)...)
	}
	return out
}

func (d *doctor) database(ctx context.Context) []finding {
	if d.cfg.Database.Postgres() {
		return d.postgres(ctx)
	}
	file := d.cfg.Database.URL
	dir := filepath.Dir(file)
	if err := writable(dir); err != nil {
		return wrong("make the folder, and let the server's user write to it", "%v", err)
	}
	st, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return ok("SQLite, %s is made at the first start", file)
	}
	if err != nil {
		return wrong("let the server's user read it", "%v", err)
	}
	if st.Mode().Perm()&0o007 != 0 {
		return wrong("chmod 600 "+file, "%s can be read by everyone", file)
	}
	return ok("SQLite, %s, %d MiB", file, st.Size()>>20)
}

// writable tries to make a file in the folder, or in the one above if the
// folder does not exist yet.
func writable(dir string) error {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			return err
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

func (d *doctor) postgres(ctx context.Context) []finding {
	db, err := sql.Open("postgres", d.cfg.Database.URL)
	if err != nil {
		return wrong("check database.url", "%v", err)
	}
	defer db.Close()
	var number, most int
	var encoding, collation, name string
	err = db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('max_connections')::int,
		pg_encoding_to_char(encoding), datcollate, datname FROM pg_database WHERE datname = current_database()`).
		Scan(&number, &most, &encoding, &collation, &name)
	if err != nil {
		return wrong("check database.url, and that the server runs and lets us in", "%v", err)
	}
	out := ok("PostgreSQL %d, database %s", number/10000, name)
	if number < 140000 {
		out = append(out, wrong("upgrade to version 14 or newer", "PostgreSQL %d is too old", number/10000)...)
	}
	if encoding != "UTF8" {
		out = append(out, wrong("make the database again with ENCODING UTF8", "the encoding is %s", encoding)...)
	}
	if collation != "C" && collation != "POSIX" && collation != "C.UTF-8" && collation != "C.utf8" {
		out = append(out, hint("new databases: CREATE DATABASE … TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
			"collation %s makes indexes slower, and an upgrade of the system may break them", collation)...)
	}
	if want := d.cfg.Database.MaxConnections * d.cfg.Database.Replicas; want > most-5 {
		out = append(out, wrong(fmt.Sprintf("raise max_connections of PostgreSQL above %d, or lower database.max_connections", want+10),
			"all replicas may open %d connections, PostgreSQL takes %d", want, most)...)
	}
	return out
}

func (d *doctor) registration(context.Context) []finding {
	r := d.cfg.Registration
	switch {
	case r.Enabled && !r.RequireToken:
		return hint("set registration.require_token, unless the server is meant for everyone", "anyone may make an account")
	case r.SharedSecret != "" && len(r.SharedSecret) < 16:
		return wrong("use at least 16 random characters, or none", "registration.shared_secret is short")
	case r.Enabled:
		return ok("with a token")
	}
	return ok("closed; accounts are made by administrators")
}
