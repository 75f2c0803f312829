package hostile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// joins tries to join a room of mallory's as alice.
func (t *trial) joins(fr *fakeRoom, via ...string) reply {
	t.Helper()
	if len(via) == 0 {
		via = []string{t.m.name}
	}
	return t.alice.do("POST", csPath("join", fr.id)+"?via="+strings.Join(via, "&via="), obj{})
}

// signedByUs looks for events in what came in that are not a membership of one of our users in this room.
func (t *trial) signedByUs(f *fake, fr *fakeRoom, membership string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.bodies {
		ev := b
		if inner, ok := b["event"].(obj); ok {
			ev = inner
		}
		if at(ev, "signatures", t.w.hs.name) == nil {
			continue
		}
		if text(ev, "type") != "m.room.member" || text(ev, "room_id") != fr.id || text(ev, "sender") != text(ev, "state_key") || serverOf(text(ev, "sender")) != t.w.hs.name ||
			text(ev, "content", "membership") != membership {
			t.Errorf("the server signed %s", clip(encode(ev), 600))
		}
	}
	f.bodies = nil
}

// wrongTemplates are changes of a template that must not be signed.
func (t *trial) wrongTemplates(fr *fakeRoom) map[string]func(ev obj) {
	return map[string]func(ev obj){
		"type":              func(ev obj) { ev["type"] = "m.room.power_levels"; ev["state_key"] = "" },
		"message":           func(ev obj) { ev["type"] = "m.room.message"; delete(ev, "state_key") },
		"create":            func(ev obj) { ev["type"] = "m.room.create"; ev["state_key"] = "" },
		"another room":      func(ev obj) { ev["room_id"] = t.w.safe.id },
		"no room":           func(ev obj) { delete(ev, "room_id") },
		"another sender":    func(ev obj) { ev["sender"] = t.w.bob.user; ev["state_key"] = t.w.bob.user },
		"foreign sender":    func(ev obj) { ev["sender"] = t.m.user("mallory") },
		"another state key": func(ev obj) { ev["state_key"] = t.w.bob.user },
		"no state key":      func(ev obj) { delete(ev, "state_key") },
		"membership ban":    func(ev obj) { ev["content"] = obj{"membership": "ban"} },
		"no membership":     func(ev obj) { ev["content"] = obj{} },
		"content as list":   func(ev obj) { ev["content"] = []any{} },
		"no content":        func(ev obj) { delete(ev, "content") },
		"number as type":    func(ev obj) { ev["type"] = 5 },
	}
}

// tryTemplates makes mallory answer with each wrong template.
func (t *trial) tryTemplates(name string, fr *fakeRoom, membership string, do func() reply) {
	t.Helper()
	t.m.mu.Lock()
	t.m.bodies = nil
	t.m.mu.Unlock()
	for what, change := range t.wrongTemplates(fr) {
		undo := t.m.alter(name, func(o obj) { change(o["event"].(obj)) })
		r := do()
		undo()
		// Leaving out what the server knows itself may be repaired; what it signs is what counts.
		if r.status == 500 || r.status == -1 {
			t.Errorf("%s: %s", what, r)
		}
		t.signedByUs(t.m, fr, membership)
	}
	for _, answer := range []any{nil, "text", 5, []any{}, obj{}, obj{"event": nil}, obj{"event": []any{}, "room_version": t.v}, obj{"event": obj{}, "room_version": t.v},
		obj{"event": obj{}, "room_version": 5}, obj{"event": obj{}, "room_version": "99"}} {
		undo := t.m.set(name, func(*query) (int, any) { return 200, answer })
		r := do()
		undo()
		if r.status == 500 || r.status == -1 {
			t.Errorf("%s: %s", clip(encode(answer), 60), r)
		}
		t.signedByUs(t.m, fr, membership)
	}
}

