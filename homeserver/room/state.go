package room

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Ref names an event that is part of a state.
type Ref struct {
	NID     int64
	EventID id.EventID
}

type stateKey event.Key

func (k stateKey) compare(o stateKey) int {
	if c := cmp.Compare(k.Type, o.Type); c != 0 {
		return c
	}
	return strings.Compare(k.StateKey, o.StateKey)
}

func (k stateKey) hash() uint64 {
	return maphash.String(seed, k.Type)*31 + maphash.String(seed, k.StateKey)
}

// State is the state of a room at some point; immutable, shared, cheap to keep.
type State struct {
	id      int64
	pending int64 // changes since the last full row of the chain
	m       tree[stateKey, Ref]
	r       *Rooms
}

// ID names the snapshot; equal IDs are equal states.
func (s *State) ID() int64 { return s.id }

// Len is the number of entries.
func (s *State) Len() int { return s.m.len() }

// Get returns the event that holds the key.
func (s *State) Get(key event.Key) (Ref, bool) { return s.m.get(stateKey(key)) }

// Range visits all entries ordered by type, then state key, until fn says false.
func (s *State) Range(fn func(event.Key, Ref) bool) {
	s.m.each(func(k stateKey, r Ref) bool { return fn(event.Key(k), r) })
}

// RangeType visits the entries of one type.
func (s *State) RangeType(evType string, fn func(stateKey string, r Ref) bool) {
	s.m.from(stateKey{Type: evType}, func(k stateKey, r Ref) bool { return k.Type == evType && fn(k.StateKey, r) })
}

// StateChange is a key whose event differs between two states; an empty Ref: no entry there.
type StateChange struct {
	Key      event.Key
	Old, New Ref
}

// Diff lists what changed from older to s. older may be nil.
func (s *State) Diff(older *State) []StateChange {
	var root *node[stateKey, Ref]
	if older != nil {
		root = older.m.root
	}
	var out []StateChange
	diff(root, s.m.root, func(k stateKey, old Ref, _ bool, now Ref, _ bool) {
		out = append(out, StateChange{event.Key(k), old, now})
	})
	return out
}

// Event returns the event that holds the key, nil if none does.
func (s *State) Event(ctx context.Context, evType, key string) (*Stored, error) {
	ref, ok := s.m.get(stateKey{evType, key})
	if !ok {
		return nil, nil
	}
	return s.r.eventByNID(ctx, ref.NID)
}

// Events returns the events whose key the filter takes (nil: all), ordered by type and state key.
func (s *State) Events(ctx context.Context, filter func(event.Key) bool) ([]*Stored, error) {
	var nids []int64
	s.m.each(func(k stateKey, r Ref) bool {
		if filter == nil || filter(event.Key(k)) {
			nids = append(nids, r.NID)
		}
		return true
	})
	return s.r.eventsInOrder(ctx, nids)
}

// EventsOfKeys returns the events that hold these keys, without the missing ones.
func (s *State) EventsOfKeys(ctx context.Context, keys []event.Key) ([]*Stored, error) {
	nids := make([]int64, 0, len(keys))
	for _, k := range keys {
		if ref, ok := s.Get(k); ok {
			nids = append(nids, ref.NID)
		}
	}
	return s.r.eventsInOrder(ctx, nids)
}

// snapshot is a state with the row that stores it.
type snapshot struct {
	state *State
	row   []any
}

// full rows are written when the changes since the last one pass this share of the state: storing a change costs a few
// bytes, loading a state O(its size).
func wantsFull(pending int64, size int) bool { return pending > 32 && pending > int64(size)/8 }

// derive gives the state after changes to s (nil: the empty state). A change with New.NID 0 removes.
func (r *Rooms) derive(ctx context.Context, s *State, changes ...StateChange) (snapshot, error) {
	sid, err := r.db.NextID(ctx, "state_snapshots")
	if err != nil {
		return snapshot{}, fmt.Errorf("number of a state: %w", err)
	}
	next := &State{id: sid, r: r, pending: int64(len(changes))}
	if s != nil {
		next.m, next.pending = s.m, s.pending+int64(len(changes))
	}
	nids := make([]int64, 0, len(changes))
	for _, c := range changes {
		if c.New.NID == 0 {
			next.m = next.m.remove(stateKey(c.Key))
			nids = append(nids, -c.Old.NID)
		} else {
			next.m = next.m.set(stateKey(c.Key), c.New)
			nids = append(nids, c.New.NID)
		}
	}
	var parent any
	switch {
	case s == nil || wantsFull(next.pending, next.m.len()):
		nids = nids[:0]
		next.m.each(func(_ stateKey, ref Ref) bool { nids = append(nids, ref.NID); return true })
		next.pending = 0
	default:
		parent = s.id
	}
	return snapshot{next, []any{sid, parent, next.pending, formatNIDs(nids)}}, nil
}
