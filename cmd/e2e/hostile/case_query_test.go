package hostile

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// askedAbout are the questions about a room's history that a server may ask, with an event of it.
func askedAbout(room, event string) map[string]func(f *fake, t *trial) reply {
	get := func(uri string) func(f *fake, t *trial) reply {
		return func(f *fake, t *trial) reply { return f.call(t, "GET", uri, nil) }
	}
	q := "?event_id=" + url.QueryEscape(event)
	return map[string]func(f *fake, t *trial) reply{
		"backfill":   get(fedPath("v1", "backfill", room) + "?limit=5&v=" + url.QueryEscape(event)),
		"state":      get(fedPath("v1", "state", room) + q),
		"state_ids":  get(fedPath("v1", "state_ids", room) + q),
		"event_auth": get(fedPath("v1", "event_auth", room, event)),
		"get_missing_events": func(f *fake, t *trial) reply {
			return f.call(t, "POST", fedPath("v1", "get_missing_events", room), obj{"earliest_events": []any{}, "latest_events": []any{event}, "limit": 10})
		},
		"timestamp_to_event": get(fedPath("v1", "timestamp_to_event", room) + "?dir=f&ts=0"),
	}
}

var _ = register(149, func(t *trial) {
	s := t.fresh()
	for range 3 {
		t.deliver(s, objs(t.many(s, 50))...)
	}
	t.fence(s)
	end := url.QueryEscape(s.fr.endsNow()[0])
	path := fedPath("v1", "backfill", s.id)
	for _, limit := range []string{"-1", "0", "1000000000000", "x", "9223372036854775808", "1e3", ""} {
		r := t.m.call(t, "GET", path+"?v="+end+"&limit="+limit, nil)
		if n := len(list(r.body, "pdus")); r.status != 400 && (r.status != 200 || n == 0 || n > 100) {
			t.Errorf("limit %q gives %d events: %s", limit, n, r)
		}
	}
	if r := t.m.call(t, "GET", path+"?v="+end+"&limit=100", nil); len(list(r.body, "pdus")) != 100 {
		t.Errorf("100 events: %s", r)
	}
	t.denied("no v", t.m.call(t, "GET", path+"?limit=5", nil), 400)
	t.denied("1000 v", t.m.call(t, "GET", path+"?limit=5"+strings.Repeat("&v="+end, 1000), nil), 200, 400)
	t.denied("nonsense", t.m.call(t, "GET", path+"?limit=5&v=nonsense&v=&v=%00", nil), 200, 400)
})

func objs(l []any) []obj {
	out := make([]obj, len(l))
	for i, x := range l {
		out[i] = x.(obj)
	}
	return out
}

var _ = register(150, func(t *trial) {
	s := t.fresh()
	end := s.fr.endsNow()[0]
	stranger := t.w.stranger()
	denied := newFake(t.w, "127.0.0.6")
	denied.join(t, s.id, denied.user("eve"))
	for what, ask := range askedAbout(s.id, end) {
		if r := ask(stranger, t); r.status != 403 || r.code != "M_FORBIDDEN" {
			t.Errorf("%s by a server that is not in the room: %s", what, r)
		}
		if r := ask(denied, t); r.status != 200 {
			t.Errorf("%s by a server in the room: %s", what, r)
		}
	}
	r := t.alice.ok(t, "PUT", csPath("rooms", s.id, "state", "m.room.server_acl"), obj{"allow": []any{"*"}, "deny": []any{"127.0.0.6"}})
	t.heard(s.fr, text(r, "event_id"))
	for what, ask := range askedAbout(s.id, end) {
		if r := ask(denied, t); r.status != 403 || r.code != "M_FORBIDDEN" {
			t.Errorf("%s by a server that the room denies: %s", what, r)
		}
		if r := ask(t.m, t); r.status != 200 {
			t.Errorf("%s by another one: %s", what, r)
		}
	}
})

