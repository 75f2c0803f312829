package hostile

import (
	"slices"
	"strconv"
	"time"
)

// usual answers like a server that does what it should.
func (q *query) usual() (int, any) {
	switch q.name {
	case "key_server":
		return 200, q.f.keyDocument(time.Now().Add(24 * time.Hour).UnixMilli())
	case "version":
		return 200, obj{"server": obj{"name": "fake", "version": "1"}}
	case "send":
		return q.takeTransaction()
	case "invite":
		return q.takeInvite()
	case "user_keys":
		if slices.Contains(q.parts, "claim") {
			return 200, obj{"one_time_keys": obj{}}
		}
		return 200, obj{"device_keys": obj{}}
	case "user_devices":
		return 200, obj{"user_id": q.parts[1], "stream_id": 1, "devices": []any{}}
	case "query_profile":
		return 200, obj{}
	case "event":
		return q.oneEvent()
	}
	if len(q.parts) == 0 {
		return notFound()
	}
	fr := q.f.room(q.parts[0])
	if fr == nil {
		return notFound()
	}
	switch q.name {
	case "make_join", "make_leave", "make_knock":
		return q.makeMembership(fr, q.name[len("make_"):])
	case "send_join", "send_leave", "send_knock":
		return q.sendMembership(fr)
	case "state", "state_ids":
		return q.stateBefore(fr)
	case "event_auth":
		fr.mu.Lock()
		defer fr.mu.Unlock()
		return 200, obj{"auth_chain": fr.chain([]string{q.parts[1]})}
	case "backfill":
		return q.backfill(fr)
	case "get_missing_events":
		return q.missing(fr)
	}
	return notFound()
}

func notFound() (int, any) { return 404, obj{"errcode": "M_NOT_FOUND", "error": "not found"} }

// keyDocument is the document of the fake's keys.
func (f *fake) keyDocument(until int64) obj {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := obj{}
	for _, s := range f.old {
		old[s.keyID] = obj{"key": s.public(), "expired_ts": time.Now().Add(-time.Minute).UnixMilli()}
	}
	doc := obj{"server_name": f.name, "valid_until_ts": until, "verify_keys": obj{f.keyID: obj{"key": f.public()}}, "old_verify_keys": old}
	f.signJSON(doc)
	return doc
}

func (q *query) takeTransaction() (int, any) {
	results := obj{}
	var in []obj
	for _, x := range list(q.body, "pdus") {
		if ev, ok := x.(obj); ok {
			q.f.takePDU(ev)
			in = append(in, ev)
			if fr := q.f.room(text(ev, "room_id")); fr != nil {
				results[idOf(fr.version, ev)] = obj{}
			}
		}
	}
	q.f.noted(func() {
		q.f.pdus = append(q.f.pdus, in...)
		for _, x := range list(q.body, "edus") {
			if e, ok := x.(obj); ok {
				q.f.edus = append(q.f.edus, e)
			}
		}
	})
	return 200, obj{"pdus": results}
}

// takeInvite signs what comes.
func (q *query) takeInvite() (int, any) {
	ev, _ := q.body["event"].(obj)
	q.f.noted(func() { q.f.bodies = append(q.f.bodies, q.body) })
	if ev == nil {
		return 400, obj{"errcode": "M_BAD_JSON", "error": "no event"}
	}
	ev = copyObj(ev)
	q.f.signEvent(text(q.body, "room_version"), ev)
	return 200, obj{"event": ev}
}

func (q *query) makeMembership(fr *fakeRoom, kind string) (int, any) {
	content := obj{"membership": kind}
	ev := fr.proto(q.parts[1], "m.room.member", &q.parts[1], content)
	delete(ev, "event_id")
	return 200, obj{"event": ev, "room_version": fr.version}
}

