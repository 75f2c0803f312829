package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var allVersions = []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}

// patience is how long something may take that takes no time on an idle machine.
const patience = 30 * time.Second

// world is one real server, and fake ones around it.
type world struct {
	t       *testing.T
	dir     string
	ca      *authority
	cert    tls.Certificate
	hs      *hs
	alice   *person // makes rooms
	bob     *person // shows that all is well
	mallory *fake
	friend  *fake // does no harm
	third   *fake
	safe    *stage

	mu     sync.Mutex
	stages map[string]*stage
	base   vitals
	seen   int64 // bytes of the log that were looked at
}

// hs is the process under test.
type hs struct {
	name, base, fed, admin string
	data, log              string
	args                   []string
	cmd                    *exec.Cmd
	ended                  chan struct{}
	env                    []string
	http                   *http.Client
}

// stage is a room of the server under test with everybody in it.
type stage struct {
	id      string
	version string
	fr, ff  *fakeRoom // as mallory and friend see it
	user    string    // mallory's user without power
	boss    string    // mallory's user of power 50
	pal     string    // friend's user
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), stages: map[string]*stage{}}
	w.ca = newAuthority(t, w.dir)
	var certFile, keyFile string
	hosts := []string{"localhost"}
	for i := 1; i < 10; i++ {
		hosts = append(hosts, fmt.Sprintf("127.0.0.%d", i))
	}
	w.cert, certFile, keyFile = w.ca.certify(t, "all", time.Now().Add(24*time.Hour), hosts...)
	w.mallory, w.friend = newFake(w, "127.0.0.1"), newFake(w, "127.0.0.2")
	w.hs = &hs{data: filepath.Join(w.dir, "data"), log: filepath.Join(w.dir, "hs.log"), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	services := filepath.Join(w.dir, "services")
	must(t, os.MkdirAll(w.hs.data, 0o700))
	must(t, os.MkdirAll(services, 0o700))
	client, fed := freeAddr(t, "127.0.0.1"), freeAddr(t, "127.0.0.1")
	w.hs.admin = freeAddr(t, "127.0.0.1")
	w.hs.name, w.hs.base, w.hs.fed = fed, "http://"+client, "https://"+fed
	w.hs.args = []string{"testserver", w.hs.name, w.hs.data, client, fed, certFile, keyFile, w.ca.file, "shared secret", services}
	w.hs.env = []string{"VIADUC_DATABASE=" + os.Getenv("VIADUC_HOSTILE_DB"), "VIADUC_TEST_ADMIN_LISTEN=" + w.hs.admin, "TZ=UTC"}
	w.launch()
	w.alice, w.bob = w.register("alice"), w.register("bob")
	w.safe = w.newStage(t, "11")
	w.base = w.vitals()
	if v := w.base; v.goroutines == 0 || v.requests == 0 || runtime.GOOS == "linux" && (v.files == 0 || v.rss == 0 || v.peak == 0 || v.cpu == 0) {
		t.Fatalf("the server cannot be measured: %+v", v)
	}
	return w
}

