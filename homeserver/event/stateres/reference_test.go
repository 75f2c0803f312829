package stateres_test

import (
	"cmp"
	"math"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

// reference is versions 2 and 2.1 word by word: whole auth chains, no shortcuts. Slow, and written apart from the package.
type reference struct {
	room *eventtest.Room
	v21  bool
}

type ids = map[id.EventID]bool

func (r reference) chain(eventID id.EventID, into ids) {
	if into[eventID] {
		return
	}
	into[eventID] = true
	if ev := r.room.Known[eventID]; ev != nil {
		for _, a := range ev.AuthEvents() {
			r.chain(a, into)
		}
	}
}

func (r reference) resolve(sets []stateres.StateMap) stateres.StateMap {
	unconflicted, conflicted := stateres.StateMap{}, ids{}
	for _, set := range sets {
		for key, value := range set {
			same := true
			for _, other := range sets {
				same = same && other[key] == value
			}
			if same {
				unconflicted[key] = value
			} else {
				conflicted[value] = true
			}
		}
	}
	full := r.full(sets, conflicted)
	x := ids{}
	for eventID := range full {
		if r.isPower(r.room.Known[eventID]) {
			r.within(eventID, full, x)
		}
	}
	state := stateres.StateMap{}
	if !r.v21 {
		for key, value := range unconflicted {
			state[key] = value
		}
	}
	r.iterate(state, r.powerOrder(x))
	var rest []id.EventID
	for eventID := range full {
		if !x[eventID] {
			rest = append(rest, eventID)
		}
	}
	line := r.mainline(state[at("m.room.power_levels", "")])
	slices.SortFunc(rest, func(a, b id.EventID) int {
		ea, eb := r.room.Known[a], r.room.Known[b]
		return cmp.Or(cmp.Compare(r.position(eb, line), r.position(ea, line)), cmp.Compare(ea.Timestamp(), eb.Timestamp()), cmp.Compare(a, b))
	})
	r.iterate(state, rest)
	for key, value := range unconflicted {
		state[key] = value
	}
	return state
}

func (r reference) full(sets []stateres.StateMap, conflicted ids) ids {
	full := ids{}
	for eventID := range conflicted {
		full[eventID] = true
	}
	count := map[id.EventID]int{}
	for _, set := range sets {
		chain := ids{}
		for _, eventID := range set {
			r.chain(eventID, chain)
		}
		for eventID := range chain {
			count[eventID]++
		}
	}
	for eventID, n := range count {
		if n < len(sets) {
			full[eventID] = true
		}
		if !r.v21 {
			continue
		}
		below, above := ids{}, false
		r.chain(eventID, below)
		for c := range conflicted {
			chain := ids{}
			r.chain(c, chain)
			above = above || chain[eventID]
		}
		for c := range conflicted {
			if above && below[c] {
				full[eventID] = true
			}
		}
	}
	return full
}

func (r reference) isPower(ev *event.Event) bool {
	if ev.Is("m.room.power_levels", "") || ev.Is("m.room.join_rules", "") || ev.Is("m.room.create", "") {
		return true
	}
	m := ev.Membership()
	return ev.Type() == "m.room.member" && (m == "leave" || m == "ban") && string(ev.Sender()) != *ev.StateKey()
}

func (r reference) within(eventID id.EventID, full, x ids) {
	if !full[eventID] || x[eventID] {
		return
	}
	x[eventID] = true
	for _, a := range r.room.Known[eventID].AuthEvents() {
		r.within(a, full, x)
	}
}

func (r reference) own(ev *event.Event, all bool) auth.Map {
	m := auth.Map{}
	for _, a := range ev.AuthEvents() {
		if known := r.room.Known[a]; known != nil && (all || !r.room.Bad[a]) {
			m[known.Key()] = known
		}
	}
	if r.v21 {
		create := r.room.Known[event.CreateIDOf(ev.RoomID())]
		m[create.Key()] = create
	}
	return m
}

func (r reference) powerOrder(x ids) (out []id.EventID) {
	left := ids{}
	for eventID := range x {
		left[eventID] = true
	}
	for len(left) > 0 {
		var best *event.Event
		var bestLevel int64
		for eventID := range left {
			ev := r.room.Known[eventID]
			if slices.ContainsFunc(ev.AuthEvents(), func(a id.EventID) bool { return left[a] }) {
				continue
			}
			levels := auth.PowerLevels(r.own(ev, true))
			level := levels.User(ev.Sender())
			if best == nil || cmp.Or(cmp.Compare(bestLevel, level), cmp.Compare(ev.Timestamp(), best.Timestamp()), cmp.Compare(ev.ID(), best.ID())) < 0 {
				best, bestLevel = ev, level
			}
		}
		out = append(out, best.ID())
		delete(left, best.ID())
	}
	return out
}

func (r reference) parent(ev *event.Event) *event.Event {
	for _, a := range ev.AuthEvents() {
		if known := r.room.Known[a]; known != nil && known.Is("m.room.power_levels", "") {
			return known
		}
	}
	return nil
}

func (r reference) mainline(from id.EventID) []id.EventID {
	var line []id.EventID
	for ev := r.room.Known[from]; ev != nil; ev = r.parent(ev) {
		line = append(line, ev.ID())
	}
	return line
}

func (r reference) position(ev *event.Event, line []id.EventID) int {
	for ev = r.parent(ev); ev != nil; ev = r.parent(ev) {
		if i := slices.Index(line, ev.ID()); i >= 0 {
			return i
		}
	}
	return math.MaxInt
}

func (r reference) iterate(state stateres.StateMap, order []id.EventID) {
	for _, eventID := range order {
		ev := r.room.Known[eventID]
		view := r.own(ev, false)
		for key, value := range state {
			view[key] = r.room.Known[value]
		}
		if auth.Check(ev, view) == nil {
			state[ev.Key()] = eventID
		}
	}
}
