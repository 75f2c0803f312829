package push

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Counts are unread counts of a room.
type Counts struct {
	Notifications, Highlights int // of the main timeline
	Threads                   map[id.EventID]ThreadCounts
}

// ThreadCounts are unread counts of a thread.
type ThreadCounts struct{ Notifications, Highlights int }

// Total counts threads in.
func (c Counts) Total() (notifications, highlights int) {
	notifications, highlights = c.Notifications, c.Highlights
	for _, t := range c.Threads {
		notifications += t.Notifications
		highlights += t.Highlights
	}
	return notifications, highlights
}

// Counts gives the unread counts of these rooms with everything up to a position, or a little more, taken into account. Rooms
// without unread events, or that the user is not joined to, are absent. Nobody may write into the maps of threads.
//
// spec: cs#receiving-notifications
func (p *Push) Counts(ctx context.Context, user id.UserID, rooms []id.RoomID, upTo stream.Pos) (map[id.RoomID]Counts, error) {
	ctx = p.outside(ctx)
	members, err := p.rooms.Memberships(ctx, user)
	if err != nil {
		return nil, err
	}
	u := p.person(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := p.settle(ctx, u); err != nil {
		return nil, err
	}
	u.heed()
	out := make(map[id.RoomID]Counts)
	var stale []room.Member
	for _, roomID := range rooms {
		c := u.cells[roomID]
		if c == nil || !c.current(upTo) {
			if m := members[roomID]; m.Membership == joined {
				stale = append(stale, m)
			}
			continue
		}
		if c.result.Notifications > 0 || c.result.Threads != nil {
			if members[roomID].Membership == joined {
				out[roomID] = c.result
			}
		}
	}
	if len(stale) == 0 {
		return out, nil
	}
	if err := p.refreshAll(ctx, u, stale, upTo); err != nil {
		return nil, err
	}
	for _, m := range stale {
		if c := u.cells[m.RoomID]; c.result.Notifications > 0 || c.result.Threads != nil {
			out[m.RoomID] = c.result
		}
	}
	p.charge(u)
	return out, nil
}

// refreshAll brings the cells of rooms up to date. The caller holds u.mu.
func (p *Push) refreshAll(ctx context.Context, u *person, members []room.Member, upTo stream.Pos) error {
	var missing []id.RoomID
	for _, m := range members {
		if c := u.cells[m.RoomID]; c != nil && c.mark.dead.Load() {
			delete(u.cells, m.RoomID)
		}
		if u.cells[m.RoomID] == nil {
			missing = append(missing, m.RoomID)
		}
	}
	if err := p.loadCells(ctx, u, missing); err != nil {
		return err
	}
	for _, m := range members {
		s := scan{p: p, ctx: ctx, judge: u.judge, room: m.RoomID, member: m}
		c, err := s.refresh(u.cells[m.RoomID], upTo)
		if err != nil {
			delete(u.cells, m.RoomID)
			return err
		}
		u.cells[m.RoomID] = c
		p.keep(u, m.RoomID, c)
	}
	return nil
}

// item is an event that notifies.
type item struct {
	order     room.Order
	thread    id.EventID
	highlight bool
}

// cell is what is known of a user's unread events in a room: the events that notify with an order in (from, order of upTo], but
// for those that a receipt covers (floors).
type cell struct {
	mark     *mark
	from     room.Order // everything up to here is settled: read, from before the join, or too old
	read     room.Order // from rests on an unthreaded receipt up to here; 0: it does not
	upTo     stream.Pos
	items    []item                    // oldest first
	floors   map[id.EventID]room.Order // items of a thread up to here were dropped as read
	redacted int64                     // how many redactions of the room were heeded
	receipts *receipts                 // nil: to be read
	result   Counts
	fresh    bool // result is what the rest says
	work     int  // events looked at since the cell was saved
}

// current says whether the result holds for what is asked.
func (c *cell) current(upTo stream.Pos) bool {
	if !c.fresh || c.redacted != c.mark.redacted.Load() || c.mark.dead.Load() {
		return false
	}
	return upTo <= c.upTo || stream.Pos(c.mark.newest.Load()) <= c.upTo
}

// receipts is how far a user has read.
type receipts struct {
	all     room.Order // in all threads
	threads map[id.EventID]room.Order
}

// of is how far a thread is read.
func (r *receipts) of(thread id.EventID) room.Order {
	return max(r.all, r.threads[thread])
}

// holds says whether nothing was dropped as read that is unread now: receipts can move back, if rarely.
func (c *cell) holds(r *receipts) bool {
	if c.read > r.all {
		return false
	}
	for thread, floor := range c.floors {
		if floor > r.of(thread) {
			return false
		}
	}
	return true
}

// prunable is how many read items are kept, so that a receipt that moves costs little.
const prunable = 32

// tally counts, and drops read items when there are many.
func (c *cell) tally(r *receipts) {
	c.result = Counts{}
	unread := 0
	for i := range c.items {
		it := &c.items[i]
		if it.order <= r.of(it.thread) {
			continue
		}
		unread++
		c.result.add(it)
	}
	c.fresh = true
	if read := len(c.items) - unread; read < prunable || read < unread {
		return
	}
	kept := make([]item, 0, unread+8)
	for _, it := range c.items {
		if it.order > r.of(it.thread) {
			kept = append(kept, it)
			continue
		}
		if it.order > r.all {
			if c.floors == nil {
				c.floors = map[id.EventID]room.Order{}
			}
			c.floors[it.thread] = it.order // they come in order
		} else {
			c.read = max(c.read, it.order)
		}
	}
	c.items = kept
	for thread, floor := range c.floors {
		if floor <= c.read {
			delete(c.floors, thread)
		}
	}
}

func (c *Counts) add(it *item) {
	h := 0
	if it.highlight {
		h = 1
	}
	if it.thread == mainTimeline {
		c.Notifications++
		c.Highlights += h
		return
	}
	if c.Threads == nil {
		c.Threads = map[id.EventID]ThreadCounts{}
	}
	t := c.Threads[it.thread]
	c.Threads[it.thread] = ThreadCounts{t.Notifications + 1, t.Highlights + h}
}

// unread says whether an event still waits to be read.
func (c *cell) unread(order room.Order) bool {
	for _, it := range c.items {
		if it.order == order {
			return it.order > c.receipts.of(it.thread)
		}
	}
	return false
}
