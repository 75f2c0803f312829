package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// join enters a room through a server that is in it. Only one user at a time does so: those who waited enter on their own,
// if that has become possible.
func (o *others) join(ctx context.Context, m outsideMember) (id.EventID, error) {
	leave, err := o.enter(ctx, m.Room)
	if err != nil {
		return "", err
	}
	defer leave()
	seen := o.r.stream.Head()
	joined, done, err := o.joinAfterAll(ctx, m)
	if done || err != nil {
		return joined, err
	}
	refusal := o.eachServer(ctx, m.Via, func(ctx context.Context, server string) error {
		var err error
		joined, err = o.joinVia(ctx, server, m)
		return err
	})
	if refusal == nil {
		return joined, nil
	}
	if info, err := o.r.Info(ctx, m.Room); err != nil || !info.Inside {
		return "", refusal
	}
	// Somebody of this server is inside. What would let the user in may be on its way here.
	short, cancel := context.WithTimeout(ctx, newsTimeout)
	defer cancel()
	for {
		if seen, err = o.r.stream.Wait(short, seen, stream.RoomTopic(m.Room)); err != nil {
			return "", refusal
		}
		if joined, done, err := o.joinAfterAll(ctx, m); done && err == nil {
			return joined, nil
		}
	}
}

// joinAfterAll joins like any local user, if somebody of this server is inside by now and may let the user in.
func (o *others) joinAfterAll(ctx context.Context, m outsideMember) (id.EventID, bool, error) {
	e, err := o.r.acquire(ctx, m.Room)
	if err != nil {
		return "", false, ignoreNotFound(err)
	}
	defer o.r.release(e)
	h, err := e.committed(ctx)
	if err != nil || !h.inside() {
		return "", false, err
	}
	content := m.Content
	by, err := o.r.authoriserFor(ctx, e, h, m.User)
	switch {
	case errors.Is(err, errUnableToAuth):
		return "", false, nil
	case err != nil:
		return "", false, err
	case by != "":
		if content, err = withMember(content, "join_authorised_via_users_server", by); err != nil {
			return "", false, err
		}
	}
	in := &MemberInput{RoomID: m.Room, Sender: m.User, Target: m.User}
	eventID, err := o.r.setMembership(ctx, e, in, content, func(_ context.Context, _ *batch, now string, _ *Stored) error {
		if now == Joined {
			return errSame
		}
		return nil
	})
	return eventID, true, err
}

// joinVia does the handshake with one server and stores what it tells about the room.
// spec: ss#put_matrixfederationv2send_joinroomideventid
func (o *others) joinVia(ctx context.Context, server string, m outsideMember) (id.EventID, error) {
	short, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t, err := o.r.Remote.MakeJoin(short, server, m.Room, m.User)
	if err != nil {
		return "", err
	}
	f, err := checkTemplate(t, m, Joined)
	if err != nil {
		return "", err
	}
	if joined, done, err := o.joinAfterAll(ctx, m); done && err == nil { // news came meanwhile
		return joined, nil
	}
	ev, err := o.build(f, m)
	if err != nil {
		return "", err
	}
	// From here on the other server may count the user as joined: what was begun is finished.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), joinTimeout)
	defer cancel()
	answer, err := o.r.Remote.SendJoin(ctx, server, ev)
	if err != nil {
		return "", err
	}
	if ev, err = o.countersigned(ctx, ev, answer.Event); err != nil {
		return "", err
	}
	wrong, err := o.r.wronglyKnown(ctx, m.Room, f.version)
	if err != nil {
		return "", err
	}
	e := o.r.use(m.Room)
	defer o.r.release(e)
	in := &intake{r: o.r, e: e, version: f.version, origin: server, out: map[id.EventID]error{}, wrong: wrong}
	return ev.ID(), in.enter(ctx, ev, answer)
}

// wronglyKnown says that an invitation or a knock made the room known here with another version than it has: whoever invites
// says what they like.
func (r *Rooms) wronglyKnown(ctx context.Context, roomID id.RoomID, v event.Version) (bool, error) {
	info, err := r.Info(ctx, roomID)
	if err != nil || info.Version == v {
		return false, ignoreNotFound(err)
	}
	if info.Known {
		return false, fmt.Errorf("%s is of version %s, not %s", roomID, info.Version, v)
	}
	return true, nil
}

