package federation

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// PDUsOut is a list of events with its source.
type PDUsOut struct {
	Origin    string            `json:"origin"`
	Timestamp int64             `json:"origin_server_ts"`
	PDUs      []json.RawMessage `json:"pdus"`
}

func (f *Federation) pdusOut(evs []*room.Stored) PDUsOut {
	return PDUsOut{Origin: f.ServerName, Timestamp: time.Now().UnixMilli(), PDUs: pdus(evs)}
}

// EventIn names an event.
type EventIn struct {
	EventID id.EventID `path:"eventId"`
}

// GetEvent gives one event. spec: ss#get_matrixfederationv1eventeventid
func (f *Federation) GetEvent(ctx context.Context, who web.Requester, in EventIn) (PDUsOut, error) {
	ev, err := f.Rooms.EventFor(ctx, who.Server, in.EventID)
	if err != nil {
		return PDUsOut{}, err
	}
	return f.pdusOut([]*room.Stored{ev}), nil
}

// RoomEventIn names an event as a point in a room's history.
type RoomEventIn struct {
	RoomID  id.RoomID  `path:"roomId"`
	EventID id.EventID `query:"event_id"`
}

// StateOut is a state with its auth chain.
type StateOut struct {
	PDUs      []json.RawMessage `json:"pdus"`
	AuthChain []json.RawMessage `json:"auth_chain"`
}

func (f *Federation) stateFor(ctx context.Context, who web.Requester, in RoomEventIn) (state, auth []*room.Stored, err error) {
	if in.EventID == "" {
		return nil, nil, web.MMissingParam.WithMessage("event_id is missing")
	}
	return f.Rooms.StateFor(ctx, who.Server, in.RoomID, in.EventID)
}

// GetState gives the state before an event. spec: ss#get_matrixfederationv1stateroomid
func (f *Federation) GetState(ctx context.Context, who web.Requester, in RoomEventIn) (StateOut, error) {
	state, auth, err := f.stateFor(ctx, who, in)
	return StateOut{pdus(state), pdus(auth)}, err
}

// StateIDsOut is a state by IDs.
type StateIDsOut struct {
	PDUIDs       []id.EventID `json:"pdu_ids"`
	AuthChainIDs []id.EventID `json:"auth_chain_ids"`
}

// GetStateIDs gives the state before an event by IDs. spec: ss#get_matrixfederationv1state_idsroomid
func (f *Federation) GetStateIDs(ctx context.Context, who web.Requester, in RoomEventIn) (StateIDsOut, error) {
	state, auth, err := f.stateFor(ctx, who, in)
	return StateIDsOut{idsOf(state), idsOf(auth)}, err
}

func idsOf(evs []*room.Stored) []id.EventID {
	out := make([]id.EventID, len(evs))
	for i, e := range evs {
		out[i] = e.ID()
	}
	return out
}

// EventAuthIn names an event of a room.
type EventAuthIn struct {
	RoomID  id.RoomID  `path:"roomId"`
	EventID id.EventID `path:"eventId"`
}

// EventAuthOut is an auth chain.
type EventAuthOut struct {
	AuthChain []json.RawMessage `json:"auth_chain"`
}

// GetEventAuth gives the auth chain of an event. spec: ss#get_matrixfederationv1event_authroomideventid
func (f *Federation) GetEventAuth(ctx context.Context, who web.Requester, in EventAuthIn) (EventAuthOut, error) {
	chain, err := f.Rooms.AuthChainFor(ctx, who.Server, in.RoomID, in.EventID)
	return EventAuthOut{pdus(chain)}, err
}

// BackfillIn asks for older events.
type BackfillIn struct {
	RoomID id.RoomID `path:"roomId"`
	From   []string  `query:"v"`
	Limit  int       `query:"limit"`
}

const maxHistory = 100

