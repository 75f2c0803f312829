package admin

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/timeline"
	"github.com/viaduc/viaduc/homeserver/web"
)

// What operators read of rooms that they are not in. Nothing is hidden from them.

type messagesIn struct {
	roomIn
	From   string `query:"from"`
	To     string `query:"to"`
	Dir    string `query:"dir"`
	Limit  *int64 `query:"limit"`
	Filter string `query:"filter"`
}

type messagesOut struct {
	Chunk []json.RawMessage `json:"chunk"`
	Start string            `json:"start"`
	End   string            `json:"end,omitempty"`
	State []json.RawMessage `json:"state"`
}

const usualMessages = 10

// GetRoomMessages pages through the history of a room.
//
// spec: cs#get_matrixclientv3roomsroomidmessages
func (a *Admin) GetRoomMessages(ctx context.Context, _ web.Requester, in messagesIn) (out messagesOut, err error) {
	backwards := in.Dir != "f"
	if in.Dir != "" && in.Dir != "f" && in.Dir != "b" {
		return out, mautrix.MInvalidParam.WithMessage("dir must be f or b")
	}
	filter, err := timeline.ParseFilter([]byte(in.Filter))
	if err != nil {
		return out, mautrix.MInvalidParam.WithMessage("The filter is not a valid RoomEventFilter")
	}
	from, to := room.Order(math.MinInt64), room.Order(math.MaxInt64)
	if backwards {
		from, to = to, from
	}
	for _, p := range []struct {
		token string
		order *room.Order
	}{{in.From, &from}, {in.To, &to}} {
		if p.token != "" {
			if *p.order, err = a.Timeline.Place(ctx, in.RoomID, p.token); err != nil {
				return out, err
			}
		}
	}
	limit := usualMessages
	if in.Limit != nil {
		limit = int(min(max(*in.Limit, 0), maxPage))
	}
	evs, err := a.rooms.History(ctx, in.RoomID, from, backwards, limit)
	if err != nil {
		return out, err
	}
	out = messagesOut{Start: timeline.Token(from), State: []json.RawMessage{}}
	full := len(evs) == limit && limit > 0
	if i := slices.IndexFunc(evs, func(e *room.Stored) bool { return backwards && e.Order <= to || !backwards && e.Order > to }); i >= 0 {
		evs, full = evs[:i], false
	}
	if full {
		if out.End = timeline.Token(evs[len(evs)-1].Order); backwards {
			out.End = timeline.Token(evs[len(evs)-1].Order - 1)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(evs), func(e *room.Stored) bool { return !filter.Event(e) })
	out.Chunk, err = a.Timeline.Render(ctx, kept, timeline.RenderOptions{})
	return out, err
}

type contextIn struct {
	roomIn
	EventID id.EventID `path:"eventId"`
	Limit   *int64     `query:"limit"`
}

type contextOut struct {
	Event  json.RawMessage   `json:"event"`
	Before []json.RawMessage `json:"events_before"`
	After  []json.RawMessage `json:"events_after"`
	Start  string            `json:"start"`
	End    string            `json:"end"`
	State  []json.RawMessage `json:"state"`
}

// GetRoomContext gives an event with what stands around it, for those who judge reports.
//
// spec: cs#get_matrixclientv3roomsroomidcontexteventid
func (a *Admin) GetRoomContext(ctx context.Context, _ web.Requester, in contextIn) (out contextOut, err error) {
	ev, err := a.rooms.Event(ctx, in.EventID)
	if err != nil {
		return out, err
	}
	if ev == nil || ev.RoomID() != in.RoomID {
		return out, mautrix.MNotFound.WithMessage("Event not found")
	}
	limit := usualMessages
	if in.Limit != nil {
		limit = int(min(max(*in.Limit, 0), maxPage))
	}
	var before, after []*room.Stored
	if !ev.Rejected && !ev.SoftFailed && !ev.Outlier && limit > 0 {
		if before, err = a.rooms.History(ctx, in.RoomID, ev.Order-1, true, (limit+1)/2); err != nil {
			return out, err
		}
		if after, err = a.rooms.History(ctx, in.RoomID, ev.Order, false, limit/2); err != nil {
			return out, err
		}
	}
	out.Start, out.End = timeline.Token(ev.Order-1), timeline.Token(ev.Order)
	if n := len(before); n > 0 {
		out.Start = timeline.Token(before[n-1].Order - 1)
	}
	if n := len(after); n > 0 {
		out.End = timeline.Token(after[n-1].Order)
	}
	return out, a.renderContext(ctx, &out, ev, before, after)
}

func (a *Admin) renderContext(ctx context.Context, out *contextOut, ev *room.Stored, before, after []*room.Stored) error {
	var err error
	var one []json.RawMessage
	if one, err = a.Timeline.Render(ctx, []*room.Stored{ev}, timeline.RenderOptions{}); err != nil {
		return err
	}
	out.Event = one[0]
	if out.Before, err = a.Timeline.Render(ctx, before, timeline.RenderOptions{}); err != nil {
		return err
	}
	if out.After, err = a.Timeline.Render(ctx, after, timeline.RenderOptions{}); err != nil {
		return err
	}
	out.State = []json.RawMessage{}
	s, err := a.rooms.StateAfter(ctx, ev)
	if err != nil || s == nil {
		return err
	}
	evs, err := s.Events(ctx, nil)
	if err != nil {
		return err
	}
	out.State, err = a.Timeline.Render(ctx, evs, timeline.RenderOptions{State: true, NoBundles: true})
	return err
}

type momentIn struct {
	roomIn
	Time int64  `query:"ts"`
	Dir  string `query:"dir"`
}

type momentOut struct {
	EventID id.EventID `json:"event_id"`
	Time    int64      `json:"origin_server_ts"`
}

// GetRoomMoment finds the event nearest to a time.
//
// spec: cs#get_matrixclientv1roomsroomidtimestamp_to_event
func (a *Admin) GetRoomMoment(ctx context.Context, _ web.Requester, in momentIn) (momentOut, error) {
	ev, err := a.rooms.EventAt(ctx, in.RoomID, in.Time, in.Dir != "b")
	if err != nil {
		return momentOut{}, err
	}
	if ev == nil {
		return momentOut{}, mautrix.MNotFound.WithMessage("There is no such event")
	}
	return momentOut{ev.ID(), ev.Timestamp()}, nil
}
