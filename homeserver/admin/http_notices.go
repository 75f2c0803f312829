package admin

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type noticeIn struct {
	User     id.UserID       `json:"user_id"`
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

type noticeTxnIn struct {
	noticeIn
	TxnID string `path:"txnId"`
}

type eventOut struct {
	EventID id.EventID `json:"event_id"`
}

// PostNotice sends a notice.
//
// spec: cs#server-notices
func (a *Admin) PostNotice(ctx context.Context, who web.Requester, in noticeIn) (eventOut, error) {
	return a.notice(ctx, who, in, "")
}

// PutNotice sends a notice once for each transaction ID.
//
// spec: cs#server-notices
func (a *Admin) PutNotice(ctx context.Context, who web.Requester, in noticeTxnIn) (eventOut, error) {
	return a.notice(ctx, who, in.noticeIn, in.TxnID)
}

func (a *Admin) notice(ctx context.Context, who web.Requester, in noticeIn, txn string) (eventOut, error) {
	switch {
	case in.User == "":
		return eventOut{}, web.MMissingParam.WithMessage("user_id is missing")
	case len(in.Content) == 0:
		return eventOut{}, web.MMissingParam.WithMessage("content is missing")
	}
	sent, err := a.SendNotice(ctx, Notice{User: in.User, Type: in.Type, StateKey: in.StateKey, Content: in.Content,
		By: string(who.UserID) + " " + string(who.DeviceID), TxnID: txn})
	return eventOut{sent}, err
}
