package stateres

import (
	"cmp"
	"container/heap"
	"math"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// ranked is an event with what it is sorted by first.
type ranked struct {
	ev   *event.Event
	rank int64
}

// compare: the higher rank first, then the earlier, then the smaller event ID.
func (a ranked) compare(b ranked) int {
	return cmp.Or(
		cmp.Compare(b.rank, a.rank),
		cmp.Compare(a.ev.Timestamp(), b.ev.Timestamp()),
		cmp.Compare(a.ev.ID(), b.ev.ID()),
	)
}

// queue is a heap of events that may come next.
type queue []ranked

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].compare(q[j]) < 0 }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(ranked)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// powerOrder is the reverse topological power ordering. Events in a loop, which only versions 1 and 2 could make, come when
// nothing else can: the smallest first. spec: rooms/v2#definitions
func (r *resolution) powerOrder(events map[id.EventID]*event.Event) []*event.Event {
	all := make([]ranked, 0, len(events))
	waits := make(map[id.EventID]int, len(events))
	under := make(map[id.EventID][]ranked, len(events))
	for _, ev := range events {
		x := ranked{ev, r.senderLevel(ev)}
		all = append(all, x)
		below := slices.Clone(ev.AuthEvents())
		slices.Sort(below)
		for _, eventID := range slices.Compact(below) {
			if events[eventID] != nil {
				waits[ev.ID()]++
				under[eventID] = append(under[eventID], x)
			}
		}
	}
	slices.SortFunc(all, ranked.compare)
	ready := &queue{}
	for _, x := range all {
		if waits[x.ev.ID()] == 0 {
			*ready = append(*ready, x) // sorted is a heap
		}
	}
	out, done := make([]*event.Event, 0, len(all)), make(map[id.EventID]bool, len(all))
	for next := 0; len(out) < len(all); {
		if ready.Len() == 0 {
			for done[all[next].ev.ID()] {
				next++
			}
			heap.Push(ready, all[next])
		}
		x := heap.Pop(ready).(ranked)
		if done[x.ev.ID()] {
			continue
		}
		done[x.ev.ID()] = true
		out = append(out, x.ev)
		for _, over := range under[x.ev.ID()] {
			if waits[over.ev.ID()]--; waits[over.ev.ID()] == 0 {
				heap.Push(ready, over)
			}
		}
	}
	return out
}

// senderLevel is the sender's level by the event's own auth events.
func (r *resolution) senderLevel(ev *event.Event) int64 {
	levels := auth.PowerLevels(r.authState(ev, true))
	return levels.User(ev.Sender())
}

// mainlineOrder sorts by the place in the mainline of the power levels event (nil: there is none), oldest first.
// spec: rooms/v2#definitions
func (r *resolution) mainlineOrder(powerLevels *event.Event, events []*event.Event) ([]*event.Event, error) {
	m := &mainline{resolution: r, position: map[id.EventID]int64{}, parents: map[id.EventID]id.EventID{}}
	if powerLevels != nil {
		m.position[powerLevels.ID()] = 0
		m.tip = powerLevels.ID()
	}
	all := make([]ranked, len(events))
	for i, ev := range events {
		position, err := m.of(ev)
		if err != nil {
			return nil, err
		}
		all[i] = ranked{ev, position}
	}
	slices.SortFunc(all, ranked.compare)
	out := make([]*event.Event, len(all))
	for i, x := range all {
		out[i] = x.ev
	}
	return out, nil
}

// mainline is the list of power levels events from the resolved one back, found as far as it is needed.
type mainline struct {
	*resolution
	position map[id.EventID]int64
	tip      id.EventID // the oldest one found, "" when there is none before
	parents  map[id.EventID]id.EventID
}

// of is the mainline position of the event.
func (m *mainline) of(ev *event.Event) (int64, error) {
	seen := map[id.EventID]struct{}{}
	eventID, err := m.parent(ev.ID())
	for ; err == nil && eventID != ""; eventID, err = m.parent(eventID) {
		if _, loop := seen[eventID]; loop {
			break
		}
		seen[eventID] = struct{}{}
		if found, err := m.find(eventID); found || err != nil {
			return m.position[eventID], err
		}
	}
	return math.MaxInt64, err
}

// find extends the mainline until the event is in it or it ends.
func (m *mainline) find(eventID id.EventID) (bool, error) {
	for {
		if _, found := m.position[eventID]; found || m.tip == "" {
			return found, nil
		}
		parent, err := m.parent(m.tip)
		if err != nil {
			return false, err
		}
		if _, loop := m.position[parent]; loop || parent == "" {
			m.tip = ""
			continue
		}
		m.position[parent] = m.position[m.tip] + 1
		m.tip = parent
	}
}

// parent is the power levels event among the auth events, "" if there is none.
func (m *mainline) parent(eventID id.EventID) (id.EventID, error) {
	if parent, known := m.parents[eventID]; known {
		return parent, nil
	}
	if err := m.loadWithAuth([]id.EventID{eventID}); err != nil {
		return "", err
	}
	parent := id.EventID("")
	if ev := m.events[eventID]; ev != nil {
		for _, authID := range ev.AuthEvents() {
			if a := m.events[authID]; a != nil && a.Is(keyPowerLevels.Type, "") {
				parent = authID
				break
			}
		}
	}
	m.parents[eventID] = parent
	return parent, nil
}
