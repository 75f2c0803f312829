package push

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/room"
)

const (
	typeMember    = "m.room.member"
	typeRedaction = "m.room.redaction"

	joined  = "join"
	invited = "invite"
)

func memberKey(user id.UserID) event.Key {
	return event.Key{Type: typeMember, StateKey: string(user)}
}

// maxDifference bounds the state changes followed to count the members of an older state.
const maxDifference = 5000

// memberFact is what matters here of a member event.
type memberFact struct {
	joined bool
	name   string
}

// moment answers facts about the state before an event. It goes along with whoever judges the events of a room one after the
// other: most of them share their state.
type moment struct {
	p    *Push
	ctx  context.Context
	room id.RoomID
	ev   *room.Stored

	state   *room.State // before ev; nil: to be read, or not known
	stateID int64       // of state; 0: to be read
	unknown bool

	counted *room.State // the state that count belongs to
	count   int64
	levels  auth.Levels
	levelOf *room.State
}

// at moves on to an event.
func (m *moment) at(ev *room.Stored) *moment {
	if ev.StateID != m.stateID || m.stateID == 0 {
		m.state, m.stateID, m.unknown = nil, 0, false
	}
	m.ev = ev
	return m
}

// before is the state that the event was sent into; nil if that is not known.
func (m *moment) before() (*room.State, error) {
	if m.state != nil || m.unknown {
		return m.state, nil
	}
	st, err := m.p.rooms.StateBefore(m.ctx, m.ev)
	if err != nil {
		return nil, fmt.Errorf("state before %s: %w", m.ev.ID(), err)
	}
	m.state, m.stateID, m.unknown = st, m.ev.StateID, st == nil
	return st, nil
}

// members counts the joined members: from those of today, by what changed since.
func (m *moment) members() (int64, error) {
	st, err := m.before()
	if err != nil || st == nil {
		return 0, err
	}
	if m.counted == nil {
		if err := m.countToday(); err != nil {
			return 0, err
		}
	}
	if st.ID() == m.counted.ID() {
		return m.count, nil
	}
	changes := st.Diff(m.counted)
	if len(changes) > maxDifference {
		return m.count, nil
	}
	n := m.count
	for _, c := range changes {
		if c.Key.Type != typeMember {
			continue
		}
		for _, side := range [...]struct {
			ref room.Ref
			by  int64
		}{{c.Old, -1}, {c.New, 1}} {
			if f, err := m.p.memberFact(m.ctx, side.ref); err != nil {
				return 0, err
			} else if f.joined {
				n += side.by
			}
		}
	}
	m.counted, m.count = st, n
	return n, nil
}

func (m *moment) countToday() error {
	for range 10 {
		st, err := m.p.rooms.State(m.ctx, m.room)
		if err != nil {
			return err
		}
		n, _, err := m.p.rooms.Counts(m.ctx, m.room)
		if err != nil {
			return err
		}
		again, err := m.p.rooms.State(m.ctx, m.room)
		if err != nil {
			return err
		}
		if m.counted, m.count = st, int64(n); st.ID() == again.ID() {
			return nil
		}
	}
	return nil // the room changes faster than one can look: one off is near enough
}

// displayName is that of a member of the room.
func (m *moment) displayName(user id.UserID) (string, error) {
	st, err := m.before()
	if err != nil || st == nil {
		return "", err
	}
	ref, _ := st.Get(memberKey(user))
	f, err := m.p.memberFact(m.ctx, ref)
	return f.name, err
}

// mayNotify says whether the sender has the level for a kind of notification.
func (m *moment) mayNotify(sender id.UserID, key string) (bool, error) {
	st, err := m.before()
	if err != nil || st == nil {
		return false, err
	}
	if m.levelOf == nil || m.levelOf.ID() != st.ID() {
		v := stateView{ctx: m.ctx, s: st}
		if m.levels = auth.PowerLevels(&v); v.err != nil {
			return false, v.err
		}
		m.levelOf = st
	}
	return m.levels.User(sender) >= m.levels.Notification(key), nil
}

// stateView lets the authorisation rules look into a state.
type stateView struct {
	ctx context.Context
	s   *room.State
	err error
}

func (v *stateView) Get(k event.Key) *event.Event {
	s, err := v.s.Event(v.ctx, k.Type, k.StateKey)
	if err != nil {
		v.err = err
	}
	if s == nil {
		return nil
	}
	return s.Event
}

// memberFact reads a member event; the zero Ref is nobody.
func (p *Push) memberFact(ctx context.Context, ref room.Ref) (memberFact, error) {
	if ref.NID == 0 {
		return memberFact{}, nil
	}
	if f, ok := p.memberFacts.Get(ref.NID); ok {
		return f, nil
	}
	ev, err := p.rooms.Event(ctx, ref.EventID)
	if err != nil {
		return memberFact{}, fmt.Errorf("member event: %w", err)
	}
	if ev == nil {
		return memberFact{}, nil
	}
	f := memberFact{joined: ev.Membership() == joined}
	f.name, _ = event.FieldString(ev.Content(), "displayname")
	p.memberFacts.Put(ref.NID, f, int64(64+len(f.name)))
	return f, nil
}

// wasJoined says whether a user was joined before an event. Where the state is not known, the answer is no.
func (m *moment) wasJoined(user id.UserID) (bool, error) {
	st, err := m.before()
	if err != nil || st == nil {
		return false, err
	}
	ref, _ := st.Get(memberKey(user))
	f, err := m.p.memberFact(m.ctx, ref)
	return f.joined, err
}