// GetBackfill gives events before the named ones. spec: ss#get_matrixfederationv1backfillroomid
func (f *Federation) GetBackfill(ctx context.Context, who web.Requester, in BackfillIn) (PDUsOut, error) {
	if len(in.From) == 0 || len(in.From) > maxHistory {
		return PDUsOut{}, mautrix.MInvalidParam.WithMessage("v must name some events")
	}
	if in.Limit <= 0 {
		in.Limit = 10
	}
	from := make([]id.EventID, len(in.From))
	for i, e := range in.From {
		from[i] = id.EventID(e)
	}
	evs, err := f.Rooms.BackfillFor(ctx, who.Server, in.RoomID, from, min(in.Limit, maxHistory))
	if err != nil {
		return PDUsOut{}, err
	}
	return f.pdusOut(evs), nil
}

// MissingIn asks for what lies between.
type MissingIn struct {
	RoomID   id.RoomID    `path:"roomId"`
	Earliest []id.EventID `json:"earliest_events"`
	Latest   []id.EventID `json:"latest_events"`
	Limit    int          `json:"limit"`
	MinDepth int64        `json:"min_depth"`
}

// MissingOut is a list of events, oldest first.
type MissingOut struct {
	Events []json.RawMessage `json:"events"`
}

// PostMissingEvents gives events between two sets. spec: ss#post_matrixfederationv1get_missing_eventsroomid
func (f *Federation) PostMissingEvents(ctx context.Context, who web.Requester, in MissingIn) (MissingOut, error) {
	if len(in.Latest) > maxHistory || len(in.Earliest) > maxHistory {
		return MissingOut{}, mautrix.MInvalidParam.WithMessage("earliest_events and latest_events may name %d events each", maxHistory)
	}
	if in.Limit <= 0 {
		in.Limit = 10
	}
	evs, err := f.Rooms.MissingFor(ctx, who.Server, in.RoomID, in.Earliest, in.Latest, min(in.Limit, 20), in.MinDepth)
	return MissingOut{pdus(evs)}, err
}

// TimestampIn names a time in a room.
type TimestampIn struct {
	RoomID id.RoomID `path:"roomId"`
	TS     *int64    `query:"ts"`
	Dir    string    `query:"dir"`
}

// TimestampOut names the event nearest to it.
type TimestampOut struct {
	EventID id.EventID `json:"event_id"`
	TS      int64      `json:"origin_server_ts"`
}

// GetTimestampToEvent finds an event by time. spec: ss#get_matrixfederationv1timestamp_to_eventroomid
func (f *Federation) GetTimestampToEvent(ctx context.Context, who web.Requester, in TimestampIn) (TimestampOut, error) {
	if in.TS == nil || *in.TS < 0 || (in.Dir != "f" && in.Dir != "b") {
		return TimestampOut{}, mautrix.MInvalidParam.WithMessage("ts and dir (f or b) are needed")
	}
	if err := f.inRoom(ctx, in.RoomID, who.Server); err != nil {
		return TimestampOut{}, err
	}
	ev, err := f.Rooms.EventAt(ctx, in.RoomID, *in.TS, in.Dir == "f")
	if err != nil {
		return TimestampOut{}, err
	}
	if ev == nil {
		return TimestampOut{}, mautrix.MNotFound.WithMessage("No event was found")
	}
	return TimestampOut{ev.ID(), ev.Timestamp()}, nil
}

// inRoom refuses servers without a member in the room, and those that its ACL closes out.
func (f *Federation) inRoom(ctx context.Context, roomID id.RoomID, server string) error {
	servers, err := f.Rooms.JoinedServers(ctx, roomID)
	if err != nil {
		return err
	}
	allowed, err := f.Rooms.AllowedByACL(ctx, roomID, server)
	if err != nil {
		return err
	}
	if !allowed || !slices.Contains(servers, server) {
		return mautrix.MForbidden.WithMessage("Your server is not in this room")
	}
	return nil
}
