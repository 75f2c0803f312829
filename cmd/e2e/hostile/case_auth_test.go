package hostile

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// refused sends an event and demands that nobody sees it.
func (t *trial) refused(what string, s *stage, ev obj, marker string) {
	t.Helper()
	t.deliver(s, ev)
	t.fence(s)
	t.absent(what, s, idOf(s.version, ev), marker)
}

// state is a state event's content as a client sees it, nil if there is none.
func (t *trial) state(s *stage, kind, sk string) obj {
	t.Helper()
	r := t.alice.do("GET", csPath("rooms", s.id, "state", kind, sk), nil)
	if r.status == 404 {
		return nil
	}
	if r.status != 200 {
		t.Fatalf("state %s: %s", kind, r)
	}
	return r.body
}

// heard waits until a fake server has an event of ours in its room.
func (t *trial) heard(fr *fakeRoom, eventID string) {
	t.Helper()
	if !fr.f.got(fr, eventID, patience) {
		t.Fatalf("%s does not get our event %s; it was asked %q\n%s", fr.f.name, eventID, fr.f.asked[max(0, len(fr.f.asked)-10):], t.w.hs.tail())
	}
}

// ban puts a user out, by alice; the events that mallory knew last are returned.
func (t *trial) ban(s *stage, user string) (before []string) {
	t.Helper()
	before = s.fr.endsNow()
	t.alice.ok(t, "POST", csPath("rooms", s.id, "ban"), obj{"user_id": user})
	until(t, "the ban arrives", func() bool {
		return text(s.fr.get(s.fr.stateID("m.room.member", user)), "content", "membership") == "ban"
	})
	return before
}

var _ = register(93, func(t *trial) {
	s := t.fresh()
	now := s.fr.stateID("m.room.member", s.user)
	before := t.ban(s, s.user)
	ends := s.fr.endsNow()
	banID := s.fr.stateID("m.room.member", s.user)
	// As if the ban had not come yet.
	s.fr.setEnds(before...)
	s.fr.state[key{"m.room.member", s.user}] = now
	ev := t.message(s, "after the ban")
	s.fr.state[key{"m.room.member", s.user}] = banID
	s.fr.setEnds(ends...)
	t.refused("a message of somebody banned", s, ev, "after the ban")
	// It is no end of the history: what we send next does not follow it.
	id := t.alice.send(t, s.id, "next")
	t.heard(s.fr, id)
	if slices.Contains(refIDs(s.fr.get(id)["prev_events"]), idOf(t.v, ev)) {
		t.Error("our next event follows the soft-failed one")
	}
	s.fr.keep(ev)
})

var _ = register(94, func(t *trial) {
	s := t.fresh()
	now := s.fr.stateID("m.room.member", s.user)
	before := t.ban(s, s.user)
	ends := s.fr.endsNow()
	banID := s.fr.stateID("m.room.member", s.user)
	s.fr.setEnds(before...)
	s.fr.state[key{"m.room.member", s.user}] = now
	bad := t.message(s, "after the ban")
	s.fr.state[key{"m.room.member", s.user}] = banID
	s.fr.keep(bad)
	s.fr.setEnds(append(slices.Clone(ends), idOf(t.v, bad))...)
	t.deliver(s, bad)
	honest := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "honest", "msgtype": "m.text"})
	t.deliver(s, honest)
	t.accepted(s, honest)
	t.absent("the soft-failed one", s, idOf(t.v, bad), "after the ban")
	t.fence(s)
	if m := t.state(s, "m.room.member", s.user); text(m, "membership") != "ban" {
		t.Errorf("the ban is gone: %v", m)
	}
})