func (q *query) sendMembership(fr *fakeRoom) (int, any) {
	q.f.noted(func() { q.f.bodies = append(q.f.bodies, q.body) })
	state, chain := fr.stateEvents()
	ev := copyObj(q.body)
	if by := text(ev, "content", "join_authorised_via_users_server"); by != "" {
		q.f.signEvent(fr.version, ev)
	}
	fr.add(ev)
	switch q.name {
	case "send_leave":
		return 200, obj{}
	case "send_knock":
		return 200, obj{"knock_room_state": stripped(state)}
	}
	return 200, obj{"origin": q.f.name, "state": state, "auth_chain": chain, "event": ev, "members_omitted": false,
		"servers_in_room": []any{q.f.name}}
}

// stripped shortens state events.
func stripped(state []any) []any {
	out := []any{}
	for _, x := range state {
		out = append(out, only(x.(obj), "type", "state_key", "sender", "content"))
	}
	return out
}

func (q *query) oneEvent() (int, any) {
	q.f.mu.Lock()
	rooms := make([]*fakeRoom, 0, len(q.f.rooms))
	for _, fr := range q.f.rooms {
		rooms = append(rooms, fr)
	}
	q.f.mu.Unlock()
	for _, fr := range rooms {
		if ev := fr.get(q.parts[0]); ev != nil {
			return 200, obj{"origin": q.f.name, "origin_server_ts": time.Now().UnixMilli(), "pdus": []any{ev}}
		}
	}
	return notFound()
}

// stateBefore tells the current state, whatever event is asked about.
func (q *query) stateBefore(fr *fakeRoom) (int, any) {
	state, chain := fr.stateEvents()
	if q.name == "state" {
		return 200, obj{"pdus": state, "auth_chain": chain}
	}
	return 200, obj{"pdu_ids": idsOf(fr.version, state), "auth_chain_ids": idsOf(fr.version, chain)}
}

func idsOf(version string, evs []any) []any {
	out := []any{}
	for _, x := range evs {
		out = append(out, idOf(version, x.(obj)))
	}
	return out
}

// before walks back from some events.
func (fr *fakeRoom) before(from []string, stop []string, most int) []any {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	seen := map[string]bool{}
	out := []any{}
	for len(from) > 0 && len(out) < most {
		e := from[0]
		from = from[1:]
		if ev := fr.events[e]; ev != nil && !seen[e] && !slices.Contains(stop, e) {
			seen[e] = true
			out = append(out, ev)
			from = append(from, refIDs(ev["prev_events"])...)
		}
	}
	return out
}

func (q *query) backfill(fr *fakeRoom) (int, any) {
	limit, _ := strconv.Atoi(q.values.Get("limit"))
	return 200, obj{"origin": q.f.name, "origin_server_ts": time.Now().UnixMilli(), "pdus": fr.before(q.values["v"], nil, limit)}
}

func (q *query) missing(fr *fakeRoom) (int, any) {
	var from []string
	for _, e := range refIDs(q.body["latest_events"]) {
		from = append(from, refIDs(fr.get(e)["prev_events"])...)
	}
	evs := fr.before(from, refIDs(q.body["earliest_events"]), 20)
	slices.Reverse(evs)
	return 200, obj{"events": evs}
}

// invite builds an invitation and hands it over. It gives the answer and the event.
func (fr *fakeRoom) invite(t tb, sender, target string, change func(ev, body obj)) (reply, obj) {
	t.Helper()
	ev := fr.proto(sender, "m.room.member", &target, obj{"membership": "invite"})
	state, _ := fr.stateEvents()
	told := state
	if num(fr.version) < 12 {
		told = stripped(state)
	}
	body := obj{"room_version": fr.version, "invite_room_state": told}
	if change != nil {
		change(ev, body)
	}
	if ev["signatures"] == nil {
		fr.f.seal(fr.version, ev)
	}
	if _, ok := body["event"]; !ok {
		body["event"] = ev
	}
	return fr.f.call(t, "PUT", fedPath("v2", "invite", fr.id, idOf(fr.version, ev)), body), ev
}
