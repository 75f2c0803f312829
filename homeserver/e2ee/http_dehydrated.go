package e2ee

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// DehydratedIn is a new dehydrated device.
type DehydratedIn struct {
	DeviceID     id.DeviceID                `json:"device_id"`
	DeviceData   json.RawMessage            `json:"device_data"`
	DisplayName  string                     `json:"initial_device_display_name"`
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
}

// DehydratedOut names or describes the dehydrated device.
type DehydratedOut struct {
	DeviceID   id.DeviceID     `json:"device_id"`
	DeviceData json.RawMessage `json:"device_data,omitempty"`
}

// PutDehydratedDevice makes the dehydrated device.
// msc: 3814
func (k *Keys) PutDehydratedDevice(ctx context.Context, who web.Requester, in DehydratedIn) (DehydratedOut, error) {
	up := Upload{in.DeviceKeys, in.OneTimeKeys, in.FallbackKeys}
	err := k.PutDehydrated(ctx, who.UserID, Dehydrated{in.DeviceID, in.DeviceData, in.DisplayName}, up)
	return DehydratedOut{DeviceID: in.DeviceID}, err
}

// GetDehydratedDevice describes the dehydrated device.
// msc: 3814
func (k *Keys) GetDehydratedDevice(ctx context.Context, who web.Requester, _ struct{}) (DehydratedOut, error) {
	d, err := k.GetDehydrated(ctx, who.UserID)
	return DehydratedOut{d.ID, d.Data}, err
}

// DeleteDehydratedDevice deletes the dehydrated device.
// msc: 3814
func (k *Keys) DeleteDehydratedDevice(ctx context.Context, who web.Requester, _ struct{}) (DehydratedOut, error) {
	device, err := k.DeleteDehydrated(ctx, who.UserID)
	return DehydratedOut{DeviceID: device}, err
}

// DehydratedEventsIn asks for messages of the dehydrated device.
type DehydratedEventsIn struct {
	_         struct{}    `body:"optional"`
	DeviceID  id.DeviceID `path:"deviceId"`
	NextBatch string      `json:"next_batch"`
}

// DehydratedEventsOut are messages of the dehydrated device.
type DehydratedEventsOut struct {
	Events    []json.RawMessage `json:"events"`
	NextBatch string            `json:"next_batch"`
}

// PostDehydratedEvents returns messages of the dehydrated device.
// msc: 3814
func (k *Keys) PostDehydratedEvents(ctx context.Context, who web.Requester, in DehydratedEventsIn) (DehydratedEventsOut, error) {
	from := stream.Pos(0)
	if in.NextBatch != "" {
		var err error
		if from, err = stream.ParseToken(in.NextBatch); err != nil {
			return DehydratedEventsOut{}, mautrix.MInvalidParam.WithMessage("next_batch is not a token")
		}
	}
	events, next, err := k.DehydratedEvents(ctx, who.UserID, in.DeviceID, from)
	if events == nil {
		events = []json.RawMessage{}
	}
	return DehydratedEventsOut{events, stream.Token(next)}, err
}
