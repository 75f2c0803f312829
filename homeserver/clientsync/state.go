package clientsync

import (
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// delta gathers the state events that an answer gives for a room.
type delta struct {
	a     *answer
	j     *job
	w     *window
	end   *room.State
	start *room.State // at the start of the timeline
	base  *room.State // what the client has; nil: nothing
	keys  []event.Key
	refs  map[event.Key]room.Ref
	shown map[event.Key]struct{} // what the timeline sent brings
}

// state finds the state events for `state` (what changed up to the start of the timeline) or `state_after` (up to its end).
// Where the timeline does not lead to the room's state at the end of the window, be it by a filter or by resolved forks, `state`
// has what is missing, so that the client ends up right.
func (a *answer) state(j *job, w *window, upTo stream.Pos, sum *summary) ([]*room.Stored, error) {
	lazy := a.req.filter.state.Lazy()
	if lazy && a.dev == nil && a.req.device != "" {
		a.dev = a.s.device(a.req)
		a.dev.arrived(a.req)
	}
	quiet := j.since != 0 && !a.req.full && !w.limited && !w.state
	d := &delta{a: a, j: j, w: w}
	if quiet && (!lazy || len(w.events) == 0 || d.allKnown()) {
		return nil, nil
	}
	var err error
	if d.end, err = a.s.Rooms.StateAt(a.ctx, j.room, upTo); err != nil {
		return nil, err
	}
	d.refs = map[event.Key]room.Ref{}
	d.shown = map[event.Key]struct{}{}
	for _, ev := range w.events {
		if ev.IsState() {
			d.shown[ev.Key()] = struct{}{}
		}
	}
	if quiet {
		d.start = d.end
	} else if err := d.changes(); err != nil {
		return nil, err
	}
	if lazy {
		d.members(sum)
		if j.since == 0 {
			a.fresh = append(a.fresh, j.room)
		}
	}
	return d.load()
}

// changes fills the keys that differ between what the client has and the place in question.
func (d *delta) changes() (err error) {
	a, j := d.a, d.j
	if j.since != 0 && !a.req.full {
		if d.base, err = a.s.Rooms.StateAt(a.ctx, j.room, j.since); err != nil {
			return err
		}
	}
	if a.req.after() {
		d.start = d.end
		d.diff(d.end, d.base, false)
		return nil
	}
	if d.start, err = d.startState(); err != nil {
		return err
	}
	d.diff(d.start, d.base, false)
	d.diff(d.end, d.start, true)
	if d.base == nil || d.w.limited {
		return d.branches()
	}
	return nil
}

// branches adds state that came from another branch of the room's history: it stands in the timeline where it arrived, but was
// sent beside what is before it there, so that a client which begins at this place is told of it in the state as well.
func (d *delta) branches() error {
	f := d.a.req.filter.state
	for i, ev := range d.w.events {
		if !ev.IsState() || !f.Type(ev.Type()) || ev.Is(typeCreate, "") {
			continue
		}
		if ref, ok := d.end.Get(ev.Key()); !ok || ref.EventID != ev.ID() {
			continue
		}
		before := ev.Stored
		if i > 0 {
			before = d.w.events[i-1].Stored
		} else if evs, _, err := d.a.s.Rooms.Live(d.a.ctx, d.j.room, 0, ev.Pos-1, 1); err != nil {
			return err
		} else if len(evs) > 0 {
			before = evs[0]
		}
		if before.ID() != ev.ID() && before.SenderServer() != ev.SenderServer() && !slices.Contains(ev.PrevEvents(), before.ID()) {
			ref, _ := d.end.Get(ev.Key())
			d.put(ev.Key(), ref)
		}
	}
	return nil
}

// startState is the room's state just before the first event of the timeline.
func (d *delta) startState() (*room.State, error) {
	if len(d.w.events) == 0 {
		return d.end, nil
	}
	first := d.w.events[0].Stored
	st, err := d.a.s.Rooms.StateAt(d.a.ctx, d.j.room, first.Pos-1)
	if err != nil || st != nil && st.Len() > 0 {
		return st, err
	}
	if first.StateID == 0 {
		return nil, nil // the room's first event
	}
	return d.a.s.Rooms.StateBefore(d.a.ctx, first)
}

// diff notes what newer has and older has not. Members of a room that is new to a client that loads them lazily are left to
// members. With skipShown, keys that the timeline brings anyway are left out.
func (d *delta) diff(newer, older *room.State, skipShown bool) {
	if newer == nil {
		return
	}
	f := d.a.req.filter.state
	whole := f.Lazy() && d.base == nil
	for _, c := range newer.Diff(older) {
		if c.New.EventID == "" || whole && c.Key.Type == typeMember || !f.Type(c.Key.Type) {
			continue
		}
		if _, shown := d.shown[c.Key]; skipShown && shown {
			continue
		}
		d.put(c.Key, c.New)
	}
}

func (d *delta) put(k event.Key, ref room.Ref) {
	if _, ok := d.refs[k]; !ok {
		d.keys = append(d.keys, k)
	}
	d.refs[k] = ref
}

// members adds the members whom the client needs to show what it gets.
//
// spec: cs#lazy-loading-room-members
func (d *delta) members(sum *summary) {
	if !d.a.req.filter.state.Type(typeMember) {
		return
	}
	if d.base == nil && (d.j.since == 0 || d.a.req.full) {
		d.member(d.a.req.user, true)
	}
	for _, ev := range d.w.events {
		d.member(ev.Sender(), false)
	}
	if sum != nil {
		for _, hero := range sum.heroes {
			d.member(hero, false)
		}
	}
}

func (d *delta) member(user id.UserID, always bool) {
	key := event.Key{Type: typeMember, StateKey: string(user)}
	if _, ok := d.refs[key]; ok {
		return
	}
	from := d.end
	if _, shown := d.shown[key]; shown {
		from = d.start // the timeline brings the rest
	}
	if from == nil {
		return
	}
	ref, ok := from.Get(key)
	if !ok {
		return
	}
	if !always && d.j.since != 0 && !d.a.req.filter.state.RedundantMember && d.a.dev != nil {
		if had, ok := d.a.dev.has(d.j.room, user); ok && had == ref.EventID {
			return
		}
	}
	d.put(key, ref)
}

// allKnown says that the client has the members of all who sent something; nothing about members changed in the window.
func (d *delta) allKnown() bool {
	if d.a.dev == nil || d.a.req.filter.state.RedundantMember {
		return false
	}
	for _, ev := range d.w.events {
		if _, ok := d.a.dev.has(d.j.room, ev.Sender()); !ok {
			return false
		}
	}
	return true
}

// load reads the events, applies the rest of the filter, and notes the members for later.
func (d *delta) load() ([]*room.Stored, error) {
	f := d.a.req.filter.state
	ids := make([]id.EventID, 0, len(d.keys))
	for _, k := range d.keys {
		ids = append(ids, d.refs[k].EventID)
	}
	evs, err := d.a.s.Rooms.Events(d.a.ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]*room.Stored, 0, len(ids))
	for _, e := range ids {
		if ev := evs[e]; ev != nil && f.Event(ev) {
			out = append(out, ev)
		}
	}
	if f.Lazy() && d.a.dev != nil {
		for _, ev := range out {
			d.a.noteMember(ev)
		}
		for _, ev := range d.w.events {
			d.a.noteMember(ev.Stored)
		}
	}
	return out, nil
}

func (a *answer) noteMember(ev *room.Stored) {
	if ev.Type() == typeMember && ev.IsState() {
		a.sent = append(a.sent, sentMember{ev.RoomID(), id.UserID(*ev.StateKey()), ev.ID()})
	}
}

// writeState writes the state under the name that the client asked for.
func (a *answer) writeState(evs []*room.Stored) {
	name := `,"state":{"events":[`
	switch {
	case a.req.stateAfter:
		name = `,"state_after":{"events":[`
	case a.req.unstableAfter:
		name = `,"org.matrix.msc4222.state_after":{"events":[`
	}
	a.buf = append(a.buf, name...)
	a.buf = append(a.s.Timelines.AppendState(a.buf, evs, a.options()), ']', '}')
}
