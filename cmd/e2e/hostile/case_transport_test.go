package hostile

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// probe is a request that needs a signature and does nothing.
func (t *trial) probe() string {
	return fedPath("v1", "query", "profile") + "?user_id=" + url.QueryEscape(t.alice.user)
}

// denied demands a status, and Matrix's form of an error.
func (t *trial) denied(what string, r reply, statuses ...int) {
	t.Helper()
	for _, s := range statuses {
		if r.status == s {
			if s >= 400 && r.code == "" {
				t.Errorf("%s: %s without an errcode", what, r)
			}
			return
		}
	}
	t.Errorf("%s: %s, expected %v", what, r, statuses)
}

func headers(h ...string) tweak { return func(c *call) { c.headers = append([]string{}, h...) } }

func shaped(fn func(origin, dest, keyID, sig string) string) tweak {
	return func(c *call) { c.shape = fn }
}

var _ = register(1, func(t *trial) {
	for _, uri := range []string{t.probe(), fedPath("v1", "publicRooms"), fedPath("v1", "event", "$x"), fedPath("v1", "backfill", "!x:y")} {
		t.denied("no header", t.m.call(t, "GET", uri, nil, func(c *call) { c.headers = []string{} }), 401)
	}
	r := t.m.call(t, "PUT", fedPath("v1", "send", "1"), []byte("not json"), func(c *call) { c.headers = []string{} })
	t.denied("no header and no JSON", r, 401)
	if r.code != "M_UNAUTHORIZED" {
		t.Errorf("the code is %s", r.code)
	}
})

var _ = register(2, func(t *trial) {
	for _, h := range []string{"Bearer " + t.alice.token, "Basic YTpi", "X-Matrix", "X-Matrix ", "garbage", "X-Matrix origin", "X-Matrixx origin=a", "\"", "X-Matrix ,,,"} {
		t.denied(h, t.m.call(t, "GET", t.probe(), nil, headers(h)), 401)
	}
})

var _ = register(3, func(t *trial) {
	for _, dest := range []string{"elsewhere.example", t.m.name, strings.ToUpper("localhost"), t.w.hs.name + ".", t.w.hs.name + "0"} {
		t.denied(dest, t.m.call(t, "GET", t.probe(), nil, func(c *call) { c.dest = dest }), 401)
	}
})

var _ = register(4, func(t *trial) {
	t.denied("no destination", t.m.call(t, "GET", t.probe(), nil, func(c *call) { c.dest = "" }), 200)
})

var _ = register(5, func(t *trial) {
	r := t.m.call(t, "GET", t.probe(), nil, func(c *call) { c.origin = t.w.friend.name })
	t.denied("the signature of another server", r, 401)
	r = t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), obj{"pdus": []any{}}, func(c *call) { c.origin = t.w.friend.name })
	t.denied("the signature of another server", r, 401)
	t.denied("the server itself afterwards", t.w.friend.call(t, "GET", t.probe(), nil), 200)
})

var _ = register(6, func(t *trial) {
	uri := fedPath("v1", "query", "profile") + "?user_id=" + url.QueryEscape(t.alice.user) + "&field=displayname"
	other := fedPath("v1", "query", "profile") + "?field=displayname&user_id=" + url.QueryEscape(t.alice.user)
	signed := func(s string) tweak { return func(c *call) { c.signedURI = s } }
	t.denied("query in another order", t.m.call(t, "GET", uri, nil, signed(other)), 401)
	t.denied("without query", t.m.call(t, "GET", uri, nil, signed(fedPath("v1", "query", "profile"))), 401)
	t.denied("other case", t.m.call(t, "GET", uri, nil, signed(strings.ToUpper(uri))), 401)
	t.denied("decoded", t.m.call(t, "GET", uri, nil, signed(strings.ReplaceAll(uri, "%40", "@"))), 401)
	t.denied("another method", t.m.call(t, "GET", uri, nil, func(c *call) { c.signedMethod = "PUT" }), 401)
	plain := strings.ReplaceAll(uri, "%40", "@")
	t.denied("undecoded as sent", t.m.call(t, "GET", plain, nil), 200)
})

