package stateres

import (
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// difference finds the full conflicted set. spec: rooms/v2#definitions, rooms/v12#definitions
type difference struct {
	*resolution
	graph
	sets       [][]int32      // per state: its conflicted events
	conflicted map[int32]bool // all of them
	common     []int32        // events met on the way on which all states agree
	subgraph   bool           // version 2.1
}

// fullConflictedSet gives the conflicted events, the auth difference and, for version 2.1, the conflicted state subgraph.
func (r *resolution) fullConflictedSet(subgraph bool) ([]id.EventID, error) {
	d := &difference{resolution: r, graph: *newGraph(), subgraph: subgraph, conflicted: map[int32]bool{}}
	if err := d.start(); err != nil {
		return nil, err
	}
	source, indexed := r.src.(DifferenceSource)
	if subgraph || !indexed {
		if err := d.expand(d.all(), d.lookAtConflict, never); err != nil {
			return nil, err
		}
	}
	bound := d.len()
	full := make([]bool, bound)
	for n := range d.conflicted {
		full[n] = true
	}
	if subgraph {
		full = d.between(d.all(), bound)
	}
	out := []id.EventID{}
	for n, in := range full {
		if in {
			out = append(out, d.ids[n])
		}
	}
	if indexed {
		more, err := source.AuthDifference(r.ctx, d.setIDs(), r.conflict.EachCommon)
		return unite(out, more), err
	}
	more, err := d.authDifference(bound)
	return unite(out, more), err
}

func unite(a, b []id.EventID) []id.EventID {
	a = append(a, b...)
	slices.Sort(a)
	return slices.Compact(a)
}

func never() bool { return false }

// start numbers the conflicted events. All of them must be known.
func (d *difference) start() error {
	d.sets = make([][]int32, len(d.conflict.Sets))
	for i, set := range d.conflict.Sets {
		for _, eventID := range set {
			n := d.add(eventID)
			d.sets[i] = append(d.sets[i], n)
			d.conflicted[n] = true
		}
	}
	if err := d.load(d.ids); err != nil {
		return err
	}
	for _, eventID := range d.ids {
		if d.events[eventID] == nil {
			return &MissingError{eventID}
		}
	}
	return nil
}

func (d *difference) all() []int32 {
	all := make([]int32, 0, len(d.conflicted))
	for n := range d.conflicted {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

func (d *difference) setIDs() [][]id.EventID {
	out := make([][]id.EventID, len(d.sets))
	for i, set := range d.sets {
		for _, n := range set {
			out[i] = append(out[i], d.ids[n])
		}
		slices.Sort(out[i])
	}
	return out
}

// lookAtConflict expands events in the auth chains of the conflict. An event on which all states agree is in all chains,
// with everything below it: version 2 need not look there, version 2.1 must, for a conflicted event may be below.
func (d *difference) lookAtConflict(wave []int32) error {
	got, err := d.peek(wave)
	if err != nil {
		return err
	}
	for _, n := range wave {
		ev := got[d.ids[n]]
		if ev == nil {
			d.connect(n, nil)
			continue
		}
		if !d.conflicted[n] && d.isCommon(ev) {
			d.common = append(d.common, n)
			if !d.subgraph {
				continue
			}
		}
		d.connect(n, ev.AuthEvents())
	}
	return nil
}

func (r *resolution) isCommon(ev *event.Event) bool {
	if !ev.IsState() {
		return false
	}
	eventID, has := r.conflict.Common(ev.Key())
	return has && eventID == ev.ID()
}

// peek gives events without keeping them.
func (d *difference) peek(wave []int32) (map[id.EventID]*event.Event, error) {
	if err := d.ctx.Err(); err != nil {
		return nil, err
	}
	out := make(map[id.EventID]*event.Event, len(wave))
	missing := make([]id.EventID, 0, len(wave))
	for _, n := range wave {
		if ev, known := d.events[d.ids[n]]; known {
			out[d.ids[n]] = ev
		} else {
			missing = append(missing, d.ids[n])
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	got, err := d.src.Events(d.ctx, missing)
	for _, eventID := range missing {
		out[eventID] = got[eventID]
	}
	return out, err
}

// authDifference: what is in the chains of some states and not of all. Events in the chain of something on which all states
// agree are in all chains; those are looked for where they likely are first, and everywhere only if some stay open.
func (d *difference) authDifference(bound int) ([]id.EventID, error) {
	in := make([]int32, bound)
	for _, set := range d.sets {
		d.reach(set, make([]bool, d.len()), func(n int32) { in[n]++ })
	}
	shared := make([]bool, d.len())
	d.reach(d.common, shared, func(int32) {})
	open := map[int32]bool{}
	for n := range int32(bound) {
		if in[n] > 0 && int(in[n]) < len(d.sets) && !d.conflicted[n] && !shared[n] {
			open[n] = true
		}
	}
	if err := d.settle(open); err != nil {
		return nil, err
	}
	out := make([]id.EventID, 0, len(open))
	for n := range open {
		out = append(out, d.ids[n])
	}
	return out, nil
}

// settle removes from open what is in the auth chain of an entry on which all states agree.
func (d *difference) settle(open map[int32]bool) error {
	if len(open) == 0 {
		return nil
	}
	near, err := d.nearSeeds(open)
	if err != nil {
		return err
	}
	if err := d.settleFrom(near, open); err != nil || len(open) == 0 {
		return err
	}
	var all []int32
	d.conflict.EachCommon(func(eventID id.EventID) bool {
		all = append(all, d.add(eventID))
		return d.len() <= MaxWalk
	})
	return d.settleFrom(all, open)
}

func (d *difference) settleFrom(seeds []int32, open map[int32]bool) error {
	return d.expand(seeds, func(wave []int32) error {
		for _, n := range wave {
			delete(open, n)
		}
		return d.lookForAuth(wave)
	}, func() bool { return len(open) == 0 })
}

// nearSeeds: later events under the same keys, and those which everybody cites.
func (d *difference) nearSeeds(open map[int32]bool) ([]int32, error) {
	ids := make([]id.EventID, 0, len(open))
	for n := range open {
		ids = append(ids, d.ids[n])
	}
	if err := d.load(ids); err != nil {
		return nil, err
	}
	seeds := append([]int32(nil), d.common...)
	seed := func(key event.Key) {
		if eventID, has := d.conflict.Common(key); has {
			seeds = append(seeds, d.add(eventID))
		}
	}
	seed(keyPowerLevels)
	seed(keyJoinRules)
	for _, eventID := range ids {
		if ev := d.events[eventID]; ev != nil && ev.IsState() {
			seed(ev.Key())
		}
	}
	return seeds, nil
}

// lookForAuth expands nodes of which nothing but the auth events matters.
func (d *difference) lookForAuth(wave []int32) error {
	closed := make([]int32, 0, len(wave))
	for _, n := range wave {
		if !d.open[n] {
			closed = append(closed, n)
		}
	}
	if len(closed) == 0 {
		return nil
	}
	if src, ok := d.src.(AuthSource); ok {
		ids := make([]id.EventID, len(closed))
		for i, n := range closed {
			ids[i] = d.ids[n]
		}
		got, err := src.AuthEventIDs(d.ctx, ids)
		for i, n := range closed {
			d.connect(n, got[ids[i]])
		}
		return err
	}
	got, err := d.peek(closed)
	for _, n := range closed {
		if ev := got[d.ids[n]]; ev != nil {
			d.connect(n, ev.AuthEvents())
		} else {
			d.connect(n, nil)
		}
	}
	return err
}
