package federation

import (
	"context"
	"encoding/json"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// maxReceiptRooms bounds the rooms of one receipts EDU that are looked at.
const maxReceiptRooms = 200

// applyEDUs hands each to its owner, in their order: device lists stand before the messages encrypted for them. One that
// fails spoils no other.
func (in *inbound) applyEDUs(ctx context.Context, origin string, edus []event.EDU) {
	for _, e := range edus {
		if ctx.Err() != nil {
			return
		}
		if err := in.applyEDU(ctx, origin, e); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Info().Str("server", origin).Str("edu_type", clipped(e.Type, 64)).Err(err).Msg("EDU not taken")
		}
	}
}

func (in *inbound) applyEDU(ctx context.Context, origin string, e event.EDU) error {
	f := in.f
	switch e.Type {
	case "m.typing":
		if !in.aclAllows(ctx, origin, e.Content) {
			return nil
		}
		return f.Ephemeral.ReceiveTyping(ctx, origin, e.Content)
	case "m.receipt":
		if content := in.aclFilter(ctx, origin, e.Content); content != nil {
			return f.Ephemeral.ReceiveReceipts(ctx, origin, content)
		}
	case "m.presence":
		if f.NoPresence {
			return nil
		}
		return f.Ephemeral.ReceivePresence(ctx, origin, e.Content)
	case "m.device_list_update":
		return f.E2EE.ReceiveDeviceList(ctx, origin, e.Content)
	case "m.signing_key_update", "org.matrix.signing_key_update":
		return f.E2EE.ReceiveSigningKeys(ctx, origin, e.Content)
	case "m.direct_to_device":
		return f.E2EE.ReceiveToDevice(ctx, origin, e.Content)
	}
	return nil
}

// aclAllows applies the room's server ACL to an EDU that names its room (spec: cs#mroomserver_acl).
func (in *inbound) aclAllows(ctx context.Context, origin string, content json.RawMessage) bool {
	var c struct {
		RoomID id.RoomID `json:"room_id"`
	}
	if json.Unmarshal(content, &c) != nil {
		return false
	}
	return in.admits(ctx, origin, c.RoomID)
}

// admits says whether a room is known here and its ACL lets the server in.
func (in *inbound) admits(ctx context.Context, origin string, r id.RoomID) bool {
	if !event.ValidRoomID(string(r)) {
		return false
	}
	a, err := in.admit(ctx, r, origin)
	return err == nil && a.known && a.refused == nil
}

// aclFilter takes out the rooms of a receipts EDU that the ACL closes to its sender; nil if nothing is left.
func (in *inbound) aclFilter(ctx context.Context, origin string, content json.RawMessage) json.RawMessage {
	var rooms map[id.RoomID]json.RawMessage
	if json.Unmarshal(content, &rooms) != nil {
		return nil
	}
	looked := 0
	for r := range rooms {
		if looked++; looked > maxReceiptRooms || !in.admits(ctx, origin, r) {
			delete(rooms, r)
		}
	}
	if len(rooms) == 0 {
		return nil
	}
	out, err := json.Marshal(rooms)
	if err != nil {
		return nil
	}
	return out
}