var _ = register(7, func(t *trial) {
	uri := fedPath("v1", "send", unique("t"))
	good := []byte(`{"edus":[],"origin":"` + t.m.name + `","origin_server_ts":1,"pdus":[]}`)
	t.denied("altered", t.m.call(t, "PUT", uri, good, func(c *call) { c.body = []byte(`{"origin":"x","pdus":[]}`) }), 401)
	t.denied("signed without its body", t.m.call(t, "PUT", uri, good, func(c *call) { c.signedBody = nil }), 401)
	t.denied("signed with a body that is not there", t.m.call(t, "PUT", uri, good, func(c *call) { c.body = nil }), 401)
	t.denied("GET with a body that is not signed", t.m.call(t, "GET", t.probe(), good, func(c *call) { c.signedBody = nil }), 401, 400)
	t.denied("spaces do not matter", t.m.call(t, "PUT", uri, good, func(c *call) { c.body = bytes.ReplaceAll(good, []byte(","), []byte(" ,\n")) }), 200)
})

var _ = register(8, func(t *trial) {
	c := &call{method: "GET", uri: t.probe(), origin: t.m.name, dest: t.w.hs.name, by: t.m.signer, signedURI: t.probe(), signedMethod: "GET"}
	d := *c
	d.origin, d.by = t.w.friend.name, t.w.friend.signer
	t.denied("two origins", t.m.call(t, "GET", t.probe(), nil, headers(c.header(), d.header())), 401)
	t.denied("two origins, otherwise", t.m.call(t, "GET", t.probe(), nil, headers(d.header(), c.header())), 401)
})

var _ = register(9, func(t *trial) {
	c := &call{method: "GET", uri: t.probe(), origin: t.m.name, dest: t.w.hs.name, by: t.m.signer, signedURI: t.probe(), signedMethod: "GET"}
	unknown := *c
	unknown.by = newSigner(t.m.name, "ed25519:unknown")
	wrong := *c
	wrong.by = newSigner(t.m.name, t.m.keyID)
	t.denied("an unknown key beside a good one", t.m.call(t, "GET", t.probe(), nil, headers(unknown.header(), c.header())), 200)
	t.denied("a good one beside an unknown key", t.m.call(t, "GET", t.probe(), nil, headers(c.header(), unknown.header())), 200)
	t.denied("only an unknown key", t.m.call(t, "GET", t.probe(), nil, headers(unknown.header())), 401)
	t.denied("the known key ID with another key", t.m.call(t, "GET", t.probe(), nil, headers(wrong.header())), 401)
})

var _ = register(10, func(t *trial) {
	type form = func(origin, dest, keyID, sig string) string
	for name, fn := range map[string]form{
		"no quotes": func(o, d, k, s string) string {
			return "X-Matrix origin=" + o + ",destination=" + d + ",key=" + k + ",sig=" + s
		},
		"spaces": func(o, d, k, s string) string {
			return fmt.Sprintf("X-Matrix  origin=%q , destination=%q ,\tkey=%q , sig=%q", o, d, k, s)
		},
		"capitals": func(o, d, k, s string) string {
			return fmt.Sprintf("x-MATRIX ORIGIN=%q,Destination=%q,KEY=%q,Sig=%q", o, d, k, s)
		},
		"escapes": func(o, d, k, s string) string {
			return fmt.Sprintf(`X-Matrix origin="\%s",destination=%q,key="e\d25519:1",sig=%q`, o, d, s)
		},
		"unknown names": func(o, d, k, s string) string {
			return fmt.Sprintf(`X-Matrix foo=bar,origin=%q,x="a,b=c",destination=%q,key=%q,sig=%q`, o, d, k, s)
		},
		"another order": func(o, d, k, s string) string {
			return fmt.Sprintf(`X-Matrix sig=%q,key=%q,destination=%q,origin=%q`, s, k, d, o)
		},
	} {
		t.denied(name, t.m.call(t, "GET", t.probe(), nil, shaped(fn)), 200)
	}
})

