package room

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// batch gathers what one unit writes to one room: events decided one on the other, in memory, and their rows.
type batch struct {
	r       *Rooms
	e       *roomEntry
	nid     int64
	room    id.RoomID
	version event.Version
	old     *head // nil: the room is being made
	now     head

	writes   []stream.Write
	changes  []stream.Change
	items    []item
	members  []memberChange
	states   []*State
	redacted []*Stored // new values of events that get redacted
	flights  []*flight
	looks    bool                        // what lists show of the room has changed
	waits    []id.EventID                // unknown events that get redacted
	waiting  map[id.EventID][]id.EventID // what waitingFor has read
	looked   map[id.EventID]*Stored      // what look has read; nil: not stored
}

type item struct {
	s      *Stored
	change int // index of its change; -1: none
}

type memberChange struct {
	Member
	change int
	before string // membership it had
}

func (r *Rooms) newBatch(e *roomEntry, h *head) *batch {
	return &batch{r: r, e: e, nid: e.nid, room: e.id, version: e.version, old: h, now: *h}
}

func (b *batch) empty() bool { return len(b.writes) == 0 }

// discard forgets what was decided.
func (b *batch) discard() {
	for _, it := range b.items {
		b.r.pending.remove(it.s)
	}
	for _, s := range b.states {
		b.r.pending.states.Delete(s.id)
	}
	for _, target := range b.waits {
		b.r.pending.redactions.Delete(target)
	}
}

// view is a state as the rules see it.
type view struct {
	ctx context.Context
	s   *State
	err error
}

func (v *view) Get(k event.Key) *event.Event {
	if v.s == nil {
		return nil
	}
	ref, ok := v.s.Get(k)
	if !ok {
		return nil
	}
	ev, err := v.s.r.eventByNID(v.ctx, ref.NID)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return nil
	}
	return ev.Event
}

// maxPrevEvents bounds what an event of ours follows; those left out stay extremities.
const maxPrevEvents = 20

// build makes an event of ours that follows the batch's head, with the state's authorising events.
func (b *batch) build(ctx context.Context, p event.Proto) (*event.Event, error) {
	var err error
	p.RoomID = b.room
	if p.Timestamp == 0 {
		p.Timestamp = b.r.now()
	}
	if len(p.Content) == 0 {
		p.Content = json.RawMessage("{}")
	}
	ext := b.now.extremities
	if len(ext) > maxPrevEvents {
		ext = slices.Clone(ext)
		slices.SortStableFunc(ext, func(x, y extremity) int { return int(y.depth - x.depth) })
		ext = ext[:maxPrevEvents]
	}
	p.PrevEvents = make([]id.EventID, len(ext))
	for i, x := range ext {
		p.PrevEvents[i] = x.id
		p.Depth = max(p.Depth, x.depth)
	}
	if p.Depth < b.version.MaxDepth() {
		p.Depth++
	}
	p.AuthEvents = []id.EventID{}
	if b.now.state != nil {
		for _, k := range auth.Needed(b.version, p.Type, p.StateKey, p.Sender, p.Content) {
			if ref, ok := b.now.state.Get(k); ok {
				p.AuthEvents = append(p.AuthEvents, ref.EventID)
			}
		}
	}
	if b.version.IDInside() {
		p.EventID = b.r.newEventID()
		if p.Hashes, err = b.hashes(ctx, p.PrevEvents, p.AuthEvents); err != nil {
			return nil, err
		}
	}
	return event.Build(b.version, p, b.r.Signer)
}

// newEventID is the ID of an event of versions 1 and 2.
func (r *Rooms) newEventID() id.EventID { return id.EventID("$" + randomName() + ":" + r.server) }

// hashes are what references of versions 1 and 2 carry. spec: rooms/v1#event-format
func (b *batch) hashes(ctx context.Context, lists ...[]id.EventID) (map[id.EventID]string, error) {
	out := map[id.EventID]string{}
	for _, list := range lists {
		for _, eventID := range list {
			s, err := b.r.anyEvent(ctx, eventID)
			if err != nil {
				return nil, err
			}
			if s != nil {
				sum := s.ReferenceHash()
				out[eventID] = base64.RawStdEncoding.EncodeToString(sum[:])
			}
		}
	}
	return out, nil
}

// check applies the authorisation rules to an event against a state.
func check(ctx context.Context, ev *event.Event, s *State) error {
	v := &view{ctx: ctx, s: s}
	err := auth.Check(ev, v)
	if v.err != nil {
		return fmt.Errorf("state for %s: %w", ev.ID(), v.err)
	}
	return asRefusal(err)
}

// asRefusal is what people are told about a rule that an event breaks.
func asRefusal(err error) error {
	var rule *auth.Error
	if errors.As(err, &rule) {
		return mautrix.MForbidden.WithMessage("%s", rule.Msg).WithExtraField("rule", rule.Rule)
	}
	return err
}