// boss had power, lost it, and says in a fork from before that everybody may do everything.
var _ = register(95, func(t *trial) {
	s := t.fresh()
	before := s.fr.endsNow()
	oldLevels := s.fr.stateID("m.room.power_levels", "")
	levels := copyObj(s.fr.get(oldLevels)["content"].(obj))
	levels["users"].(obj)[s.boss] = 0
	r := t.alice.ok(t, "PUT", csPath("rooms", s.id, "state", "m.room.power_levels"), levels)
	t.heard(s.fr, text(r, "event_id"))
	ends := s.fr.endsNow()
	newLevels := s.fr.stateID("m.room.power_levels", "")
	s.fr.setEnds(before...)
	s.fr.state[key{"m.room.power_levels", ""}] = oldLevels
	evil := copyObj(s.fr.get(oldLevels)["content"].(obj))
	evil["users_default"] = 50
	evil["marker"] = "reversed"
	ev := s.fr.proto(s.boss, "m.room.power_levels", ptr(""), evil)
	ev["origin_server_ts"] = time.Now().Add(-time.Hour).UnixMilli() // before the change, it says
	t.m.seal(t.v, ev)
	s.fr.keep(ev)
	name := s.fr.proto(s.boss, "m.room.name", ptr(""), obj{"name": "reversed"})
	t.m.seal(t.v, name)
	s.fr.state[key{"m.room.power_levels", ""}] = newLevels
	s.fr.setEnds(ends...)
	t.deliver(s, ev)
	t.deliver(s, name)
	msg := t.message(s, "still here")
	t.deliver(s, msg)
	t.accepted(s, msg)
	s.fr.add(msg)
	if now := t.state(s, "m.room.power_levels", ""); number(now, "users_default") != 0 || number(now, "users", s.boss) != 0 {
		t.Errorf("the levels are %s", encode(now))
	}
	if now := t.state(s, "m.room.name", ""); now != nil {
		t.Errorf("the name is %s", encode(now))
	}
	t.alice.send(t, s.id, "alice goes on")
})

var _ = register(100, func(t *trial) {
	s := t.stage()
	create := s.fr.get(s.fr.stateID("m.room.create", ""))
	for _, prev := range []bool{true, false} {
		content := copyObj(create["content"].(obj))
		if num(t.v) < 11 {
			content["creator"] = s.boss
		}
		content["marker"] = "second"
		ev := s.fr.proto(s.boss, "m.room.create", ptr(""), content)
		ev["auth_events"] = []any{}
		if !prev {
			ev["prev_events"] = []any{}
		}
		t.m.seal(t.v, ev)
		t.refused("a second creation", s, ev, "second")
		if num(t.v) >= 12 {
			delete(ev, "room_id")
			t.m.seal(t.v, ev)
			t.refused("a second creation without room", s, ev, "second")
		}
	}
	if now := t.state(s, "m.room.create", ""); text(now, "marker") != "" {
		t.Errorf("the room was created again: %v", now)
	}
	sk := s.fr.proto(s.boss, "m.room.create", ptr("x"), obj{"room_version": t.v})
	t.m.seal(t.v, sk)
	t.refused("with another state key", s, sk, "")
})

var _ = register(101, func(t *trial) {
	// A room whose create event names a room.
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	undo := t.m.alter("send_join", func(o obj) {
		for _, list := range []string{"state", "auth_chain"} {
			for _, x := range o[list].([]any) {
				if ev := x.(obj); text(ev, "type") == "m.room.create" {
					ev["room_id"] = fr.id
				}
			}
		}
	})
	r := t.alice.do("POST", csPath("join", fr.id)+"?via="+t.m.name, obj{})
	undo()
	if r.status == 200 {
		t.Errorf("a create event with room_id: %s", r)
	}
	t.nothingOf(fr)
	// A room ID that is not of its create event.
	other := t.m.hosted(t.v, t.m.user("mallory"))
	wrong := newFakeRoom(t.m, "!"+strings.Repeat("A", 43), t.v)
	wrong.events, wrong.state, wrong.ends, wrong.order = other.events, other.state, other.ends, other.order
	t.m.mu.Lock()
	t.m.rooms[wrong.id] = wrong
	t.m.mu.Unlock()
	if r := t.alice.do("POST", csPath("join", wrong.id)+"?via="+t.m.name, obj{}); r.status == 200 {
		t.Errorf("a room without its creation: %s", r)
	}
	t.nothingOf(wrong)
	inv, _ := wrong.invite(t, t.m.user("mallory"), t.alice.user, func(ev, _ obj) { ev["room_id"] = wrong.id })
	t.denied("an invitation to it", inv, 400, 403)
	s := t.stage()
	ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "no such room"})
	ev["room_id"] = "!" + strings.Repeat("B", 43)
	t.m.seal(t.v, ev)
	t.refused("an event of a room that is not", s, ev, "no such room")
})

