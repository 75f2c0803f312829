package timeline

import (
	"context"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// TimestampIn is the request of GetTimestampToEvent.
type TimestampIn struct {
	RoomID id.RoomID `path:"roomId"`
	TS     *int64    `query:"ts"`
	Dir    string    `query:"dir"`
}

// GetTimestampToEvent finds the event nearest to a moment.
//
// spec: cs#get_matrixclientv1roomsroomidtimestamp_to_event
func (t *Timelines) GetTimestampToEvent(ctx context.Context, who web.Requester, in TimestampIn) (web.Bytes, error) {
	if in.TS == nil {
		return nil, web.MMissingParam.WithMessage("Missing query parameter ts")
	}
	if *in.TS < 0 {
		return nil, mautrix.MInvalidParam.WithMessage("ts is a time in milliseconds since 1970")
	}
	backwards, err := direction(in.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := t.access(ctx, who.UserID, in.RoomID); err != nil {
		return nil, err
	}
	ev, err := t.nearest(ctx, who.UserID, in.RoomID, *in.TS, !backwards)
	if err != nil {
		return nil, err
	}
	if ev == nil {
		return nil, mautrix.MNotFound.WithMessage("Unable to find event from %d in direction %s", *in.TS, in.Dir)
	}
	dst := AppendString([]byte(`{"event_id":`), string(ev.ID()))
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), ev.Timestamp(), 10)
	return append(dst, '}'), nil
}

// nearest looks here, and asks other servers when what is known here may not be the nearest: nothing found, or a gap beside it.
func (t *Timelines) nearest(ctx context.Context, user id.UserID, roomID id.RoomID, ts int64, forward bool) (*room.Stored, error) {
	ev, err := t.visibleAt(ctx, user, roomID, ts, forward)
	if err != nil || t.remote == nil {
		return ev, err
	}
	if ev != nil {
		if near, err := t.besideGap(ctx, ev); err != nil || !near {
			return ev, err
		}
	} else if complete, err := t.reachesCreate(ctx, roomID); err != nil || complete {
		return nil, err
	}
	remoteID, err := t.remote.EventAt(ctx, roomID, ts, forward)
	if err != nil || remoteID == "" {
		return ev, nil // others may be away; what is known here is the answer
	}
	theirs, err := t.rooms.Event(ctx, remoteID)
	if err != nil || theirs == nil {
		return ev, err
	}
	if ev == nil || distance(theirs.Timestamp(), ts) < distance(ev.Timestamp(), ts) {
		if seen, err := t.Visible(ctx, user, []*room.Stored{theirs}); err != nil || len(seen) > 0 {
			return theirs, err
		}
	}
	return ev, nil
}

// visibleAt skips events at the found time that the user may not see.
func (t *Timelines) visibleAt(ctx context.Context, user id.UserID, roomID id.RoomID, ts int64, forward bool) (*room.Stored, error) {
	for range 10 {
		ev, err := t.rooms.EventAt(ctx, roomID, ts, forward)
		if err != nil || ev == nil {
			return nil, err
		}
		seen, err := t.Visible(ctx, user, []*room.Stored{ev})
		if err != nil || len(seen) > 0 {
			return ev, err
		}
		if ts = ev.Timestamp() + 1; !forward {
			ts = ev.Timestamp() - 1
		}
	}
	return nil, nil
}

// besideGap says that history is missing just before the event.
func (t *Timelines) besideGap(ctx context.Context, ev *room.Stored) (bool, error) {
	missing, err := t.missingBefore(ctx, ev)
	if err != nil || len(missing) > 0 {
		return len(missing) > 0, err
	}
	evs, err := t.history(ctx, ev.RoomID(), ev.Order, false, 1)
	if err != nil || len(evs) == 0 {
		return false, err
	}
	missing, err = t.missingBefore(ctx, evs[0])
	return len(missing) > 0, err
}

// reachesCreate says that the oldest known event of the room is its first.
func (t *Timelines) reachesCreate(ctx context.Context, roomID id.RoomID) (bool, error) {
	evs, err := t.history(ctx, roomID, oldest, false, 1)
	return len(evs) > 0 && evs[0].Is(typeCreate, ""), err
}

// missingBefore lists the predecessors of an event that are not part of the known history.
func (t *Timelines) missingBefore(ctx context.Context, ev *room.Stored) ([]id.EventID, error) {
	if !ev.Gap && !ev.Historic {
		return nil, nil
	}
	prev := ev.PrevEvents()
	known, err := t.rooms.Events(ctx, prev)
	if err != nil {
		return nil, err
	}
	var missing []id.EventID
	for _, p := range prev {
		if k := known[p]; k == nil || k.Outlier {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

func distance(a, b int64) int64 {
	if a > b {
		return a - b
	}
	return b - a
}
