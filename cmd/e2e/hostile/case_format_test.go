package hostile

import (
	"fmt"
	"strings"
	"time"
)

var _ = register(60, func(t *trial) {
	s := t.fresh()
	ev := s.fr.proto(s.boss, "m.room.message", nil, obj{"body": "deepest", "msgtype": "m.text"})
	ev["depth"] = int64(1<<53 - 1)
	t.m.seal(t.v, ev)
	t.deliver(s, ev)
	t.accepted(s, ev)
	s.fr.add(ev)
	id := t.alice.send(t, s.id, "after the deepest")
	if !t.m.got(s.fr, id, patience) {
		t.Fatal("our next event does not arrive")
	}
	if d := number(s.fr.get(id), "depth"); d != 1<<53-1 {
		t.Errorf("our next event has depth %d", d)
	}
	page := t.alice.do("GET", csPath("rooms", s.id, "messages")+"?dir=b&limit=5", nil)
	chunk := list(page.body, "chunk")
	if len(chunk) < 2 || text(chunk[0], "event_id") != id || text(chunk[1], "event_id") != idOf(t.v, ev) {
		t.Errorf("the order is %s", page)
	}
	t.fence(s)
})

// The event before the one that arrives is too large: it is left out, and the rest of the history is taken.
var _ = register(62, func(t *trial) {
	s := t.fresh()
	t.gap(s, func(ev obj) { ev["content"] = obj{"body": strings.Repeat("x", 70_000)} })
})

// gap lets the server ask for what is missing, with one event in it that is changed before it is sealed.
func (t *trial) gap(s *stage, change func(ev obj)) {
	t.Helper()
	first := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "first of the gap", "msgtype": "m.text"})
	bad := s.fr.proto(s.boss, "m.room.message", nil, obj{"body": "bad of the gap", "msgtype": "m.text"})
	change(bad)
	t.m.seal(t.v, bad)
	s.fr.keep(bad)
	badID := idOf(t.v, bad)
	third := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "third of the gap", "msgtype": "m.text"})
	ends := s.fr.endsNow()
	s.fr.setEnds(ends[0], badID)
	tip := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "after the gap", "msgtype": "m.text"})
	t.deliver(s, tip)
	s.fr.setEnds(ends...)
	t.accepted(s, first)
	t.accepted(s, third)
	t.fence(s)
	t.absent("the bad event", s, badID, "bad of the gap")
}

var _ = register(65, func(t *trial) {
	s := t.stage()
	var ids []string
	for range 21 {
		ev := t.message(s, "many ends")
		s.fr.keep(ev)
		ids = append(ids, idOf(t.v, ev))
		t.deliver(s, ev)
	}
	ends := s.fr.endsNow()
	s.fr.setEnds(ids...)
	bad := t.message(s, "follows 21")
	asked := t.m.askedFor("get_missing_events")
	t.deliver(s, bad)
	s.fr.setEnds(ids[:20]...)
	good := t.message(s, "follows 20")
	t.deliver(s, good)
	t.accepted(s, good)
	s.fr.setEnds(append(ends, idOf(t.v, good))...)
	s.fr.keep(good)
	t.fence(s)
	t.absent("21 prev_events", s, idOf(t.v, bad), "follows 21")
	if t.m.askedFor("get_missing_events") != asked {
		t.Error("questions were asked about it")
	}
	for _, n := range []int{11, 1000} {
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "authorised by many"})
		var refs []any
		for i := range n {
			refs = append(refs, s.fr.refs([]string{ids[i%len(ids)]})...)
		}
		ev["auth_events"] = refs
		t.m.seal(t.v, ev)
		t.deliver(s, ev)
		t.fence(s)
		t.absent("many auth_events", s, idOf(t.v, ev), "authorised by many")
	}
})

// elsewhere is a room of the server under test with mallory, and a message in it.
func (t *trial) elsewhere() (*stage, obj) {
	t.Helper()
	s := t.fresh()
	secret := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "of the other room", "msgtype": "m.text"})
	t.deliver(s, secret)
	t.accepted(s, secret)
	return s, secret
}

var _ = register(68, func(t *trial) {
	s := t.stage()
	other, secret := t.elsewhere()
	for _, only := range []bool{true, false} {
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "follows another room"})
		prev := []any{idOf(t.v, secret)}
		if !only {
			prev = append(prev, s.fr.endsNow()[0])
		}
		ev["prev_events"] = prev
		t.m.seal(t.v, ev)
		t.deliver(s, ev)
		t.fence(s)
		t.absent("an event that follows one of another room", s, idOf(t.v, ev), "follows another room")
	}
	if page := t.alice.do("GET", csPath("rooms", s.id, "messages")+"?dir=b&limit=100", nil); strings.Contains(string(page.raw), "of the other room") {
		t.Error("the other room's history leaks")
	}
	_ = other
})

