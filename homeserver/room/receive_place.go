package room

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// arrival is an event from elsewhere that finds its place.
type arrival struct {
	ev       *event.Event
	behind   map[id.EventID][]place // states behind those of its prev_events that have no place here
	historic bool
	order    Order // of a historic one
	strict   bool  // an error instead of a rejected or soft-failed event
	stored   *Stored
	err      error
}

// verdict is what the rules say of an event.
type verdict struct {
	rejected   bool
	softFailed bool
	why        error // of either
}

// arrive decides on an event from elsewhere and adds it. All that it rests on is stored.
func (b *batch) arrive(ctx context.Context, a *arrival) error {
	old, err := b.known(ctx, a.ev.ID())
	if err != nil {
		return err
	}
	if old != nil && !old.Outlier {
		a.stored = old
		return nil
	}
	before, gap, err := b.stateBefore(ctx, a)
	if err != nil {
		return err
	}
	v, err := b.judge(ctx, a, old, before)
	if err != nil {
		return err
	}
	if a.strict && v.why != nil {
		return v.why
	}
	p := placed{ev: a.ev, before: before, gap: gap, rejected: v.rejected, softFailed: v.softFailed, historic: a.historic && !v.rejected,
		order: a.order}
	if old != nil {
		p.nid = old.NID
	} else if p.nid, err = b.r.db.NextID(ctx, "events"); err != nil {
		return fmt.Errorf("number of an event: %w", err)
	}
	if p.live() {
		if p.follows, err = b.followed(ctx, a.ev); err != nil {
			return err
		}
		if p.softFailed = b.tooManyEnds(p.follows); !p.softFailed {
			err = b.currentWith(ctx, &p)
		} else if a.strict {
			err = errTooManyAtOnce
		}
		if err != nil {
			return err
		}
	}
	a.stored, err = b.add(ctx, p)
	return err
}

// stateBefore is the state that an event was sent into; gap says that some of its prev_events have no place here.
func (b *batch) stateBefore(ctx context.Context, a *arrival) (before *State, gap bool, err error) {
	prev := a.ev.PrevEvents()
	if len(prev) == 0 {
		if !a.ev.Is(typeCreate, "") || !a.historic {
			return nil, false, errNoPrev
		}
		return nil, false, nil
	}
	if !a.historic && b.followsAllEnds(prev) {
		return b.now.state, false, nil
	}
	var states []*State
	for i, p := range prev {
		if slices.Contains(prev[:i], p) {
			continue
		}
		s, err := b.r.anyEvent(ctx, p)
		if err != nil {
			return nil, false, err
		}
		var after *State
		switch {
		case s != nil && s.RoomID() != b.room:
			return nil, false, errPrevElsewhere
		case s != nil && s.placed():
			after, err = b.stateAfter(ctx, s)
		case a.behind[p] != nil:
			gap = true
			after = b.assemble(a.behind[p])
		default:
			err = errPrevMissing
		}
		if err != nil {
			return nil, false, err
		}
		if !slices.Contains(states, after) {
			states = append(states, after)
		}
	}
	before, err = b.merge(ctx, states)
	return before, gap, err
}

// followsAllEnds says that an event follows what stands at the end of the room's history: the state before it is the
// current one.
func (b *batch) followsAllEnds(prev []id.EventID) bool {
	if len(prev) != len(b.now.extremities) || b.now.state == nil {
		return false
	}
	for _, x := range b.now.extremities {
		if !slices.Contains(prev, x.id) {
			return false
		}
	}
	return true
}

// stateAfter is the state behind an event that has its place. Its ID is 0 if it is not stored.
func (b *batch) stateAfter(ctx context.Context, s *Stored) (*State, error) {
	for _, x := range b.now.extremities {
		if x.nid == s.NID {
			return b.r.stateByID(ctx, x.stateAfter)
		}
	}
	before := &State{r: b.r}
	if s.StateID != 0 {
		var err error
		if before, err = b.r.stateByID(ctx, s.StateID); err != nil {
			return nil, err
		}
	}
	if !s.IsState() || s.Rejected {
		return before, nil
	}
	after := &State{m: before.m.set(stateKey(s.Key()), s.ref()), r: b.r}
	if s.CurrentID != 0 { // where nothing stood beside the event they are the same
		current, err := b.r.stateByID(ctx, s.CurrentID)
		if err != nil {
			return nil, err
		}
		if current.m.len() == after.m.len() && len(current.Diff(after)) == 0 {
			return current, nil
		}
	}
	return after, nil
}

// assemble is a state made of entries. Its ID is 0.
func (b *batch) assemble(places []place) *State {
	m := tree[stateKey, Ref]{}
	for _, p := range places {
		m = m.set(stateKey(p.key), p.ref)
	}
	return &State{m: m, r: b.r}
}

// merge resolves states into one that is stored.
func (b *batch) merge(ctx context.Context, states []*State) (*State, error) {
	near := b.now.state
	for _, s := range states {
		if s.id != 0 {
			near = s
			break
		}
	}
	if len(states) == 1 {
		if states[0].id != 0 {
			return states[0], nil
		}
		return b.store(ctx, states[0].m, near)
	}
	m, err := b.r.resolveStates(ctx, b.version, states)
	if err != nil {
		return nil, err
	}
	return b.store(ctx, m, near)
}

