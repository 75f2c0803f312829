package hostile

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// keyCase starts a server with a wrong answer about its keys and says what a signed request of it gets.
func (t *trial) keyCase(change func(f *fake, q *query) (int, any)) reply {
	t.Helper()
	f := newFake(t.w, "127.0.0.4")
	f.set("key_server", func(q *query) (int, any) { return change(f, q) })
	return f.call(t, "GET", t.probe(), nil)
}

// altered is the usual document, changed and signed again.
func (f *fake) altered(change func(doc obj)) obj {
	doc := f.keyDocument(time.Now().Add(24 * time.Hour).UnixMilli())
	delete(doc, "signatures")
	change(doc)
	f.signJSON(doc)
	return doc
}

var _ = register(29, func(t *trial) {
	r := t.keyCase(func(f *fake, _ *query) (int, any) {
		return 200, f.altered(func(d obj) { d["server_name"] = t.w.friend.name })
	})
	t.denied("keys of another server", r, 401)
	t.denied("that server", t.w.friend.call(t, "GET", t.probe(), nil), 200)
})

var _ = register(30, func(t *trial) {
	r := t.keyCase(func(f *fake, _ *query) (int, any) {
		d := f.altered(func(obj) {})
		delete(d, "signatures")
		return 200, d
	})
	t.denied("no signature", r, 401)
	r = t.keyCase(func(f *fake, _ *query) (int, any) {
		d := f.altered(func(obj) {})
		delete(d, "signatures")
		newSigner(f.name, f.keyID).signJSON(d)
		return 200, d
	})
	t.denied("signed by another key", r, 401)
	r = t.keyCase(func(f *fake, _ *query) (int, any) {
		d := f.altered(func(obj) {})
		d["signatures"] = obj{t.m.name: obj{t.m.keyID: t.m.of(without(d, "signatures"))}}
		return 200, d
	})
	t.denied("signed by another server", r, 401)
})

// until is what a notary tells about the validity of a server's keys.
func (t *trial) notary(server, query string) (docs []any, r reply) {
	t.Helper()
	r = t.w.friend.call(t, "GET", "/_matrix/key/v2/query/"+server+query, nil, func(c *call) { c.headers = []string{} })
	return list(r.body, "server_keys"), r
}

var _ = register(31, func(t *trial) {
	r := t.keyCase(func(f *fake, _ *query) (int, any) {
		return 200, f.altered(func(d obj) { d["valid_until_ts"] = int64(253402300799000) })
	})
	t.denied("valid for ever", r, 200)
	for name, v := range map[string]any{"text": "soon", "missing": nil, "negative": -1, "in the past": 1000, "float": raw("1.5"), "list": []any{}} {
		r = t.keyCase(func(f *fake, _ *query) (int, any) {
			return 200, f.altered(func(d obj) {
				if d["valid_until_ts"] = v; v == nil {
					delete(d, "valid_until_ts")
				}
			})
		})
		t.denied(name, r, 401)
	}
})

// A key that was valid only until an hour ago must not sign a new event where the room version says so.
var _ = register(32, func(t *trial) { t.expiredKey(false) })
var _ = register(33, func(t *trial) { t.expiredKey(true) })

func (t *trial) expiredKey(tolerated bool) {
	t.Helper()
	f := newFake(t.w, "127.0.0.4")
	f.set("key_server", func(*query) (int, any) { return 200, f.keyDocument(time.Now().Add(time.Hour).UnixMilli()) })
	room := t.alice.createRoom(t, t.v, nil)
	fr := f.join(t, room, f.user("eve"))
	s := &stage{id: room, version: t.v, fr: fr}
	ev := fr.proto(f.user("eve"), "m.room.message", nil, obj{"body": "from the future", "msgtype": "m.text"})
	ev["origin_server_ts"] = time.Now().Add(30 * 24 * time.Hour).UnixMilli() // later than any key may be trusted
	f.seal(t.v, ev)
	good := fr.proto(f.user("eve"), "m.room.message", nil, obj{"body": "now", "msgtype": "m.text"})
	f.seal(t.v, good)
	r := f.transact(t, []any{ev, good}, nil)
	if r.status != 200 {
		t.Fatalf("the transaction was answered %s", r)
	}
	t.accepted(s, good)
	fr.add(good)
	if tolerated {
		t.accepted(s, ev)
		return
	}
	fence := fr.say(f.user("eve"), "m.room.message", nil, obj{"body": "fence", "msgtype": "m.text"})
	f.transact(t, []any{fence}, nil)
	t.accepted(s, fence)
	t.absent("an event later than its key", s, idOf(t.v, ev), "")
	if n := f.askedFor("key_server"); n > 3 {
		t.Errorf("the keys were asked for %d times", n)
	}
}

