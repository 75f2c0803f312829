package hostile

import (
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var counter atomic.Int64

// unique makes a word that occurs once.
func unique(prefix string) string {
	return fmt.Sprintf("%s%x%x", prefix, time.Now().UnixNano()&0xffffffff, counter.Add(1))
}

// fakeRoom is a room as a fake server knows it.
type fakeRoom struct {
	f       *fake
	id      string
	version string

	mu     sync.Mutex
	events map[string]obj
	state  map[key]string
	ends   []string
	order  []string
}

func newFakeRoom(f *fake, id, version string) *fakeRoom {
	return &fakeRoom{f: f, id: id, version: version, events: map[string]obj{}, state: map[key]string{}}
}

// hosted makes a room on the fake server: created by user, public.
func (f *fake) hosted(version, user string, extra ...obj) *fakeRoom {
	fr := newFakeRoom(f, "!"+unique("r")+":"+f.name, version)
	create := obj{"room_version": version, "salt": unique("")}
	if num(version) < 11 {
		create["creator"] = user
	}
	for _, e := range extra {
		for k, v := range e {
			create[k] = v
		}
	}
	ev := fr.proto(user, "m.room.create", ptr(""), create)
	ev["prev_events"], ev["auth_events"] = []any{}, []any{}
	if num(version) >= 12 {
		delete(ev, "room_id")
		f.seal(version, ev)
		fr.id = "!" + idOf(version, ev)[1:]
		fr.add(ev)
	} else {
		fr.add(f.seal(version, ev))
	}
	fr.say(user, "m.room.member", &user, obj{"membership": "join"})
	levels := obj{"users": obj{user: 100}, "users_default": 0, "events_default": 0, "state_default": 50, "ban": 50, "kick": 50, "redact": 50, "invite": 0}
	if num(version) >= 12 {
		levels["users"] = obj{}
	}
	fr.say(user, "m.room.power_levels", ptr(""), levels)
	fr.say(user, "m.room.join_rules", ptr(""), obj{"join_rule": "public"})
	fr.say(user, "m.room.history_visibility", ptr(""), obj{"history_visibility": "shared"})
	f.mu.Lock()
	f.rooms[fr.id] = fr
	f.mu.Unlock()
	return fr
}

func ptr(s string) *string { return &s }

// say builds, seals and adds an event.
func (fr *fakeRoom) say(sender, kind string, sk *string, content obj) obj {
	ev := fr.f.seal(fr.version, fr.proto(sender, kind, sk, content))
	fr.add(ev)
	return ev
}

// proto is an event on the ends of the room, without hashes and signatures.
func (fr *fakeRoom) proto(sender, kind string, sk *string, content obj) obj {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	depth := int64(0)
	for _, e := range fr.ends {
		depth = max(depth, number(fr.events[e], "depth"))
	}
	ev := obj{"type": kind, "sender": sender, "room_id": fr.id, "content": content, "depth": min(depth+1, 1<<53-1),
		"origin_server_ts": time.Now().UnixMilli(), "prev_events": fr.refs(fr.ends), "auth_events": fr.refs(fr.auth(sender, kind, sk, content))}
	if sk != nil {
		ev["state_key"] = *sk
	}
	if num(fr.version) <= 2 {
		ev["event_id"] = "$" + unique("e") + ":" + fr.f.name
	}
	return ev
}

// refs writes references in the format of the version.
func (fr *fakeRoom) refs(ids []string) []any {
	out := []any{}
	for _, e := range ids {
		if num(fr.version) > 2 {
			out = append(out, e)
			continue
		}
		h := obj{}
		if ev := fr.events[e]; ev != nil {
			h["sha256"] = base64.RawStdEncoding.EncodeToString(reference(fr.version, ev))
		}
		out = append(out, []any{e, h})
	}
	return out
}

// refIDs reads references.
func refIDs(v any) []string {
	l, _ := v.([]any)
	var out []string
	for _, x := range l {
		if pair, ok := x.([]any); ok && len(pair) > 0 {
			x = pair[0]
		}
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// auth selects the events that authorise one.
func (fr *fakeRoom) auth(sender, kind string, sk *string, content obj) []string {
	if kind == "m.room.create" {
		return nil
	}
	want := []key{{"m.room.power_levels", ""}, {"m.room.member", sender}}
	if num(fr.version) < 12 {
		want = append(want, key{"m.room.create", ""})
	}
	if kind == "m.room.member" && sk != nil {
		want = append(want, key{"m.room.member", *sk})
		switch text(content, "membership") {
		case "join", "invite", "knock":
			want = append(want, key{"m.room.join_rules", ""})
		}
		if by := text(content, "join_authorised_via_users_server"); by != "" {
			want = append(want, key{"m.room.member", by})
		}
		if token := text(content, "third_party_invite", "signed", "token"); token != "" {
			want = append(want, key{"m.room.third_party_invite", token})
		}
	}
	var ids []string
	for _, k := range want {
		if e, ok := fr.state[k]; ok && !slices.Contains(ids, e) {
			ids = append(ids, e)
		}
	}
	return ids
}

// add takes an event into the room: it becomes its end.
func (fr *fakeRoom) add(evs ...obj) {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	for _, ev := range evs {
		eventID := idOf(fr.version, ev)
		if fr.events[eventID] != nil {
			continue
		}
		fr.events[eventID] = ev
		fr.order = append(fr.order, eventID)
		prev := refIDs(ev["prev_events"])
		fr.ends = append(slices.DeleteFunc(fr.ends, func(e string) bool { return slices.Contains(prev, e) }), eventID)
		if k, ok := keyOf(ev); ok {
			fr.state[k] = eventID
		}
	}
}

// keep remembers events that are not in the room's history, to give them to who asks.
func (fr *fakeRoom) keep(evs ...obj) {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	for _, ev := range evs {
		fr.events[idOf(fr.version, ev)] = ev
	}
}

func (fr *fakeRoom) get(eventID string) obj {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	return fr.events[eventID]
}

func (fr *fakeRoom) stateID(kind, sk string) string {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	return fr.state[key{kind, sk}]
}

// setEnds chooses what the next event follows.
func (fr *fakeRoom) setEnds(ids ...string) {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	fr.ends = slices.Clone(ids)
}

func (fr *fakeRoom) endsNow() []string {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	return slices.Clone(fr.ends)
}

// stateEvents is the current state and its auth chain.
func (fr *fakeRoom) stateEvents() (state, chain []any) {
	fr.mu.Lock()
	defer fr.mu.Unlock()
	var ids []string
	for _, e := range fr.order {
		if k, ok := keyOf(fr.events[e]); ok && fr.state[k] == e {
			ids = append(ids, e)
			state = append(state, fr.events[e])
		}
	}
	return state, fr.chain(ids)
}

// chain lists what authorises events, directly or not.
func (fr *fakeRoom) chain(ids []string) []any {
	seen := map[string]bool{}
	out := []any{}
	var walk func(string)
	walk = func(e string) {
		for _, a := range refIDs(fr.events[e]["auth_events"]) {
			if ev := fr.events[a]; ev != nil && !seen[a] {
				seen[a] = true
				walk(a)
				out = append(out, ev)
			}
		}
	}
	for _, e := range ids {
		walk(e)
	}
	return out
}