var _ = register(151, func(t *trial) {
	s, other := t.stage(), t.fresh()
	secret := t.alice.send(t, other.id, "of the other room")
	t.heard(other.fr, secret)
	denied := newFake(t.w, "127.0.0.6") // is in one of them only
	denied.join(t, s.id, denied.user("eve"))
	for what, ask := range askedAbout(s.id, secret) {
		for _, f := range []*fake{denied, t.m} {
			r := ask(f, t)
			if r.status != 403 && r.status != 404 && r.status != 400 && (r.status != 200 || len(list(r.body, "pdus"))+len(list(r.body, "events"))+len(list(r.body, "pdu_ids")) > 0) &&
				what != "timestamp_to_event" {
				t.Errorf("%s with an event of another room: %s", what, r)
			}
			if bytes.Contains(r.raw, []byte("of the other room")) || bytes.Contains(r.raw, []byte(other.id)) || bytes.Contains(r.raw, []byte(secret)) && r.status == 200 {
				t.Errorf("%s tells of another room: %s", what, r)
			}
		}
	}
	t.denied("the event itself", denied.call(t, "GET", fedPath("v1", "event", secret), nil), 403, 404)
})

var _ = register(153, func(t *trial) {
	s := t.stage()
	bad := t.m.seal(t.v, s.fr.proto(s.user, "m.room.name", ptr(""), obj{"name": "taken over"}))
	t.refused("a name without power", s, bad, "taken over")
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	name := fr.say(t.m.user("mallory"), "m.room.name", ptr(""), obj{"name": "from before"})
	if r := t.joins(fr); r.status != 200 {
		t.Fatalf("joining: %s", r)
	}
	for what, x := range map[string][2]string{"a rejected event": {s.id, idOf(t.v, bad)}, "an outlier": {fr.id, idOf(t.v, name)}, "an unknown event": {s.id, "$" + strings.Repeat("U", 43)}} {
		for _, q := range []string{"state", "state_ids"} {
			r := t.m.call(t, "GET", fedPath("v1", q, x[0])+"?event_id="+url.QueryEscape(x[1]), nil)
			if r.status != 404 || r.code != "M_NOT_FOUND" {
				t.Errorf("%s at %s: %s", q, what, r)
			}
		}
	}
})

var _ = register(154, func(t *trial) {
	s := t.fresh()
	t.deliver(s, objs(t.many(s, 40))...)
	t.fence(s)
	end := s.fr.endsNow()[0]
	ask := func(body obj) reply { return t.m.call(t, "POST", fedPath("v1", "get_missing_events", s.id), body) }
	unknown := "$" + strings.Repeat("U", 43)
	for what, c := range map[string]struct {
		body obj
		n    int
	}{
		"no limit":          {obj{"earliest_events": []any{}, "latest_events": []any{end}}, 10},
		"a great limit":     {obj{"earliest_events": []any{}, "latest_events": []any{end}, "limit": 1000000}, 20},
		"a negative limit":  {obj{"earliest_events": []any{}, "latest_events": []any{end}, "limit": -1}, 10},
		"unknown earliest":  {obj{"earliest_events": []any{unknown}, "latest_events": []any{end}, "limit": 5}, 5},
		"unknown latest":    {obj{"earliest_events": []any{}, "latest_events": []any{unknown}, "limit": 5}, 0},
		"unknown and known": {obj{"earliest_events": []any{}, "latest_events": []any{unknown, end}, "limit": 5}, 5},
		"a negative depth":  {obj{"earliest_events": []any{}, "latest_events": []any{end}, "limit": 5, "min_depth": -1}, 5},
		"a great depth":     {obj{"earliest_events": []any{}, "latest_events": []any{end}, "limit": 5, "min_depth": int64(1<<53 - 1)}, 0},
		"nothing":           {obj{}, 0},
	} {
		if r := ask(c.body); r.status != 200 || len(list(r.body, "events")) != c.n {
			t.Errorf("%s: %d events, expected %d: %d %s", what, len(list(r.body, "events")), c.n, r.status, r.code)
		}
	}
	many := make([]any, 100_000)
	for i := range many {
		many[i] = end
	}
	t.denied("many latest", ask(obj{"latest_events": many, "earliest_events": []any{}}), 200, 400)
	t.denied("many earliest", ask(obj{"latest_events": []any{end}, "earliest_events": many}), 200, 400)
	for _, body := range []obj{{"latest_events": "x"}, {"latest_events": []any{5}}, {"latest_events": []any{end}, "limit": "x"}, {"latest_events": obj{}}} {
		t.denied("nonsense", ask(body), 400)
	}
})