// store takes a state into the unit, written as changes to another one.
func (b *batch) store(ctx context.Context, m tree[stateKey, Ref], near *State) (*State, error) {
	changes := (&State{m: m}).Diff(near)
	if near != nil && len(changes) == 0 {
		return near, nil
	}
	if len(changes) > m.len()/2 {
		near = nil
		changes = (&State{m: m}).Diff(nil)
	}
	snap, err := b.r.derive(ctx, near, changes...)
	if err != nil {
		return nil, err
	}
	return b.keep(snap), nil
}

// judge applies the rules. spec: ss#checks-performed-on-receipt-of-a-pdu 4 to 6
func (b *batch) judge(ctx context.Context, a *arrival, old *Stored, before *State) (verdict, error) {
	if old != nil && old.Rejected {
		return verdict{rejected: true, why: errors.New("rejected before")}, nil
	}
	bad, err := b.r.rejection(ctx, a.ev)
	if err != nil {
		return verdict{}, err
	}
	if bad == nil {
		bad, err = disallowed(ctx, a.ev, before)
	}
	if err != nil || bad != nil {
		return verdict{rejected: bad != nil, why: bad}, err
	}
	if a.historic || before == b.now.state {
		return verdict{}, nil
	}
	bad, err = disallowed(ctx, a.ev, b.now.state) // spec: ss#soft-failure
	return verdict{softFailed: bad != nil, why: bad}, err
}

// rejection checks an event against the events that it names as authorising it: why it is to be rejected, nil if it is not.
func (r *Rooms) rejection(ctx context.Context, ev *event.Event) (bad, err error) {
	ids := ev.AuthEvents()
	given := make([]*event.Event, 0, len(ids)+1)
	state := make(auth.Events, 0, len(ids)+1)
	rejected := map[id.EventID]bool{}
	for _, authID := range ids {
		s, err := r.anyEvent(ctx, authID)
		if err != nil {
			return nil, err
		}
		if s == nil {
			return nil, errAuthMissing
		}
		given = append(given, s.Event)
		if s.Rejected {
			rejected[authID] = true
		} else {
			state = append(state, s.Event)
		}
	}
	if bad := auth.CheckAuthEventList(ev, given, func(x id.EventID) bool { return rejected[x] }); bad != nil {
		return asRefusal(bad), nil
	}
	if ev.Version().DomainlessRoomID() && !ev.Is(typeCreate, "") {
		create, err := r.anyEvent(ctx, event.CreateIDOf(ev.RoomID()))
		if err != nil {
			return nil, err
		}
		if create != nil && !create.Rejected {
			state = append(state, create.Event)
		}
	}
	return asRefusal(auth.Check(ev, state)), nil
}

// disallowed says why an event may not stand on a state, nil if it may.
func disallowed(ctx context.Context, ev *event.Event, s *State) (bad, err error) {
	err = check(ctx, ev, s)
	if refusal, ok := asRespError(err); ok && refusal.ErrCode == mautrix.MForbidden.ErrCode {
		return err, nil
	}
	return nil, err
}

// currentWith finds what the room's state is once an event is in: resolved from all ends of its history.
// spec: ss#soft-failure
func (b *batch) currentWith(ctx context.Context, p *placed) error {
	var others []*State
	for _, x := range b.now.extremities {
		if slices.Contains(p.follows, x.id) {
			continue
		}
		s, err := b.r.stateByID(ctx, x.stateAfter)
		if err != nil {
			return err
		}
		if !slices.Contains(others, s) {
			others = append(others, s)
		}
	}
	if len(others) == 0 {
		return nil
	}
	after := p.before
	if p.ev.IsState() {
		s := &Stored{Event: p.ev, NID: p.nid, RoomNID: b.nid}
		b.r.pending.add(s)
		defer b.r.pending.remove(s)
		after = &State{m: p.before.m.set(stateKey(p.ev.Key()), Ref{p.nid, p.ev.ID()}), r: b.r}
	}
	var err error
	p.current, err = b.resolve(ctx, append(others, after))
	return err
}

// maxEnds bounds the forks of a room: each costs whenever its state is resolved. An event that would make one more does not
// count until somebody follows it.
const maxEnds = 60

func (b *batch) tooManyEnds(follows []id.EventID) bool {
	return len(b.now.extremities) >= maxEnds &&
		!slices.ContainsFunc(b.now.extremities, func(x extremity) bool { return slices.Contains(follows, x.id) })
}

// maxUncounted bounds how far behind an event those are looked for that count.
const maxUncounted = 200

// followed lists the events that an event follows: its prev_events and, where those do not count, what they follow.
func (b *batch) followed(ctx context.Context, ev *event.Event) ([]id.EventID, error) {
	list := slices.Clone(ev.PrevEvents())
	for i := 0; i < len(list) && len(list) < maxUncounted; i++ {
		s, err := b.r.anyEvent(ctx, list[i])
		if err != nil {
			return nil, err
		}
		if s == nil || !s.Rejected && !s.SoftFailed {
			continue
		}
		for _, p := range s.PrevEvents() {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list, nil
}