func freeAddr(t tb, ip string) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("%s:%d", ip, 10000+rand.IntN(20000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func (w *world) launch() {
	t, s := w.t, w.hs
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	cmd := exec.Command(binary, s.args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, s.data
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = dieWithParent()
	must(t, cmd.Start())
	ended := make(chan struct{})
	s.cmd, s.ended = cmd, ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	deadline := time.Now().Add(patience)
	for {
		res, err := http.Get(s.base + "/_matrix/client/versions")
		if err == nil {
			res.Body.Close()
			return
		}
		if !s.running() || time.Now().After(deadline) {
			t.Fatalf("the server does not start: %v\n%s", err, s.tail())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *hs) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// stop asks the process to end.
func (w *world) stop() {
	w.t.Helper()
	s := w.hs
	if !s.running() {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			w.t.Errorf("the server ended with %v\n%s", s.cmd.ProcessState, s.tail())
		}
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
		w.t.Errorf("the server does not end\n%s", s.tail())
	}
}

func (s *hs) tail() string {
	b, _ := os.ReadFile(s.log)
	return "--- log\n" + string(b[max(0, len(b)-8000):])
}

// person is a client.
type person struct {
	w             *world
	user, token   string
	device, since string
	rooms         fold // what increments of sync said
}

const password = "correct horse battery staple"

func (w *world) register(name string) *person {
	w.t.Helper()
	p := &person{w: w}
	r := p.do("POST", "/_matrix/client/v3/register", obj{"username": name, "password": password, "auth": obj{"type": "m.login.dummy"}})
	if r.status != 200 {
		w.t.Fatalf("registering %s: %s", name, r)
	}
	p.user, p.token, p.device = text(r.body, "user_id"), text(r.body, "access_token"), text(r.body, "device_id")
	return p
}

// do makes one request of a client. The body may be bytes or what encode writes.
func (p *person) do(method, uri string, body any, tweaks ...func(*http.Request)) reply {
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		rd = bytes.NewReader(b)
	case io.Reader:
		rd = b
	default:
		rd = bytes.NewReader(encode(b))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.w.hs.base+uri, rd)
	if err != nil {
		return reply{status: -1, raw: []byte(err.Error())}
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	for _, tw := range tweaks {
		tw(req)
	}
	res, err := p.w.hs.http.Do(req)
	if err != nil {
		return reply{status: -1, raw: []byte(err.Error())}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{status: -1, raw: []byte(err.Error())}
	}
	o := decodeObj(b)
	return reply{status: res.StatusCode, code: text(o, "errcode"), body: o, raw: b}
}

// ok demands 200.
func (p *person) ok(t tb, method, uri string, body any) obj {
	t.Helper()
	r := p.do(method, uri, body)
	if r.status != 200 {
		t.Fatalf("%s %s of %s: %s", method, uri, p.user, r)
	}
	return r.body
}

// csPath joins escaped parts to a path of the client API.
func csPath(parts ...string) string {
	return strings.Replace(fedPath("v3", parts...), "/federation/", "/client/", 1)
}

func (p *person) createRoom(t tb, version string, more obj) string {
	t.Helper()
	body := obj{"preset": "public_chat", "room_version": version}
	for k, v := range more {
		body[k] = v
	}
	return text(p.ok(t, "POST", csPath("createRoom"), body), "room_id")
}

func (p *person) send(t tb, room, body string) string {
	t.Helper()
	return text(p.ok(t, "PUT", csPath("rooms", room, "send", "m.room.message", unique("t")), obj{"msgtype": "m.text", "body": body}), "event_id")
}

// sees says whether the user gets an event.
func (p *person) sees(room, eventID string) bool {
	return p.do("GET", csPath("rooms", room, "event", eventID), nil).status == 200
}

// newStage makes a room and brings everybody into it.
func (w *world) newStage(t tb, version string, more ...obj) *stage {
	t.Helper()
	s := &stage{version: version, user: w.mallory.user("mallory"), boss: w.mallory.user("boss"), pal: w.friend.user("pal")}
	levels := obj{"users": obj{s.boss: 50, w.alice.user: 100}}
	if num(version) >= 12 {
		levels["users"] = obj{s.boss: 50}
	}
	create := obj{"power_level_content_override": levels}
	for _, m := range more {
		for k, v := range m {
			create[k] = v
		}
	}
	s.id = w.alice.createRoom(t, version, create)
	s.ff = w.friend.join(t, s.id, s.pal)
	s.fr = w.mallory.join(t, s.id, s.boss)
	w.mallory.join(t, s.id, s.user)
	return s
}

// stageOf is a room of a version that many rows use.
func (w *world) stageOf(t tb, version string) *stage {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stages[version] == nil {
		w.stages[version] = w.newStage(t, version)
	}
	return w.stages[version]
}

// until waits for a condition.
func until(t tb, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; !is(); wait = min(2*wait, 20*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(wait)
	}
}

// stranger is a server in no room.
func (w *world) stranger() *fake {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.third == nil {
		w.third = newFake(w, "127.0.0.3")
	}
	return w.third
}