// behind lets mallory send an event that follows one which nobody has seen, and answers for the gap with a.
func (t *trial) behind(s *stage, what string, answers map[string]answer) {
	t.Helper()
	ends := s.fr.endsNow()
	for name, a := range answers {
		defer t.m.set(name, a)()
	}
	hidden := t.message(s, "hidden of "+what)
	s.fr.setEnds(idOf(t.v, hidden))
	tip := t.message(s, "tip of "+what)
	s.fr.setEnds(ends...)
	before := t.m.askedFor(" ")
	t.deliver(s, tip)
	t.fence(s)
	if n := t.m.askedFor(" ") - before; n > 60 {
		t.Errorf("%s: mallory was asked %d times", what, n)
	}
	t.absent(what, s, idOf(t.v, hidden), "hidden of "+what)
	if m := t.state(s, "m.room.member", s.user); text(m, "membership") != "join" {
		t.Errorf("%s: the membership is %v", what, m)
	}
	if l := t.state(s, "m.room.power_levels", ""); number(l, "users", s.boss) != 50 {
		t.Errorf("%s: the levels are %s", what, encode(l))
	}
}

var _ = register(155, func(t *trial) {
	s := t.fresh()
	other, _ := t.elsewhere()
	invented := func(prev string) obj {
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "invented", "msgtype": "m.text", "salt": unique("")})
		ev["prev_events"] = s.fr.refs([]string{prev})
		return t.m.seal(t.v, ev)
	}
	unknown := func() string {
		if num(t.v) <= 2 {
			return "$" + unique("u") + ":" + t.m.name
		}
		return "$" + b64url(unique("u"))
	}
	nothing := func(*query) (int, any) { return 404, obj{"errcode": "M_NOT_FOUND"} }
	t.behind(s, "unrelated events", map[string]answer{"get_missing_events": func(*query) (int, any) {
		return 200, obj{"events": []any{other.fr.get(other.fr.endsNow()[0]), s.fr.get(s.fr.stateID("m.room.create", "")), other.fr.get(other.fr.stateID("m.room.create", ""))}}
	}})
	t.behind(s, "gaps without end", map[string]answer{"get_missing_events": func(*query) (int, any) {
		return 200, obj{"events": []any{invented(unknown())}}
	}})
	t.behind(s, "gaps without end and no state", map[string]answer{"get_missing_events": func(*query) (int, any) {
		return 200, obj{"events": []any{invented(unknown())}}
	}, "state_ids": nothing, "state": nothing, "event": nothing})
	t.behind(s, "nonsense", map[string]answer{"get_missing_events": func(*query) (int, any) {
		return 200, obj{"events": []any{nil, 5, "x", []any{}, obj{}, obj{"type": raw("1.5")}}}
	}})
	t.behind(s, "no JSON", map[string]answer{"get_missing_events": func(*query) (int, any) { return 200, []byte("{\"events\":[") }})
	t.behind(s, "an object", map[string]answer{"get_missing_events": func(*query) (int, any) { return 200, obj{"events": obj{}} }})
	t.behind(s, "many events", map[string]answer{"get_missing_events": func(*query) (int, any) {
		evs := make([]any, 2000)
		ev := invented(s.fr.endsNow()[0])
		for i := range evs {
			evs[i] = ev
		}
		return 200, obj{"events": evs}
	}})
	// One event that is no event spoils no other.
	t.gap(s, func(ev obj) { ev["content"] = obj{"body": "bad of the gap", "x": raw("1.5")} })
})

// Each event follows twenty that nobody has.
var _ = register(156, func(t *trial) {
	s := t.fresh()
	ends := s.fr.endsNow()
	before := t.m.askedFor(" ")
	for range 2 {
		var evs []any
		for range 50 {
			ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "follows nothing", "msgtype": "m.text"})
			var prev []string
			for range 20 {
				prev = append(prev, "$"+b64url(unique("p")))
			}
			ev["prev_events"] = s.fr.refs(prev)
			evs = append(evs, t.m.seal(t.v, ev))
		}
		if r := t.m.transact(t, evs, nil); r.status != 200 && r.status != 429 {
			t.Errorf("the transaction: %s", r)
		}
	}
	s.fr.setEnds(ends...)
	t.fence(s)
	if n := t.m.askedFor(" ") - before; n > 1000 {
		t.Errorf("100 events made the server ask %d times", n)
	}
	t.absent("events that follow nothing", s, "", "follows nothing")
})