var _ = register(123, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	t.tryTemplates("make_join", fr, "join", func() reply {
		r := t.joins(fr)
		if r.status == 200 {
			t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
			until(t, "mallory hears of it", func() bool {
				return text(fr.get(fr.stateID("m.room.member", t.alice.user)), "content", "membership") != "join"
			})
		}
		return r
	})
	// Another server helps where the first one lies.
	undo := t.m.alter("make_join", func(o obj) { o["event"].(obj)["type"] = "m.room.power_levels" })
	helper := newFake(t.w, "127.0.0.4")
	helper.rooms[fr.id] = fr
	defer undo()
	helper.answers["make_join"] = func(q *query) (int, any) {
		ev := fr.proto(q.parts[1], "m.room.member", &q.parts[1], obj{"membership": "join"})
		return 200, obj{"event": ev, "room_version": fr.version}
	}
	if r := t.joins(fr, t.m.name, helper.name); r.status != 200 {
		t.Errorf("through an honest server: %s", r)
	}
})

var _ = register(124, func(t *trial) {
	mallory := t.m.user("mallory")
	fr := t.m.hosted(t.v, mallory)
	t.tryTemplates("make_leave", fr, "leave", func() reply {
		if r, _ := fr.invite(t, mallory, t.alice.user, nil); r.status != 200 {
			t.Fatalf("the invitation: %s", r)
		}
		return t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
	})
	if r, _ := fr.invite(t, mallory, t.alice.user, nil); r.status != 200 {
		t.Fatalf("the invitation: %s", r)
	}
	undo := t.m.alter("make_leave", func(o obj) { o["event"].(obj)["type"] = "m.room.power_levels" })
	defer undo()
	if r := t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{}); r.status != 200 {
		t.Errorf("the user cannot get rid of an invitation: %s", r)
	}
})

var _ = register(125, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	fr.say(t.m.user("mallory"), "m.room.join_rules", ptr(""), obj{"join_rule": "knock"})
	t.tryTemplates("make_knock", fr, "knock", func() reply {
		return t.alice.do("POST", csPath("knock", fr.id)+"?via="+t.m.name, obj{})
	})
})

var _ = register(126, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	for what, change := range map[string]func(ev obj){
		"keys": func(ev obj) {
			ev["content"].(obj)["evil"] = "x"
			ev["content"].(obj)["third_party_invite"] = obj{"signed": obj{}}
		},
		"much":    func(ev obj) { ev["content"].(obj)["evil"] = strings.Repeat("x", 60_000) },
		"top":     func(ev obj) { ev["evil"] = strings.Repeat("x", 60_000); ev["redacts"] = "$x" },
		"depth":   func(ev obj) { ev["depth"] = int64(1<<53 - 1) },
		"no one":  func(ev obj) { ev["depth"] = -5 },
		"much of": func(ev obj) { ev["depth"] = raw("1" + strings.Repeat("0", 400)) },
		"prev":    func(ev obj) { ev["prev_events"] = []any{} },
		"prevs":   func(ev obj) { ev["prev_events"] = slices.Repeat(ev["prev_events"].([]any), 30) },
		"auth":    func(ev obj) { ev["auth_events"] = []any{"nonsense", nil, 5} },
		"auths":   func(ev obj) { ev["auth_events"] = slices.Repeat(ev["auth_events"].([]any), 30) },
		"ts":      func(ev obj) { ev["origin_server_ts"] = "never" },
	} {
		undo := t.m.alter("make_join", func(o obj) { change(o["event"].(obj)) })
		r := t.joins(fr)
		undo()
		if r.status == 500 || r.status == -1 {
			t.Errorf("%s: %s", what, r)
		}
		t.m.mu.Lock()
		for _, b := range t.m.bodies {
			if bytes.Contains(encode(b), []byte("evil")) || at(b, "content", "third_party_invite") != nil || b["redacts"] != nil {
				t.Errorf("%s: it was signed: %s", what, clip(encode(b), 300))
			}
		}
		t.m.bodies = nil
		t.m.mu.Unlock()
		if r.status == 200 {
			t.alice.ok(t, "POST", csPath("rooms", fr.id, "leave"), obj{})
		}
	}
})

var _ = register(129, func(t *trial) {
	s := t.fresh()
	t.used = nil
	t.alice.ok(t, "POST", csPath("rooms", s.id, "leave"), obj{})
	_, _, r := t.m.template(t, "join", s.id, t.m.user("eve"))
	t.denied("make_join", r, 404)
	eve := t.m.user("eve")
	join := t.m.seal(t.v, s.fr.proto(eve, "m.room.member", &eve, obj{"membership": "join"}))
	t.denied("send_join", t.m.call(t, "PUT", fedPath("v2", "send_join", s.id, idOf(t.v, join)), join), 404)
})

