package web_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

func start(t *testing.T, s *web.Server) (base string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, nil) }()
	var result error
	ended := false
	stop = func() error {
		if !ended {
			cancel()
			result, ended = <-done, true
		}
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + l.Addr().String(), stop
}

func TestServe_LongPollsEndAtShutdown(t *testing.T) {
	s := newServer(t, nil)
	entered := make(chan struct{})
	s.Handle(web.Route{Method: "GET", Path: "/poll", Handler: web.JSON(func(ctx context.Context, _ web.Requester, _ struct{}) (map[string]any, error) {
		wait, cancel := web.LongPoll(ctx, time.Hour)
		defer cancel()
		close(entered)
		<-wait.Done()
		return map[string]any{"alive": ctx.Err() == nil}, nil
	})})
	base, stop := start(t, s)
	got := make(chan string, 1)
	go func() {
		res, err := http.Get(base + "/poll")
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	<-entered
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if b := <-got; b != `{"alive":true}` {
		t.Fatalf("the poll got %s", b)
	}
}

func TestServe_PollSurvivesTheBodyDeadline(t *testing.T) {
	s := newServer(t, nil)
	type in struct {
		A int `json:"a"`
	}
	s.Handle(web.Route{Method: "POST", Path: "/poll", Handler: web.JSON(func(ctx context.Context, _ web.Requester, in in) (map[string]any, error) {
		wait, cancel := web.LongPoll(ctx, 50*time.Millisecond)
		defer cancel()
		<-wait.Done()
		return map[string]any{"a": in.A, "alive": ctx.Err() == nil}, nil
	})})
	base, _ := start(t, s)
	for range 2 { // the second on the same connection
		res, err := http.Post(base+"/poll", "application/json", strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(b) != `{"a":1,"alive":true}` {
			t.Fatalf("%s", b)
		}
	}
}

func TestServe_LargePromisedBodyIsRefusedWithoutReading(t *testing.T) {
	base, _ := start(t, echoServer(t, nil))
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /_matrix/client/v3/rooms/!a:hs/state/t/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Length: 99999999\r\n\r\n{")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Fatalf("status %d", res.StatusCode)
	}
}

func TestLimit_AnswersWith429(t *testing.T) {
	s := echoServer(t, func(c *config.Config) { c.Limits.Send = config.Bucket{PerSecond: 0.01, Burst: 2} })
	target := "/_matrix/client/v3/rooms/!a:hs/state/t/k"
	expect(t, ask(s, "PUT", target, "alice", "{}"), 200, "")
	expect(t, ask(s, "PUT", target, "alice", "{}"), 200, "")
	a := ask(s, "PUT", target, "alice", "{}")
	expect(t, a, 429, "M_LIMIT_EXCEEDED")
	if a.Header().Get("Retry-After") == "" {
		t.Fatal("no Retry-After")
	}
	expect(t, ask(s, "PUT", target, "admin", "{}"), 200, "")
	for range 5 {
		expect(t, ask(s, "PUT", target, "as", "{}"), 200, "")
	}
}

func TestClientAddr_ForwardedOnlyFromTrustedProxies(t *testing.T) {
	s := newServer(t, func(c *config.Config) {
		n, _ := config.ParseNetwork("10.0.0.0/8")
		c.Listen.TrustedProxies = []config.Network{n}
	})
	s.Handle(web.Route{Method: "GET", Path: "/addr", Handler: web.JSON(func(ctx context.Context, _ web.Requester, _ struct{}) (string, error) {
		return web.ClientAddr(ctx).String(), nil
	})})
	for _, tc := range []struct{ remote, forwarded, want string }{
		{"192.0.2.9:1", "203.0.113.5", "192.0.2.9"},
		{"10.1.1.1:1", "203.0.113.5", "203.0.113.5"},
		{"10.1.1.1:1", "1.1.1.1, 203.0.113.5, 10.2.2.2", "203.0.113.5"},
		{"10.1.1.1:1", "junk", "10.1.1.1"},
		{"10.1.1.1:1", "", "10.1.1.1"},
	} {
		r := httptest.NewRequest("GET", "/addr", nil)
		r.RemoteAddr = tc.remote
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		var got string
		_ = json.Unmarshal(w.Body.Bytes(), &got)
		if got != tc.want {
			t.Errorf("%+v: %s", tc, w.Body)
		}
	}
}

func TestGzip_OnlyLargeAnswersAndOnlyIfWanted(t *testing.T) {
	s := newServer(t, func(c *config.Config) { c.Listen.Gzip = true })
	big := strings.Repeat("x", 20000)
	s.Handle(web.Route{Method: "GET", Path: "/big", Handler: web.JSON(func(context.Context, web.Requester, struct{}) (string, error) { return big, nil })},
		web.Route{Method: "GET", Path: "/small", Handler: web.JSON(func(context.Context, web.Requester, struct{}) (string, error) { return "s", nil })})
	get := func(path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	w := get("/big", "br, gzip")
	if w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal("not compressed")
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(z); string(b) != `"`+big+`"` {
		t.Fatal("wrong content")
	}
	if get("/small", "gzip").Header().Get("Content-Encoding") != "" || get("/big", "").Header().Get("Content-Encoding") != "" {
		t.Fatal("compressed without need")
	}
}

func TestLanding_SpeaksTheReadersLanguage(t *testing.T) {
	s := newServer(t, nil)
	s.Handle(web.Route{Method: "GET", Path: "/", Handler: web.Landing(config.Default())})
	for accept, want := range map[string]string{"": "lang=\"en\"", "fr-FR,fr;q=0.9,en;q=0.8": "lang=\"fr\"", "it, de-AT;q=0.5": "lang=\"de\""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Language", accept)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "src=") {
			t.Fatalf("%q: %d %s", accept, w.Code, w.Body)
		}
	}
}

func TestRoutes_MistakesPanicAtStart(t *testing.T) {
	type good struct {
		RoomID string `path:"roomId"`
	}
	type typo struct {
		RoomID string `path:"roomID"`
	}
	type both struct {
		A string `query:"a" json:"a"`
	}
	type odd struct {
		A map[string]string `query:"a"`
	}
	h := func(h web.Handler, path string, limit web.Limit) func() {
		return func() { newServer(t, nil).Handle(web.Route{Method: "GET", Path: path, Handler: h, Limit: limit}) }
	}
	for name, fn := range map[string]func(){
		"typo":    h(web.JSON(func(context.Context, web.Requester, typo) (struct{}, error) { return struct{}{}, nil }), "/{roomId}", ""),
		"both":    h(web.JSON(func(context.Context, web.Requester, both) (struct{}, error) { return struct{}{}, nil }), "/x", ""),
		"odd":     h(web.JSON(func(context.Context, web.Requester, odd) (struct{}, error) { return struct{}{}, nil }), "/x", ""),
		"limit":   h(web.JSON(func(context.Context, web.Requester, struct{}) (struct{}, error) { return struct{}{}, nil }), "/x", "nope"),
		"none":    func() { newServer(t, nil).Handle(web.Route{Method: "GET", Path: "/x"}) },
		"pattern": h(web.JSON(func(context.Context, web.Requester, good) (struct{}, error) { return struct{}{}, nil }), "/{roomId", ""),
		"twice": func() {
			s := newServer(t, nil)
			r := web.Route{Method: "GET", Path: "/x", Handler: web.Landing(config.Default())}
			s.Handle(r, r)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}

func FuzzPathAndQuery(f *testing.F) {
	s := echoServer(f, func(c *config.Config) { c.Limits.Enabled = false })
	f.Add("/_matrix/client/v3/rooms/%21a%2F/state/t/k", "dir=f&limit=5&via=a&full=1")
	f.Add("/_matrix/client/r0/rooms/%FF/state//", "%zz=%00&&=&a=b=c;d")
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest("PUT", "/", strings.NewReader("{}"))
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, path, query
		r.Header.Set("Authorization", "Bearer alice")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
	})
}

func FuzzCheckJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\"}"}],"a":2}`))
	f.Add([]byte(`{"\u0061":1,"a":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		plain, peer := web.CheckJSON(body, false), web.CheckJSON(body, true)
		if plain == nil && !json.Valid(body) {
			t.Fatal("invalid JSON accepted")
		}
		if plain != nil && peer == nil {
			t.Fatal("peers may do more than clients")
		}
	})
}