// countersigned is our join with the signature of the server that lets the user into a restricted room.
// spec: ss#restricted-rooms
func (o *others) countersigned(ctx context.Context, ev *event.Event, answer json.RawMessage) (*event.Event, error) {
	if ev.Authoriser() == "" {
		return ev, nil
	}
	theirs, err := event.ParseUntrusted(ev.Version(), answer)
	if err != nil || theirs.ID() != ev.ID() {
		return nil, errors.New("the server did not give the join back")
	}
	if ev, err = ev.AddSignatures(event.Field(theirs.JSON(), "signatures")); err != nil {
		return nil, err
	}
	if err := o.r.verify(ctx, []*event.Event{ev})[0]; err != nil {
		return nil, fmt.Errorf("signatures of the join: %w", err)
	}
	return ev, nil
}

var (
	errBadTold  = errors.New("the state that the server told is not that of a room")
	errNoCreate = errors.New("the server told a state without the event that created the room")
)

// enter checks what the server told of the room, and stores it with the join of a local user. Nothing is stored of a room that
// cannot be entered.
func (in *intake) enter(ctx context.Context, join *event.Event, answer JoinAnswer) error {
	if len(answer.State)+len(answer.AuthChain) > maxStateFetch {
		return errTooManyAtOnce
	}
	state := in.parse(answer.State, maxStateFetch)
	told := in.signed(ctx, append(in.parse(answer.AuthChain, maxStateFetch), state...))
	if !answer.Partial {
		if err := checkTold(in.version, in.e.id, join, state, told); err != nil {
			return err
		}
	}
	if in.wrong {
		if err := in.r.Purge(ctx, in.e.id); err != nil {
			return err
		}
	}
	if err := in.storeBeside(ctx, told); err != nil {
		return err
	}
	ids := idsOfEvents(state)
	if answer.Partial { // never asked for: the rest is fetched before anybody relies on the state
		all, chain, err := in.r.Remote.StateIDs(ctx, in.origin, in.e.id, join.ID())
		if err != nil {
			return fmt.Errorf("%w: %w", errStateUncertain, err)
		}
		if err := in.fetchState(ctx, join.ID(), append(slices.Clone(all), chain...)); err != nil {
			return err
		}
		ids = all
	}
	places, err := in.joinState(ctx, ids)
	if err != nil {
		return err
	}
	if err := in.fetchAuth(ctx, join); err != nil {
		return err
	}
	return in.r.write(ctx, in.e, func(ctx context.Context, b *batch) error {
		if b.now.inside() {
			return b.joinBeside(ctx, join, places)
		}
		return b.joinFirst(ctx, join, places)
	})
}

// checkTold applies the rules to all events of an answer in memory, and to our join on the state that they make.
// spec: ss#joining-rooms
func checkTold(v event.Version, roomID id.RoomID, join *event.Event, state, told []*event.Event) error {
	good := make(map[id.EventID]*event.Event, len(told))
	sortByAuth(told)
	var create *event.Event
	for _, ev := range told {
		if ev.Is(typeCreate, "") {
			if create != nil && create.ID() != ev.ID() {
				return errBadTold
			}
			create = ev
		}
	}
	if create == nil || v.DomainlessRoomID() && create.ID() != event.CreateIDOf(roomID) {
		return errNoCreate
	}
	mayStand := func(ev *event.Event) bool {
		var given []*event.Event
		for _, a := range ev.AuthEvents() {
			if good[a] == nil {
				return false
			}
			given = append(given, good[a])
		}
		if auth.CheckAuthEventList(ev, given, nil) != nil {
			return false
		}
		if v.DomainlessRoomID() && ev != create {
			given = append(given, create)
		}
		return auth.Check(ev, auth.Events(given)) == nil
	}
	for _, ev := range told {
		if mayStand(ev) {
			good[ev.ID()] = ev
		}
	}
	at := make(auth.Map, len(state))
	for _, ev := range state {
		if !ev.IsState() || good[ev.ID()] == nil {
			continue
		}
		if old := at[ev.Key()]; old != nil && old.ID() != ev.ID() {
			return errBadTold
		}
		at[ev.Key()] = ev
	}
	if at[event.Key{Type: typeCreate}] == nil {
		return errNoCreate
	}
	return asRefusal(auth.Check(join, at))
}

func idsOfEvents(evs []*event.Event) []id.EventID {
	ids := make([]id.EventID, len(evs))
	for i, ev := range evs {
		ids[i] = ev.ID()
	}
	return ids
}

// joinState checks that stored events make a state of this room.
func (in *intake) joinState(ctx context.Context, ids []id.EventID) ([]place, error) {
	rows, err := in.placesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	byKey := make(map[event.Key]place, len(ids))
	for _, eventID := range ids {
		p, ok := rows[eventID]
		if !ok || !p.state || p.rejected {
			continue // not signed, not allowed, or resting on such events
		}
		if _, twice := byKey[p.key]; twice {
			return nil, errBadTold
		}
		byKey[p.key] = p.place
	}
	create, ok := byKey[event.Key{Type: typeCreate}]
	if !ok || in.version.DomainlessRoomID() && create.ref.EventID != event.CreateIDOf(in.e.id) {
		return nil, errNoCreate
	}
	places := make([]place, 0, len(byKey))
	for _, p := range byKey {
		places = append(places, p)
	}
	return places, nil
}