// nothingOf demands that a failed join leaves nothing.
func (t *trial) nothingOf(fr *fakeRoom) {
	t.Helper()
	for _, p := range []string{"state", "messages", "members", "joined_members"} {
		if r := t.alice.do("GET", csPath("rooms", fr.id, p), nil); r.status < 400 || r.status >= 500 {
			t.Errorf("%s of a room that was not entered: %s", p, r)
		}
	}
	if r := t.alice.do("GET", csPath("joined_rooms"), nil); strings.Contains(string(r.raw), fr.id) {
		t.Errorf("the user is in a room that was not entered: %s", r)
	}
}

var _ = register(102, func(t *trial) {
	for _, v := range []any{"text", 5, []any{5}, []any{"nonsense"}, []any{nil}, obj{}} {
		fr := t.m.hosted(t.v, t.m.user("mallory"), obj{"additional_creators": v})
		if r := t.alice.do("POST", csPath("join", fr.id)+"?via="+t.m.name, obj{}); r.status == 200 {
			t.Errorf("additional_creators %s: %s", encode(v), r)
		}
		t.nothingOf(fr)
	}
})

var _ = register(107, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	fr.mu.Lock()
	delete(fr.state, key{"m.room.power_levels", ""})
	fr.mu.Unlock()
	// A room without levels: events below were built on them, so a new one is made.
	bare := t.bareRoom()
	t.alice.ok(t, "POST", csPath("join", bare.id)+"?via="+t.m.name, obj{})
	s := &stage{id: bare.id, version: t.v, fr: bare, boss: t.m.user("mallory"), user: t.m.user("eve")}
	ev := bare.proto(s.user, "m.room.power_levels", ptr(""), obj{"users": obj{s.user: 100}, "marker": "taken"})
	t.m.seal(t.v, ev)
	t.refused("levels by somebody who is not the creator", s, ev, "taken")
	t.denied("by a client", t.alice.do("PUT", csPath("rooms", bare.id, "state", "m.room.power_levels"), obj{"users": obj{t.alice.user: 100}}), 403)
	_ = fr
})

// bareRoom is a public room without power levels, with mallory (who made it) and eve.
func (t *trial) bareRoom() *fakeRoom {
	maker := t.m.user("mallory")
	fr := newFakeRoom(t.m, "!"+unique("bare")+":"+t.m.name, t.v)
	create := obj{"room_version": t.v, "salt": unique("")}
	if num(t.v) < 11 {
		create["creator"] = maker
	}
	ev := fr.proto(maker, "m.room.create", ptr(""), create)
	if num(t.v) >= 12 {
		delete(ev, "room_id")
	}
	t.m.seal(t.v, ev)
	if num(t.v) >= 12 {
		fr.id = "!" + idOf(t.v, ev)[1:]
	}
	fr.add(ev)
	fr.say(maker, "m.room.member", &maker, obj{"membership": "join"})
	fr.say(maker, "m.room.join_rules", ptr(""), obj{"join_rule": "public"})
	eve := t.m.user("eve")
	fr.say(eve, "m.room.member", &eve, obj{"membership": "join"})
	t.m.mu.Lock()
	t.m.rooms[fr.id] = fr
	t.m.mu.Unlock()
	return fr
}

