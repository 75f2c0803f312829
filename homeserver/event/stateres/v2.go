package stateres

import (
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

var (
	keyCreate      = event.Key{Type: "m.room.create"}
	keyPowerLevels = event.Key{Type: "m.room.power_levels"}
	keyJoinRules   = event.Key{Type: "m.room.join_rules"}
)

// resolveV2 is version 2, or 2.1 with fresh. spec: rooms/v2#algorithm, rooms/v12#algorithm
func (r *resolution) resolveV2(fresh bool) (StateMap, error) {
	full, err := r.conflictedEvents(fresh)
	if err != nil {
		return nil, err
	}
	power, rest := r.split(full)
	state := &working{resolution: r, decided: map[event.Key]*event.Event{}, based: !fresh}
	if err := state.apply(r.powerOrder(power)); err != nil {
		return nil, err
	}
	ordered, err := r.mainlineOrder(state.powerLevels(), rest)
	if err != nil {
		return nil, err
	}
	if err := state.apply(ordered); err != nil {
		return nil, err
	}
	return state.outcome(), nil
}

// conflictedEvents gives the state events of the full conflicted set, with what is needed to judge them at hand.
func (r *resolution) conflictedEvents(fresh bool) (map[id.EventID]*event.Event, error) {
	ids, err := r.fullConflictedSet(fresh)
	if err != nil {
		return nil, err
	}
	if err := r.loadWithAuth(ids); err != nil {
		return nil, err
	}
	full := make(map[id.EventID]*event.Event, len(ids))
	for _, eventID := range ids {
		if ev := r.events[eventID]; ev != nil && ev.IsState() {
			full[eventID] = ev
		}
	}
	for _, set := range r.conflict.Sets {
		for _, eventID := range set {
			return full, r.loadCreate(r.events[eventID])
		}
	}
	return full, nil
}

// isPower: events that may take somebody's ability to do something. spec: rooms/v2#definitions
func isPower(ev *event.Event) bool {
	switch ev.Type() {
	case "m.room.power_levels", "m.room.join_rules", "m.room.create":
		return *ev.StateKey() == ""
	case "m.room.member":
		m := ev.Membership()
		return (m == "leave" || m == "ban") && *ev.StateKey() != string(ev.Sender())
	}
	return false
}

// split takes the power events and what is below them in the full conflicted set from the rest.
func (r *resolution) split(full map[id.EventID]*event.Event) (power map[id.EventID]*event.Event, rest []*event.Event) {
	power = map[id.EventID]*event.Event{}
	var stack []*event.Event
	push := func(ev *event.Event) {
		if _, was := power[ev.ID()]; !was {
			power[ev.ID()] = ev
			stack = append(stack, ev)
		}
	}
	for _, ev := range full {
		if isPower(ev) {
			push(ev)
		}
	}
	for len(stack) > 0 {
		ev := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, eventID := range ev.AuthEvents() {
			if below := full[eventID]; below != nil {
				push(below)
			}
		}
	}
	for eventID, ev := range full {
		if power[eventID] == nil {
			rest = append(rest, ev)
		}
	}
	return power, rest
}

// working is the state while it is being put together. As an auth.State it shows what the event that is being checked is
// to be judged by. spec: rooms/v2#definitions "Iterative auth checks"
type working struct {
	*resolution
	decided map[event.Key]*event.Event
	based   bool        // on what all states agree on
	own     auth.Events // of the event that is being checked
}

func (w *working) Get(key event.Key) *event.Event {
	if ev := w.standing(key); ev != nil {
		return ev
	}
	return w.own.Get(key)
}

// standing is what stands in the state itself.
func (w *working) standing(key event.Key) *event.Event {
	if ev := w.decided[key]; ev != nil {
		return ev
	}
	if w.based {
		if eventID, has := w.conflict.Common(key); has {
			return w.events[eventID]
		}
	}
	return nil
}

// powerLevels is the power levels event of the state.
func (w *working) powerLevels() *event.Event { return w.standing(keyPowerLevels) }

// apply takes the events, in this order, that are allowed.
func (w *working) apply(ordered []*event.Event) error {
	if err := w.prepare(ordered); err != nil {
		return err
	}
	for _, ev := range ordered {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if w.allows(ev) {
			w.decided[ev.Key()] = ev
		}
	}
	return nil
}

func (w *working) allows(ev *event.Event) bool {
	w.own = w.authState(ev, false)
	return auth.Check(ev, w) == nil
}

// prepare loads what the checks may ask of the state.
func (w *working) prepare(ordered []*event.Event) error {
	if !w.based {
		return nil
	}
	ids := []id.EventID{}
	want := func(key event.Key) {
		if eventID, has := w.conflict.Common(key); has {
			ids = append(ids, eventID)
		}
	}
	want(keyCreate)
	want(keyPowerLevels)
	for _, ev := range ordered {
		for _, key := range auth.NeededBy(ev) {
			want(key)
		}
	}
	return w.load(ids)
}

// outcome is what was decided, but for the keys on which all states agree: those stay as they are.
func (w *working) outcome() StateMap {
	out := make(StateMap, len(w.decided))
	for key, ev := range w.decided {
		if _, common := w.conflict.Common(key); !common {
			out[key] = ev.ID()
		}
	}
	return out
}