// joinFirst puts the join on the state that was told.
func (b *batch) joinFirst(ctx context.Context, join *event.Event, places []place) error {
	nids := make([]int64, len(places))
	for i, p := range places {
		nids[i] = p.ref.NID
	}
	evs, err := b.r.eventsInOrder(ctx, nids)
	if err != nil {
		return err
	}
	defer b.atHand(evs)() // memberships are read one by one below
	before, err := b.store(ctx, b.assemble(places).m, b.now.state)
	if err != nil {
		return err
	}
	if err := b.mayStand(ctx, join, before); err != nil {
		return err
	}
	p := placed{ev: join, before: before, gap: true}
	if old, err := b.r.anyEvent(ctx, join.ID()); err != nil {
		return err
	} else if old != nil {
		p.nid = old.NID
	} else if p.nid, err = b.r.db.NextID(ctx, "events"); err != nil {
		return fmt.Errorf("number of an event: %w", err)
	}
	if err := b.joinEnds(ctx, &p); err != nil {
		return err
	}
	s, err := b.add(ctx, p)
	if err != nil {
		return err
	}
	return b.settleOutside(ctx, s)
}

// joinEnds decides about what this server knew at the end of the room's history when it was inside before. It may not have
// reached the others, so it counts. But if then the user would not be in the room, the others are believed alone.
func (b *batch) joinEnds(ctx context.Context, p *placed) error {
	if len(b.now.extremities) == 0 {
		return nil
	}
	p.follows = slices.Clone(p.ev.PrevEvents())
	err := b.currentWith(ctx, p)
	if err != nil && !errors.Is(err, stateres.ErrTooLarge) {
		return err
	}
	if err == nil && p.current != nil {
		if ref, ok := p.current.Get(p.ev.Key()); ok && ref.NID == p.nid {
			return nil
		}
	}
	p.current = nil
	for _, x := range b.now.extremities {
		p.follows = append(p.follows, x.id)
	}
	return nil
}

// atHand keeps events in memory for those who decide, until the function is called that it gives.
func (b *batch) atHand(evs []*Stored) (drop func()) {
	for _, s := range evs {
		b.r.pending.add(s)
	}
	return func() {
		for _, s := range evs {
			b.r.pending.remove(s)
		}
	}
}

// mayStand checks that an event passes the rules where it stands.
func (b *batch) mayStand(ctx context.Context, ev *event.Event, before *State) error {
	bad, err := b.r.rejection(ctx, ev)
	if err == nil && bad == nil {
		bad, err = disallowed(ctx, ev, before)
	}
	return errors.Join(err, bad)
}

// joinBeside takes the join into a room that somebody of this server is inside by now.
func (b *batch) joinBeside(ctx context.Context, join *event.Event, places []place) error {
	behind := map[id.EventID][]place{}
	for _, p := range join.PrevEvents() {
		s, err := b.r.anyEvent(ctx, p)
		if err != nil {
			return err
		}
		if s == nil || !s.placed() {
			behind[p] = places
		}
	}
	return b.arrive(ctx, &arrival{ev: join, behind: behind, strict: true})
}

// settleOutside makes memberships that invitations from outside said give way to what the room's state says.
func (b *batch) settleOutside(ctx context.Context, join *Stored) error {
	if b.old == nil {
		return nil
	}
	rows, err := b.r.readMembers(b.r.fresh(ctx), b.room, "")
	if err != nil {
		return err
	}
	set := map[id.UserID]bool{}
	for _, m := range b.members {
		set[m.UserID] = true
	}
	change := -1
	for _, it := range b.items {
		if it.s == join {
			change = it.change
		}
	}
	for _, m := range rows {
		ref, ok := b.now.state.Get(event.Key{Type: typeMember, StateKey: string(m.UserID)})
		if set[m.UserID] || !b.r.local(m.UserID) || ok && ref.EventID == m.EventID || !ok && m.Membership == Left {
			continue
		}
		now := Member{RoomID: b.room, UserID: m.UserID, Membership: Left, EventNID: m.EventNID, EventID: m.EventID, Sender: m.Sender}
		if ok {
			ev, err := b.r.eventByNID(ctx, ref.NID)
			if err != nil {
				return err
			}
			now = memberOf(ev)
		}
		b.members = append(b.members, memberChange{Member: now, change: change})
	}
	return nil
}
