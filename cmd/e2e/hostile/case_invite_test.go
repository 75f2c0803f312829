package hostile

import (
	"bytes"
	"fmt"
	"strings"
)

// invited says whether the user's sync tells of an invitation.
func (p *person) invited(t tb, roomID string) bool {
	t.Helper()
	o := p.ok(t, "GET", csPath("sync"), nil)
	return at(o, "rooms", "invite", roomID) != nil
}

var _ = register(138, func(t *trial) {
	mallory := t.m.user("mallory")
	for what, c := range map[string]struct {
		change   func(ev, body obj)
		statuses []int
	}{
		"a message":         {func(ev, _ obj) { ev["type"] = "m.room.message"; delete(ev, "state_key") }, []int{400}},
		"power levels":      {func(ev, _ obj) { ev["type"] = "m.room.power_levels"; ev["state_key"] = "" }, []int{400}},
		"a join":            {func(ev, _ obj) { ev["content"] = obj{"membership": "join"} }, []int{400}},
		"a ban":             {func(ev, _ obj) { ev["content"] = obj{"membership": "ban"} }, []int{400}},
		"no membership":     {func(ev, _ obj) { ev["content"] = obj{} }, []int{400}},
		"foreign sender":    {func(ev, _ obj) { ev["sender"] = t.w.friend.user("pal") }, []int{400, 403}},
		"our sender":        {func(ev, _ obj) { ev["sender"] = t.w.bob.user }, []int{400, 403}},
		"foreign target":    {func(ev, _ obj) { ev["state_key"] = t.w.friend.user("pal") }, []int{400, 403}},
		"no user":           {func(ev, _ obj) { ev["state_key"] = "nonsense" }, []int{400, 403}},
		"another room":      {func(ev, _ obj) { ev["room_id"] = t.w.safe.id }, []int{400, 403}},
		"signed by another": {func(ev, _ obj) { hash(ev); t.w.friend.signEvent(t.v, ev) }, []int{400, 403}},
		"bad signature": {func(ev, _ obj) {
			t.m.seal(t.v, ev)
			ev["signatures"].(obj)[t.m.name] = obj{t.m.keyID: b64(make([]byte, 64))}
		}, []int{400, 403}},
		"wrong hash":          {func(ev, _ obj) { t.m.seal(t.v, ev); ev["content"].(obj)["x"] = "y" }, []int{400, 403}},
		"no event":            {func(_, body obj) { body["event"] = nil }, []int{400}},
		"event as text":       {func(_, body obj) { body["event"] = "x" }, []int{400}},
		"event as list":       {func(_, body obj) { body["event"] = []any{} }, []int{400}},
		"version as a number": {func(_, body obj) { body["room_version"] = 5 }, []int{400}},
		"float":               {func(ev, _ obj) { ev["depth"] = raw("1.5") }, []int{400}},
	} {
		fr := t.m.hosted(t.v, mallory)
		r, _ := fr.invite(t, mallory, t.alice.user, c.change)
		t.denied(what, r, c.statuses...)
		if bytes.Contains(r.raw, []byte(t.w.hs.name+`":{"ed25519`)) {
			t.Errorf("%s: it was signed: %s", what, r)
		}
		if t.alice.invited(t, fr.id) {
			t.Errorf("%s: the invitation was stored", what)
		}
	}
	if num(t.v) > 2 {
		return
	}
	fr := t.m.hosted(t.v, mallory)
	ev := fr.proto(mallory, "m.room.member", &t.alice.user, obj{"membership": "ban"})
	t.m.seal(t.v, ev)
	t.denied("version 1 of the endpoint", t.m.call(t, "PUT", fedPath("v1", "invite", fr.id, idOf(t.v, ev)), ev), 400)
})