var _ = register(69, func(t *trial) {
	s := t.stage()
	other, _ := t.elsewhere()
	for _, kind := range []string{"m.room.power_levels", "m.room.member"} {
		sk := ""
		if kind == "m.room.member" {
			sk = s.user
		}
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "authorised elsewhere"})
		refs := []any{other.fr.stateID(kind, sk)}
		for _, id := range refIDs(ev["auth_events"]) {
			if id != s.fr.stateID(kind, sk) {
				refs = append(refs, id)
			}
		}
		ev["auth_events"] = refs
		t.m.seal(t.v, ev)
		t.deliver(s, ev)
		t.fence(s)
		t.absent("an event that is authorised by another room's "+kind, s, idOf(t.v, ev), "authorised elsewhere")
	}
})

var _ = register(70, func(t *trial) {
	s := t.stage()
	old := s.fr.stateID("m.room.member", s.user)
	again := s.fr.say(s.user, "m.room.member", &s.user, obj{"membership": "join", "displayname": "again"})
	t.deliver(s, again)
	t.accepted(s, again)
	ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "authorised twice"})
	ev["auth_events"] = append(s.fr.refs([]string{old}), ev["auth_events"].([]any)...)
	t.m.seal(t.v, ev)
	t.deliver(s, ev)
	t.fence(s)
	t.absent("two auth events with one key", s, idOf(t.v, ev), "authorised twice")
	twice := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "one of them twice"})
	twice["auth_events"] = append(s.fr.refs(refIDs(twice["auth_events"])[:1]), twice["auth_events"].([]any)...)
	t.m.seal(t.v, twice)
	t.deliver(s, twice)
	t.fence(s)
	t.absent("one auth event twice", s, idOf(t.v, twice), "one of them twice")
})

var _ = register(72, func(t *trial) {
	s := t.stage()
	// mallory may not set this: the event is rejected.
	bad := t.m.seal(t.v, s.fr.proto(s.user, "m.room.power_levels", ptr(""), obj{"users": obj{s.user: 100}, "marker": "stolen"}))
	t.deliver(s, bad)
	t.fence(s)
	t.absent("stolen power", s, idOf(t.v, bad), "stolen")
	s.fr.keep(bad)
	ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "by stolen power"})
	refs := s.fr.refs([]string{idOf(t.v, bad)})
	for _, id := range refIDs(ev["auth_events"]) {
		if id != s.fr.stateID("m.room.power_levels", "") {
			refs = append(refs, s.fr.refs([]string{id})...)
		}
	}
	ev["auth_events"] = refs
	t.m.seal(t.v, ev)
	t.deliver(s, ev)
	t.fence(s)
	t.absent("an event that rests on it", s, idOf(t.v, ev), "by stolen power")
	own := t.m.seal(t.v, s.fr.proto(s.user, "m.room.name", ptr(""), obj{"name": "by stolen power"}))
	own["auth_events"] = refs
	t.m.seal(t.v, own)
	t.deliver(s, own)
	t.fence(s)
	t.absent("state that rests on it", s, idOf(t.v, own), "by stolen power")
})

// Event IDs of these versions are chosen freely, so that events can authorise each other.
var _ = register(74, func(t *trial) {
	s := t.stage()
	a, b := "$"+unique("a")+":"+t.m.name, "$"+unique("b")+":"+t.m.name
	make := func(own, other string) obj {
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "in a circle"})
		ev["event_id"] = own
		ev["auth_events"] = append(ev["auth_events"].([]any), []any{other, obj{}})
		return t.m.seal(t.v, ev)
	}
	x, y := make(a, b), make(b, a)
	s.fr.keep(x, y)
	t.deliver(s, x)
	t.deliver(s, y)
	self := make(a+"x", a+"x")
	t.deliver(s, self)
	t.fence(s)
	t.absent("a circle", s, a, "in a circle")
	prev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "before itself"})
	prev["event_id"], prev["prev_events"] = a+"p", []any{[]any{b + "p", obj{}}}
	t.m.seal(t.v, prev)
	back := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "before itself"})
	back["event_id"], back["prev_events"] = b+"p", []any{[]any{a + "p", obj{}}}
	t.m.seal(t.v, back)
	s.fr.keep(prev, back)
	t.deliver(s, prev)
	t.deliver(s, back)
	t.fence(s)
	t.absent("a circle of history", s, a+"p", "before itself")
})