var _ = register(157, func(t *trial) {
	s := t.fresh()
	none := func(*query) (int, any) { return 200, obj{"events": []any{}} }
	state, chain := s.fr.stateEvents()
	ids := idsOf(t.v, state)
	for what, a := range map[string]answer{
		"no chain": func(*query) (int, any) { return 200, obj{"pdu_ids": ids, "auth_chain_ids": []any{}} },
		"a false chain": func(*query) (int, any) {
			return 200, obj{"pdu_ids": ids, "auth_chain_ids": []any{"$" + strings.Repeat("F", 43), "nonsense", nil, 5}}
		},
		"nothing":  func(*query) (int, any) { return 200, obj{"pdu_ids": []any{}, "auth_chain_ids": []any{}} },
		"null":     func(*query) (int, any) { return 200, obj{"pdu_ids": nil, "auth_chain_ids": nil} },
		"nonsense": func(*query) (int, any) { return 200, []any{} },
		"unknown state": func(*query) (int, any) {
			return 200, obj{"pdu_ids": append(slices.Clone(ids), "$"+strings.Repeat("G", 43)), "auth_chain_ids": idsOf(t.v, chain)}
		},
		"messages": func(*query) (int, any) {
			return 200, obj{"pdu_ids": append(slices.Clone(ids), s.fr.endsNow()[0]), "auth_chain_ids": []any{}}
		},
		"all of it twice": func(*query) (int, any) {
			return 200, obj{"pdu_ids": append(slices.Clone(ids), ids...), "auth_chain_ids": idsOf(t.v, chain)}
		},
		"endless": func(*query) (int, any) {
			many := make([]any, 200_000)
			for i := range many {
				many[i] = fmt.Sprintf("$%043d", i)
			}
			return 200, obj{"pdu_ids": many, "auth_chain_ids": []any{}}
		},
	} {
		t.behind(s, what, map[string]answer{"get_missing_events": none, "state_ids": a})
	}
})

// An event rests on one that its server cannot show.
var _ = register(158, func(t *trial) {
	s := t.fresh()
	levels := copyObj(s.fr.get(s.fr.stateID("m.room.power_levels", "")))
	levels["content"].(obj)["users_default"] = 100
	levels["sender"] = s.boss
	if num(t.v) <= 2 {
		levels["event_id"] = "$" + unique("l") + ":" + t.m.name
	}
	t.m.seal(t.v, levels)
	for what, a := range map[string]answer{
		"no chain":  func(*query) (int, any) { return 200, obj{"auth_chain": []any{}} },
		"not found": func(*query) (int, any) { return notFound() },
		"a part":    func(*query) (int, any) { st, _ := s.fr.stateEvents(); return 200, obj{"auth_chain": st[1:]} },
		"a forged": func(*query) (int, any) {
			st, _ := s.fr.stateEvents()
			return 200, obj{"auth_chain": append(slices.Clone(st), levels)}
		},
		"nonsense":    func(*query) (int, any) { return 200, obj{"auth_chain": []any{nil, 5, "x", obj{}}} },
		"no JSON":     func(*query) (int, any) { return 200, []byte("x") },
		"a failure":   func(*query) (int, any) { return 500, obj{"errcode": "M_UNKNOWN"} },
		"another one": func(*query) (int, any) { return 200, obj{"auth_chain": []any{s.fr.get(s.fr.endsNow()[0])}} },
	} {
		undo := t.m.set("event_auth", a)
		ev := s.fr.proto(s.user, "m.room.message", nil, obj{"body": "on a rotten chain"})
		refs := s.fr.refs([]string{idOf(t.v, levels)})
		for _, id := range refIDs(ev["auth_events"]) {
			if id != s.fr.stateID("m.room.power_levels", "") {
				refs = append(refs, s.fr.refs([]string{id})...)
			}
		}
		ev["auth_events"] = refs
		t.m.seal(t.v, ev)
		t.refused(what, s, ev, "on a rotten chain")
		undo()
		if l := t.state(s, "m.room.power_levels", ""); number(l, "users_default") != 0 {
			t.Errorf("%s: the levels are %s", what, encode(l))
		}
	}
})

