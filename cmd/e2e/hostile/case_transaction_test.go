package hostile

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// message is a good message of mallory's user, not added to the room.
func (t *trial) message(s *stage, body string) obj {
	return t.m.seal(s.version, s.fr.proto(s.user, "m.room.message", nil, obj{"body": body, "msgtype": "m.text"}))
}

// many are messages in a row, added to the room as mallory sees it.
func (t *trial) many(s *stage, n int) []any {
	var out []any
	for i := range n {
		out = append(out, s.fr.say(s.boss, "m.room.message", nil, obj{"body": fmt.Sprint(i), "msgtype": "m.text"}))
	}
	return out
}

var _ = register(44, func(t *trial) {
	s := t.stage()
	ends := s.fr.endsNow()
	r := t.m.transact(t, t.many(s, 51), nil)
	t.denied("51 events", r, 400)
	s.fr.setEnds(ends...)
	evs := t.many(s, 50)
	if r := t.m.transact(t, evs, nil); r.status != 200 || len(r.body["pdus"].(obj)) != 50 {
		t.Errorf("50 events: %s", r)
	}
	t.accepted(s, evs[49].(obj))
})

var _ = register(45, func(t *trial) {
	s := t.stage()
	edu := obj{"edu_type": "m.typing", "content": obj{"room_id": s.id, "user_id": s.user, "typing": true}}
	var edus []any
	for range 101 {
		edus = append(edus, edu)
	}
	ev := t.message(s, "with too many others")
	t.denied("101 EDUs", t.m.transact(t, []any{ev}, edus), 400)
	t.fence(s)
	t.absent("the event beside them", s, idOf(t.v, ev), "")
	if r := t.m.transact(t, nil, edus[:100]); r.status != 200 {
		t.Errorf("100 EDUs: %s", r)
	}
})

var _ = register(46, func(t *trial) {
	s := t.stage()
	good := t.message(s, "among nonsense")
	r := t.m.transact(t, []any{nil, "text", 5, []any{[]any{}}, true, obj{}, good, obj{"room_id": s.id}, obj{"room_id": s.id, "type": "m.room.message"}}, nil)
	if r.status != 200 {
		t.Errorf("nonsense: %s", r)
	}
	t.accepted(s, good)
	s.fr.add(good)
})

var _ = register(47, func(t *trial) {
	s := t.stage()
	evs := t.many(s, 49)
	bad := t.message(s, "unsigned")
	delete(bad, "signatures")
	all := append(append(append([]any{}, evs[:20]...), bad), evs[20:]...)
	r := t.m.transact(t, all, nil)
	if r.status != 200 {
		t.Fatalf("the transaction: %s", r)
	}
	for _, e := range evs {
		if text(r.body, "pdus", idOf(t.v, e.(obj)), "error") != "" {
			t.Errorf("a good event was refused: %s", r)
		}
		t.accepted(s, e.(obj))
	}
	t.absent("the bad one", s, idOf(t.v, bad), "")
})

var _ = register(48, func(t *trial) {
	s := t.stage()
	bad := t.m.seal(t.v, s.fr.proto(s.user, "m.room.name", ptr(""), obj{"name": "taken over"}))
	if r := t.m.transact(t, []any{bad}, nil); r.status != 200 {
		t.Errorf("an event that the rules do not allow: %s", r)
	}
	t.fence(s)
	t.absent("it", s, idOf(t.v, bad), "taken over")
	// It is stored, rejected: an event that follows it needs no questions.
	asked := t.m.askedFor("get_missing_events")
	ends := s.fr.endsNow()
	s.fr.keep(bad)
	s.fr.setEnds(append(ends, idOf(t.v, bad))...)
	next := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "after a rejected one", "msgtype": "m.text"})
	t.deliver(s, next)
	t.accepted(s, next)
	if n := t.m.askedFor("get_missing_events"); n != asked {
		t.Errorf("a rejected event was asked for again")
	}
})

var _ = register(50, func(t *trial) {
	fr := t.m.hosted(t.v, t.m.user("mallory"))
	ev := fr.say(t.m.user("mallory"), "m.room.message", nil, obj{"body": "nobody is here"})
	before := t.m.askedFor(" ")
	r := t.m.transact(t, []any{ev}, nil)
	if r.status != 200 {
		t.Errorf("a room that is not known: %s", r)
	}
	t.fence(t.stage())
	if t.alice.sees(fr.id, idOf(t.v, ev)) || t.m.askedFor(fr.id) > 0 {
		t.Errorf("something was done about it (%d, %d questions)", before, t.m.askedFor(" "))
	}
})

var _ = register(51, func(t *trial) {
	s := t.stage()
	one, two := t.message(s, "first body"), t.message(s, "second body")
	uri := fedPath("v1", "send", unique("twice"))
	body := func(ev obj) obj { return obj{"origin": t.m.name, "origin_server_ts": 1, "pdus": []any{ev}} }
	a := t.m.call(t, "PUT", uri, body(one))
	b := t.m.call(t, "PUT", uri, body(two))
	if a.status != 200 || b.status != 200 || string(a.raw) != string(b.raw) {
		t.Errorf("%s and then %s", a, b)
	}
	t.accepted(s, one)
	s.fr.add(one)
	t.fence(s)
	t.absent("the second body", s, idOf(t.v, two), "second body")
})

var _ = register(52, func(t *trial) {
	s := t.stage()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ev := t.message(s, fmt.Sprintf("at once %d", i))
			r := t.m.transact(t, []any{ev}, nil)
			if r.status == 429 {
				return
			}
			if r.status != 200 {
				t.Errorf("transactions at once: %s", r)
			}
		})
	}
	start := time.Now()
	if r := t.w.friend.transact(t, nil, nil); r.status != 200 || time.Since(start) > 10*time.Second {
		t.Errorf("another server meanwhile: %s after %v", r, time.Since(start))
	}
	wg.Wait()
	t.fence(s)
})

var _ = register(53, func(t *trial) {
	s := t.stage()
	ev := t.message(s, "with another origin")
	for _, origin := range []any{t.w.friend.name, t.w.hs.name, 5, nil, []any{}} {
		r := t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), obj{"origin": origin, "pdus": []any{ev},
			"edus": []any{obj{"edu_type": "m.typing", "content": obj{"room_id": s.id, "user_id": s.pal, "typing": true}}}})
		if r.status != 200 {
			t.Errorf("origin %v: %s", origin, r)
		}
	}
	t.accepted(s, ev)
	s.fr.add(ev)
	if slices.Contains(t.typing(s), s.pal) {
		t.Errorf("somebody else's user types")
	}
})

var _ = register(54, func(t *trial) {
	for _, body := range []obj{{}, {"pdus": obj{}}, {"pdus": nil}, {"pdus": "x"}, {"pdus": 5}} {
		t.denied("pdus", t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), body), 400)
	}
	for _, edus := range []any{nil, obj{}, "x", 5, []any{nil, 5, "x", []any{}, obj{}}} {
		t.denied("edus", t.m.call(t, "PUT", fedPath("v1", "send", unique("t")), obj{"pdus": []any{}, "edus": edus}), 200, 400)
	}
})

var _ = register(55, func(t *trial) {
	for _, id := range []string{strings.Repeat("x", 10_000), "a/b/c", "a\x00b", "..", "%00", "\u202e", "a b?c#d", strings.Repeat("ü", 600)} {
		t.denied("transaction "+clip([]byte(id), 20), t.m.call(t, "PUT", fedPath("v1", "send", id), obj{"pdus": []any{}}), 200, 400, 404)
	}
})
