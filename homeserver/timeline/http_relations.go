package timeline

import (
	"context"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

const (
	maxRelations = 500
	// maxRecursion is how deep `recurse` follows relations of relations.
	maxRecursion = 3
)

// RelationsIn is the request of GetRelations.
type RelationsIn struct {
	RoomID  id.RoomID  `path:"roomId"`
	EventID id.EventID `path:"eventId"`
	RelationsQuery
}

// RelationsOfTypeIn is the request of GetRelationsOfType.
type RelationsOfTypeIn struct {
	RoomID  id.RoomID  `path:"roomId"`
	EventID id.EventID `path:"eventId"`
	RelType string     `path:"relType"`
	RelationsQuery
}

// RelationsOfEventTypeIn is the request of GetRelationsOfEventType.
type RelationsOfEventTypeIn struct {
	RoomID    id.RoomID  `path:"roomId"`
	EventID   id.EventID `path:"eventId"`
	RelType   string     `path:"relType"`
	EventType string     `path:"eventType"`
	RelationsQuery
}

// RelationsQuery is the query that the three have in common.
type RelationsQuery struct {
	From    string `query:"from"`
	To      string `query:"to"`
	Dir     string `query:"dir"`
	Limit   *int   `query:"limit"`
	Recurse bool   `query:"recurse"`
}

// GetRelations lists the children of an event.
//
// spec: cs#get_matrixclientv1roomsroomidrelationseventid
func (t *Timelines) GetRelations(ctx context.Context, who web.Requester, in RelationsIn) (web.Bytes, error) {
	return t.relations(ctx, who, in.RoomID, in.EventID, "", "", in.RelationsQuery)
}

// GetRelationsOfType lists the children of an event by relation.
//
// spec: cs#get_matrixclientv1roomsroomidrelationseventidreltype
func (t *Timelines) GetRelationsOfType(ctx context.Context, who web.Requester, in RelationsOfTypeIn) (web.Bytes, error) {
	return t.relations(ctx, who, in.RoomID, in.EventID, in.RelType, "", in.RelationsQuery)
}

// GetRelationsOfEventType lists the children of an event by relation and event type.
//
// spec: cs#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype
func (t *Timelines) GetRelationsOfEventType(ctx context.Context, who web.Requester, in RelationsOfEventTypeIn) (web.Bytes, error) {
	return t.relations(ctx, who, in.RoomID, in.EventID, in.RelType, in.EventType, in.RelationsQuery)
}

func (t *Timelines) relations(ctx context.Context, who web.Requester, roomID id.RoomID, parent id.EventID, relType, evType string, in RelationsQuery) (web.Bytes, error) {
	if _, err := t.access(ctx, who.UserID, roomID); err != nil {
		return nil, err
	}
	if _, err := t.oneEvent(ctx, who.UserID, roomID, parent); err != nil {
		return nil, err
	}
	q := relationQuery{parents: []id.EventID{parent}, relType: relType, evType: evType, after: oldest, upTo: newest, backwards: true}
	if err := t.relationsPlaces(ctx, roomID, in, &q); err != nil {
		return nil, err
	}
	depth := 1
	if in.Recurse {
		var err error
		if q.parents, depth, err = t.descend(ctx, parent); err != nil {
			return nil, err
		}
	}
	limit := 20
	if in.Limit != nil {
		limit = min(max(*in.Limit, 1), maxRelations)
	}
	evs, next, more, err := t.visibleChildren(ctx, who.UserID, q, limit)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, 1024+900*len(evs)), `{"chunk":[`...)
	if dst, err = t.AppendEvents(ctx, dst, evs, RenderOptions{ForUser: who.UserID, Device: who.DeviceID}); err != nil {
		return nil, err
	}
	dst = append(dst, ']')
	if more {
		dst = append(AppendToken(append(dst, `,"next_batch":"`...), next), '"')
	}
	if in.From != "" {
		dst = AppendString(append(dst, `,"prev_batch":`...), in.From)
	}
	if in.Recurse {
		dst = strconv.AppendInt(append(dst, `,"recursion_depth":`...), int64(depth), 10)
	}
	return append(dst, '}'), nil
}

// relationsPlaces reads dir, from and to into bounds.
func (t *Timelines) relationsPlaces(ctx context.Context, roomID id.RoomID, in RelationsQuery, q *relationQuery) error {
	switch in.Dir {
	case "", "b":
	case "f":
		q.backwards = false
	default:
		return mautrix.MInvalidParam.WithMessage("dir must be b or f")
	}
	for i, token := range []string{in.From, in.To} {
		if token == "" {
			continue
		}
		at, err := t.place(ctx, roomID, token)
		if err != nil {
			return err
		}
		if q.backwards == (i == 0) {
			q.upTo = at
		} else {
			q.after = at
		}
	}
	return nil
}

// descend finds the event and its descendants whose children are wanted too.
func (t *Timelines) descend(ctx context.Context, parent id.EventID) (all []id.EventID, depth int, err error) {
	all = []id.EventID{parent}
	level := all
	for depth = 1; depth < maxRecursion && len(level) > 0 && len(all) < 2000; depth++ {
		if level, err = t.childIDs(ctx, level, 1000); err != nil {
			return nil, 0, err
		}
		all = append(all, level...)
	}
	return all, maxRecursion, nil
}

// visibleChildren pages until enough children may be shown.
func (t *Timelines) visibleChildren(ctx context.Context, user id.UserID, q relationQuery, limit int) (out []Seen, next room.Order, more bool, err error) {
	for range 20 {
		q.limit = limit - len(out) + 1
		rows, err := t.children(ctx, q)
		if err != nil {
			return nil, 0, false, err
		}
		more = len(rows) == q.limit
		if more {
			rows = rows[:len(rows)-1]
		}
		ids := make([]id.EventID, len(rows))
		for i, r := range rows {
			ids[i] = r.Event
			if next = r.Order; q.backwards {
				next--
				q.upTo = next
			} else {
				q.after = next
			}
		}
		evs, err := t.inOrder(ctx, ids)
		if err != nil {
			return nil, 0, false, err
		}
		seen, err := t.See(ctx, user, evs)
		if err != nil {
			return nil, 0, false, err
		}
		for _, s := range seen {
			if s.RedactedBy == "" {
				out = append(out, s)
			}
		}
		if !more || len(out) >= limit {
			return out, next, more, nil
		}
	}
	return out, next, more, nil
}