var _ = register(159, func(t *trial) {
	s := t.fresh()
	hidden := t.alice.send(t, s.id, "hidden from strangers")
	stranger := t.w.stranger()
	a := stranger.call(t, "GET", fedPath("v1", "event", hidden), nil)
	b := stranger.call(t, "GET", fedPath("v1", "event", "$"+strings.Repeat("U", 43)), nil)
	t.denied("an event of a room that the server is not in", a, 403, 404)
	if a.status != b.status || !bytes.Equal(a.raw, b.raw) {
		t.Errorf("an event that is there and one that is not: %s and %s", a, b)
	}
	// What was said before a server came is hidden by the room's setting.
	private := t.fresh(obj{"initial_state": []any{obj{"type": "m.room.history_visibility", "state_key": "", "content": obj{"history_visibility": "joined"}}}})
	before := t.alice.send(t, private.id, "said before they came")
	late := newFake(t.w, "127.0.0.6")
	late.join(t, private.id, late.user("eve"))
	after := t.alice.send(t, private.id, "said afterwards")
	if r := late.call(t, "GET", fedPath("v1", "event", after), nil); r.status != 200 || !strings.Contains(string(r.raw), "said afterwards") {
		t.Errorf("what they may see: %s", r)
	}
	for what, ask := range askedAbout(private.id, after) {
		if r := ask(late, t); strings.Contains(string(r.raw), "said before they came") {
			t.Errorf("%s tells what was said before: %s", what, r)
		}
	}
	if r := late.call(t, "GET", fedPath("v1", "event", before), nil); strings.Contains(string(r.raw), "said before they came") {
		t.Errorf("the event tells what was said before: %s", r)
	}
	for what, ask := range askedAbout(private.id, before) {
		if r := ask(late, t); strings.Contains(string(r.raw), "said before they came") {
			t.Errorf("%s tells what was said before: %s", what, r)
		}
	}
})

// Spaces whose children lead back, or never end.
var _ = register(161, func(t *trial) {
	space := func() string {
		return t.alice.createRoom(t, t.v, obj{"creation_content": obj{"type": "m.space"}})
	}
	child := func(parent, kid, via string) {
		t.alice.ok(t, "PUT", csPath("rooms", parent, "state", "m.space.child", kid), obj{"via": []any{via}})
	}
	hierarchy := func(room, query string) reply {
		return t.alice.do("GET", "/_matrix/client/v1/rooms/"+url.PathEscape(room)+"/hierarchy"+query, nil)
	}
	a, b, c := space(), space(), space()
	child(a, b, t.w.hs.name)
	child(b, c, t.w.hs.name)
	child(c, a, t.w.hs.name)
	child(a, a, t.w.hs.name)
	if r := hierarchy(a, ""); r.status != 200 || len(list(r.body, "rooms")) != 3 {
		t.Errorf("a circle has %d rooms: %s", len(list(r.body, "rooms")), r)
	}
	for _, q := range []string{"?limit=-1", "?limit=0", "?limit=1000000000", "?max_depth=-1", "?max_depth=1000000", "?from=nonsense", "?limit=x", "?from=%00"} {
		t.denied("hierarchy"+q, hierarchy(a, q), 200, 400)
	}
	// A deep chain.
	deep := a
	for range 15 {
		next := space()
		child(deep, next, t.w.hs.name)
		deep = next
	}
	if r := hierarchy(a, "?limit=50"); r.status != 200 {
		t.Errorf("a deep chain: %s", r)
	}
	// Mallory's spaces: many children, each leads on, and all lead back.
	var many []any
	for i := range 20_000 {
		many = append(many, obj{"type": "m.space.child", "state_key": fmt.Sprintf("!kid%d:%s", i, t.m.name), "sender": t.m.user("mallory"), "origin_server_ts": 1, "content": obj{"via": []any{t.m.name}}})
	}
	undo := t.m.set("hierarchy", func(q *query) (int, any) {
		room := obj{"room_id": q.parts[0], "room_type": "m.space", "join_rule": "public", "num_joined_members": 1, "world_readable": true, "guest_can_join": false, "children_state": many}
		return 200, obj{"room": room, "children": []any{}, "inaccessible_children": []any{}}
	})
	evil := space()
	child(evil, "!evil:"+t.m.name, t.m.name)
	child(evil, "!other:"+t.m.name, t.m.name)
	before := t.m.askedFor("hierarchy")
	r := hierarchy(evil, "?limit=1000")
	if r.status != 200 {
		t.Errorf("mallory's space: %s", clip(r.raw, 300))
	}
	if n := t.m.askedFor("hierarchy") - before; n > 200 {
		t.Errorf("one question of a client made %d", n)
	}
	if len(r.raw) > 20<<20 {
		t.Errorf("the answer has %d bytes", len(r.raw))
	}
	undo()
	for _, answer := range []any{obj{}, obj{"room": nil}, obj{"room": 5, "children": 5}, []any{}, obj{"room": obj{"room_id": t.w.safe.id, "children_state": []any{nil, 5, obj{"type": 5}}}, "children": []any{nil}}} {
		undo := t.m.set("hierarchy", func(*query) (int, any) { return 200, answer })
		t.denied("nonsense of mallory", hierarchy(evil, ""), 200)
		undo()
	}
	// Children that a server is not in are not told to it.
	secret := t.alice.createRoom(t, t.v, obj{"preset": "private_chat", "name": "secret name"})
	child(a, secret, t.w.hs.name)
	if r := t.w.stranger().call(t, "GET", fedPath("v1", "hierarchy", a), nil); strings.Contains(string(r.raw), "secret name") {
		t.Errorf("a stranger is told: %s", r)
	}
})