// mallory sends an event after a gap and says that before it there are no power levels.
var _ = register(108, func(t *trial) {
	s := t.fresh()
	lie := func(q *query) (int, any) {
		status, out := q.usual()
		o := out.(obj)
		for _, list := range []string{"pdus", "auth_chain", "pdu_ids", "auth_chain_ids"} {
			l, _ := o[list].([]any)
			o[list] = slices.DeleteFunc(slices.Clone(l), func(x any) bool {
				ev, _ := x.(obj)
				return text(ev, "type") == "m.room.power_levels" || x == s.fr.stateID("m.room.power_levels", "")
			})
		}
		return status, o
	}
	defer t.m.set("state", lie)()
	defer t.m.set("state_ids", lie)()
	defer t.m.set("get_missing_events", func(*query) (int, any) { return 200, obj{"events": []any{}} })()
	ends := s.fr.endsNow()
	hidden := t.message(s, "never shown")
	s.fr.keep(hidden)
	s.fr.setEnds(idOf(t.v, hidden))
	levels := s.fr.stateID("m.room.power_levels", "")
	delete(s.fr.state, key{"m.room.power_levels", ""})
	ev := s.fr.proto(s.user, "m.room.power_levels", ptr(""), obj{"users": obj{s.user: 100}, "marker": "taken"})
	t.m.seal(t.v, ev)
	s.fr.state[key{"m.room.power_levels", ""}] = levels
	s.fr.setEnds(ends...)
	t.refused("levels where there are none", s, ev, "taken")
	if now := t.state(s, "m.room.power_levels", ""); number(now, "users", s.user) != 0 || number(now, "users", s.boss) != 50 {
		t.Errorf("the levels are %s", encode(now))
	}
})

var _ = register(109, func(t *trial) {
	room := t.alice.createRoom(t, t.v, obj{"creation_content": obj{"m.federate": false}})
	ev, _, r := t.m.template(t, "join", room, t.m.user("mallory"))
	if ev != nil {
		t.Errorf("a template for a room that does not federate: %s", r)
	}
	t.denied("make_join", r, 403, 404)
	fr := newFakeRoom(t.m, room, t.v)
	st := list(t.alice.do("GET", csPath("rooms", room, "state"), nil).body)
	_ = st
	join := obj{"type": "m.room.member", "sender": t.m.user("mallory"), "state_key": t.m.user("mallory"), "room_id": room, "content": obj{"membership": "join"},
		"depth": 10, "origin_server_ts": time.Now().UnixMilli(), "prev_events": fr.refs([]string{"$" + strings.Repeat("A", 43)}), "auth_events": []any{}}
	if num(t.v) <= 2 {
		join["event_id"], join["prev_events"] = "$x:"+t.m.name, fr.refs([]string{"$y:" + t.m.name})
	}
	t.m.seal(t.v, join)
	t.denied("send_join", t.m.call(t, "PUT", fedPath("v2", "send_join", room, idOf(t.v, join)), join), 400, 403, 404)
	if r := t.m.transact(t, []any{join}, nil); r.status != 200 {
		t.Errorf("in a transaction: %s", r)
	}
	t.denied("an invitation", t.alice.do("POST", csPath("rooms", room, "invite"), obj{"user_id": t.m.user("mallory")}), 403, 400)
})

