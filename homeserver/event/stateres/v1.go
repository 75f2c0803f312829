package stateres

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// resolveV1 is the algorithm of version 1. spec: rooms/v1#state-resolution
func (r *resolution) resolveV1() (StateMap, error) {
	conflicts, out, err := r.candidates()
	if err != nil {
		return nil, err
	}
	state := &working{resolution: r, decided: map[event.Key]*event.Event{}, based: true}
	for key, eventID := range out {
		state.decided[key] = r.events[eventID]
	}
	for _, kind := range []string{keyPowerLevels.Type, keyJoinRules.Type, "m.room.member"} {
		won := map[event.Key]*event.Event{}
		for key, events := range conflicts {
			if key.Type == kind {
				won[key] = state.longest(key, events)
			}
		}
		for key, ev := range won {
			state.decided[key] = ev
			out[key] = ev.ID()
			delete(conflicts, key)
		}
	}
	for key, events := range conflicts {
		out[key] = state.newest(events).ID()
	}
	return out, r.ctx.Err()
}

// candidates gives the events that conflict, by key, and the entries that do not: in version 1 a key that some states lack
// is no conflict. All events are loaded, with what the checks may ask for.
func (r *resolution) candidates() (map[event.Key][]*event.Event, StateMap, error) {
	byKey := map[event.Key][]id.EventID{}
	var ids []id.EventID
	for _, set := range r.conflict.Sets {
		for key, eventID := range set {
			if !slices.Contains(byKey[key], eventID) {
				byKey[key] = append(byKey[key], eventID)
				ids = append(ids, eventID)
			}
		}
	}
	if err := r.load(ids); err != nil {
		return nil, nil, err
	}
	conflicts, single := map[event.Key][]*event.Event{}, StateMap{}
	var all []*event.Event
	for key, eventIDs := range byKey {
		for _, eventID := range eventIDs {
			if r.events[eventID] == nil {
				return nil, nil, &MissingError{eventID}
			}
			all = append(all, r.events[eventID])
			conflicts[key] = append(conflicts[key], r.events[eventID])
		}
		if len(eventIDs) == 1 {
			single[key] = eventIDs[0]
			delete(conflicts, key)
		} else {
			slices.SortFunc(conflicts[key], oldestFirst)
		}
	}
	return conflicts, single, (&working{resolution: r, based: true}).prepare(all)
}

// oldestFirst: ascending depth, then descending SHA-1 of the event ID.
func oldestFirst(a, b *event.Event) int {
	return cmp.Or(cmp.Compare(a.Depth(), b.Depth()), cmp.Compare(digest(b), digest(a)), cmp.Compare(b.ID(), a.ID()))
}

func digest(ev *event.Event) string {
	sum := sha1.Sum([]byte(ev.ID()))
	return hex.EncodeToString(sum[:])
}

// longest starts with the oldest event and goes on as long as the next one is allowed after it.
func (w *working) longest(key event.Key, events []*event.Event) *event.Event {
	defer delete(w.decided, key)
	for i, ev := range events {
		if i > 0 && !w.allowsHere(ev) {
			return events[i-1]
		}
		w.decided[key] = ev
	}
	return events[len(events)-1]
}

// newest is the newest event that is allowed, or the oldest if none is.
func (w *working) newest(events []*event.Event) *event.Event {
	for _, ev := range slices.Backward(events) {
		if w.allowsHere(ev) {
			return ev
		}
	}
	return events[0]
}

// allowsHere judges by the state alone: version 1 does not fall back on the event's auth events.
func (w *working) allowsHere(ev *event.Event) bool {
	w.own = nil
	return auth.Check(ev, w) == nil
}
