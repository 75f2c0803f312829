package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// world is a set of servers that trust one authority.
type world struct {
	t        testing.TB
	dir      string
	ca       *authority
	postgres string // URL of the database server, "" for SQLite
	servers  []*server
}

// server is one process of the binary, again and again on the same data.
type server struct {
	w         *world
	name      string // Matrix server name
	base      string // URL of the client API
	args      []string
	data      string
	services  string
	logFile   string
	cmd       *exec.Cmd
	ended     chan struct{} // closed when cmd has ended
	expectEnd bool
}

// eachEngine runs a test with servers on SQLite, and with servers on PostgreSQL.
func eachEngine(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("SQLite", func(t *testing.T) { test(t, newWorld(t, "")) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newWorld(t, dbtest.PostgresURL(t))) })
}

func newWorld(t testing.TB, postgres string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), postgres: postgres}
	w.ca = newAuthority(t, w.dir)
	t.Cleanup(w.end)
	return w
}

// add makes a server whose name is on the host, which is of this machine, and does not start it.
func (w *world) add(host string) *server {
	w.t.Helper()
	n := fmt.Sprintf("server%d", len(w.servers)+1)
	s := &server{w: w, data: filepath.Join(w.dir, n), services: filepath.Join(w.dir, n+"-services"), logFile: filepath.Join(w.dir, n+".log")}
	must(w.t, os.MkdirAll(s.data, 0o700))
	must(w.t, os.MkdirAll(s.services, 0o700))
	cert, key := w.ca.certify(w.t, n, host)
	client, fed := freeAddr(w.t), freeAddr(w.t)
	_, port, _ := net.SplitHostPort(fed)
	s.name = net.JoinHostPort(host, port)
	s.base = "http://" + client
	s.args = []string{"testserver", s.name, s.data, client, fed, cert, key, w.ca.file, "shared secret", s.services}
	w.servers = append(w.servers, s)
	return s
}

// start adds and starts servers with these hosts.
func (w *world) start(hosts ...string) []*server {
	w.t.Helper()
	var out []*server
	for _, h := range hosts {
		s := w.add(h)
		s.launch()
		out = append(out, s)
	}
	for _, s := range out {
		s.ready()
	}
	return out
}

// freeAddr finds a port below those that the system gives to outgoing connections:
// a server that is down must get its port again.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// launch starts the process; ready waits for it.
func (s *server) launch() {
	t := s.w.t
	t.Helper()
	log, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	cmd := exec.Command(binary, s.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = s.data
	cmd.Env = append(os.Environ(), "VIADUC_DATABASE="+s.w.postgres, "TZ=UTC")
	cmd.SysProcAttr = dieWithParent()
	must(t, cmd.Start())
	ended := make(chan struct{})
	s.cmd, s.ended, s.expectEnd = cmd, ended, false
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
}

// ready waits until the server answers.
func (s *server) ready() {
	t := s.w.t
	t.Helper()
	if err := s.answers(30 * time.Second); err != nil {
		t.Fatalf("%s does not start: %v\n%s", s.name, err, s.tail())
	}
}

func (s *server) answers(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/_matrix/client/versions", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the process has ended: %v", s.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("no answer in %v: %w", within, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// kill ends the process without a warning.
func (s *server) kill() { s.signal(syscall.SIGKILL) }

// stop asks the process to end, and demands that it does so well.
func (s *server) stop() {
	s.w.t.Helper()
	s.signal(syscall.SIGTERM)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.w.t.Errorf("%s ended with %v\n%s", s.name, s.cmd.ProcessState, s.tail())
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.w.t.Helper()
	s.expectEnd = true
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
		s.w.t.Errorf("%s does not end\n%s", s.name, s.tail())
	}
}

// restart stops and starts the server.
func (s *server) restart() {
	s.w.t.Helper()
	s.stop()
	s.launch()
	s.ready()
}

// running says whether the process has not ended.
func (s *server) running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// tail is the end of the log.
func (s *server) tail() string {
	text, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	const most = 8000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return "--- log of " + s.name + "\n" + string(text)
}

// end stops all servers, keeps their logs if asked to, and drops their databases.
func (w *world) end() {
	for _, s := range w.servers {
		if s.cmd == nil {
			continue
		}
		if !s.running() && !s.expectEnd {
			w.t.Errorf("%s ended by itself: %v", s.name, s.cmd.ProcessState)
		}
		if s.running() {
			s.stop()
		}
		s.keepLog()
		s.scanLog()
		if w.t.Failed() {
			w.t.Log(s.tail())
		}
		s.dropDatabase()
	}
}

// scanLog fails the test for what must never stand in a log.
func (s *server) scanLog() {
	text, _ := os.ReadFile(s.logFile)
	for line := range strings.Lines(string(text)) {
		for _, bad := range []string{"panic", "DATA RACE", `"level":"fatal"`, `"level":"error"`, "goroutine 1 ["} {
			if strings.Contains(line, bad) {
				s.w.t.Errorf("log of %s: %s", s.name, strings.TrimSpace(line))
			}
		}
	}
}

func (s *server) keepLog() {
	dir := artifacts()
	if dir == "" {
		return
	}
	name := strings.NewReplacer("/", "-", ":", "-").Replace(s.w.t.Name() + "-" + s.name)
	if text, err := os.ReadFile(s.logFile); err == nil {
		_ = os.MkdirAll(dir, 0o700)
		_ = os.WriteFile(filepath.Join(dir, name+".log"), text, 0o600)
	}
}

// artifacts is where logs and pictures are kept, "" for nowhere.
func artifacts() string { return os.Getenv("VIADUC_E2E_LOGS") }

func (s *server) dropDatabase() {
	name, err := os.ReadFile(filepath.Join(s.data, "database.name"))
	if s.w.postgres == "" || err != nil {
		return
	}
	db, err := sql.Open("postgres", s.w.postgres)
	if err != nil {
		s.w.t.Error(err)
		return
	}
	defer db.Close()
	if _, err := db.Exec(`DROP DATABASE IF EXISTS "` + strings.TrimSpace(string(name)) + `" WITH (FORCE)`); err != nil {
		s.w.t.Error(err)
	}
}
