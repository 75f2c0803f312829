package timeline

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// RoomIn names a room.
type RoomIn struct {
	RoomID id.RoomID `path:"roomId"`
}

// GetState returns the state of a room.
//
// spec: cs#get_matrixclientv3roomsroomidstate
func (t *Timelines) GetState(ctx context.Context, who web.Requester, in RoomIn) (web.Bytes, error) {
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	st, err := t.state(ctx, a)
	if err != nil {
		return nil, err
	}
	evs, err := st.Events(ctx, nil)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, 700*len(evs)+2), '[')
	return append(t.AppendState(dst, evs, RenderOptions{ForUser: who.UserID}), ']'), nil
}

// StateEventIn names a state event; an empty state key may be left out.
type StateEventIn struct {
	RoomID   id.RoomID `path:"roomId"`
	Type     string    `path:"eventType"`
	StateKey string    `path:"stateKey"`
	Format   string    `query:"format"`
}

// EmptyKeyIn is StateEventIn for the path without a state key.
type EmptyKeyIn struct {
	RoomID id.RoomID `path:"roomId"`
	Type   string    `path:"eventType"`
	Format string    `query:"format"`
}

// GetStateEventEmptyKey is GetStateEvent for the path without a state key.
//
// spec: cs#get_matrixclientv3roomsroomidstateeventtypestatekey
func (t *Timelines) GetStateEventEmptyKey(ctx context.Context, who web.Requester, in EmptyKeyIn) (web.Bytes, error) {
	return t.GetStateEvent(ctx, who, StateEventIn{RoomID: in.RoomID, Type: in.Type, Format: in.Format})
}

// GetStateEvent returns the content of a state event, or all of it with format=event.
//
// spec: cs#get_matrixclientv3roomsroomidstateeventtypestatekey
func (t *Timelines) GetStateEvent(ctx context.Context, who web.Requester, in StateEventIn) (web.Bytes, error) {
	if in.Format != "" && in.Format != "content" && in.Format != "event" {
		return nil, mautrix.MInvalidParam.WithMessage("format must be content or event")
	}
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	st, err := t.state(ctx, a)
	if err != nil {
		return nil, err
	}
	ev, err := st.Event(ctx, in.Type, in.StateKey)
	if err != nil {
		return nil, err
	}
	if ev == nil {
		return nil, errNoEvent
	}
	if in.Format == "event" {
		return t.AppendEvents(ctx, nil, []Seen{{Stored: ev}}, RenderOptions{ForUser: who.UserID, Device: who.DeviceID, NoBundles: true})
	}
	content := ev.Content()
	if ev.RedactedBy != "" {
		content = ev.Redacted().Content()
	}
	return web.Bytes(content), nil
}
