package e2ee

import (
	"context"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/web"
)

// SendToDeviceIn is a request of sendToDevice.
type SendToDeviceIn struct {
	EventType string   `path:"eventType"`
	TxnID     string   `path:"txnId"`
	Messages  Messages `json:"messages"`
}

// PutSendToDevice sends messages to devices.
// spec: cs#put_matrixclientv3sendtodeviceeventtypetxnid
func (k *Keys) PutSendToDevice(ctx context.Context, who web.Requester, in SendToDeviceIn) (struct{}, error) {
	if in.Messages == nil {
		return struct{}{}, mautrix.MBadJSON.WithMessage("Missing member \"messages\"")
	}
	device := who.DeviceID
	if device == "" {
		device = "\x1f" // a token without a device has transactions of its own
	}
	return struct{}{}, k.SendToDevice(ctx, who.UserID, device, in.EventType, in.TxnID, in.Messages)
}
