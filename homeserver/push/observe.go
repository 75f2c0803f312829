package push

import (
	"sync"
	"sync/atomic"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

var observed = stream.Kinds(stream.Event, stream.Membership, stream.Redaction, stream.Receipt, stream.PushRules, stream.AccountData, stream.Pusher)

const ignoredUsers = "m.ignored_user_list"

// observe notes what cells have to look at when they are asked next. It must not block.
func (p *Push) observe(changes []stream.Change) {
	for i := range changes {
		c := &changes[i]
		switch c.Kind {
		case stream.Event, stream.Membership:
			p.marks.event(c.RoomID, c.Pos)
		case stream.Redaction:
			p.marks.redaction(c.RoomID, id.EventID(c.Ref))
		case stream.Receipt:
			if u, ok := p.persons.Get(c.UserID); ok {
				u.signal(c.RoomID)
			}
		case stream.Pusher:
			p.targets.changed(c.UserID)
		case stream.PushRules:
			p.outdated(c.UserID)
		case stream.AccountData:
			if c.RoomID == "" && c.Ref == ignoredUsers {
				p.outdated(c.UserID)
			}
		}
	}
}

func (p *Push) outdated(user id.UserID) {
	if u, ok := p.persons.Get(user); ok {
		u.version.Add(1)
	}
}

// marks are the rooms that somebody counts in.
type marks struct {
	mu     sync.Mutex
	rooms  map[id.RoomID]*mark
	newest stream.Pos // of the events of all rooms
}

// mark is what cells of a room need to know of it.
type mark struct {
	newest   atomic.Int64 // position up to which there may be events
	redacted atomic.Int64 // how many redactions there were
	dead     atomic.Bool  // nobody tells it anything any more

	mu   sync.Mutex
	list []id.EventID // the newest of those redacted
}

const (
	maxMarks      = 200_000
	keptRedaction = 256
)

func (m *marks) init() { m.rooms = map[id.RoomID]*mark{} }

func (m *marks) event(roomID id.RoomID, pos stream.Pos) {
	m.mu.Lock()
	m.newest = max(m.newest, pos)
	k := m.rooms[roomID]
	m.mu.Unlock()
	if k != nil {
		k.newest.Store(int64(pos))
	}
}

func (m *marks) redaction(roomID id.RoomID, target id.EventID) {
	m.mu.Lock()
	k := m.rooms[roomID]
	m.mu.Unlock()
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) >= 2*keptRedaction {
		k.list = append([]id.EventID(nil), k.list[keptRedaction:]...)
	}
	k.list = append(k.list, target)
	k.redacted.Add(1)
}

// get gives the mark of a room. head is the newest position that the reader can know of.
func (m *marks) get(roomID id.RoomID, head stream.Pos) *mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.rooms[roomID]
	if k == nil {
		if len(m.rooms) >= maxMarks {
			for _, old := range m.rooms {
				old.dead.Store(true)
			}
			m.rooms = map[id.RoomID]*mark{}
		}
		k = &mark{}
		k.newest.Store(int64(max(head, m.newest)))
		m.rooms[roomID] = k
	}
	return k
}

// since lists the events redacted after the first n; false if they are no longer all known.
func (k *mark) since(n int64) (list []id.EventID, now int64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now = k.redacted.Load()
	missed := now - n
	if missed > int64(len(k.list)) {
		return nil, now, false
	}
	return k.list[int64(len(k.list))-missed:], now, true
}