var _ = register(35, func(t *trial) {
	f := newFake(t.w, "127.0.0.4")
	t.denied("at first", f.call(t, "GET", t.probe(), nil), 200)
	f.set("key_server", func(*query) (int, any) {
		d := f.altered(func(d obj) { d["verify_keys"] = obj{"ed25519:other": obj{"key": newSigner("x", "y").public()}} })
		return 200, d
	})
	// An unknown key makes the server look again; what it finds is not signed.
	t.denied("an unknown key", f.call(t, "GET", t.probe(), nil, func(c *call) { c.by = newSigner(f.name, "ed25519:2") }), 401)
	t.denied("the good key, still", f.call(t, "GET", t.probe(), nil), 200)
	docs, r := t.notary(f.name, "?minimum_valid_until_ts=9007199254740991")
	if len(docs) != 1 || text(docs[0], "verify_keys", f.keyID, "key") != f.public() {
		t.Errorf("as a notary: %s", r)
	}
})

var _ = register(36, func(t *trial) {
	servers := obj{}
	for i := range 101 {
		servers[fmt.Sprintf("s%d.example", i)] = obj{}
	}
	r := t.m.call(t, "POST", "/_matrix/key/v2/query", obj{"server_keys": servers}, func(c *call) { c.headers = []string{} })
	t.denied("many servers", r, 400)
	keys := obj{}
	for i := range 100_000 {
		keys[fmt.Sprintf("ed25519:%d", i)] = obj{}
	}
	r = t.m.call(t, "POST", "/_matrix/key/v2/query", obj{"server_keys": obj{t.w.friend.name: keys}}, func(c *call) { c.headers = []string{} })
	t.denied("many keys", r, 200, 400, 413)
})

var _ = register(38, func(t *trial) {
	f := newFake(t.w, "127.0.0.4")
	for range 5 {
		docs, r := t.notary(f.name, "?minimum_valid_until_ts=9007199254740992")
		if len(docs) != 1 {
			t.Fatalf("no document: %s", r)
		}
	}
	if n := f.askedFor("key_server"); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
	for _, q := range []string{"?minimum_valid_until_ts=-1", "?minimum_valid_until_ts=x", "?minimum_valid_until_ts=1e5", "?minimum_valid_until_ts=99999999999999999999"} {
		if _, r := t.notary(f.name, q); r.status != 200 && r.status != 400 {
			t.Errorf("%s: %s", q, r)
		}
	}
})

var _ = register(39, func(t *trial) {
	f := newFake(t.w, "127.0.0.4")
	f.set("key_server", func(*query) (int, any) { return 200, f.keyDocument(time.Now().Add(-time.Hour).UnixMilli()) })
	if docs, r := t.notary(f.name, ""); len(docs) != 1 {
		t.Errorf("an expired document: %s", r)
	}
	must(t, f.srv.Close())
	docs, r := t.notary(f.name, "?minimum_valid_until_ts=9007199254740991")
	if len(docs) != 1 || text(docs[0], "server_name") != f.name {
		t.Errorf("an expired document of a server that is gone: %s", r)
	}
	if docs, r := t.notary("127.0.0.4:9", ""); r.status != 200 || len(docs) != 0 {
		t.Errorf("a server that never was: %s", r)
	}
})

var _ = register(41, func(t *trial) {
	r := t.keyCase(func(f *fake, _ *query) (int, any) {
		return 200, f.altered(func(d obj) {
			keys := d["verify_keys"].(obj)
			keys["rsa:1"] = obj{"key": "AAAA"}
			keys["ed25519:short"] = obj{"key": b64(make([]byte, 31))}
			keys["ed25519:long"] = obj{"key": b64(make([]byte, 33))}
			keys["ed25519:number"] = obj{"key": 5}
			keys["ed25519:null"] = nil
			keys["ed25519:list"] = []any{}
			keys["ed25519:padded"] = obj{"key": newSigner("x", "y").public() + "="}
			keys[""] = obj{"key": newSigner("x", "y").public()}
			keys["nonsense"] = obj{"key": newSigner("x", "y").public()}
			d["old_verify_keys"] = obj{"ed25519:a": obj{"key": "AAAA"}, "ed25519:b": nil, "ed25519:c": obj{"key": newSigner("x", "y").public(), "expired_ts": "x"}}
		})
	})
	t.denied("bad keys beside a good one", r, 200)
	r = t.keyCase(func(f *fake, _ *query) (int, any) {
		d := f.altered(func(obj) {})
		d["signatures"].(obj)[f.name].(obj)["rsa:1"] = "AAAA"
		d["signatures"].(obj)[f.name].(obj)["ed25519:long"] = b64(make([]byte, 65))
		d["signatures"].(obj)[f.name].(obj)["ed25519:none"] = nil
		return 200, d
	})
	t.denied("bad signatures beside a good one", r, 200)
	for _, keyID := range []string{"rsa:1", "ed25519", "ed25519:", ":1", "ed25519:1 2"} {
		r := t.m.call(t, "GET", t.probe(), nil, func(c *call) { c.by = signer{t.m.name, keyID, t.m.key} })
		t.denied("header with key "+keyID, r, 401)
	}
	h := xMatrix(t.m.name, t.w.hs.name, t.m.keyID, b64(make([]byte, 65)))
	t.denied("long signature", t.m.call(t, "GET", t.probe(), nil, headers(h)), 401)
	t.denied("no signature", t.m.call(t, "GET", t.probe(), nil, headers(xMatrix(t.m.name, t.w.hs.name, t.m.keyID, ""))), 401)
})

