package clientsync

import (
	"context"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// The deprecated way to hear of events: GET /events and what precedes it.

const (
	// eventWindow is how much of the log one look covers, eventLooks how many looks one request makes.
	eventWindow = 1000
	eventLooks  = 100
)

// listener asks for events of all the user's rooms, or of one that they may read.
type listener struct {
	user  id.UserID
	room  id.RoomID // "": the user's rooms
	since stream.Pos
}

// listen returns the events after since that the user may see, and the place behind them; without any, it waits until wait
// ends (nil: not at all).
func (s *Syncs) listen(ctx, wait context.Context, l listener) ([]timeline.Seen, stream.Pos, error) {
	from := min(l.since, s.Stream.Head())
	for looks := 0; ; looks++ {
		topics, err := s.listened(ctx, &l)
		if err != nil {
			return nil, 0, err
		}
		upTo := min(s.Stream.Head(), from+eventWindow)
		seen, err := s.heard(ctx, &l, from, upTo, topics)
		if err != nil || len(seen) > 0 {
			return seen, upTo, err
		}
		behind := upTo < s.Stream.Head()
		from = upTo
		switch {
		case behind && looks < eventLooks:
			continue
		case behind || wait == nil:
			return nil, upTo, nil
		}
		if _, err := s.Stream.Wait(wait, upTo, topics...); err != nil {
			if wait.Err() == nil || ctx.Err() != nil {
				return nil, 0, err
			}
			wait = nil // one last look
		}
	}
}

func (s *Syncs) listened(ctx context.Context, l *listener) ([]stream.Topic, error) {
	if l.room != "" {
		return []stream.Topic{stream.RoomTopic(l.room)}, s.Timelines.MayRead(ctx, l.user, l.room)
	}
	v, err := s.view(ctx, l.user)
	if err != nil {
		return nil, err
	}
	return v.topics, nil
}

// heard gives the events of a window that the user may see.
func (s *Syncs) heard(ctx context.Context, l *listener, since, upTo stream.Pos, topics []stream.Topic) ([]timeline.Seen, error) {
	if since >= upTo {
		return nil, nil
	}
	changes, err := s.Stream.Changes(ctx, since, upTo, stream.Kinds(stream.Event, stream.Membership), topics)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	ids := make([]id.EventID, 0, len(changes))
	for _, c := range changes {
		if strings.HasPrefix(c.Ref, "$") && (l.room == "" || c.RoomID == l.room) {
			ids = append(ids, id.EventID(c.Ref))
		}
	}
	found, err := s.Rooms.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	evs := make([]*room.Stored, 0, len(ids))
	for _, e := range ids {
		if ev := found[e]; ev != nil && !ev.Rejected && !ev.SoftFailed {
			evs = append(evs, ev)
		}
	}
	return s.Timelines.See(ctx, l.user, evs)
}
