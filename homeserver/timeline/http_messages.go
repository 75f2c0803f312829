package timeline

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// MessagesIn is the request of GetMessages.
type MessagesIn struct {
	RoomID id.RoomID `path:"roomId"`
	From   string    `query:"from"`
	To     string    `query:"to"`
	Dir    string    `query:"dir"`
	Limit  *int      `query:"limit"`
	Filter string    `query:"filter"`
}

// GetMessages pages through a room.
//
// spec: cs#get_matrixclientv3roomsroomidmessages
func (t *Timelines) GetMessages(ctx context.Context, who web.Requester, in MessagesIn) (web.Bytes, error) {
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	q, err := t.messagesQuery(ctx, a, in)
	if err != nil {
		return nil, err
	}
	p, err := t.page(ctx, a, q)
	if err != nil {
		return nil, err
	}
	return t.writePage(ctx, who, q, p)
}

func (t *Timelines) messagesQuery(ctx context.Context, a *access, in MessagesIn) (q pageQuery, err error) {
	if q.backwards, err = direction(in.Dir); err != nil {
		return q, err
	}
	if q.filter, err = filterParam(in.Filter); err != nil {
		return q, err
	}
	q.limit = limitParam(in.Limit, q.filter, defaultLimit)
	switch {
	case in.From != "":
		if q.from, err = t.place(ctx, a.room, in.From); err != nil {
			return q, err
		}
	case q.backwards:
		q.from = newest
	default:
		q.from = oldest
	}
	if in.To != "" {
		to, err := t.place(ctx, a.room, in.To)
		if err != nil {
			return q, err
		}
		q.to = &to
	}
	if q.backwards {
		q.from = min(q.from, a.until)
	}
	return q, nil
}

func direction(dir string) (backwards bool, err error) {
	switch dir {
	case "b":
		return true, nil
	case "f", "":
		return false, nil
	}
	return false, mautrix.MInvalidParam.WithMessage("dir must be b or f")
}

// limitParam takes the limit of the query, else that of the filter, within bounds.
func limitParam(given *int, f *Filter, otherwise int) int {
	switch {
	case given != nil:
		return min(max(*given, 0), maxLimit)
	case f != nil && f.LimitGiven:
		return min(f.Limit, maxLimit)
	}
	return otherwise
}

func filterParam(raw string) (*Filter, error) {
	f, err := ParseFilter([]byte(raw))
	if err != nil {
		return nil, mautrix.MInvalidParam.WithMessage("The filter is not a valid RoomEventFilter")
	}
	return f, nil
}

// writePage encodes the answer of /messages.
func (t *Timelines) writePage(ctx context.Context, who web.Requester, q pageQuery, p page) (web.Bytes, error) {
	o := RenderOptions{ForUser: who.UserID, Device: who.DeviceID}
	dst := make([]byte, 0, 1024+900*len(p.events))
	dst = append(dst, `{"chunk":[`...)
	dst, err := t.AppendEvents(ctx, dst, p.events, o)
	if err != nil {
		return nil, err
	}
	dst = append(dst, `],"start":"`...)
	dst = append(AppendToken(dst, q.from), '"')
	if p.more {
		dst = append(AppendToken(append(dst, `,"end":"`...), p.next), '"')
	}
	if q.filter.Lazy() && len(p.events) > 0 {
		members, err := t.senders(ctx, p.events)
		if err != nil {
			return nil, err
		}
		dst = append(dst, `,"state":[`...)
		dst = append(t.AppendState(dst, members, o), ']')
	}
	return append(dst, '}'), nil
}

// senders finds the membership events of those who sent the events, as they were at the newest event of each.
//
// spec: cs#lazy-loading-room-members
func (t *Timelines) senders(ctx context.Context, evs []Seen) ([]*room.Stored, error) {
	newestOf := map[id.UserID]Seen{}
	var order []id.UserID
	shown := make(map[id.EventID]struct{}, len(evs))
	for _, ev := range evs {
		shown[ev.ID()] = struct{}{}
		old, ok := newestOf[ev.Sender()]
		if !ok {
			order = append(order, ev.Sender())
		}
		if !ok || ev.Order > old.Order {
			newestOf[ev.Sender()] = ev
		}
	}
	var ids []id.EventID
	for _, user := range order {
		ev := newestOf[user].Stored
		st, err := t.stateNear(ctx, ev)
		if err != nil {
			return nil, err
		}
		if st == nil {
			continue
		}
		if ref, ok := st.Get(event.Key{Type: typeMember, StateKey: string(user)}); ok {
			ids = append(ids, ref.EventID)
		}
	}
	return t.inOrder(ctx, ids)
}

// stateNear is the state before an event, or today's where it was never known.
func (t *Timelines) stateNear(ctx context.Context, ev *room.Stored) (*room.State, error) {
	if ev.StateID == 0 {
		if ev.Is(typeCreate, "") {
			return nil, nil
		}
		return t.rooms.State(ctx, ev.RoomID())
	}
	return t.rooms.StateBefore(ctx, ev)
}

// inOrder loads events, leaving out those that are not stored.
func (t *Timelines) inOrder(ctx context.Context, ids []id.EventID) ([]*room.Stored, error) {
	evs, err := t.rooms.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]*room.Stored, 0, len(ids))
	for _, e := range ids {
		if ev := evs[e]; ev != nil {
			out = append(out, ev)
		}
	}
	return out, nil
}
