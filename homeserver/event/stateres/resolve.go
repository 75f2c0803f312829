package stateres

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// StateMap is a room state: where what stands.
type StateMap = map[event.Key]id.EventID

// Source gives the events that a resolution asks for. It must be able to give every event of the states; auth events it
// does not know it leaves out.
type Source interface {
	Events(ctx context.Context, ids []id.EventID) (map[id.EventID]*event.Event, error)
	// Rejected tells whether the event was rejected when it came. It is asked only about events given before.
	Rejected(eventID id.EventID) bool
}

// AuthSource is a Source that knows auth events without the events themselves.
type AuthSource interface {
	AuthEventIDs(ctx context.Context, ids []id.EventID) (map[id.EventID][]id.EventID, error)
}

// DifferenceSource is a Source with an index of auth chains. Each set is the part of a state that conflicts; common calls
// its function for every event on which all states agree. The answer: the events that are in the auth chains (the start
// included) of some states and not of others.
type DifferenceSource interface {
	AuthDifference(ctx context.Context, sets [][]id.EventID, common func(func(id.EventID) bool)) ([]id.EventID, error)
}

// MaxWalk bounds how many events one resolution looks at.
const MaxWalk = 1 << 20

// ErrTooLarge says that the auth chains of the conflict are larger than MaxWalk.
var ErrTooLarge = errors.New("state resolution: the auth chains are too large")

// MissingError says that a state names an event that the Source does not know.
type MissingError struct{ EventID id.EventID }

func (e *MissingError) Error() string {
	return fmt.Sprintf("state resolution: state event %s is not known", e.EventID)
}

// Resolve gives the one state that follows from several. The outcome may be one of the sets: nobody may write into it.
func Resolve(ctx context.Context, v event.Version, sets []StateMap, src Source) (StateMap, error) {
	if len(sets) == 0 {
		return StateMap{}, nil
	}
	keys := differing(sets)
	if len(keys) == 0 {
		return sets[0], nil
	}
	c := conflictOf(sets, keys)
	decided, err := ResolveConflict(ctx, v, c, src)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(sets[0])
	for key := range keys {
		delete(out, key)
	}
	maps.Copy(out, decided)
	return out, nil
}

// Conflict is a set of states that share most of their entries.
type Conflict struct {
	// Sets has, for each state, what it has under the keys on which not all states agree.
	Sets []StateMap
	// Common reads the entries on which all states agree. It must not know the keys of Sets.
	Common func(event.Key) (id.EventID, bool)
	// EachCommon calls yield for all of them until it returns false. It is used only where a conflict cannot be judged from
	// the events it names.
	EachCommon func(yield func(id.EventID) bool)
}

// ResolveConflict is Resolve for states that are known by their differences. It gives what stands under the keys of Sets,
// and possibly under keys that no state has; a key of Sets that is not in the outcome has no event any more.
func ResolveConflict(ctx context.Context, v event.Version, c Conflict, src Source) (StateMap, error) {
	c.Sets = distinct(c.Sets)
	if len(c.Sets) == 0 {
		return StateMap{}, nil
	}
	if len(c.Sets) == 1 {
		return maps.Clone(c.Sets[0]), nil
	}
	r := &resolution{ctx: ctx, version: v, conflict: c, src: src, events: map[id.EventID]*event.Event{}}
	switch v.StateRes() {
	case 1:
		return r.resolveV1()
	case 2, 21:
		return r.resolveV2(v.StateRes() == 21)
	}
	return nil, fmt.Errorf("state resolution: room version %q is not known", v.ID())
}

// differing are the keys on which not all states agree.
func differing(sets []StateMap) map[event.Key]struct{} {
	keys := map[event.Key]struct{}{}
	for _, set := range sets[1:] {
		shared := 0
		for key, value := range sets[0] {
			other, has := set[key]
			if has {
				shared++
			}
			if !has || other != value {
				keys[key] = struct{}{}
			}
		}
		if shared == len(set) {
			continue
		}
		for key := range set {
			if _, has := sets[0][key]; !has {
				keys[key] = struct{}{}
			}
		}
	}
	return keys
}

func conflictOf(sets []StateMap, keys map[event.Key]struct{}) Conflict {
	c := Conflict{Sets: make([]StateMap, len(sets))}
	for i, set := range sets {
		c.Sets[i] = StateMap{}
		for key := range keys {
			if value, has := set[key]; has {
				c.Sets[i][key] = value
			}
		}
	}
	c.Common = func(key event.Key) (id.EventID, bool) {
		if _, differs := keys[key]; differs {
			return "", false
		}
		value, has := sets[0][key]
		return value, has
	}
	c.EachCommon = func(yield func(id.EventID) bool) {
		for key, value := range sets[0] {
			if _, differs := keys[key]; !differs && !yield(value) {
				return
			}
		}
	}
	return c
}

// distinct drops states that are equal to an earlier one: they change nothing.
func distinct(sets []StateMap) []StateMap {
	out := make([]StateMap, 0, len(sets))
next:
	for _, set := range sets {
		for _, other := range out {
			if maps.Equal(set, other) {
				continue next
			}
		}
		out = append(out, set)
	}
	return out
}