// handshake sends a changed membership event; the change returns the path's event ID, "" for the real one.
func (t *trial) handshake(endpoint, kind string, s *stage, user string, change func(ev obj) string) reply {
	t.Helper()
	ev := s.fr.proto(user, "m.room.member", &user, obj{"membership": kind})
	path := change(ev)
	if ev["signatures"] == nil {
		t.m.seal(t.v, ev)
	}
	if path == "" {
		path = idOf(t.v, ev)
	}
	return t.m.call(t, "PUT", fedPath(endpoint, "send_"+kind, s.id, path), ev)
}

// wrongMemberships are events that no handshake may accept.
func (t *trial) wrongMemberships(s *stage, kind string) map[string]func(ev obj) string {
	set := func(k string, v any) func(ev obj) string {
		return func(ev obj) string { ev[k] = v; return "" }
	}
	other := map[string]string{"join": "leave", "leave": "join", "knock": "join"}[kind]
	return map[string]func(ev obj) string{
		"a message":          func(ev obj) string { ev["type"] = "m.room.message"; delete(ev, "state_key"); return "" },
		"no state key":       func(ev obj) string { delete(ev, "state_key"); return "" },
		"another membership": set("content", obj{"membership": other}),
		"a ban":              set("content", obj{"membership": "ban"}),
		"a foreign sender":   func(ev obj) string { ev["sender"] = s.pal; ev["state_key"] = s.pal; return "" },
		"one of our users":   func(ev obj) string { ev["sender"] = t.w.bob.user; ev["state_key"] = t.w.bob.user; return "" },
		"for another":        set("state_key", s.boss),
		"for one of ours":    set("state_key", t.w.bob.user),
		"another room":       set("room_id", t.w.safe.id),
		"another event ID": func(ev obj) string {
			if num(t.v) <= 2 {
				return "$other:" + t.m.name
			}
			return "$" + strings.Repeat("A", 43)
		},
		"a bad signature": func(ev obj) string {
			t.m.seal(t.v, ev)
			ev["signatures"] = obj{t.m.name: obj{t.m.keyID: b64(make([]byte, 64))}}
			return ""
		},
		"no signature": func(ev obj) string { t.m.seal(t.v, ev); ev["signatures"] = obj{}; return "" },
		"signed by another": func(ev obj) string {
			hash(ev)
			t.w.friend.signEvent(t.v, ev)
			return ""
		},
		"a wrong hash":    func(ev obj) string { t.m.seal(t.v, ev); ev["content"].(obj)["x"] = "y"; return "" },
		"a float":         func(ev obj) string { ev["depth"] = raw("1.5"); return "" },
		"no prev_events":  set("prev_events", []any{}),
		"unknown authors": func(ev obj) string { ev["auth_events"] = s.fr.refs([]string{"$" + strings.Repeat("U", 43)}); return "" },
		"no content":      func(ev obj) string { delete(ev, "content"); return "$x" },
	}
}

func (t *trial) wrongHandshakes(kind string, endpoints ...string) {
	t.Helper()
	s := t.stage()
	eve := t.m.user("eve" + unique(""))
	if kind == "leave" {
		eve = s.user
	}
	for what, change := range t.wrongMemberships(s, kind) {
		for _, e := range endpoints {
			r := t.handshake(e, kind, s, eve, change)
			if r.status != 400 && r.status != 403 {
				t.Errorf("send_%s with %s (%s): %s", kind, what, e, r)
			}
			if bytes.Contains(r.raw, []byte(`"signatures"`)) {
				t.Errorf("send_%s with %s gave events: %s", kind, what, r)
			}
		}
	}
	for _, body := range [][]byte{[]byte("nonsense"), []byte("[]"), []byte("{}"), []byte("null"), nil} {
		for _, e := range endpoints {
			if r := t.m.call(t, "PUT", fedPath(e, "send_"+kind, s.id, "$x"), body); r.status != 400 {
				t.Errorf("send_%s with %s (%s): %s", kind, body, e, r)
			}
		}
	}
	t.fence(s)
	if m := t.state(s, "m.room.member", s.user); text(m, "membership") != "join" {
		t.Errorf("the membership is %v", m)
	}
}