var _ = register(139, func(t *trial) {
	mallory := t.m.user("mallory")
	for what, v := range map[string]any{"null": nil, "object": obj{}, "text": "x", "empty": []any{}, "junk": []any{nil, 5, "x", []any{}, obj{}, obj{"type": 5}, obj{"type": "m.room.name", "state_key": nil, "content": "x"}},
		"content as list":    []any{obj{"type": "m.room.name", "state_key": "", "sender": mallory, "content": []any{}}},
		"names of odd types": []any{obj{"type": "m.room.name", "state_key": "", "sender": mallory, "content": obj{"name": obj{"a": 1}}}, obj{"type": "m.room.avatar", "state_key": "", "sender": 5, "content": obj{}}}} {
		fr := t.m.hosted(t.v, mallory)
		r, _ := fr.invite(t, mallory, t.alice.user, func(_, body obj) { body["invite_room_state"] = v })
		if num(t.v) >= 12 {
			t.denied(what, r, 400)
		} else {
			t.denied(what, r, 200)
		}
		t.alice.ok(t, "GET", csPath("sync"), nil)
		t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
	}
	if num(t.v) < 12 {
		fr := t.m.hosted(t.v, mallory)
		r, _ := fr.invite(t, mallory, t.alice.user, func(_, body obj) { delete(body, "invite_room_state") })
		t.denied("none", r, 200)
		t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
		return
	}
	other := t.m.hosted(t.v, mallory)
	state, _ := other.stateEvents()
	for what, change := range map[string]func(fr *fakeRoom, body obj){
		"without create":   func(fr *fakeRoom, body obj) { s, _ := fr.stateEvents(); body["invite_room_state"] = s[1:] },
		"of another room":  func(_ *fakeRoom, body obj) { body["invite_room_state"] = state },
		"stripped":         func(fr *fakeRoom, body obj) { s, _ := fr.stateEvents(); body["invite_room_state"] = stripped(s) },
		"missing":          func(_ *fakeRoom, body obj) { delete(body, "invite_room_state") },
		"create as string": func(_ *fakeRoom, body obj) { body["invite_room_state"] = []any{"m.room.create"} },
	} {
		fr := t.m.hosted(t.v, mallory)
		r, _ := fr.invite(t, mallory, t.alice.user, func(_, body obj) { change(fr, body) })
		t.denied(what, r, 400)
		if r.code != "M_MISSING_PARAM" && r.code != "M_INVALID_PARAM" && r.code != "M_BAD_JSON" {
			t.Errorf("%s: %s", what, r)
		}
		if t.alice.invited(t, fr.id) {
			t.Errorf("%s: the invitation was stored", what)
		}
	}
})

var _ = register(140, func(t *trial) {
	mallory := t.m.user("mallory")
	fr := t.m.hosted(t.v, mallory)
	fr.say(mallory, "m.room.name", ptr(""), obj{"name": "<script>alert(1)</script>"})
	fr.say(mallory, "m.room.avatar", ptr(""), obj{"url": "mxc://" + t.w.friend.name + "/tracker"})
	before := t.w.friend.askedFor("media")
	r, _ := fr.invite(t, mallory, t.alice.user, nil)
	t.denied("HTML and a picture", r, 200)
	t.alice.ok(t, "GET", csPath("sync"), nil)
	if t.w.friend.askedFor("media") != before {
		t.Error("the picture was fetched")
	}
	t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
	for what, fill := range map[string]func() []any{
		"many": func() []any {
			var l []any
			for i := range 10_000 {
				l = append(l, obj{"type": "m.room.name", "state_key": fmt.Sprint(i), "sender": mallory, "content": obj{}})
			}
			return l
		},
		"much": func() []any {
			return []any{obj{"type": "m.room.name", "state_key": "", "sender": mallory, "content": obj{"name": strings.Repeat("x", 5<<20)}}}
		},
	} {
		fr := t.m.hosted(t.v, mallory)
		r, _ := fr.invite(t, mallory, t.alice.user, func(_, body obj) { body["invite_room_state"] = fill() })
		if r.status != 200 && r.status != 400 && r.status != 413 {
			t.Errorf("%s: %s", what, r)
		}
		if sync := t.alice.do("GET", csPath("sync"), nil); len(sync.raw) > 4<<20 {
			t.Errorf("%s: the sync has %d bytes", what, len(sync.raw))
		}
		t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
	}
})

var _ = register(141, func(t *trial) {
	mallory := t.m.user("mallory")
	for _, v := range []string{"99", "", "org.example.strange"} {
		fr := t.m.hosted(t.v, mallory)
		r, _ := fr.invite(t, mallory, t.alice.user, func(_, body obj) { body["room_version"] = v })
		t.denied("version "+v, r, 400)
		if r.code != "M_INCOMPATIBLE_ROOM_VERSION" && v != "" {
			t.Errorf("version %q: %s", v, r)
		}
	}
})

var _ = register(142, func(t *trial) {
	mallory := t.m.user("mallory")
	shy := t.w.register("shy" + unique(""))
	shy.ok(t, "PUT", csPath("user", shy.user, "account_data", "m.invite_permission_config"), obj{"default_action": "block"})
	fr := t.m.hosted(t.v, mallory)
	r, _ := fr.invite(t, mallory, shy.user, nil)
	if r.status != 403 || r.code != "M_INVITE_BLOCKED" {
		t.Errorf("an invitation of somebody who wants none: %s", r)
	}
	if shy.invited(t, fr.id) {
		t.Error("it was stored")
	}
})

