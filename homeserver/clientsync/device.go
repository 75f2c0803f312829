package clientsync

import (
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// device is what is remembered about a device between requests. Losing it costs a statement, or members sent twice.
type device struct {
	mu      sync.Mutex
	acked   stream.Pos
	known   bool
	mail    stream.Pos // end of the newest window in which messages were handed out and not yet dropped
	members map[id.RoomID]map[id.UserID]id.EventID
	count   int
	pending *pendingMembers
}

// pendingMembers were sent in an answer; they count once a request shows that the answer arrived.
type pendingMembers struct {
	after   stream.Pos
	members []sentMember
	fresh   []id.RoomID // rooms that the client began anew
}

type sentMember struct {
	room id.RoomID
	user id.UserID
	ev   id.EventID
}

// maxMembers bounds the members remembered for a device; beyond it, all are forgotten.
const maxMembers = 4000

func (s *Syncs) device(req *request) *device {
	key := deviceKey{req.user, req.device}
	if d, ok := s.devices.Get(key); ok {
		return d
	}
	d := &device{}
	s.devices.Put(key, d, 8)
	return d
}

func (d *device) acknowledged() (stream.Pos, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acked, d.known
}

func (d *device) setAcknowledged(to stream.Pos) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked, d.known = to, true
	if d.mail <= to {
		d.mail = 0
	}
}

func (d *device) mailed(upTo stream.Pos) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mail = max(d.mail, upTo)
}

func (d *device) hasMail() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mail > 0
}

// arrived takes over what the last answer sent, if since shows that it arrived, and forgets all if the client starts anew.
func (d *device) arrived(req *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if req.initial || req.full {
		d.members, d.count, d.pending = nil, 0, nil
		return
	}
	p := d.pending
	if p == nil || p.after != req.since {
		return
	}
	d.pending = nil
	for _, r := range p.fresh {
		d.count -= len(d.members[r])
		delete(d.members, r)
	}
	if d.count+len(p.members) > maxMembers {
		d.members, d.count = nil, 0
	}
	if d.members == nil {
		d.members = map[id.RoomID]map[id.UserID]id.EventID{}
	}
	for _, m := range p.members {
		in := d.members[m.room]
		if in == nil {
			in = map[id.UserID]id.EventID{}
			d.members[m.room] = in
		}
		if _, ok := in[m.user]; !ok {
			d.count++
		}
		in[m.user] = m.ev
	}
}

// has says whether the client has a membership event of the user, and which.
func (d *device) has(room id.RoomID, user id.UserID) (id.EventID, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ev, ok := d.members[room][user]
	return ev, ok
}

// rememberMembers notes what this answer sends.
func (a *answer) rememberMembers() {
	if a.dev == nil || len(a.sent)+len(a.fresh) == 0 {
		return
	}
	a.dev.mu.Lock()
	a.dev.pending = &pendingMembers{a.upTo, a.sent, a.fresh}
	n := int64(a.dev.count + len(a.sent))
	a.dev.mu.Unlock()
	a.s.devices.Put(deviceKey{a.req.user, a.req.device}, a.dev, 8+n)
}
