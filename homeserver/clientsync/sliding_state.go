package clientsync

import (
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// slideState is the state that an answer gives for a room.
type slideState struct {
	now     *room.State
	changed map[event.Key]bool // since the client last heard, whether wanted or not
	events  []*room.Stored
	keys    []event.Key
	has     map[event.Key]struct{}
}

// slideState picks the required state: all of it at first, then what changed, and what is newly asked for.
func (a *slide) slideState(r *slideJob, w *window) (*slideState, error) {
	st := &slideState{changed: map[event.Key]bool{}, has: map[event.Key]struct{}{}}
	var err error
	if st.now, err = a.s.Rooms.StateAt(a.ctx, r.room, a.upTo); err != nil {
		return nil, err
	}
	me := a.req.user
	switch {
	case r.initial:
		a.pick(st, r.want, func(event.Key) bool { return true })
	case w.state || w.limited || r.expand:
		before, err := a.s.Rooms.StateAt(a.ctx, r.room, r.since)
		if err != nil {
			return nil, err
		}
		for _, c := range st.now.Diff(before) {
			st.changed[c.Key] = true
			gap := w.limited && c.Key.Type == typeMember && r.want.lazy
			if c.New.EventID != "" && (gap || r.want.matches(me, c.Key.Type, c.Key.StateKey)) {
				st.put(c.Key)
			}
		}
	}
	if r.grown {
		a.pick(st, r.want, func(k event.Key) bool { return !r.old.matches(me, k.Type, k.StateKey) })
	}
	if r.want.lazy {
		for _, ev := range w.events {
			a.slideMember(st, r, ev.Sender())
		}
	}
	if st.events, err = st.now.EventsOfKeys(a.ctx, st.keys); err != nil {
		return nil, err
	}
	if r.want.lazy {
		for _, ev := range st.events {
			a.noteMember(ev)
		}
	}
	return st, nil
}

func (st *slideState) put(k event.Key) {
	if _, ok := st.has[k]; !ok {
		st.has[k] = struct{}{}
		st.keys = append(st.keys, k)
	}
}

// pick takes from the state what is wanted, going through all of it only where a pattern needs it.
func (a *slide) pick(st *slideState, want *wanted, filter func(event.Key) bool) {
	me := a.req.user
	for _, p := range want.state {
		switch {
		case p.Key == keyLazy && p.Type == typeMember:
		case p.Type == anyKey:
			st.now.Range(func(k event.Key, _ room.Ref) bool {
				if want.matches(me, k.Type, k.StateKey) && filter(k) {
					st.put(k)
				}
				return true
			})
		case p.Key == anyKey:
			st.now.RangeType(p.Type, func(key string, _ room.Ref) bool {
				if k := (event.Key{Type: p.Type, StateKey: key}); filter(k) {
					st.put(k)
				}
				return true
			})
		default:
			k := event.Key{Type: p.Type, StateKey: p.Key}
			if p.Key == keyMe {
				k.StateKey = string(me)
			}
			if _, ok := st.now.Get(k); ok && filter(k) {
				st.put(k)
			}
		}
	}
}

// slideMember adds the member who sent something, unless the client has that membership.
func (a *slide) slideMember(st *slideState, r *slideJob, user id.UserID) {
	k := event.Key{Type: typeMember, StateKey: string(user)}
	ref, ok := st.now.Get(k)
	if !ok {
		return
	}
	if !r.initial {
		if had, ok := a.dev.has(r.room, user); ok && had == ref.EventID {
			return
		}
	}
	st.put(k)
}