var _ = register(111, func(t *trial) {
	s := t.fresh()
	t.ban(s, s.user)
	_, r := t.m.tryJoin(t, s.id, s.user)
	t.denied("a template for somebody banned", r, 403)
	join := t.m.seal(t.v, s.fr.proto(s.user, "m.room.member", &s.user, obj{"membership": "join"}))
	t.denied("send_join of somebody banned", t.m.call(t, "PUT", fedPath("v2", "send_join", s.id, idOf(t.v, join)), join), 403)
	t.refused("a join of somebody banned", s, join, "")
	if m := t.state(s, "m.room.member", s.user); text(m, "membership") != "ban" {
		t.Errorf("the ban is gone: %v", m)
	}
	r2 := t.alice.ok(t, "PUT", csPath("rooms", s.id, "state", "m.room.join_rules"), obj{"join_rule": "invite"})
	t.heard(s.fr, text(r2, "event_id"))
	eve := t.m.user("eve")
	_, r = t.m.tryJoin(t, s.id, eve)
	t.denied("a template without invitation", r, 403)
	join = t.m.seal(t.v, s.fr.proto(eve, "m.room.member", &eve, obj{"membership": "join"}))
	t.denied("send_join without invitation", t.m.call(t, "PUT", fedPath("v2", "send_join", s.id, idOf(t.v, join)), join), 403)
	t.refused("a join without invitation", s, join, "")
	t.used = nil // the room is closed to bob too
})

var _ = register(112, func(t *trial) {
	s := t.fresh()
	r := t.alice.ok(t, "PUT", csPath("rooms", s.id, "state", "m.room.join_rules"), obj{"join_rule": "restricted", "allow": []any{obj{"type": "m.room_membership", "room_id": t.w.safe.id}}})
	t.heard(s.fr, text(r, "event_id"))
	eve := t.m.user("eve")
	for _, by := range []string{t.alice.user, t.m.user("boss"), t.m.user("nobody"), s.pal, "nonsense", t.w.bob.user} {
		join := t.m.seal(t.v, s.fr.proto(eve, "m.room.member", &eve, obj{"membership": "join", "join_authorised_via_users_server": by}))
		if by == t.m.user("boss") { // may invite, and the server did sign: this one is right
			continue
		}
		r := t.m.call(t, "PUT", fedPath("v2", "send_join", s.id, idOf(t.v, join)), join)
		t.denied("send_join by "+by, r, 400, 403)
		t.refused("a join by "+by, s, join, "")
	}
	if number(s.fr.get(s.fr.stateID("m.room.power_levels", "")), "content", "invite") == 0 {
		t.Fatal("everybody may invite")
	}
	join := t.m.seal(t.v, s.fr.proto(eve, "m.room.member", &eve, obj{"membership": "join", "join_authorised_via_users_server": s.user}))
	t.refused("a join by somebody who may not invite", s, join, "")
	t.used = nil
})

var _ = register(113, func(t *trial) {
	s := t.fresh()
	key := newSigner("identity.example", "ed25519:0")
	token := unique("token")
	tpi := t.m.seal(t.v, s.fr.proto(s.boss, "m.room.third_party_invite", &token, obj{"display_name": "x", "public_key": key.public(), "key_validity_url": "https://identity.example/x",
		"public_keys": []any{obj{"public_key": key.public()}}}))
	t.deliver(s, tpi)
	t.accepted(s, tpi)
	s.fr.add(tpi)
	signed := func(mxid, tok string, k signer) obj {
		o := obj{"mxid": mxid, "token": tok}
		k.signJSON(o)
		return o
	}
	eve := t.m.user("eve")
	for name, c := range map[string]struct {
		sender, target string
		signed         any
	}{
		"unknown token":   {s.boss, eve, signed(eve, "unknown", key)},
		"another user":    {s.boss, eve, signed(t.m.user("adam"), token, key)},
		"another inviter": {s.user, eve, signed(eve, token, key)},
		"another key":     {s.boss, eve, signed(eve, token, newSigner("identity.example", "ed25519:0"))},
		"no signature":    {s.boss, eve, obj{"mxid": eve, "token": token, "signatures": obj{}}},
		"nonsense":        {s.boss, eve, "text"},
	} {
		content := obj{"membership": "invite", "third_party_invite": obj{"display_name": "x", "signed": c.signed}}
		ev := t.m.seal(t.v, s.fr.proto(c.sender, "m.room.member", &c.target, content))
		if name == "another inviter" || num(t.v) == 0 {
			ev["auth_events"] = s.fr.refs(s.fr.auth(c.sender, "m.room.member", &c.target, content))
			t.m.seal(t.v, ev)
		}
		t.refused(name, s, ev, "")
		if m := t.state(s, "m.room.member", eve); m != nil {
			t.Errorf("%s: eve is %v", name, m)
		}
	}
	good := t.m.seal(t.v, s.fr.proto(s.boss, "m.room.member", &eve, obj{"membership": "invite", "third_party_invite": obj{"display_name": "x", "signed": signed(eve, token, key)}}))
	t.deliver(s, good)
	t.accepted(s, good)
	s.fr.add(good)
})