var _ = register(78, func(t *trial) {
	s := t.stage()
	for _, domain := range []string{t.w.friend.name, t.w.hs.name, "elsewhere.example"} {
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "with a borrowed name"})
		ev["event_id"] = "$" + unique("e") + ":" + domain
		t.m.seal(t.v, ev)
		t.deliver(s, ev)
		t.fence(s)
		t.absent("an ID of "+domain, s, idOf(t.v, ev), "with a borrowed name")
		if domain == t.w.friend.name {
			t.w.friend.signEvent(t.v, ev)
			ev["content"] = obj{"body": "signed by both"}
			ev["event_id"] = "$" + unique("e") + ":" + domain
			t.m.seal(t.v, ev)
			t.w.friend.signEvent(t.v, ev)
			t.deliver(s, ev)
			t.accepted(s, ev)
		}
	}
})

var _ = register(79, func(t *trial) {
	s := t.stage()
	ev := t.message(s, "with strange signatures")
	mine := ev["signatures"].(obj)[t.m.name].(obj)
	mine["ed25519:unknown"] = b64(make([]byte, 64))
	mine["rsa:1"] = "x"
	ev["signatures"].(obj)["elsewhere.example"] = obj{"ed25519:1": b64(make([]byte, 64))}
	t.deliver(s, ev)
	t.accepted(s, ev)
	s.fr.add(ev)
	bad := t.message(s, "only strange signatures")
	bad["signatures"] = obj{t.m.name: obj{"ed25519:unknown": b64(make([]byte, 64))}}
	t.deliver(s, bad)
	wrong := t.message(s, "a wrong signature")
	wrong["signatures"] = obj{t.m.name: obj{t.m.keyID: b64(make([]byte, 64))}}
	t.deliver(s, wrong)
	t.fence(s)
	t.absent("only unknown keys", s, idOf(t.v, bad), "only strange signatures")
	t.absent("a wrong signature", s, idOf(t.v, wrong), "a wrong signature")
})

var _ = register(80, func(t *trial) {
	s := t.stage()
	ev := t.message(s, "many signatures")
	for i := range 300 {
		ev["signatures"].(obj)[fmt.Sprintf("s%d.example", i)] = obj{"ed25519:1": b64(make([]byte, 64))}
	}
	t.deliver(s, ev)
	t.accepted(s, ev)
	s.fr.add(ev)
	own := t.message(s, "many signatures of its server")
	for i := range 500 {
		own["signatures"].(obj)[t.m.name].(obj)[fmt.Sprintf("ed25519:k%d", i)] = b64(make([]byte, 64))
	}
	start := time.Now()
	t.deliver(s, own)
	t.fence(s)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
})

var _ = register(87, func(t *trial) {
	s := t.fresh()
	for _, local := range []string{"UPPER", "Sp ace", "münchen", "a~!$&'()*,;=", "", "emoji😀", "tab\tx"} {
		user := "@" + local + ":" + t.m.name
		ev, version, r := t.m.template(t, "join", s.id, user)
		if ev == nil {
			t.Errorf("%q gets no template: %s", user, r)
			continue
		}
		t.m.seal(version, ev)
		if r := t.m.call(t, "PUT", fedPath("v2", "send_join", s.id, idOf(version, ev)), ev); r.status != 200 {
			t.Errorf("%q cannot join: %s", user, r)
			continue
		}
		s.fr.add(ev)
		s.fr.setEnds(idOf(version, ev))
		msg := s.fr.say(user, "m.room.message", nil, obj{"body": "of an old name", "msgtype": "m.text"})
		t.deliver(s, msg)
		t.accepted(s, msg)
	}
	t.alice.since = ""
	t.alice.sync(t, 0)
})

var _ = register(92, func(t *trial) {
	for name, extra := range map[string]obj{"predecessor": {"predecessor": "text"}, "federate": {"m.federate": "yes"}, "type": {"type": 5}, "much": {"x": []any{nil, obj{}}}} {
		fr := t.m.hosted(t.v, t.m.user("mallory"), extra)
		r := t.alice.do("POST", csPath("join", fr.id)+"?via="+t.m.name, obj{})
		if r.status != 200 {
			t.Errorf("%s: %s", name, r)
			continue
		}
		t.alice.sync(t, 0)
		for _, p := range []string{csPath("rooms", fr.id, "state"), "/_matrix/client/v1/rooms/" + fr.id + "/hierarchy", "/_matrix/client/v1/room_summary/" + fr.id} {
			if r := t.alice.do("GET", p, nil); r.status >= 500 {
				t.Errorf("%s: %s: %s", name, p, r)
			}
		}
		t.alice.do("POST", csPath("rooms", fr.id, "leave"), obj{})
	}
	for name, v := range map[string]any{"number": 12, "null": nil, "list": []any{}, "other": "99"} {
		fr := t.m.hosted(t.v, t.m.user("mallory"), obj{"room_version": v})
		if r := t.alice.do("POST", csPath("join", fr.id)+"?via="+t.m.name, obj{}); r.status == 200 && name != "null" {
			t.Errorf("room_version as %s: %s", name, r)
		}
	}
})
