package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a homeserver of our own making that can be told to misbehave.
type fake struct {
	signer
	name  string
	world *world
	http  *http.Client
	srv   *http.Server

	mu      sync.Mutex
	rooms   map[string]*fakeRoom
	answers map[string]answer
	asked   []string // "name path" of requests that came in
	pdus    []obj
	edus    []obj
	bodies  []obj // bodies of invites and of other writes
	news    chan struct{}
	old     []signer
}

// query is a request that came in.
type query struct {
	f      *fake
	name   string // such as make_join
	parts  []string
	values url.Values
	body   obj
	w      http.ResponseWriter
	r      *http.Request
}

// answer is what a fake answers: a status and a body that encode can write. Status 0: it has answered by itself.
type answer func(q *query) (int, any)

// newFake starts a fake server on a loopback address.
func newFake(w *world, ip string) *fake {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		w.t.Fatal(err)
	}
	return newFakeAt(w, l.Addr().String(), l)
}

// newFakeAt starts a fake server with a name of its own.
func newFakeAt(w *world, name string, l net.Listener) *fake {
	f := &fake{name: name, world: w, rooms: map[string]*fakeRoom{}, answers: map[string]answer{}, news: make(chan struct{})}
	f.signer = newSigner(name, "ed25519:1")
	f.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.ca.pool()}, MaxIdleConnsPerHost: 8}, Timeout: 2 * time.Minute}
	f.srv = &http.Server{Handler: f, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{w.cert}},
		ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = f.srv.ServeTLS(l, "", "") }()
	w.t.Cleanup(func() { _ = f.srv.Close(); f.http.CloseIdleConnections() })
	return f
}

func (f *fake) user(local string) string { return "@" + local + ":" + f.name }

// set makes the fake answer otherwise; the function undoes it.
func (f *fake) set(name string, a answer) (undo func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[name] = a
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.answers, name)
	}
}

// alter changes the usual answer.
func (f *fake) alter(name string, change func(o obj)) (undo func()) {
	return f.set(name, func(q *query) (int, any) {
		status, out := q.usual()
		if o, ok := out.(obj); ok {
			o = copyObj(o)
			change(o)
			return status, o
		}
		return status, out
	})
}

// askedFor counts the requests for which the text occurs in "name path".
func (f *fake) askedFor(part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, a := range f.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	return n
}

func (f *fake) room(id string) *fakeRoom {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rooms[id]
}

// noted wakes those who wait for something to come in.
func (f *fake) noted(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	close(f.news)
	f.news = make(chan struct{})
}

// await waits until a condition about what came in is true. It is asked with the lock held.
func (f *fake) await(within time.Duration, is func() bool) bool {
	deadline := time.After(within)
	for {
		f.mu.Lock()
		ok, news := is(), f.news
		f.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-news:
		case <-deadline:
			return false
		}
	}
}

// got waits for an event by its ID.
func (f *fake) got(fr *fakeRoom, eventID string, within time.Duration) bool {
	return f.await(within, func() bool {
		return slices.ContainsFunc(f.pdus, func(ev obj) bool { return text(ev, "room_id") == fr.id && idOf(fr.version, ev) == eventID })
	})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &query{f: f, w: w, r: r, values: r.URL.Query()}
	var segments []string
	for s := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		u, _ := url.PathUnescape(s)
		segments = append(segments, u)
	}
	switch {
	case len(segments) >= 4 && segments[1] == "federation":
		q.name, q.parts = segments[3], segments[4:]
	case len(segments) >= 4 && segments[1] == "key":
		q.name, q.parts = "key_"+segments[3], segments[4:]
	default:
		q.name = strings.Join(segments, "/")
	}
	if q.name == "user" || q.name == "query" || q.name == "media" {
		q.name += "_" + q.parts[0]
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	q.body = decodeObj(body)
	f.noted(func() { f.asked = append(f.asked, q.name+" "+r.URL.RequestURI()) })
	f.mu.Lock()
	a := f.answers[q.name]
	f.mu.Unlock()
	if a == nil {
		a = (*query).usual
	}
	status, out := a(q)
	if status == 0 {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if b, ok := out.([]byte); ok {
		_, _ = w.Write(b)
		return
	}
	_, _ = w.Write(encode(out))
}

// reply is an answer of the server under test.
type reply struct {
	status int
	code   string
	body   obj
	raw    []byte
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, clip(r.raw, 300)) }

// call is a request in the making.
type call struct {
	method, uri  string
	body         []byte
	dest         string
	origin       string
	by           signer
	signedURI    string
	signedBody   []byte
	signedMethod string
	headers      []string // Authorization, made from the above if nil
	shape        func(origin, dest, keyID, sig string) string
	more         http.Header
	chunked      bool
}

type tweak func(*call)