var _ = register(116, func(t *trial) {
	s := t.fresh()
	r := t.alice.ok(t, "PUT", csPath("rooms", s.id, "state", "m.room.join_rules"), obj{"join_rule": "invite"})
	t.heard(s.fr, text(r, "event_id"))
	eve := t.m.user("eve")
	_, _, rep := t.m.template(t, "knock", s.id, eve)
	t.denied("make_knock", rep, 403)
	knock := t.m.seal(t.v, s.fr.proto(eve, "m.room.member", &eve, obj{"membership": "knock"}))
	t.denied("send_knock", t.m.call(t, "PUT", fedPath("v1", "send_knock", s.id, idOf(t.v, knock)), knock), 403)
	t.refused("a knock", s, knock, "")
	t.used = nil
})

// redaction is a redaction by a user of mallory.
func (t *trial) redaction(s *stage, sender, target string) obj {
	content := obj{"reason": "x"}
	ev := s.fr.proto(sender, "m.room.redaction", nil, content)
	if num(t.v) >= 11 {
		content["redacts"] = target
	} else {
		ev["redacts"] = target
	}
	return t.m.seal(t.v, ev)
}

var _ = register(117, func(t *trial) {
	s := t.stage()
	other, secret := t.elsewhere()
	ev := t.redaction(s, s.boss, idOf(t.v, secret))
	t.deliver(s, ev)
	t.fence(s)
	if r := t.alice.do("GET", csPath("rooms", other.id, "event", idOf(t.v, secret)), nil); !strings.Contains(string(r.raw), "of the other room") {
		t.Errorf("an event of another room is gone: %s", r)
	}
	if num(t.v) > 2 {
		return
	}
	self := s.fr.proto(s.boss, "m.room.redaction", nil, obj{"reason": "itself"})
	self["redacts"] = self["event_id"]
	t.m.seal(t.v, self)
	t.deliver(s, self)
	a, b := s.fr.proto(s.boss, "m.room.redaction", nil, obj{"reason": "a"}), s.fr.proto(s.boss, "m.room.redaction", nil, obj{"reason": "b"})
	a["redacts"], b["redacts"] = b["event_id"], a["event_id"]
	t.deliver(s, t.m.seal(t.v, a))
	t.deliver(s, t.m.seal(t.v, b))
	t.fence(s)
	for _, x := range []obj{self, a, b} {
		if r := t.alice.do("GET", csPath("rooms", s.id, "event", idOf(t.v, x)), nil); r.status != 200 && r.status != 404 {
			t.Errorf("a redaction in a circle: %s", r)
		}
	}
})

var _ = register(118, func(t *trial) {
	s := t.stage()
	id := t.alice.send(t, s.id, "not to be redacted")
	t.heard(s.fr, id)
	ev := t.redaction(s, s.user, id)
	t.deliver(s, ev)
	t.fence(s)
	if r := t.alice.do("GET", csPath("rooms", s.id, "event", id), nil); !strings.Contains(string(r.raw), "not to be redacted") {
		t.Errorf("the message is gone: %s", r)
	}
	boss := t.redaction(s, s.boss, id)
	t.deliver(s, boss)
	until(t, "who may redact does", func() bool {
		return !strings.Contains(string(t.alice.do("GET", csPath("rooms", s.id, "event", id), nil).raw), "not to be redacted")
	})
	s.fr.add(boss)
})