var _ = register(130, func(t *trial) { t.wrongHandshakes("join", "v1", "v2") })
var _ = register(131, func(t *trial) { t.wrongHandshakes("leave", "v1", "v2") })
var _ = register(132, func(t *trial) { t.wrongHandshakes("knock", "v1") })

var _ = register(133, func(t *trial) {
	for what, change := range map[string]func(o obj){
		"without create":     func(o obj) { dropEvents(o, "m.room.create", "") },
		"without member":     func(o obj) { dropEvents(o, "m.room.member", "") },
		"empty":              func(o obj) { o["state"], o["auth_chain"] = []any{}, []any{} },
		"nothing":            func(o obj) { delete(o, "state"); delete(o, "auth_chain") },
		"null":               func(o obj) { o["state"], o["auth_chain"] = nil, nil },
		"objects":            func(o obj) { o["state"], o["auth_chain"] = obj{}, obj{} },
		"text":               func(o obj) { o["state"] = "x" },
		"nonsense in a list": func(o obj) { o["state"] = []any{nil, 5, "x", []any{}, obj{}} },
	} {
		fr := t.m.hosted(t.v, t.m.user("mallory"))
		undo := t.m.alter("send_join", change)
		r := t.joins(fr)
		undo()
		if r.status == 200 || r.status == 500 {
			t.Errorf("%s: %s", what, r)
		}
		t.nothingOf(fr)
	}
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	undo := t.m.alter("make_join", func(o obj) { o["room_version"] = "unknown" })
	r := t.joins(fr)
	undo()
	t.denied("an unknown version", r, 400, 502)
	t.nothingOf(fr)
	undo = t.m.alter("make_join", func(o obj) {
		if o["room_version"] = "11"; t.v == "11" {
			o["room_version"] = "10"
		}
	})
	r = t.joins(fr)
	undo()
	if r.status == 200 && num(t.v) >= 11 {
		t.Errorf("another version: %s", r)
	}
	fine := t.m.hosted(t.v, t.m.user("mallory"))
	if r := t.joins(fine); r.status != 200 {
		t.Errorf("afterwards: %s", r)
	}
})

// dropEvents takes events out of an answer to send_join.
func dropEvents(o obj, kind, sk string) {
	for _, l := range []string{"state", "auth_chain"} {
		o[l] = slices.DeleteFunc(o[l].([]any), func(x any) bool { return text(x, "type") == kind && (sk == "" || text(x, "state_key") == sk) })
	}
}

var _ = register(134, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	ghost := newSigner("ghost.invalid:1", "ed25519:1")
	ghostUser := "@ghost:" + ghost.server
	var bad []obj
	for what, fn := range map[string]func(ev obj){
		"unsigned": func(ev obj) { t.m.seal(t.v, ev); ev["signatures"] = obj{} },
		"bad signature": func(ev obj) {
			t.m.seal(t.v, ev)
			ev["signatures"] = obj{t.m.name: obj{t.m.keyID: b64(make([]byte, 64))}}
		},
		"unknown key": func(ev obj) { signer{t.m.name, "ed25519:9", ghost.key}.seal(t.v, ev) },
		"wrong hash":  func(ev obj) { t.m.seal(t.v, ev); ev["content"].(obj)["x"] = "y" },
	} {
		ev := fr.proto(t.m.user("mallory"), "test.bad", ptr(what), obj{"what": what})
		fn(ev)
		bad = append(bad, ev)
	}
	gone := fr.proto(ghostUser, "m.room.member", &ghostUser, obj{"membership": "join"})
	if num(t.v) <= 2 {
		gone["event_id"] = "$" + unique("g") + ":" + ghost.server
	}
	ghost.seal(t.v, gone)
	bad = append(bad, gone)
	good := fr.say(t.m.user("mallory"), "m.room.name", ptr(""), obj{"name": "good"})
	undo := t.m.alter("send_join", func(o obj) {
		l := o["state"].([]any)
		for _, ev := range bad {
			l = append(l, ev)
		}
		o["state"] = l
	})
	r := t.joins(fr)
	undo()
	if r.status != 200 {
		t.Fatalf("the join fails: %s", r)
	}
	st := t.alice.do("GET", csPath("rooms", fr.id, "state"), nil)
	if !bytes.Contains(st.raw, []byte(idOf(t.v, good))) {
		t.Errorf("the good state is missing: %s", st)
	}
	for _, ev := range bad[:4] {
		if bytes.Contains(st.raw, []byte(idOf(t.v, ev))) && text(ev, "state_key") != "wrong hash" {
			t.Errorf("an event that cannot be verified is in the state: %s", text(ev, "state_key"))
		}
	}
	if bytes.Contains(st.raw, []byte(ghostUser)) {
		t.Error("a member whose signature cannot be verified is in the state")
	}
	t.alice.send(t, fr.id, "inside")
})