var _ = register(163, func(t *trial) {
	t.denied("an alias of another server", t.m.call(t, "GET", fedPath("v1", "query", "directory")+"?room_alias="+url.QueryEscape("#x:"+t.w.friend.name), nil), 404)
	for _, alias := range []string{"", "nonsense", "%23x", "%23:" + t.w.hs.name, "%00"} {
		t.denied("alias "+alias, t.m.call(t, "GET", fedPath("v1", "query", "directory")+"?room_alias="+alias, nil), 400, 404)
	}
	profile := func(f *fake, user string) reply {
		return f.call(t, "GET", fedPath("v1", "query", "profile")+"?user_id="+url.QueryEscape(user), nil)
	}
	t.denied("a user of another server", profile(t.m, t.w.friend.user("pal")), 400, 403, 404)
	t.denied("an unknown user", profile(t.m, "@nobody:"+t.w.hs.name), 403, 404)
	before := t.w.friend.askedFor("query_profile")
	profile(t.m, t.w.friend.user("pal"))
	if t.w.friend.askedFor("query_profile") != before {
		t.Error("the question was passed on")
	}
	t.denied("a known one", profile(t.m, t.alice.user), 200)
	t.denied("an unknown field", t.m.call(t, "GET", fedPath("v1", "query", "profile")+"?user_id="+url.QueryEscape(t.alice.user)+"&field="+strings.Repeat("x", 3000), nil), 200, 400, 404)
})

