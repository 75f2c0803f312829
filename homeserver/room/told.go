package room

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// maxTold bounds what is kept of the state that comes with an invitation or a knock.
const maxTold = 60

// toldTypes is what is kept of it. spec: cs#stripped-state
var toldTypes = map[string]bool{
	typeCreate: true, typeName: true, typeAvatar: true, typeTopic: true, typeJoinRules: true, typeCanonical: true, typeEncryption: true,
	typeMember: true,
}

// knockState is what is kept of the state that a server told somebody who knocked.
func (r *Rooms) knockState(ctx context.Context, v event.Version, roomID id.RoomID, told []json.RawMessage) []json.RawMessage {
	list, _ := r.toldState(ctx, v, roomID, told, false)
	if list == nil {
		list = []json.RawMessage{}
	}
	return list
}

// toldState reads state that another server told about a room, as events or in stripped form, and gives what clients see of
// it. strict refuses all that is not an event of the room with proper signatures, and a list without the create event.
// spec: ss#put_matrixfederationv2inviteroomideventid
func (r *Rooms) toldState(ctx context.Context, v event.Version, roomID id.RoomID, told []json.RawMessage, strict bool) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, 0, min(len(told), maxTold))
	var evs []*event.Event
	for _, raw := range told[:min(len(told), maxTold)] {
		ev, err := event.ParseUntrusted(v, raw)
		whole := err == nil && ev.IsState() && ev.RoomID() == roomID
		switch {
		case whole:
			evs = append(evs, ev)
		case strict:
			return nil, mautrix.MInvalidParam.WithMessage("invite_room_state has something else than events of the room")
		default:
			if s, ok := event.ParseStripped(raw); ok && toldTypes[s.Type] {
				out = append(out, s.JSON())
			}
		}
	}
	errs := r.verify(ctx, evs)
	created := false
	for i, ev := range evs {
		if errs[i] != nil && !errors.Is(errs[i], event.ErrKeysMissing) { // servers that are gone do not bar a room
			if strict {
				return nil, mautrix.MInvalidParam.WithMessage("invite_room_state has an event without proper signatures")
			}
			continue
		}
		created = created || ev.Is(typeCreate, "")
		if toldTypes[ev.Type()] {
			out = append(out, clientStripped(ev))
		}
	}
	if strict && !created {
		return nil, mautrix.MInvalidParam.WithMessage("invite_room_state lacks the event that created the room")
	}
	return out, nil
}