var _ = register(42, func(t *trial) {
	f := newFake(t.w, "127.0.0.4")
	t.denied("at first", f.call(t, "GET", t.probe(), nil), 200)
	old := f.signer
	f.signer = newSigner(f.name, old.keyID)
	r := f.call(t, "GET", t.probe(), nil)
	t.denied("a new key under the old name, before it is fetched", r, 401, 200)
	t.denied("the old one", f.call(t, "GET", t.probe(), nil, func(c *call) { c.by = old }), 200, 401)
})

var _ = register(43, func(t *trial) {
	r := t.keyCase(func(f *fake, _ *query) (int, any) {
		return 200, f.altered(func(d obj) {
			for i := range 10_000 {
				d["verify_keys"].(obj)[fmt.Sprintf("ed25519:k%d", i)] = obj{"key": f.public()}
			}
		})
	})
	t.denied("many keys", r, 200, 401)
	r = t.keyCase(func(_ *fake, q *query) (int, any) {
		q.w.WriteHeader(200)
		for range 1000 {
			if _, err := q.w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
				break
			}
		}
		return 0, nil
	})
	t.denied("a document without end", r, 401)
})

// Rows that the page does not have: what other servers answer is not for our clients.
var _ = register(301, func(t *trial) {
	f := newFake(t.w, "127.0.0.4")
	evil := func(status int, code string) answer {
		return func(*query) (int, any) {
			return status, obj{"errcode": code, "error": strings.Repeat("x", 100), "soft_logout": true, "retry_after_ms": 1 << 40}
		}
	}
	for _, a := range []answer{evil(401, "M_UNKNOWN_TOKEN"), evil(403, "M_UNKNOWN_TOKEN"), evil(500, "M_UNKNOWN"), evil(503, ""), evil(429, "M_LIMIT_EXCEEDED"),
		evil(401, "M_MISSING_TOKEN"), evil(302, "M_FORBIDDEN"), evil(403, "M_USER_DEACTIVATED"), evil(403, "M_CONSENT_NOT_GIVEN"),
		func(*query) (int, any) { return 200, []byte("nonsense") }, func(*query) (int, any) { return 200, []byte("[]") },
		func(q *query) (int, any) { panic(http.ErrAbortHandler) }} {
		for _, name := range []string{"query_profile", "query_directory", "make_join", "make_knock", "publicRooms", "media_download", "hierarchy", "user_keys", "user_devices", "invite", "timestamp_to_event"} {
			f.set(name, a)
		}
		room := "!room:" + f.name
		for _, r := range []reply{
			t.alice.do("GET", csPath("profile", f.user("x")), nil), t.alice.do("GET", csPath("profile", f.user("x"), "displayname"), nil),
			t.alice.do("GET", csPath("directory", "room", "#x:"+f.name), nil), t.alice.do("POST", csPath("join", room)+"?via="+f.name, obj{}),
			t.alice.do("POST", csPath("join", "#x:"+f.name), obj{}), t.alice.do("POST", csPath("knock", room)+"?via="+f.name, obj{}),
			t.alice.do("GET", csPath("publicRooms")+"?server="+f.name, nil), t.alice.do("GET", "/_matrix/client/v1/media/download/"+f.name+"/abc", nil),
			t.alice.do("GET", "/_matrix/client/v1/media/thumbnail/"+f.name+"/abc?width=10&height=10", nil),
			t.alice.do("POST", csPath("keys", "query"), obj{"device_keys": obj{f.user("x"): []any{}}}),
			t.alice.do("POST", csPath("keys", "claim"), obj{"one_time_keys": obj{f.user("x"): obj{"D": "signed_curve25519"}}}),
			t.alice.do("POST", csPath("createRoom"), obj{"invite": []any{f.user("x")}}),
			t.alice.do("GET", "/_matrix/client/v1/room_summary/"+room+"?via="+f.name, nil),
		} {
			if r.status == 401 || r.status == 500 || r.status == 503 || r.status == 429 || strings.Contains(r.code, "TOKEN") || r.status < 200 || r.status/100 == 3 || r.body["soft_logout"] != nil {
				t.Errorf("a client was told %s", r)
			}
		}
	}
})