func BenchmarkJSONRoute(b *testing.B) {
	s := echoServer(b, func(c *config.Config) { c.Limits.Send = config.Bucket{PerSecond: 1e6, Burst: 1e6} })
	body := `{"msgtype":"m.text","body":"hello, this is a message of common size","name":"x","count":1}`
	w := &sink{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/%21abcdefgh%3Aexample.org/state/m.room.message/m1234567?dir=f", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer alice")
		w.code = 0
		s.ServeHTTP(w, r)
		if w.code != 200 {
			b.Fatal(w.code)
		}
	}
}

type smallIn struct {
	Room string          `path:"roomId"`
	Body json.RawMessage `body:"raw"`
}

func BenchmarkRawBodyRoute(b *testing.B) {
	s := newServer(b, func(c *config.Config) { c.Limits.Send = config.Bucket{PerSecond: 1e6, Burst: 1e6} })
	out := web.Bytes(`{"event_id":"$abc"}`)
	s.Handle(web.Route{Method: "PUT", Path: "/send/{roomId}", Auth: web.User, Limit: web.LimitSend, Handler: web.JSON(func(context.Context, web.Requester, smallIn) (web.Bytes, error) { return out, nil })})
	body := `{"msgtype":"m.text","body":"hello, this is a message of common size"}`
	r := httptest.NewRequest("PUT", "/send/%21abcdefgh%3Aexample.org", nil)
	r.Header.Set("Authorization", "Bearer alice")
	r.ContentLength = int64(len(body))
	rd := strings.NewReader(body)
	w := &sink{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		rd.Reset(body)
		r.Body = io.NopCloser(rd)
		w.code = 0
		s.ServeHTTP(w, r)
		if w.code != 200 {
			b.Fatal(w.code)
		}
	}
}

type sink struct {
	h    http.Header
	code int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(code int)        { s.code = code }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
