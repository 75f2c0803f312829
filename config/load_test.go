package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse_ReportsAllMistakesWithTheirPlace(t *testing.T) {
	_, err := Parse("viaduc.yaml", []byte(`server_name: example.org
listen:
  cliemt: 127.0.0.1:1
  max_body: many
federation:
  enabled: perhaps
  timeout: 5 parsecs
  deny_networks: [10.0.0.0/8, nowhere]
media: 5
push: {enabled: true, enabled: false}
limits:
  send: {per_second: fast}
`), []string{"VIADUC_FEDERATION_ENABELD=true", "VIADUC_SERVICE_HOST=1.2.3.4", "VIADUC_MEMORY_MB=lots", "PATH=/bin"})
	var m Mistakes
	if !errors.As(err, &m) {
		t.Fatalf("%T %v", err, err)
	}
	text := m.Error()
	for _, want := range []string{
		"viaduc.yaml:3:3: listen.cliemt: no such key (did you mean client?)",
		`viaduc.yaml:4:13: listen.max_body: "many" is not a size`,
		`viaduc.yaml:6:12: federation.enabled: "perhaps" is neither true nor false`,
		`viaduc.yaml:7:12: federation.timeout: "5 parsecs" is not a duration`,
		`viaduc.yaml:8:31: federation.deny_networks[1]: "nowhere" is not a network`,
		"viaduc.yaml:9:8: media: must have keys of its own",
		"push.enabled",
		`viaduc.yaml:12:22: limits.send.per_second: "fast" is not a number`,
		"VIADUC_FEDERATION_ENABELD: no such setting (did you mean VIADUC_FEDERATION_ENABLED?)",
		"VIADUC_MEMORY_MB: memory_mb:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "SERVICE_HOST") {
		t.Errorf("a variable of somebody else is reported:\n%s", text)
	}
}

func TestParse_ValidatesValues(t *testing.T) {
	for text, want := range map[string]string{
		"server_name: 'exa mple'":                             "server_name",
		"server_name: example.org:99999":                      "server_name",
		"public_base_url: example.org":                        "public_base_url",
		"listen: {federation: ':8448'}":                       "tls.cert_file",
		"listen: {client: '8008'}":                            "host:port",
		"listen: {admin: '127.0.0.1:8008'}":                   "the same address",
		"database: {replicas: 3}":                             "PostgreSQL",
		"rooms: {default_version: '99'}":                      "none of",
		"log: {level: loud}":                                  "none of",
		"turn: {uris: ['turn:t']}":                            "turn.secret",
		"appservices: {files: [/nowhere.yaml]}":               "/nowhere.yaml",
		"limits: {send: {per_second: 1, burst: 0}}":           "burst",
		"passwords: {argon2_time: 0}":                         "argon2_time",
		"database: {url: a, url_file: b}":                     "set only one",
		"federation: {trusted_key_servers: ['a b']}":          "trusted_key_servers",
		"server_name: a\nserver_name: b":                      "server_name",
		"rooms: [":                                            ":1:",
		"sessions: {access_token_lifetime: 0}":                "more than 0",
		"media: {thumbnails: {workers: [1]}}":                 "single value",
		"well_known: {client: [1]}":                           "keys of its own",
		"registration: {shared_secret_file: /nowhere/at/all}": "/nowhere/at/all",
	} {
		_, err := Parse("f", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParse_EnvironmentWinsAndSecretsComeFromFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("f", []byte(`
server_name: example.org
memory_mb: 100
media:
  url_previews:
    deny_networks: ["private", 8.8.8.8]
well_known:
  client:
    io.element.e2ee: {default: true, n: [1, 2]}
`), []string{"VIADUC_MEMORY_MB=300", "VIADUC_TURN_SECRET_FILE=" + secret, "VIADUC_FEDERATION_DENY_SERVERS=a.org, b.org", "VIADUC_MEDIA_MAX_UPLOAD=1G"})
	if err != nil {
		t.Fatal(err)
	}
	if c.MemoryMB != 300 || c.TURN.Secret != "s3cret" || len(c.Federation.DenyServers) != 2 || c.Media.MaxUpload != 1<<30 {
		t.Fatalf("%+v", c)
	}
	if !InNetworks(c.Media.URLPreviews.DenyNetworks, netip.MustParseAddr("8.8.8.8")) {
		t.Fatal("networks not read")
	}
	extra, err := c.WellKnown.ClientWellKnown()
	if err != nil || string(extra["io.element.e2ee"]) != `{"default":true,"n":[1,2]}` {
		t.Fatalf("%s %v", extra, err)
	}
}

func TestNetwork_PrivateKnowsDisguises(t *testing.T) {
	n, _ := ParseNetwork("private")
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "fe80::1%eth0", "169.254.169.254", "0.0.0.0", "::", "100.64.1.1", "fd00::1", "2002:7f00:1::"} {
		if !n.Contains(netip.MustParseAddr(a)) {
			t.Errorf("%s is not private", a)
		}
	}
	for _, a := range []string{"8.8.8.8", "2600::1", "1.1.1.1"} {
		if n.Contains(netip.MustParseAddr(a)) {
			t.Errorf("%s is private", a)
		}
	}
}

func TestDurationAndSize_ReadWhatTheyPrint(t *testing.T) {
	for _, s := range []string{"0", "90s", "15m", "24h", "7d", "1.5s"} {
		var d, e Duration
		if err := d.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if err := e.UnmarshalText([]byte(d.String())); err != nil || d != e {
			t.Fatalf("%s: %v %v", s, d, e)
		}
	}
	var s Size
	for text, want := range map[string]Size{"512": 512, "64K": 65536, "50MiB": 50 << 20, "2g": 2 << 30} {
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Fatalf("%s: %d %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "K", "-1", "1X", "9999999999999G"} {
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Fatalf("%q accepted as %d", bad, s)
		}
	}
	if Duration(36*time.Hour).String() != "36h" {
		t.Fatal(Duration(36 * time.Hour).String())
	}
}
