package room

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

// addBeside adds a live event that was made on an older head: it passes the rules both where it was made and now, and the
// room's state is resolved from all its ends. before is the state at its prev_events.
func (b *batch) addBeside(ctx context.Context, ev *event.Event, before *State) (*Stored, error) {
	if err := check(ctx, ev, before); err != nil {
		return nil, err
	}
	if err := check(ctx, ev, b.now.state); err != nil {
		return nil, err
	}
	nid, err := b.r.db.NextID(ctx, "events")
	if err != nil {
		return nil, fmt.Errorf("number of an event: %w", err)
	}
	p := placed{ev: ev, before: before, nid: nid}
	if ev.IsState() {
		s := &Stored{Event: ev, NID: nid, RoomNID: b.nid}
		b.r.pending.add(s)
		defer b.r.pending.remove(s)
	}
	if p.current, err = b.resolveWith(ctx, ev, nid, before); err != nil {
		return nil, err
	}
	return b.add(ctx, p)
}

// resolveWith is the room's state once an event stands beside its present ends.
func (b *batch) resolveWith(ctx context.Context, ev *event.Event, nid int64, before *State) (*State, error) {
	after := *before
	if ev.IsState() {
		after.m = after.m.set(stateKey(ev.Key()), Ref{nid, ev.ID()})
	}
	states := []*State{&after}
	for _, x := range b.now.extremities {
		s, err := b.r.stateByID(ctx, x.stateAfter)
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return b.resolve(ctx, states)
}

// resolve is the one state that follows from several, kept in the unit unless it is the current one.
func (b *batch) resolve(ctx context.Context, states []*State) (*State, error) {
	m, err := b.r.resolveStates(ctx, b.version, states)
	if err != nil {
		return nil, err
	}
	now := &State{m: m, r: b.r}
	changes := now.Diff(b.now.state)
	if len(changes) == 0 {
		return b.now.state, nil
	}
	snap, err := b.r.derive(ctx, b.now.state, changes...)
	if err != nil {
		return nil, err
	}
	return b.keep(snap), nil
}

// resolveStates resolves states that share most of their entries: the work depends on what differs.
func (r *Rooms) resolveStates(ctx context.Context, v event.Version, states []*State) (tree[stateKey, Ref], error) {
	first := states[0]
	differ := map[event.Key]struct{}{}
	for _, s := range states[1:] {
		for _, c := range s.Diff(first) {
			differ[c.Key] = struct{}{}
		}
	}
	if len(differ) == 0 {
		return first.m, nil
	}
	refs := map[id.EventID]Ref{}
	c := stateres.Conflict{
		Common: func(k event.Key) (id.EventID, bool) {
			if _, ok := differ[k]; ok {
				return "", false
			}
			ref, ok := first.Get(k)
			return ref.EventID, ok
		},
		EachCommon: func(yield func(id.EventID) bool) {
			first.Range(func(k event.Key, ref Ref) bool {
				if _, ok := differ[k]; ok {
					return true
				}
				return yield(ref.EventID)
			})
		},
	}
	for _, s := range states {
		set := stateres.StateMap{}
		for k := range differ {
			if ref, ok := s.Get(k); ok {
				set[k] = ref.EventID
				refs[ref.EventID] = ref
			}
		}
		c.Sets = append(c.Sets, set)
	}
	outcome, err := stateres.ResolveConflict(ctx, v, c, &resolutionSource{r: r, given: map[id.EventID]*Stored{}})
	if err != nil {
		return tree[stateKey, Ref]{}, fmt.Errorf("state resolution: %w", err)
	}
	return r.applyOutcome(ctx, first.m, differ, outcome, refs)
}

func (r *Rooms) applyOutcome(ctx context.Context, m tree[stateKey, Ref], differ map[event.Key]struct{}, outcome stateres.StateMap,
	refs map[id.EventID]Ref,
) (tree[stateKey, Ref], error) {
	for k := range differ {
		if _, ok := outcome[k]; !ok {
			m = m.remove(stateKey(k))
		}
	}
	for k, eventID := range outcome {
		ref, ok := refs[eventID]
		if !ok {
			s, err := r.anyEvent(ctx, eventID)
			if err != nil || s == nil {
				return m, fmt.Errorf("state resolution: event %s is not known (%w)", eventID, err)
			}
			ref = s.ref()
		}
		m = m.set(stateKey(k), ref)
	}
	return m, nil
}

// anyEvent finds an event that is stored or about to be; nil if there is none.
func (r *Rooms) anyEvent(ctx context.Context, eventID id.EventID) (*Stored, error) {
	if s, ok := r.pending.byID(eventID); ok {
		return s, nil
	}
	return r.Event(ctx, eventID)
}

// resolutionSource gives events to the state resolution.
type resolutionSource struct {
	r     *Rooms
	given map[id.EventID]*Stored
}

func (s *resolutionSource) Events(ctx context.Context, ids []id.EventID) (map[id.EventID]*event.Event, error) {
	out := make(map[id.EventID]*event.Event, len(ids))
	var missing []id.EventID
	for _, eventID := range ids {
		if ev, ok := s.r.pending.byID(eventID); ok {
			out[eventID], s.given[eventID] = ev.Event, ev
		} else {
			missing = append(missing, eventID)
		}
	}
	stored, err := s.r.Events(ctx, missing)
	if err != nil {
		return nil, err
	}
	for eventID, ev := range stored {
		out[eventID], s.given[eventID] = ev.Event, ev
	}
	return out, nil
}

func (s *resolutionSource) Rejected(eventID id.EventID) bool {
	ev, ok := s.given[eventID]
	return ok && ev.Rejected
}