var _ = register(143, func(t *trial) {
	mallory := t.m.user("mallory")
	gone := t.w.register("gone" + unique(""))
	gone.ok(t, "POST", csPath("account", "deactivate"), obj{"auth": obj{"type": "m.login.password", "password": password, "identifier": obj{"type": "m.id.user", "user": gone.user}}})
	fr := t.m.hosted(t.v, mallory)
	a, _ := fr.invite(t, mallory, gone.user, nil)
	b, _ := fr.invite(t, mallory, "@nobody:"+t.w.hs.name, nil)
	t.denied("deactivated", a, 403, 404)
	if a.status != b.status || a.code != b.code || string(a.raw) != string(b.raw) {
		t.Errorf("one can tell them apart: %s and %s", a, b)
	}
})

var _ = register(145, func(t *trial) {
	mallory := t.m.user("mallory")
	fr := t.m.hosted(t.v, mallory)
	r, _ := fr.invite(t, mallory, t.alice.user, nil)
	t.denied("at first", r, 200)
	t.alice.ok(t, "POST", csPath("rooms", fr.id, "leave"), obj{})
	r, _ = fr.invite(t, mallory, t.alice.user, nil)
	t.denied("after she declined", r, 200)
	if !t.alice.invited(t, fr.id) {
		t.Error("she is not invited")
	}
	if r := t.joins(fr); r.status != 200 {
		t.Fatalf("joining: %s", r)
	}
	r, _ = fr.invite(t, mallory, t.alice.user, nil)
	t.denied("while she is in the room", r, 403)
	s := t.stage()
	r, _ = s.fr.invite(t, s.boss, t.alice.user, nil)
	t.denied("in a room of ours that she is in", r, 403)
})

var _ = register(146, func(t *trial) {
	eve := t.m.user("eve" + unique(""))
	s := t.stage()
	for what, a := range map[string]answer{
		"another event": func(q *query) (int, any) {
			ev := s.fr.proto(t.w.alice.user, "m.room.power_levels", ptr(""), obj{"users": obj{eve: 100}})
			t.m.seal(t.v, ev)
			return 200, obj{"event": ev}
		},
		"changed content": func(q *query) (int, any) {
			status, o := q.usual()
			o.(obj)["event"].(obj)["content"].(obj)["evil"] = "marker-of-evil"
			return status, o
		},
		"changed and sealed": func(q *query) (int, any) {
			_, o := q.usual()
			ev := o.(obj)["event"].(obj)
			ev["content"].(obj)["evil"] = "marker-of-evil"
			t.m.seal(t.v, ev)
			return 200, o
		},
		"without our signature": func(q *query) (int, any) {
			_, o := q.usual()
			delete(o.(obj)["event"].(obj)["signatures"].(obj), t.w.hs.name)
			return 200, o
		},
		"without theirs": func(q *query) (int, any) { return 200, obj{"event": q.body["event"]} },
		"our signature replaced": func(q *query) (int, any) {
			_, o := q.usual()
			o.(obj)["event"].(obj)["signatures"].(obj)[t.w.hs.name] = obj{"ed25519:x": b64(make([]byte, 64))}
			return 200, o
		},
		"nothing":  func(*query) (int, any) { return 200, obj{} },
		"nonsense": func(*query) (int, any) { return 200, []byte("[") },
		"a list":   func(*query) (int, any) { return 200, []any{200, obj{}} },
	} {
		undo := t.m.set("invite", a)
		r := t.alice.do("POST", csPath("rooms", s.id, "invite"), obj{"user_id": eve})
		undo()
		if r.status == 500 || r.status == -1 {
			t.Errorf("%s: %s", what, r)
		}
		if st := t.alice.do("GET", csPath("rooms", s.id, "state"), nil); strings.Contains(string(st.raw), "marker-of-evil") {
			t.Errorf("%s: the change is in the room", what)
		}
	}
	if r := t.alice.do("POST", csPath("rooms", s.id, "invite"), obj{"user_id": eve}); r.status != 200 && r.status != 403 {
		t.Errorf("afterwards: %s", r)
	}
})

var _ = register(147, func(t *trial) {
	s := t.stage()
	eve := t.m.user("eve")
	body := obj{"type": "m.room.member", "room_id": s.id, "sender": s.boss, "state_key": eve, "content": obj{"membership": "invite", "third_party_invite": obj{"display_name": "x",
		"signed": obj{"mxid": eve, "token": "unknown", "signatures": obj{}}}}}
	for what, change := range map[string]func(o obj) string{
		"unknown token": func(obj) string { return s.id },
		"another room":  func(o obj) string { o["room_id"] = t.w.safe.id; return s.id },
		"unknown room":  func(obj) string { return "!unknown:" + t.w.hs.name },
		"our sender":    func(o obj) string { o["sender"] = t.alice.user; return s.id },
		"nonsense":      func(o obj) string { o["content"] = 5; return s.id },
	} {
		o := copyObj(body)
		room := change(o)
		t.denied(what, t.m.call(t, "PUT", fedPath("v1", "exchange_third_party_invite", room), o), 400, 403, 404)
	}
})
