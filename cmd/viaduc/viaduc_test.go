package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/web"
)

// cliRun runs the command line in a folder of its own.
func cliRun(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestRun_HelpVersionAndMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, out, _ := cliRun(t, "--help"); code != 0 || !strings.Contains(out, "doctor") {
		t.Fatalf("help: %d %s", code, out)
	}
	if code, out, _ := cliRun(t, "version"); code != 0 || !strings.HasPrefix(out, "viaduc ") {
		t.Fatalf("version: %d %s", code, out)
	}
	if code, _, _ := cliRun(t, "fly"); code != 2 {
		t.Fatalf("unknown command: %d", code)
	}
	if code, out, _ := cliRun(t, "print", "config"); code != 0 || out != config.DefaultYAML {
		t.Fatalf("print config: %d", code)
	}
	if err := os.WriteFile("viaduc.yaml", []byte("memory_mb: x\nnonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, e := cliRun(t, "doctor"); code != 1 || !strings.Contains(e, "2 mistakes") || !strings.Contains(e, "viaduc.yaml:2:1") {
		t.Fatalf("doctor: %d %s", code, e)
	}
	if code, _, e := cliRun(t, "bridge", "nowhere"); code != 1 || !strings.Contains(e, "nowhere") {
		t.Fatalf("bridge: %d %s", code, e)
	}
}

func TestFirstConfig_LoadsAndDiffersOnlyWhereItSays(t *testing.T) {
	cfg, err := config.Parse("viaduc.yaml", []byte(firstConfig()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Registration.Enabled || !cfg.Registration.RequireToken || cfg.PublicBaseURL != "http://localhost:8008" {
		t.Fatalf("%+v", cfg.Registration)
	}
	if cfg.Federation.Enabled != config.Default().Federation.Enabled || cfg.Presence.Enabled != true {
		t.Fatal("a key of another section changed")
	}
}

func TestFirstRun_WritesTheFileOnceAndNotWhenConfigured(t *testing.T) {
	t.Chdir(t.TempDir())
	e := &env{ctx: t.Context()}
	if first, err := e.firstRun(); !first || err != nil {
		t.Fatal(first, err)
	}
	if first, err := e.firstRun(); first || err != nil {
		t.Fatal(first, err)
	}
	t.Chdir(t.TempDir())
	t.Setenv("VIADUC_SERVER_NAME", "example.org")
	if first, err := e.firstRun(); first || err != nil {
		t.Fatal(first, err)
	}
}

func TestDoctor_SaysWhatToFix(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"viaduc.yaml":      "server_name: example.org\nregistration: {shared_secret: short}\n",
		"data/signing.key": "ed25519 a_1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n",
	} {
		_ = os.MkdirAll(filepath.Dir(name), 0o700)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errOut := cliRun(t, "doctor", "--offline")
	if code != 1 || errOut != "" {
		t.Fatalf("%d %s%s", code, out, errOut)
	}
	for _, want := range []string{"chmod 600 data/signing.key", "shared_secret is short", "ok   server name: example.org", "SQLite"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if err := os.Chmod("data/signing.key", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("viaduc.yaml", []byte("server_name: example.org\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := cliRun(t, "doctor", "--offline"); code != 0 {
		t.Fatalf("%d %s%s", code, out, errOut)
	}
}

// fakeServer keeps accounts in memory; it stands for the assembled server.
type fakeServer struct {
	server
	users []account
	sick  error
}

func (f *fakeServer) Health(context.Context) error { return f.sick }

func (f *fakeServer) AddUser(_ context.Context, local, _ string, admin bool) (id.UserID, error) {
	u := id.UserID("@" + local + ":hs")
	if slices.ContainsFunc(f.users, func(a account) bool { return a.UserID == u }) {
		return "", mautrix.MUserInUse.WithMessage("Taken")
	}
	f.users = append(f.users, account{UserID: u, Admin: admin})
	return u, nil
}

func (f *fakeServer) ListUsers(_ context.Context, after id.UserID, limit int) (out []account, _ error) {
	for _, u := range f.users {
		if u.UserID > after && len(out) < limit {
			out = append(out, u)
		}
	}
	return out, nil
}

func (f *fakeServer) NewRegistrationToken(_ context.Context, token string, uses int, _ time.Time) (string, error) {
	return token + strings.Repeat("!", uses), nil
}

func (f *fakeServer) SetAdmin(_ context.Context, u id.UserID, admin bool) error {
	for i := range f.users {
		if f.users[i].UserID == u {
			f.users[i].Admin = admin
			return nil
		}
	}
	return mautrix.MNotFound.WithMessage("No such user")
}

func TestAdmin_CommandsReachTheRunningServer(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := "server_name: hs\nlisten: {admin: '" + l.Addr().String() + "'}\n"
	if err := os.WriteFile("viaduc.yaml", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, e := cliRun(t, "admin", "user", "list"); code != 1 || !strings.Contains(e, "is it running") {
		t.Fatalf("without a server: %d %s", code, e)
	}
	cfg, err := config.Load("viaduc.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ensureAdminToken(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- adminServer(cfg, zerolog.Nop(), f, token).Serve(ctx, l, nil) }()
	defer func() { cancel(); <-done }()

	stdin(t, "secret\n")
	if code, out, e := cliRun(t, "admin", "user", "add", "alice", "--admin"); code != 0 || out != "@alice:hs\n" {
		t.Fatalf("add: %d %s%s", code, out, e)
	}
	stdin(t, "")
	if code, _, e := cliRun(t, "admin", "user", "add", "alice"); code != 1 || !strings.Contains(e, "M_USER_IN_USE") {
		t.Fatalf("add twice: %d %s", code, e)
	}
	if code, out, _ := cliRun(t, "admin", "user", "list"); code != 0 || !strings.Contains(out, "administrator") {
		t.Fatalf("list: %d %s", code, out)
	}
	if code, _, e := cliRun(t, "admin", "user", "demote", "alice"); code != 0 || f.users[0].Admin {
		t.Fatalf("demote: %d %s", code, e)
	}
	if code, out, _ := cliRun(t, "admin", "token", "new", "--token", "abc", "--uses", "2"); code != 0 || out != "abc!!\n" {
		t.Fatalf("token: %d %s", code, out)
	}
	if code, out, _ := cliRun(t, "health"); code != 0 || out != "ok\n" {
		t.Fatalf("health: %d %s", code, out)
	}
	f.sick = errors.New("database gone")
	if code, _, _ := cliRun(t, "health"); code != 1 {
		t.Fatalf("health of a sick server: %d", code)
	}
	if err := os.WriteFile("data/admin.token", []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, e := cliRun(t, "admin", "user", "list"); code != 1 || !strings.Contains(e, "M_UNKNOWN_TOKEN") {
		t.Fatalf("wrong token: %d %s", code, e)
	}
}

// stdin makes the text standard input for the rest of the test.
func stdin(t *testing.T, text string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdin
	os.Stdin = r
	_, _ = w.WriteString(text)
	w.Close()
	t.Cleanup(func() { os.Stdin = old; r.Close() })
}

func TestTestDatabase_SameFolderSameDatabase(t *testing.T) {
	server := dbtest.PostgresURL(t)
	dir := t.TempDir()
	first, err := testDatabase(t.Context(), server, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := testDatabase(t.Context(), server, dir)
	if err != nil || again != first {
		t.Fatalf("%s, then %s %v", first, again, err)
	}
	db, err := sql.Open("postgres", first)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	fresh, err := testDatabase(t.Context(), server, dir)
	if err != nil || fresh == first {
		t.Fatalf("an emptied folder got the old database: %s %v", fresh, err)
	}
	admin, err := sql.Open("postgres", server)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := fresh[strings.LastIndex(fresh, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	if _, err := admin.ExecContext(t.Context(), "DROP DATABASE "+quoteIdent(name)); err != nil {
		t.Fatal(err)
	}
}

func TestTestserver_OpensWhatSuitesNeed(t *testing.T) {
	cfg := testCmd{ServerName: "hs1", DataDir: "/d", ClientAddr: "127.0.0.1:1", Secret: "s"}.config()
	if cfg.Limits.Enabled || len(cfg.Federation.DenyNetworks) > 0 || len(cfg.Push.DenyNetworks) > 0 || !cfg.Registration.Enabled ||
		cfg.Registration.RequireToken || !cfg.Test.OpenRegistration || len(cfg.Federation.TrustedKeyServers) > 0 || !cfg.Experimental.MSC3757 {
		t.Fatalf("%+v", cfg)
	}
}

func TestCoverage_CountsAndNamesWhatIsMissing(t *testing.T) {
	got := coverage([]web.Route{
		{Method: "GET", Path: "/_matrix/client/versions"}, {Method: "GET", Path: "/mine/{x}"},
		{Method: "GET", Path: "/_matrix/client/v3/pushrules"},
	}, []endpoint{
		{"client-server", "GET", "/_matrix/client/versions", "none", true}, {"client-server", "PUT", "/a/{b}", "none", false},
		{"client-server", "GET", "/_matrix/client/v3/pushrules/", "access_token", false}, {"identity-server", "GET", "/x", "none", false},
	})
	for _, want := range []string{
		"client-server        2 of 3", "PUT    /a/{b}", "GET    /mine/{x}", "0 of 1   (an identity",
		"not here\n\nGET    /_matrix/client/versions", "pushrules/   access_token, here none",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	if n := len(endpoints()); n != 235 {
		t.Errorf("%d endpoints", n)
	}
}
