package room

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type sendIn struct {
	RoomID    id.RoomID       `path:"roomId"`
	EventType string          `path:"eventType"`
	TxnID     string          `path:"txnId"`
	Timestamp int64           `query:"ts"`
	Content   json.RawMessage `body:"raw"`
}

type eventOut struct {
	EventID id.EventID `json:"event_id"`
}

// PutEvent sends a message event.
//
// spec: cs#put_matrixclientv3roomsroomidsendeventtypetxnid
func (r *Rooms) PutEvent(ctx context.Context, who web.Requester, in sendIn) (eventOut, error) {
	if err := active(who); err != nil {
		return eventOut{}, err
	}
	eventID, err := r.Send(ctx, SendInput{RoomID: in.RoomID, Sender: who.UserID, DeviceID: who.DeviceID, TxnID: in.TxnID,
		Type: in.EventType, Content: in.Content, Timestamp: massaged(who, in.Timestamp)})
	return eventOut{eventID}, err
}

type stateIn struct {
	RoomID    id.RoomID       `path:"roomId"`
	EventType string          `path:"eventType"`
	StateKey  string          `path:"stateKey"`
	Timestamp int64           `query:"ts"`
	Content   json.RawMessage `body:"raw"`
}

// PutState sends a state event.
//
// spec: cs#put_matrixclientv3roomsroomidstateeventtypestatekey
func (r *Rooms) PutState(ctx context.Context, who web.Requester, in stateIn) (eventOut, error) {
	if err := active(who); err != nil {
		return eventOut{}, err
	}
	eventID, err := r.Send(ctx, SendInput{RoomID: in.RoomID, Sender: who.UserID, DeviceID: who.DeviceID, Type: in.EventType,
		StateKey: &in.StateKey, Content: in.Content, Timestamp: massaged(who, in.Timestamp)})
	return eventOut{eventID}, err
}

type plainStateIn struct {
	RoomID    id.RoomID       `path:"roomId"`
	EventType string          `path:"eventType"`
	Timestamp int64           `query:"ts"`
	Content   json.RawMessage `body:"raw"`
}

// PutStateWithoutKey is PutState with an empty key, whose last slash clients may leave out.
//
// spec: cs#put_matrixclientv3roomsroomidstateeventtypestatekey
func (r *Rooms) PutStateWithoutKey(ctx context.Context, who web.Requester, in plainStateIn) (eventOut, error) {
	return r.PutState(ctx, who, stateIn{RoomID: in.RoomID, EventType: in.EventType, Timestamp: in.Timestamp, Content: in.Content})
}

type redactIn struct {
	RoomID    id.RoomID       `path:"roomId"`
	EventID   id.EventID      `path:"eventId"`
	TxnID     string          `path:"txnId"`
	Timestamp int64           `query:"ts"`
	Content   json.RawMessage `body:"raw"`
}

// PutRedact redacts an event.
//
// spec: cs#put_matrixclientv3roomsroomidredacteventidtxnid
func (r *Rooms) PutRedact(ctx context.Context, who web.Requester, in redactIn) (eventOut, error) {
	if err := active(who); err != nil {
		return eventOut{}, err
	}
	eventID, err := r.Redact(ctx, SendInput{RoomID: in.RoomID, Sender: who.UserID, DeviceID: who.DeviceID, TxnID: in.TxnID,
		Redacts: in.EventID, Content: in.Content, Timestamp: massaged(who, in.Timestamp)})
	return eventOut{eventID}, err
}