var _ = register(11, func(t *trial) {
	many := "X-Matrix " + strings.Repeat("a=b,", 10_000) + "origin=x"
	for name, h := range map[string]string{"1 MiB": "X-Matrix origin=\"" + strings.Repeat("a", 1<<20) + "\"", "10,000 parameters": many,
		"no end": "X-Matrix origin=\"" + strings.Repeat(`\"`, 10_000), "backslash at the end": `X-Matrix origin="a\`, "twice": `X-Matrix origin=a,origin=b,key="ed25519:1",sig=x`} {
		start := time.Now()
		r := t.m.call(t, "GET", t.probe(), nil, headers(h))
		if r.status != 431 && r.status != 400 && r.status != 401 {
			t.Errorf("%s: %s", name, r)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
})

var _ = register(12, func(t *trial) {
	r := t.m.call(t, "GET", t.probe(), nil, func(c *call) { c.origin = t.w.hs.name })
	t.denied("our own name", r, 401, 403)
})

var _ = register(14, func(t *trial) {
	f := newFake(t.w, "127.0.0.4")
	old := newSigner(f.name, "ed25519:old")
	f.old = append(f.old, old)
	t.denied("the new key", f.call(t, "GET", t.probe(), nil), 200)
	t.denied("the old key", f.call(t, "GET", t.probe(), nil, func(c *call) { c.by = old }), 401)
})

// badNames are not names of servers.
var badNames = []string{"example.org:port", "example.org:999999", "example.org:-1", "example.org:", ":8448", "", "exa mple.org", "[::1", "[::g]", "example.org:80:80",
	"münchen.example", "under_score.example", "exämple", strings.Repeat("a", 300), "a\x00b", "user@example.org", "example.org/path"}

var _ = register(15, func(t *trial) {
	for _, n := range badNames {
		if strings.ContainsAny(n, "\x00") {
			continue
		}
		h := xMatrix(n, t.w.hs.name, "ed25519:1", t.m.of(obj{"a": "b"}))
		t.denied("origin "+n, t.m.call(t, "GET", t.probe(), nil, headers(h)), 400, 401)
	}
	for _, n := range badNames {
		q := url.QueryEscape("@alice:" + n)
		t.denied("profile of "+n, t.m.call(t, "GET", fedPath("v1", "query", "profile")+"?user_id="+q, nil), 400, 403, 404)
		t.denied("join "+n, t.alice.do("POST", csPath("join", "!x:"+n), obj{}), 400, 404, 403)
		t.denied("profile, by a client "+n, t.alice.do("GET", csPath("profile", "@alice:"+n), nil), 400, 404, 403)
		t.denied("media "+n, t.alice.do("GET", "/_matrix/client/v1/media/download/"+url.PathEscape(n)+"/x", nil), 400, 404)
		t.denied("alias "+n, t.alice.do("GET", csPath("directory", "room", "#x:"+n), nil), 400, 404)
	}
})

var _ = register(16, func(t *trial) {
	for _, n := range []string{strings.Repeat("a", 240) + ".example", "EXAMPLE.ORG", "example.org.", "ехаmple.org", "a_b.example"} {
		h := xMatrix(n, t.w.hs.name, "ed25519:1", t.m.of(obj{"a": "b"}))
		t.denied("origin "+n, t.m.call(t, "GET", t.probe(), nil, headers(h)), 400, 401)
	}
	upper := "LOCALHOST" + t.m.name[strings.LastIndex(t.m.name, ":"):]
	t.denied("another spelling is another name", t.m.call(t, "GET", t.probe(), nil, func(c *call) { c.origin = upper }), 401)
})

// A server whose certificate is not for its name must not get any request.
var _ = register(23, func(t *trial) {
	other, _, _ := t.w.ca.certify(t, "other", time.Now().Add(time.Hour), "127.0.0.99", "elsewhere.example")
	late, _, _ := t.w.ca.certify(t, "late", time.Now().Add(-time.Hour), "127.0.0.5")
	strange := newAuthority(t, t.TempDir())
	alone, _, _ := strange.certify(t, "alone", time.Now().Add(time.Hour), "127.0.0.5")
	for name, cert := range map[string]tls.Certificate{"another host": other, "expired": late, "another authority": alone} {
		var requests atomic.Int64
		l, err := tls.Listen("tcp", "127.0.0.5:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		must(t, err)
		srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }), ReadHeaderTimeout: time.Second,
			ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = srv.Serve(l) }()
		server := l.Addr().String()
		r := t.alice.do("POST", csPath("join", "!x:"+server)+"?via="+server, obj{})
		t.denied(name, r, 404, 403, 502)
		r = t.alice.do("GET", "/_matrix/client/v1/media/download/"+server+"/abc", nil)
		t.denied(name, r, 404, 502)
		if n := requests.Load(); n > 0 {
			t.Errorf("%s: %d requests were sent", name, n)
		}
		_ = srv.Close()
	}
})

var _ = register(25, func(t *trial) {
	const most = 200 * 64 << 10
	uri := fedPath("v1", "send", unique("t"))
	r := t.m.call(t, "PUT", uri, bytes.Repeat([]byte(" "), most+1))
	if r.status != 413 || r.code != "M_TOO_LARGE" {
		t.Errorf("with length: %s", r)
	}
	r = t.m.call(t, "PUT", uri, bytes.Repeat([]byte(" "), most+1), func(c *call) { c.chunked = true })
	if r.status != 413 && r.status != -1 {
		t.Errorf("in chunks: %s", r)
	}
	r = t.alice.do("POST", csPath("createRoom"), io.LimitReader(spaces{}, 50<<20))
	if r.status != 413 && r.status != -1 {
		t.Errorf("of a client: %s", r)
	}
	// An honest head and an endless body.
	conn, err := tls.Dial("tcp", t.w.hs.name, &tls.Config{RootCAs: t.w.ca.pool()})
	must(t, err)
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\nAuthorization: %s\r\n\r\n", uri, xMatrix(t.m.name, t.w.hs.name, "ed25519:1", "x"))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 12)
	if _, err := io.ReadFull(conn, b); err != nil || !strings.HasPrefix(string(b[9:]), "413") && !strings.HasPrefix(string(b[9:]), "401") {
		t.Errorf("a length of a terabyte: %q %v", b, err)
	}
})

// spaces never ends.
type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

var _ = register(28, func(t *trial) {
	for _, body := range []string{"nonsense", "{", `{"pdus":[]`, `{"pdus":[]} trailing`, `{"pdus":NaN}`, "\xff\xfe{}", "'a'", "{\"a\":01}"} {
		r := t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), []byte(body))
		t.denied("transaction "+body, r, 400)
		if r.code != "M_NOT_JSON" && r.code != "M_BAD_JSON" {
			t.Errorf("transaction %s: %s", body, r)
		}
	}
	for _, body := range []string{"[]", "null", `"text"`, "1", "[[]]"} {
		t.denied("transaction "+body, t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), []byte(body)), 400)
		t.denied("query "+body, t.m.call(t, "POST", fedPath("v1", "user", "keys", "query"), []byte(body)), 400)
	}
	for _, body := range []string{"nonsense", "{", "[]", "null", `{"room_version":"12"} x`, `"a"`} {
		r := t.alice.do("POST", csPath("createRoom"), []byte(body))
		t.denied("client "+body, r, 400)
		if r.code != "M_NOT_JSON" && r.code != "M_BAD_JSON" {
			t.Errorf("client %s: %s", body, r)
		}
	}
})

var _ = register(27, func(t *trial) {
	r := t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), []byte(`{"origin":"a","origin":"b","pdus":[]}`))
	t.denied("a key twice", r, 400)
	t.denied("a key twice in depth", t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), []byte(`{"edus":[],"pdus":[{"a":1,"a":2}]}`)), 400)
})

var _ = register(26, func(t *trial) {
	r := t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), func(c *call) { c.more = http.Header{"Content-Encoding": {"gzip"}} })
	t.denied("gzip", r, 400, 401, 415)
	r = t.alice.do("POST", csPath("createRoom"), []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
	t.denied("gzip of a client", r, 400, 415)
})
