package room

import (
	"context"
	"sync"
	"sync/atomic"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// head is a version of a room: what the next event is decided on. Immutable.
type head struct {
	version     int64 // what the guard expects
	state       *State
	extremities []extremity
	joined      int64
	joinedLocal int64
	invited     int64
	chain       *chain
}

// chain is a run of heads each decided on the one before, from one that was read. When a unit of it fails, all later
// ones are void.
type chain struct{ dead atomic.Bool }

// inside says that the room's state is known here and someone local is joined.
func (h *head) inside() bool { return h.state != nil && h.joinedLocal > 0 }

// deserted says that the room's state is known here and nobody is joined any more, so that nobody knows better.
func (h *head) deserted() bool { return h.state != nil && h.joined == 0 }

// roomEntry is what is in memory of one room.
//
// write orders those who decide. mu guards the rest and is held for moments only; it is taken after write.
type roomEntry struct {
	r    *Rooms
	id   id.RoomID
	uses int // guarded by Rooms.entriesMu

	loading sync.Mutex // one reader of the row at a time

	write sync.Mutex
	next  *head // newest decided; nil: the committed one (write)
	txns  txnCache

	mu        sync.Mutex
	nid       int64
	version   event.Version
	current   *head      // committed; nil: to be read
	trueUpTo  stream.Pos // memory holds all changes of the room up to here
	seen      stream.Pos // newest change of the room noticed
	epoch     uint64     // counts the times that memory became older than the database
	tail      tail
	roster    *roster
	rosterAge uint64 // counts changes of members, for those who read them meanwhile
}

// acquire returns the entry of a room, with its row read. M_NOT_FOUND if the room is not known here.
func (r *Rooms) acquire(ctx context.Context, roomID id.RoomID) (*roomEntry, error) {
	e := r.use(roomID)
	if _, err := e.committed(ctx); err != nil {
		r.release(e)
		return nil, err
	}
	return e, nil
}

func (r *Rooms) use(roomID id.RoomID) *roomEntry {
	r.entriesMu.Lock()
	defer r.entriesMu.Unlock()
	e := r.entries[roomID]
	if e == nil {
		e = &roomEntry{r: r, id: roomID}
		r.entries[roomID] = e
	}
	e.uses++
	return e
}

func (r *Rooms) release(e *roomEntry) {
	r.entriesMu.Lock()
	defer r.entriesMu.Unlock()
	if e.uses--; e.uses > 0 {
		return
	}
	if cost := e.cost(); cost > 0 {
		r.idle.put(e.id, e, cost)
	} else {
		delete(r.entries, e.id)
	}
}

// forgetEntry runs under entriesMu, when the budget of rooms is used up.
func (r *Rooms) forgetEntry(roomID id.RoomID, e *roomEntry) {
	if e.uses == 0 && r.entries[roomID] == e {
		delete(r.entries, roomID)
	}
}

func (e *roomEntry) cost() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil {
		return 0
	}
	cost := int64(4 << 10)
	if e.current.state != nil {
		cost += 64 * int64(e.current.state.Len())
	}
	if e.roster != nil {
		cost += 120 * int64(e.roster.joined.len())
	}
	return cost
}

// committed is the room as everybody may see it.
func (e *roomEntry) committed(ctx context.Context) (*head, error) {
	if h := e.known(); h != nil {
		return h, nil
	}
	e.loading.Lock()
	defer e.loading.Unlock()
	for {
		e.mu.Lock()
		if e.current != nil {
			defer e.mu.Unlock()
			return e.current, nil
		}
		epoch, upTo := e.epoch, max(e.r.stream.Head(), e.seen)
		e.mu.Unlock()
		row, err := e.r.readRoom(ctx, e.id)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		if e.nid == 0 {
			e.nid, e.version = row.nid, row.version
		}
		if e.epoch == epoch {
			e.current, e.trueUpTo = row.head, upTo
			e.tail = tail{from: upTo}
		}
		e.mu.Unlock()
	}
}

func (e *roomEntry) known() *head {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current
}

// outdated drops what memory says about the room, because the database knows better.
func (e *roomEntry) outdated(pos stream.Pos) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropLocked(pos)
}

func (e *roomEntry) dropLocked(pos stream.Pos) {
	e.epoch++
	e.rosterAge++
	e.seen = max(e.seen, pos)
	if e.current != nil {
		e.current.chain.dead.Store(true)
	}
	e.current, e.roster, e.tail = nil, nil, tail{from: pos}
}

// onChange notices what other replicas changed. Own changes have been applied before. It must not wait.
func (r *Rooms) onChange(changes []stream.Change) {
	for _, c := range changes {
		switch c.Kind {
		case stream.Event, stream.Membership:
			r.entriesMu.Lock()
			e := r.entries[c.RoomID]
			r.entriesMu.Unlock()
			if e != nil {
				e.noticed(c.Pos)
			}
			if c.Kind == stream.Membership {
				r.membershipNoticed(c)
			}
		case stream.Forgotten: // by one user, or the room is gone altogether
			r.entriesMu.Lock()
			e := r.entries[c.RoomID]
			r.entriesMu.Unlock()
			if e != nil && c.UserID == "" {
				e.outdated(c.Pos)
			}
			r.membershipNoticed(c)
		case stream.Redaction:
			r.redactionNoticed(id.EventID(c.Ref))
		}
	}
}

func (e *roomEntry) noticed(pos stream.Pos) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if pos > e.trueUpTo {
		e.dropLocked(pos)
	}
}