// deviceOf is a device with keys that are right but for what change does.
func deviceOf(user, device string, change func(keys obj)) obj {
	k := newSigner(user, "ed25519:"+device)
	keys := obj{"user_id": user, "device_id": device, "algorithms": []any{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": obj{"ed25519:" + device: k.public(), "curve25519:" + device: k.public()}}
	if change != nil {
		change(keys)
	}
	k.signJSON(keys)
	return obj{"device_id": device, "keys": keys, "device_display_name": "device " + device}
}

var _ = register(164, func(t *trial) {
	for _, u := range []string{"@nobody:" + t.w.hs.name, t.w.friend.user("pal"), "nonsense", "@x", ""} {
		t.denied("devices of "+u, t.m.call(t, "GET", fedPath("v1", "user", "devices", u), nil), 400, 404)
	}
	// Mallory's users share a room with alice: their lists are fetched and kept.
	s := t.stage()
	cases := map[string]func(user string) []any{
		"many": func(user string) []any {
			one := deviceOf(user, "GOOD", nil)
			out := []any{one}
			for i := range 20_000 {
				d := copyObj(one)
				d["device_id"] = fmt.Sprint("D", i)
				out = append(out, d)
			}
			return out
		},
		"wrong": func(user string) []any {
			return []any{deviceOf(user, "GOOD", nil), deviceOf(user, "EVIL1", func(k obj) { k["user_id"] = t.alice.user }),
				deviceOf(user, "EVIL2", func(k obj) { k["device_id"] = "OTHER" }), deviceOf(t.alice.user, "EVIL3", nil), deviceOf(user, "EVIL4", func(k obj) { k["keys"] = []any{} }),
				deviceOf(user, "EVIL5", func(k obj) { k["algorithms"] = "x" }), obj{"device_id": "EVIL6", "keys": nil}, obj{"device_id": 5}, obj{"device_id": strings.Repeat("E", 3000), "keys": obj{}}}
		},
		"nothing": func(string) []any { return nil },
	}
	for what, fill := range cases {
		user := t.m.user("dev" + unique(""))
		t.m.join(t, s.id, user)
		undo := t.m.set("user_devices", func(q *query) (int, any) {
			return 200, obj{"user_id": q.parts[1], "stream_id": 5, "devices": fill(q.parts[1])}
		})
		undo2 := t.m.set("user_keys", func(q *query) (int, any) {
			out := obj{}
			for _, d := range fill(user) {
				if k, ok := at(d, "keys").(obj); ok {
					out[fmt.Sprint(at(d, "device_id"))] = k
				}
			}
			return 200, obj{"device_keys": obj{user: out}}
		})
		r := t.alice.do("POST", csPath("keys", "query"), obj{"device_keys": obj{user: []any{}}, "timeout": 10000})
		undo()
		undo2()
		if r.status != 200 || len(r.raw) > 30<<20 {
			t.Errorf("%s: %d bytes: %s", what, len(r.raw), r)
		}
		devices, _ := at(r.body, "device_keys", user).(obj)
		if _, ok := devices["GOOD"]; what == "wrong" && !ok {
			t.Errorf("%s: the good one is missing: %s", what, r)
		}
		for id, d := range devices {
			if strings.HasPrefix(id, "EVIL") && id != "EVIL5" && id != "EVIL4" && (text(d, "user_id") != user || text(d, "device_id") != id) {
				t.Errorf("%s: a client is told of %s: %s", what, id, encode(d))
			}
			if text(d, "user_id") != user || text(d, "device_id") != id {
				t.Errorf("%s: the keys of %s are those of %s %s", what, id, text(d, "user_id"), text(d, "device_id"))
			}
		}
	}
	// Another user's list in the answer.
	user := t.m.user("dev" + unique(""))
	t.m.join(t, s.id, user)
	defer t.m.set("user_devices", func(q *query) (int, any) {
		return 200, obj{"user_id": s.pal, "stream_id": 5, "devices": []any{deviceOf(s.pal, "STOLEN", nil)}}
	})()
	r := t.alice.do("POST", csPath("keys", "query"), obj{"device_keys": obj{user: []any{}, s.pal: []any{}}, "timeout": 10000})
	if strings.Contains(string(r.raw), "STOLEN") {
		t.Errorf("the list of another user: %s", r)
	}
})

var _ = register(165, func(t *trial) {
	asked := t.m.user("asked" + unique(""))
	master := func(user string) obj {
		return obj{"user_id": user, "usage": []any{"master"}, "keys": obj{"ed25519:" + newSigner("x", "y").public(): newSigner("x", "y").public()}}
	}
	all := func(f func(string) obj) obj {
		out := obj{}
		for _, u := range []string{asked, t.m.user("another"), t.w.friend.user("pal"), t.alice.user, t.w.bob.user, "nonsense"} {
			out[u] = f(u)
		}
		return out
	}
	device := func(u string) obj { return obj{"STOLEN": deviceOf(u, "STOLEN", nil)["keys"]} }
	defer t.m.set("user_keys", func(*query) (int, any) {
		return 200, obj{"device_keys": all(device), "master_keys": all(master), "self_signing_keys": all(master), "user_signing_keys": all(master)}
	})()
	r := t.alice.do("POST", csPath("keys", "query"), obj{"device_keys": obj{asked: []any{}, t.w.bob.user: []any{}}, "timeout": 10000})
	if r.status != 200 {
		t.Fatalf("the question: %s", r)
	}
	for _, part := range []string{"device_keys", "master_keys", "self_signing_keys", "user_signing_keys"} {
		users, _ := r.body[part].(obj)
		for u, keys := range users {
			if u != asked && bytes.Contains(encode(keys), []byte("STOLEN")) || u != asked && u != t.w.bob.user || part == "user_signing_keys" && u == asked {
				t.Errorf("%s has %s: %s", part, u, r)
			}
		}
	}
	if at(r.body, "device_keys", asked, "STOLEN") == nil {
		t.Errorf("the user who was asked about is missing: %s", r)
	}
	// Keys that are claimed.
	defer t.m.set("user_keys", func(*query) (int, any) {
		key := obj{"signed_curve25519:A": obj{"key": "AAAA", "signatures": obj{}}}
		return 200, obj{"one_time_keys": obj{asked: obj{"D": key, "STOLEN": key}, t.alice.user: obj{"STOLEN": key}, t.w.friend.user("pal"): obj{"STOLEN": key}}}
	})()
	r = t.alice.do("POST", csPath("keys", "claim"), obj{"one_time_keys": obj{asked: obj{"D": "signed_curve25519"}}, "timeout": 10000})
	if r.status != 200 || strings.Contains(string(r.raw), "STOLEN") || at(r.body, "one_time_keys", asked, "D") == nil {
		t.Errorf("claimed: %s", r)
	}
})

var _ = register(166, func(t *trial) {
	start := time.Now()
	want := obj{}
	for i := range 100_000 {
		want[fmt.Sprintf("@u%d:%s", i, t.w.hs.name)] = obj{"D": "signed_curve25519"}
	}
	t.denied("many users", t.m.call(t, "POST", fedPath("v1", "user", "keys", "claim"), obj{"one_time_keys": want}), 200, 400, 413)
	devices := obj{}
	for i := range 100_000 {
		devices[fmt.Sprint("D", i)] = "signed_curve25519"
	}
	t.denied("many devices", t.m.call(t, "POST", fedPath("v1", "user", "keys", "claim"), obj{"one_time_keys": obj{t.alice.user: devices}}), 200, 400, 413)
	query := obj{}
	for u := range want {
		query[u] = []any{}
	}
	t.denied("questions about many users", t.m.call(t, "POST", fedPath("v1", "user", "keys", "query"), obj{"device_keys": query}), 200, 400, 413)
	if took := time.Since(start); took > patience {
		t.Errorf("it took %v", took)
	}
	for _, body := range []string{`{}`, `{"one_time_keys":null}`, `{"one_time_keys":[]}`, `{"one_time_keys":{"` + t.alice.user + `":5}}`, `{"one_time_keys":{"` + t.alice.user + `":{"D":5}}}`} {
		t.denied(body, t.m.call(t, "POST", fedPath("v1", "user", "keys", "claim"), []byte(body)), 200, 400)
	}
	// One that is there can still be had, once, and then the fallback.
	key := func(id string, extra obj) obj {
		k := obj{"key": newSigner("x", "y").public()}
		for n, v := range extra {
			k[n] = v
		}
		newSigner(t.alice.user, "ed25519:"+t.alice.device).signJSON(k)
		return obj{"signed_curve25519:" + id: k}
	}
	t.alice.ok(t, "POST", csPath("keys", "upload"), obj{"one_time_keys": key("ONCE", nil), "fallback_keys": key("EVER", obj{"fallback": true})})
	got := map[string]int{}
	for range 5 {
		r := t.m.call(t, "POST", fedPath("v1", "user", "keys", "claim"), obj{"one_time_keys": obj{t.alice.user: obj{t.alice.device: "signed_curve25519"}}})
		keys, _ := at(r.body, "one_time_keys", t.alice.user, t.alice.device).(obj)
		for id := range keys {
			got[id]++
		}
	}
	if got["signed_curve25519:ONCE"] != 1 || got["signed_curve25519:EVER"] != 4 {
		t.Errorf("five claims gave %v", got)
	}
})