var _ = register(135, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	for what, a := range map[string]answer{
		"too many events": func(q *query) (int, any) {
			q.w.WriteHeader(200)
			_, _ = q.w.Write([]byte(`{"auth_chain":[],"state":[{}`))
			for range 300 {
				if _, err := q.w.Write(bytes.Repeat([]byte(`,{}`), 1000)); err != nil {
					return 0, nil
				}
			}
			_, _ = q.w.Write([]byte(`]}`))
			return 0, nil
		},
		"something without end": func(q *query) (int, any) {
			q.w.WriteHeader(200)
			_, _ = q.w.Write([]byte(`{"auth_chain":[],"state":["`))
			for range 700 {
				if _, err := q.w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return 0, nil
				}
			}
			return 0, nil
		},
	} {
		undo := t.m.set("send_join", a)
		start := time.Now()
		r := t.joins(fr)
		undo()
		if r.status == 200 || r.status == 500 {
			t.Errorf("%s: %s", what, r)
		}
		if took := time.Since(start); took > 40*time.Second {
			t.Errorf("%s took %v", what, took)
		}
		t.nothingOf(fr)
	}
})

var _ = register(136, func(t *trial) {
	other := t.m.hosted(t.v, t.m.user("mallory"))
	foreign := other.say(t.m.user("mallory"), "m.room.topic", ptr(""), obj{"topic": "of another room"})
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	undo := t.m.alter("send_join", func(o obj) { o["state"] = append(o["state"].([]any), foreign) })
	r := t.joins(fr)
	undo()
	if r.status == 200 {
		if st := t.alice.do("GET", csPath("rooms", fr.id, "state"), nil); bytes.Contains(st.raw, []byte("of another room")) {
			t.Errorf("state of another room: %s", st)
		}
	}
	for _, where := range []string{"state", "auth_chain"} {
		two := t.m.hosted(t.v, t.m.user("mallory"))
		second := two.proto(t.m.user("mallory"), "m.room.create", ptr(""), obj{"room_version": t.v, "creator": t.m.user("mallory"), "second": true})
		second["prev_events"], second["auth_events"] = []any{}, []any{}
		if num(t.v) >= 12 {
			delete(second, "room_id")
		}
		t.m.seal(t.v, second)
		undo := t.m.alter("send_join", func(o obj) { o[where] = append(o[where].([]any), second) })
		r := t.joins(two)
		undo()
		if r.status == 500 {
			t.Errorf("two creations: %s", r)
		}
		if r.status == 200 {
			if c := t.alice.do("GET", csPath("rooms", two.id, "state", "m.room.create", ""), nil); c.body["second"] != nil {
				t.Errorf("the second creation won: %s", c)
			}
		}
	}
})

var _ = register(137, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	var names []string
	for i := range 5 {
		u := t.m.user(fmt.Sprintf("member%d", i))
		fr.say(u, "m.room.member", &u, obj{"membership": "join"})
		names = append(names, u)
	}
	undo := t.m.alter("send_join", func(o obj) {
		o["members_omitted"], o["servers_in_room"] = true, []any{}
		for _, u := range names {
			dropEvents(o, "m.room.member", u)
		}
	})
	r := t.joins(fr)
	undo()
	if r.status == 200 {
		members := t.alice.do("GET", csPath("rooms", fr.id, "joined_members"), nil)
		for _, u := range names {
			if !bytes.Contains(members.raw, []byte(u)) {
				t.Errorf("%s is missing: %s", u, members)
			}
		}
		id := t.alice.send(t, fr.id, "to all")
		t.heard(fr, id)
		return
	}
	t.denied("a part of the state", r, 502, 400, 403)
	t.nothingOf(fr)
})