// call makes a signed request to the server under test. The body may be anything that encode writes, or bytes.
func (f *fake) call(t testing.TB, method, uri string, body any, tweaks ...tweak) reply {
	t.Helper()
	c := &call{method: method, uri: uri, dest: f.world.hs.name, origin: f.name, by: f.signer, signedURI: uri, signedMethod: method}
	switch b := body.(type) {
	case nil:
	case []byte:
		c.body = b
	default:
		c.body = encode(b)
	}
	c.signedBody = c.body
	for _, tw := range tweaks {
		tw(c)
	}
	return f.send(t, c)
}

func (f *fake) send(t testing.TB, c *call) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var rd io.Reader
	if c.body != nil {
		rd = bytes.NewReader(c.body)
		if c.chunked {
			rd = io.MultiReader(rd)
		}
	}
	req, err := http.NewRequestWithContext(ctx, c.method, "https://"+f.world.hs.name+c.uri, rd)
	must(t, err)
	if c.headers == nil {
		c.headers = []string{c.header()}
	}
	for k, v := range c.more {
		req.Header[k] = v
	}
	req.Header["Authorization"] = c.headers
	res, err := f.http.Do(req)
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

// header signs the request.
func (c *call) header() string {
	o := obj{"method": c.signedMethod, "uri": c.signedURI, "origin": c.origin}
	if c.dest != "" {
		o["destination"] = c.dest
	}
	if c.signedBody != nil {
		o["content"] = raw(c.signedBody)
	}
	sig := c.by.of(o)
	if c.shape != nil {
		return c.shape(c.origin, c.dest, c.by.keyID, sig)
	}
	return xMatrix(c.origin, c.dest, c.by.keyID, sig)
}

func xMatrix(origin, dest, keyID, sig string) string {
	h := fmt.Sprintf(`X-Matrix origin="%s",key="%s",sig="%s"`, origin, keyID, sig)
	if dest != "" {
		h += fmt.Sprintf(`,destination="%s"`, dest)
	}
	return h
}

// fedPath joins escaped parts to a path of the federation API.
func fedPath(version string, parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/_matrix/federation/" + version + "/" + strings.Join(parts, "/")
}

// transact sends PDUs and EDUs.
func (f *fake) transact(t testing.TB, pdus, edus []any, tweaks ...tweak) reply {
	t.Helper()
	if pdus == nil {
		pdus = []any{}
	}
	body := obj{"origin": f.name, "origin_server_ts": time.Now().UnixMilli(), "pdus": pdus}
	if edus != nil {
		body["edus"] = edus
	}
	return f.call(t, "PUT", fedPath("v1", "send", unique("txn")), body, tweaks...)
}

// join enters a room of the server under test.
func (f *fake) join(t testing.TB, roomID, user string) *fakeRoom {
	t.Helper()
	fr, r := f.tryJoin(t, roomID, user)
	if fr == nil {
		t.Fatalf("%s cannot join %s: %s", user, roomID, r)
	}
	return fr
}

func (f *fake) tryJoin(t testing.TB, roomID, user string) (*fakeRoom, reply) {
	t.Helper()
	ev, version, r := f.template(t, "join", roomID, user)
	if ev == nil {
		return nil, r
	}
	f.seal(version, ev)
	r = f.call(t, "PUT", fedPath("v2", "send_join", roomID, idOf(version, ev)), ev)
	if r.status != 200 {
		return nil, r
	}
	fr := f.room(roomID)
	if fr == nil {
		fr = newFakeRoom(f, roomID, version)
		f.mu.Lock()
		f.rooms[roomID] = fr
		f.mu.Unlock()
	}
	for _, x := range append(list(r.body, "auth_chain"), list(r.body, "state")...) {
		fr.add(x.(obj))
	}
	joined := ev
	if back, ok := r.body["event"].(obj); ok {
		joined = back
	}
	fr.add(joined)
	fr.setEnds(idOf(version, joined))
	return fr, r
}

// template asks for a membership event and completes it, unsealed.
func (f *fake) template(t testing.TB, kind, roomID, user string) (ev obj, version string, r reply) {
	t.Helper()
	uri := fedPath("v1", "make_"+kind, roomID, user)
	if kind != "leave" {
		uri += "?ver=" + strings.Join(allVersions, "&ver=")
	}
	r = f.call(t, "GET", uri, nil)
	ev, _ = r.body["event"].(obj)
	if r.status != 200 || ev == nil {
		return nil, "", r
	}
	version = text(r.body, "room_version")
	if num(version) <= 2 {
		ev["event_id"] = "$" + unique("e") + ":" + f.name
	}
	ev["origin_server_ts"] = time.Now().UnixMilli()
	return ev, version, r
}

// newer is the room as the server has it, by the events that it sent.
func (f *fake) takePDU(ev obj) {
	if fr := f.room(text(ev, "room_id")); fr != nil {
		fr.add(ev)
	}
}
