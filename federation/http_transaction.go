package federation

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

// SendIn is a transaction.
type SendIn struct {
	TxnID string          `path:"txnId"`
	Body  json.RawMessage `body:"raw"`
}

// PutSend takes a transaction. spec: ss#put_matrixfederationv1sendtxnid
func (f *Federation) PutSend(ctx context.Context, who web.Requester, in SendIn) (sendOut, error) {
	if len(in.TxnID) > 1024 {
		return sendOut{}, mautrix.MInvalidParam.WithMessage("the transaction ID is too long")
	}
	t, err := event.ParseTransaction(in.Body)
	if err != nil {
		return sendOut{}, err
	}
	if err := f.out.alive(ctx, who.Server); err != nil {
		return sendOut{}, err
	}
	return f.in.receive(ctx, who.Server, in.TxnID, &t)
}