var _ = register(119, func(t *trial) {
	s := t.stage()
	target := t.message(s, "redacted before it came")
	ev := t.redaction(s, s.user, idOf(t.v, target))
	never := t.redaction(s, s.user, "$"+strings.Repeat("N", 43))
	t.deliver(s, ev)
	t.deliver(s, never)
	t.fence(s)
	t.deliver(s, target)
	t.accepted(s, target)
	if r := t.alice.do("GET", csPath("rooms", s.id, "event", idOf(t.v, target)), nil); strings.Contains(string(r.raw), "before it came") {
		t.Errorf("the message is not redacted: %s", r)
	}
})

// A rejected event stays rejected, also when others name it and when it is sent again.
var _ = register(120, func(t *trial) {
	s := t.fresh()
	bad := t.m.seal(t.v, s.fr.proto(s.user, "m.room.topic", ptr(""), obj{"topic": "rejected"}))
	t.refused("a topic without power", s, bad, "rejected")
	levels := copyObj(s.fr.get(s.fr.stateID("m.room.power_levels", ""))["content"].(obj))
	levels["users"].(obj)[s.user] = 50
	r := t.alice.ok(t, "PUT", csPath("rooms", s.id, "state", "m.room.power_levels"), levels)
	t.heard(s.fr, text(r, "event_id"))
	t.refused("the same event when the user has power", s, bad, "rejected")
	s.fr.keep(bad)
	s.fr.setEnds(append(s.fr.endsNow(), idOf(t.v, bad))...)
	next := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "follows it", "msgtype": "m.text"})
	t.deliver(s, next)
	t.accepted(s, next)
	t.absent("the rejected one", s, idOf(t.v, bad), "rejected")
})

var _ = register(121, func(t *trial) {
	s := t.fresh()
	first := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "before all of them", "msgtype": "m.text"})
	t.deliver(s, first)
	for range 4 {
		var bad []any
		for i := range 50 {
			ev := t.m.seal(t.v, s.fr.proto(s.user, "m.room.topic", ptr(""), obj{"topic": fmt.Sprint("rejected ", i)}))
			s.fr.keep(ev)
			s.fr.setEnds(idOf(t.v, ev))
			bad = append(bad, ev)
		}
		if r := t.m.transact(t, bad, nil); r.status != 200 {
			t.Fatalf("a transaction: %s", r)
		}
	}
	t.fence(s)
	from, found := "", false
	for pages := 0; pages < 30 && !found; pages++ {
		uri := csPath("rooms", s.id, "messages") + "?dir=b&limit=3"
		if from != "" {
			uri += "&from=" + from
		}
		o := t.alice.ok(t, "GET", uri, nil)
		for _, x := range list(o, "chunk") {
			found = found || text(x, "event_id") == idOf(t.v, first)
		}
		if from = text(o, "end"); from == "" {
			break
		}
	}
	if !found {
		t.Error("paging does not get past rejected events")
	}
})

var _ = register(122, func(t *trial) {
	s := t.fresh()
	for _, content := range []obj{{"replacement_room": 5, "body": 5}, {"replacement_room": []any{}}, {"replacement_room": "nonsense"},
		{"replacement_room": "!x:" + t.m.name, "body": "moved"}} {
		before := t.m.askedFor("make_join")
		ev := s.fr.say(s.boss, "m.room.tombstone", ptr(""), content)
		if num(t.v) >= 12 || text(s.fr.get(s.fr.stateID("m.room.power_levels", "")), "content", "events", "m.room.tombstone") != "" {
			t.deliver(s, ev) // needs more power than boss has
			continue
		}
		t.deliver(s, ev)
		t.alice.sync(t, 0)
		if t.m.askedFor("make_join") != before {
			t.Error("the server followed a tombstone")
		}
	}
	s.fr.setEnds(s.fr.get(s.fr.endsNow()[0])["prev_events"].([]any)[0].(string))
})