// addLocal builds, checks and adds an event of ours.
func (b *batch) addLocal(ctx context.Context, p event.Proto, device id.DeviceID, txn string) (*Stored, error) {
	ev, err := b.build(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := check(ctx, ev, b.now.state); err != nil {
		return nil, err
	}
	return b.addNext(ctx, ev, device, txn)
}

// addNext adds an accepted live event that follows the head, so that the state before it is the current one.
func (b *batch) addNext(ctx context.Context, ev *event.Event, device id.DeviceID, txn string) (*Stored, error) {
	return b.add(ctx, placed{ev: ev, before: b.now.state, device: device, txn: txn})
}

// placed is an event with what has been decided about it.
type placed struct {
	ev     *event.Event
	before *State // nil: unknown or empty
	// current is the room's state once a live event is in; nil: the state after the event.
	current    *State
	rejected   bool
	softFailed bool
	outlier    bool
	historic   bool
	order      Order // of historic ones
	gap        bool
	nid        int64        // of an outlier that finds its place now; 0: a new event
	follows    []id.EventID // ends of the history that a live event takes the place of; nil: its prev_events
	device     id.DeviceID
	txn        string
}

func (p *placed) live() bool { return !p.rejected && !p.softFailed && !p.outlier && !p.historic }

// add writes an event whose fate is decided: the only way into the table.
func (b *batch) add(ctx context.Context, p placed) (*Stored, error) {
	s := &Stored{Event: p.ev, NID: p.nid, RoomNID: b.nid, Rejected: p.rejected, SoftFailed: p.softFailed, Outlier: p.outlier,
		Historic: p.historic, Gap: p.gap, DeviceID: p.device, TxnID: p.txn}
	if s.NID == 0 {
		var err error
		if s.NID, err = b.r.db.NextID(ctx, "events"); err != nil {
			return nil, fmt.Errorf("number of an event: %w", err)
		}
	}
	if p.before != nil {
		s.StateID = p.before.id
	}
	if s.IsState() || b.version.IDInside() || !b.r.local(s.Sender()) { // the same event may come twice at once from elsewhere
		b.r.pending.add(s)
	}
	it := item{s: s, change: -1}
	var pos, ord any
	switch {
	case p.live():
		it.change = len(b.changes)
		b.changes = append(b.changes, b.changeOf(s))
		pos, ord = stream.PosOf(it.change), stream.OrderOf(it.change)
	case p.historic:
		s.Order = p.order
		ord = int64(p.order)
	}
	b.items = append(b.items, it)
	if p.live() {
		if err := b.place(ctx, s, p, it.change); err != nil {
			return nil, err
		}
	}
	b.write(b.r.tables.events, eventRow(s, pos, ord)...)
	if p.live() || p.historic {
		if err := b.consequences(ctx, s, p.before, it.change); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// changeOf is what the log says about a live event.
func (b *batch) changeOf(s *Stored) stream.Change {
	c := stream.Change{Kind: stream.Event, RoomID: b.room, Ref: string(s.ID())}
	if s.Type() == typeMember && s.IsState() {
		c.Kind, c.UserID = stream.Membership, id.UserID(*s.StateKey())
	}
	return c
}

// place moves the current state and the extremities behind a live event.
func (b *batch) place(ctx context.Context, s *Stored, p placed, change int) error {
	after := p.before
	if s.IsState() {
		snap, err := b.r.derive(ctx, p.before, StateChange{Key: s.Key(), New: s.ref()})
		if err != nil {
			return err
		}
		after = b.keep(snap)
	}
	if after == nil {
		return fmt.Errorf("live event %s without state", s.ID())
	}
	current := p.current
	if current == nil {
		current = after
	}
	prev := p.follows
	if prev == nil {
		prev = s.PrevEvents()
	}
	ext := make([]extremity, 0, len(b.now.extremities)+1)
	for _, x := range b.now.extremities {
		if !slices.Contains(prev, x.id) {
			ext = append(ext, x)
		}
	}
	b.now.extremities = append(ext, extremity{s.NID, s.ID(), s.Depth(), after.id})
	s.CurrentID = current.id
	return b.setCurrent(ctx, current, change)
}

// keep takes a derived state into the unit.
func (b *batch) keep(snap snapshot) *State {
	b.write(b.r.tables.snapshots, snap.row...)
	b.states = append(b.states, snap.state)
	b.r.pending.states.Store(snap.state.id, snap.state)
	return snap.state
}

// setCurrent makes s the room's state; memberships follow it.
func (b *batch) setCurrent(ctx context.Context, s *State, change int) error {
	old := b.now.state
	b.now.state = s
	if s == nil || s == old {
		return nil
	}
	for _, c := range s.Diff(old) {
		b.looks = b.looks || isLook(c.Key)
		if c.Key.Type == typeMember {
			if err := b.memberChanged(ctx, c, change); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) write(t *database.Table, row ...any) {
	b.writes = append(b.writes, stream.Write{Table: t, Row: row})
}

// consequences are redactions and the rows of other slices.
func (b *batch) consequences(ctx context.Context, s *Stored, before *State, change int) error {
	if s.Type() == typeRedaction {
		if err := b.redacts(ctx, s, before); err != nil {
			return err
		}
	}
	if !b.r.local(s.Sender()) { // nobody knows the ID of an event of ours before it is there
		if err := b.waitingRedactions(ctx, s); err != nil {
			return err
		}
	}
	for _, p := range b.r.projections {
		writes, changes, err := p.Project(ctx, s, before)
		if err != nil {
			return fmt.Errorf("projection of %s: %w", s.ID(), err)
		}
		base := len(b.changes)
		b.changes = append(b.changes, changes...)
		for _, w := range writes {
			for i, v := range w.Row {
				switch n := v.(type) {
				case stream.PosOf:
					w.Row[i] = stream.PosOf(indexOf(int(n), base, change))
				case stream.OrderOf:
					w.Row[i] = stream.OrderOf(indexOf(int(n), base, change))
				}
			}
			b.writes = append(b.writes, w)
		}
	}
	return nil
}

// indexOf turns a projection's index of a change into the unit's.
func indexOf(n, base, change int) int {
	if n == 0 {
		return change
	}
	return base + n - 1
}
