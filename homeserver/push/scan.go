package push

import (
	"context"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// maxItems bounds the unread events kept in a cell; the oldest go first.
const maxItems = 5000

// scan brings one cell up to date.
type scan struct {
	p      *Push
	ctx    context.Context
	judge  *judge
	room   id.RoomID
	member room.Member
	moment moment
}

// refresh gives the cell as it is at a position. c may be nil.
func (s *scan) refresh(c *cell, upTo stream.Pos) (*cell, error) {
	r, err := s.receiptsFor(c)
	if err != nil {
		return nil, err
	}
	if c != nil && r != nil && !c.holds(r) {
		c = nil
	}
	if c != nil {
		ok, err := s.redact(c)
		if err != nil {
			return nil, err
		}
		if !ok {
			c = nil
		}
	}
	if c == nil {
		if r, err = s.p.ownReceipts(s.ctx, s.room, s.judge.user); err != nil {
			return nil, err
		}
		if c, err = s.begin(r); err != nil {
			return nil, err
		}
	}
	if err := s.advance(c, upTo); err != nil {
		return nil, err
	}
	if r == nil && len(c.items) > 0 {
		if r, err = s.p.ownReceipts(s.ctx, s.room, s.judge.user); err != nil {
			return nil, err
		}
		if !c.holds(r) {
			return s.refresh(nil, upTo)
		}
	}
	if c.receipts = r; r == nil {
		r = &receipts{} // there is nothing to be read
	}
	c.tally(r)
	return c, nil
}

// receiptsFor gives the receipts if they matter for the cell and are not known: those of a cell without unread events do not.
func (s *scan) receiptsFor(c *cell) (*receipts, error) {
	switch {
	case c == nil:
		return nil, nil
	case c.receipts != nil:
		return c.receipts, nil
	case len(c.items) == 0 && c.read == 0 && len(c.floors) == 0:
		return nil, nil
	}
	return s.p.ownReceipts(s.ctx, s.room, s.judge.user)
}

// ownReceipts reads how far a user has read in a room. spec: cs#threaded-read-receipts
func (p *Push) ownReceipts(ctx context.Context, roomID id.RoomID, user id.UserID) (*receipts, error) {
	list, err := p.ephemeral.OwnReceipts(ctx, roomID, user)
	if err != nil {
		return nil, fmt.Errorf("receipts of %s: %w", user, err)
	}
	r := &receipts{}
	for _, e := range list {
		if e.Type != ephemeral.Read && e.Type != ephemeral.ReadPrivate {
			continue
		}
		if e.Order == 0 { // the event came after the receipt
			ev, err := p.rooms.Event(ctx, e.EventID)
			if err != nil {
				return nil, fmt.Errorf("event of a receipt: %w", err)
			}
			if ev == nil || ev.RoomID() != roomID {
				continue
			}
			e.Order = ev.Order
		}
		switch e.ThreadID {
		case "":
			r.all = max(r.all, e.Order)
		case ephemeral.MainThread:
			r.read(mainTimeline, e.Order)
		default:
			r.read(id.EventID(e.ThreadID), e.Order)
		}
	}
	return r, nil
}

func (r *receipts) read(thread id.EventID, order room.Order) {
	if r.threads == nil {
		r.threads = map[id.EventID]room.Order{}
	}
	r.threads[thread] = max(r.threads[thread], order)
}

// begin makes a cell that has looked at nothing yet: it starts where the user joined, or with what they have not read.
func (s *scan) begin(r *receipts) (*cell, error) {
	c := &cell{mark: s.p.marks.get(s.room, s.p.stream.Head())}
	c.redacted = c.mark.redacted.Load()
	from, err := s.joinedAt()
	if err != nil {
		return nil, err
	}
	if c.from = from; r.all > from {
		c.from, c.read = r.all, r.all
	}
	c.upTo = max(stream.Pos(c.from>>stream.OrderShift), 0)
	return c, nil
}

// joinedAt is the order of the event with which the user joined, as far as that can be seen: changes of a member's profile
// are followed back some steps. 0 if it is not known.
func (s *scan) joinedAt() (room.Order, error) {
	next := s.member.EventID
	for range 16 {
		ev, err := s.p.rooms.Event(s.ctx, next)
		if err != nil || ev == nil {
			return 0, err
		}
		before, err := s.eventBefore(ev)
		if err != nil {
			return 0, err
		}
		if before == nil || before.Membership() != joined {
			return max(ev.Order, 0), nil
		}
		next = before.ID()
	}
	return 0, nil
}

// eventBefore is the member event that another one replaced, nil if there is none.
func (s *scan) eventBefore(ev *room.Stored) (*room.Stored, error) {
	st, err := s.moment.of(s, ev).before()
	if err != nil || st == nil {
		return nil, err
	}
	return st.Event(s.ctx, typeMember, string(s.judge.user))
}

// of sets the moment up for a scan and moves it to an event.
func (m *moment) of(s *scan, ev *room.Stored) *moment {
	if m.p == nil {
		m.p, m.ctx, m.room = s.p, s.ctx, s.room
	}
	return m.at(ev)
}

// advance looks at the events up to a position.
func (s *scan) advance(c *cell, upTo stream.Pos) error {
	if upTo <= c.upTo {
		return nil
	}
	if stream.Pos(c.mark.newest.Load()) <= c.upTo {
		c.upTo = upTo
		return nil
	}
	list, limited, err := s.p.rooms.Live(s.ctx, s.room, c.upTo, upTo, s.p.scanBack)
	if err != nil {
		return fmt.Errorf("new events of %s: %w", s.room, err)
	}
	if limited { // what lies further back is not counted
		c.items, c.floors, c.read, c.from = nil, nil, 0, list[0].Order-1
	}
	for _, ev := range list {
		if err := s.take(c, ev); err != nil {
			return err
		}
	}
	if over := len(c.items) - maxItems; over > 0 {
		c.from, c.items = c.items[over-1].order, slices.Clone(c.items[over:])
	}
	c.work += len(list)
	c.upTo = upTo
	return nil
}

// take looks at an event.
func (s *scan) take(c *cell, ev *room.Stored) error {
	user := s.judge.user
	if ev.Is(typeMember, string(user)) {
		return s.takeMembership(c, ev)
	}
	if ev.Order <= c.from {
		return nil
	}
	if ev.Sender() == user {
		return s.takeOwn(c, ev)
	}
	if _, ignored := s.judge.ignored[ev.Sender()]; ignored || ev.RedactedBy != "" {
		return nil
	}
	rule, err := newSubject(ev.Event, s.moment.of(s, ev)).judge(s.judge)
	if err != nil || rule == nil || !rule.Notify {
		return err
	}
	thread, err := s.p.threadOf(s.ctx, ev)
	if err != nil {
		return err
	}
	c.items = append(c.items, item{ev.Order, thread, rule.Highlight})
	return nil
}

// takeMembership: who joins begins anew, who leaves has nothing to read.
func (s *scan) takeMembership(c *cell, ev *room.Stored) error {
	if ev.Membership() == joined {
		before, err := s.eventBefore(ev)
		if err != nil || before != nil && before.Membership() == joined {
			return err
		}
	}
	c.items, c.floors, c.read, c.from = nil, nil, 0, max(c.from, ev.Order)
	return nil
}

// takeOwn: sending a message marks its thread as read. spec: cs#marking-notifications-as-read
func (s *scan) takeOwn(c *cell, ev *room.Stored) error {
	if ev.IsState() || ev.Type() == typeRedaction || len(c.items) == 0 {
		return nil
	}
	thread, err := s.p.threadOf(s.ctx, ev)
	if err != nil {
		return err
	}
	c.items = slices.DeleteFunc(c.items, func(it item) bool { return it.thread == thread })
	return nil
}

// redact drops what was redacted since the cell looked last; false if that is no longer known.
func (s *scan) redact(c *cell) (bool, error) {
	list, now, ok := c.mark.since(c.redacted)
	if !ok {
		return false, nil
	}
	if err := s.p.dropRedacted(s.ctx, c, list); err != nil {
		return false, err
	}
	c.redacted = now
	return true, nil
}

func (p *Push) dropRedacted(ctx context.Context, c *cell, list []id.EventID) error {
	if len(c.items) == 0 {
		return nil
	}
	for _, target := range list {
		ev, err := p.rooms.Event(ctx, target)
		if err != nil {
			return fmt.Errorf("redacted event: %w", err)
		}
		if ev != nil && ev.Order != 0 {
			c.items = slices.DeleteFunc(c.items, func(it item) bool { return it.order == ev.Order })
		}
	}
	return nil
}
