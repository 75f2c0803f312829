package timeline

import (
	"context"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

var errNoEvent = mautrix.MNotFound.WithMessage("Event not found.")

// EventIn names an event of a room.
type EventIn struct {
	RoomID  id.RoomID  `path:"roomId"`
	EventID id.EventID `path:"eventId"`
}

// GetEvent returns one event.
//
// spec: cs#get_matrixclientv3roomsroomideventeventid
func (t *Timelines) GetEvent(ctx context.Context, who web.Requester, in EventIn) (web.Bytes, error) {
	s, err := t.oneEvent(ctx, who.UserID, in.RoomID, in.EventID)
	if err != nil {
		return nil, err
	}
	return t.AppendEvents(ctx, make([]byte, 0, 2048), []Seen{s}, RenderOptions{ForUser: who.UserID, Device: who.DeviceID})
}

// AnyEventIn names an event by its ID alone.
type AnyEventIn struct {
	EventID id.EventID `path:"eventId"`
}

// GetAnyEvent returns one event of whichever room.
//
// spec: cs#get_matrixclientv3eventseventid
func (t *Timelines) GetAnyEvent(ctx context.Context, who web.Requester, in AnyEventIn) (web.Bytes, error) {
	ev, err := t.rooms.Event(ctx, in.EventID)
	if err := ignoreNotFound(err); err != nil {
		return nil, err
	}
	if ev == nil {
		return nil, errNoEvent
	}
	return t.GetEvent(ctx, who, EventIn{RoomID: ev.RoomID(), EventID: in.EventID})
}

// oneEvent finds an event that the user may see; what they may not see does not exist for them.
func (t *Timelines) oneEvent(ctx context.Context, user id.UserID, roomID id.RoomID, eventID id.EventID) (Seen, error) {
	ev, err := t.rooms.Event(ctx, eventID)
	if err := ignoreNotFound(err); err != nil {
		return Seen{}, err
	}
	if ev == nil || ev.RoomID() != roomID || ev.Rejected || ev.SoftFailed {
		return Seen{}, errNoEvent
	}
	m, _, err := t.rooms.Member(ctx, roomID, user)
	if err != nil {
		return Seen{}, err
	}
	if m.Forgotten && m.Membership != memberJoin {
		return Seen{}, errNoEvent
	}
	v, err := t.viewer(ctx, user, roomID, nil)
	if err != nil {
		return Seen{}, err
	}
	membership, ok, err := v.see(ctx, ev)
	if err != nil {
		return Seen{}, err
	}
	if !ok {
		ok, err = t.partOfState(ctx, user, ev)
		if err != nil {
			return Seen{}, err
		}
	}
	if !ok {
		return Seen{}, errNoEvent
	}
	return Seen{ev, membership}, nil
}

// partOfState: what a reader gets from /state may also be asked for alone.
func (t *Timelines) partOfState(ctx context.Context, user id.UserID, ev *room.Stored) (bool, error) {
	if !ev.IsState() {
		return false, nil
	}
	a, err := t.access(ctx, user, ev.RoomID())
	if err != nil {
		return false, nil
	}
	st, err := t.state(ctx, a)
	if err != nil || st == nil {
		return false, err
	}
	ref, ok := st.Get(ev.Key())
	return ok && ref.EventID == ev.ID(), nil
}

// ContextIn is the request of GetContext.
type ContextIn struct {
	EventIn
	Limit  *int   `query:"limit"`
	Filter string `query:"filter"`
}

// GetContext returns what happened around an event, and the state there.
//
// spec: cs#get_matrixclientv3roomsroomidcontexteventid
func (t *Timelines) GetContext(ctx context.Context, who web.Requester, in ContextIn) (web.Bytes, error) {
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	filter, err := filterParam(in.Filter)
	if err != nil {
		return nil, err
	}
	s, err := t.oneEvent(ctx, who.UserID, in.RoomID, in.EventID)
	if err != nil {
		return nil, err
	}
	limit := min(limitParam(in.Limit, filter, defaultLimit), 100)
	c, err := t.around(ctx, a, s, limit/2, limit-limit/2, filter)
	if err != nil {
		return nil, err
	}
	return t.writeContext(ctx, who, a, s, c, filter)
}

// surroundings are the events before (newest first) and after (oldest first) an event.
type surroundings struct{ before, after page }

func (t *Timelines) around(ctx context.Context, a *access, s Seen, before, after int, f *Filter) (c surroundings, err error) {
	if c.before, err = t.page(ctx, a, pageQuery{from: s.Order - 1, backwards: true, limit: before, filter: f}); err != nil {
		return c, err
	}
	c.after, err = t.page(ctx, a, pageQuery{from: s.Order, limit: after, filter: f})
	return c, err
}

func (t *Timelines) writeContext(ctx context.Context, who web.Requester, a *access, s Seen, c surroundings, f *Filter) (web.Bytes, error) {
	o := RenderOptions{ForUser: who.UserID, Device: who.DeviceID}
	dst := append(make([]byte, 0, 8192), `{"event":`...)
	dst, err := t.AppendEvents(ctx, dst, []Seen{s}, o)
	if err != nil {
		return nil, err
	}
	if dst, err = t.AppendEvents(ctx, append(dst, `,"events_before":[`...), c.before.events, o); err != nil {
		return nil, err
	}
	if dst, err = t.AppendEvents(ctx, append(dst, `],"events_after":[`...), c.after.events, o); err != nil {
		return nil, err
	}
	dst = append(AppendToken(append(dst, `],"start":"`...), c.before.next), '"')
	dst = append(AppendToken(append(dst, `,"end":"`...), c.after.next), '"')
	all := append(slices.Clone(c.before.events), s)
	all = append(all, c.after.events...)
	state, err := t.contextState(ctx, a, all, all[len(all)-1], f)
	if err != nil {
		return nil, err
	}
	dst = append(dst, `,"state":[`...)
	return append(t.AppendState(dst, state, o), ']', '}'), nil
}

// contextState is the state at the newest event shown, with only the members concerned if they are loaded lazily.
func (t *Timelines) contextState(ctx context.Context, a *access, shown []Seen, last Seen, f *Filter) ([]*room.Stored, error) {
	st, err := t.rooms.StateAfter(ctx, last.Stored)
	if err := ignoreNotFound(err); err != nil {
		return nil, err
	}
	if st == nil || last.StateID == 0 && !last.Is(typeCreate, "") {
		if st, err = t.state(ctx, a); err != nil {
			return nil, err
		}
	}
	senders := map[string]struct{}{}
	for _, s := range shown {
		senders[string(s.Sender())] = struct{}{}
	}
	evs, err := st.Events(ctx, func(k event.Key) bool {
		if k.Type == typeMember && f.Lazy() {
			_, ok := senders[k.StateKey]
			return ok
		}
		return f.Type(k.Type)
	})
	if err != nil || f.All() {
		return evs, err
	}
	return slices.DeleteFunc(evs, func(ev *room.Stored) bool { return !f.Event(ev) && ev.Type() != typeMember }), nil
}
