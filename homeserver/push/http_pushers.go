package push

import (
	"context"
	"encoding/json"
	"strconv"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

type pusherOut struct {
	AppDisplayName    string          `json:"app_display_name"`
	AppID             string          `json:"app_id"`
	Data              json.RawMessage `json:"data"`
	DeviceDisplayName string          `json:"device_display_name"`
	Kind              string          `json:"kind"`
	Lang              string          `json:"lang"`
	ProfileTag        string          `json:"profile_tag"`
	Pushkey           string          `json:"pushkey"`
	Enabled           bool            `json:"org.matrix.msc3881.enabled"`
	DeviceID          string          `json:"org.matrix.msc3881.device_id,omitempty"`
}

type pushersOut struct {
	Pushers []pusherOut `json:"pushers"`
}

// GetPushers lists the user's pushers.
//
// spec: cs#get_matrixclientv3pushers
func (p *Push) GetPushers(ctx context.Context, who web.Requester, _ struct{}) (pushersOut, error) {
	list, err := p.Pushers(ctx, who.UserID)
	out := pushersOut{[]pusherOut{}}
	for _, one := range list {
		out.Pushers = append(out.Pushers, pusherOut{one.AppDisplayName, one.AppID, one.Data, one.DeviceDisplayName, one.Kind, one.Lang,
			one.ProfileTag, one.Pushkey, one.Enabled, string(one.Device)})
	}
	return out, err
}

type postPusherIn struct {
	AppDisplayName    *string         `json:"app_display_name"`
	AppID             *string         `json:"app_id"`
	Append            bool            `json:"append"`
	Data              json.RawMessage `json:"data"`
	DeviceDisplayName *string         `json:"device_display_name"`
	Kind              json.RawMessage `json:"kind"`
	Lang              *string         `json:"lang"`
	ProfileTag        string          `json:"profile_tag"`
	Pushkey           *string         `json:"pushkey"`
	Enabled           *bool           `json:"org.matrix.msc3881.enabled"`
}

// PostPusher makes, changes or deletes a pusher.
//
// spec: cs#post_matrixclientv3pushersset
func (p *Push) PostPusher(ctx context.Context, who web.Requester, in postPusherIn) (struct{}, error) {
	if err := missing("kind", len(in.Kind) > 0); err != nil {
		return struct{}{}, err
	}
	n := NewPusher{User: who.UserID, Device: who.DeviceID, AppID: in.AppID, Pushkey: in.Pushkey, AppDisplayName: in.AppDisplayName,
		DeviceDisplayName: in.DeviceDisplayName, ProfileTag: in.ProfileTag, Lang: in.Lang, Data: in.Data, Append: in.Append, Enabled: in.Enabled}
	if err := json.Unmarshal(in.Kind, &n.Kind); err != nil {
		return struct{}{}, mautrix.MBadJSON.WithMessage("kind must be a text or null")
	}
	return struct{}{}, p.SetPusher(ctx, n)
}

type notificationsIn struct {
	From  string `query:"from"`
	Limit *int   `query:"limit"`
	Only  string `query:"only"`
}

type notificationsOut struct {
	NextToken     string         `json:"next_token,omitempty"`
	Notifications []Notification `json:"notifications"`
}

const (
	usualNotifications = 20
	mostNotifications  = 100
)

// GetNotifications lists what the user was notified of.
//
// spec: cs#get_matrixclientv3notifications
func (p *Push) GetNotifications(ctx context.Context, who web.Requester, in notificationsIn) (notificationsOut, error) {
	from, limit := p.stream.Head(), usualNotifications
	if in.From != "" {
		n, err := strconv.ParseInt(in.From, 10, 64)
		if err != nil || n < 0 {
			return notificationsOut{}, mautrix.MInvalidParam.WithMessage("from is no token of this list")
		}
		from = min(from, stream.Pos(n))
	}
	if in.Limit != nil {
		if *in.Limit < 0 {
			return notificationsOut{}, mautrix.MInvalidParam.WithMessage("limit must not be negative")
		}
		limit = min(*in.Limit, mostNotifications)
	}
	list, next, err := p.Notifications(ctx, who.UserID, from, limit, in.Only == "highlight")
	out := notificationsOut{Notifications: list}
	if next > 0 {
		out.NextToken = strconv.FormatInt(int64(next), 10)
	}
	return out, err
}
