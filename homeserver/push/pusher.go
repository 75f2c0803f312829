package push

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Pusher tells a push gateway of what concerns a user. spec: cs#get_matrixclientv3pushers
type Pusher struct {
	NID               int64
	User              id.UserID
	Device            id.DeviceID // whose session set it; '' if it belonged to no device
	AppID             string
	Pushkey           string
	Kind              string
	AppDisplayName    string
	DeviceDisplayName string
	ProfileTag        string
	Lang              string
	Data              json.RawMessage
	Enabled           bool
	Updated           int64 // ms
}

// NewPusher is what a client says about a pusher. Kind nil deletes.
type NewPusher struct {
	User              id.UserID
	Device            id.DeviceID
	AppID             *string
	Pushkey           *string
	Kind              *string
	AppDisplayName    *string
	DeviceDisplayName *string
	ProfileTag        string
	Lang              *string
	Data              json.RawMessage
	Append            bool
	Enabled           *bool // msc: 3881
}

const (
	kindHTTP = "http"

	notifyPath    = "/_matrix/push/v1/notify"
	maxPushkey    = 512
	maxAppID      = 64
	maxPusherText = 512
	maxPusherData = 16 << 10
	maxPushers    = 100 // of a user
)

// SetPusher makes, changes or deletes a pusher. spec: cs#post_matrixclientv3pushersset
func (p *Push) SetPusher(ctx context.Context, n NewPusher) error {
	if n.AppID == nil || n.Pushkey == nil {
		return missing("app_id", n.AppID != nil, "pushkey", n.Pushkey != nil)
	}
	if len(*n.Pushkey) > maxPushkey || utf8.RuneCountInString(*n.AppID) > maxAppID || !sound(*n.Pushkey) || !sound(*n.AppID) {
		return mautrix.MInvalidParam.WithMessage("A pushkey has at most %d bytes, an app ID %d characters", maxPushkey, maxAppID)
	}
	if n.Kind == nil {
		return p.removePusher(ctx, n.User, *n.AppID, *n.Pushkey)
	}
	pusher, err := n.check()
	if err != nil {
		return err
	}
	pusher.Updated = p.now().UnixMilli()
	if pusher.NID, err = p.db.NextID(ctx, "pushers"); err != nil {
		return fmt.Errorf("number of a pusher: %w", err)
	}
	return p.db.Tx(ctx, func(ctx context.Context) error {
		changes := []stream.Change{{Kind: stream.Pusher, UserID: n.User}}
		if !n.Append {
			others, err := p.deleteOthersPushers(ctx, n.User, pusher.AppID, pusher.Pushkey)
			if err != nil {
				return err
			}
			for _, user := range others {
				changes = append(changes, stream.Change{Kind: stream.Pusher, UserID: user})
			}
		}
		if err := p.writePusher(ctx, pusher); err != nil {
			return err
		}
		if _, err = p.stream.Append(ctx, changes...); err != nil {
			return fmt.Errorf("announcing a pusher: %w", err)
		}
		return nil
	})
}

func sound(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// missing names the parameters that are not there; pairs of name and presence.
func missing(pairs ...any) error {
	var names []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if there, _ := pairs[i+1].(bool); !there {
			names = append(names, fmt.Sprint(pairs[i]))
		}
	}
	if names == nil {
		return nil
	}
	return web.MMissingParam.WithMessage("Missing parameters: %s", strings.Join(names, ", "))
}

// check makes a pusher of it.
func (n *NewPusher) check() (*Pusher, error) {
	if err := missing("app_display_name", n.AppDisplayName != nil, "device_display_name", n.DeviceDisplayName != nil,
		"lang", n.Lang != nil, "data", isSet(n.Data)); err != nil {
		return nil, err
	}
	p := &Pusher{User: n.User, Device: n.Device, AppID: *n.AppID, Pushkey: *n.Pushkey, Kind: *n.Kind, AppDisplayName: *n.AppDisplayName,
		DeviceDisplayName: *n.DeviceDisplayName, ProfileTag: n.ProfileTag, Lang: *n.Lang, Enabled: n.Enabled == nil || *n.Enabled}
	for _, s := range []string{p.AppDisplayName, p.DeviceDisplayName, p.ProfileTag, p.Lang} {
		if len(s) > maxPusherText || !sound(s) {
			return nil, mautrix.MInvalidParam.WithMessage("Names, language and profile tag have at most %d bytes", maxPusherText)
		}
	}
	if p.Kind != kindHTTP {
		return nil, mautrix.MInvalidParam.WithMessage("This server has no pushers of kind %q", p.Kind)
	}
	var data map[string]json.RawMessage
	if json.Unmarshal(n.Data, &data) != nil || len(n.Data) > maxPusherData {
		return nil, mautrix.MInvalidParam.WithMessage("data must be an object of at most %d bytes", maxPusherData)
	}
	var address string
	if raw, ok := data["url"]; !ok {
		return nil, web.MMissingParam.WithMessage("Missing parameters: data.url")
	} else if json.Unmarshal(raw, &address) != nil || !validGateway(address) {
		return nil, mautrix.MInvalidParam.WithMessage("data.url must be an address of HTTP with the path %s", notifyPath)
	}
	p.Data = compact(n.Data)
	return p, nil
}

// validGateway lets HTTP without TLS through: gateways of an organisation stand beside its server. Which networks may be asked is
// decided by who made the client.
func validGateway(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.Path == notifyPath
}

// url is where the gateway is, rest what is handed to it.
func (p *Pusher) gateway() (address string, rest json.RawMessage, countless, idOnly bool) {
	var data map[string]json.RawMessage
	_ = json.Unmarshal(p.Data, &data) // checked when it was set
	_ = json.Unmarshal(data["url"], &address)
	countless = string(data["org.matrix.msc4076.disable_badge_count"]) == "true"
	idOnly = string(data["format"]) == `"event_id_only"`
	delete(data, "url")
	rest, _ = json.Marshal(data) // what was decoded encodes
	return address, rest, countless, idOnly
}

func (p *Push) removePusher(ctx context.Context, user id.UserID, appID, pushkey string) error {
	return p.db.Tx(ctx, func(ctx context.Context) error {
		n, err := p.deletePusher(ctx, user, appID, pushkey)
		if err != nil || n == 0 {
			return err
		}
		return p.announcePushers(ctx, user)
	})
}

func (p *Push) announcePushers(ctx context.Context, user id.UserID) error {
	if _, err := p.stream.Append(ctx, stream.Change{Kind: stream.Pusher, UserID: user}); err != nil {
		return fmt.Errorf("announcing pushers: %w", err)
	}
	return nil
}

// deviceDeleted takes the pushers of a session away with it.
func (p *Push) deviceDeleted(ctx context.Context, user id.UserID, device id.DeviceID) error {
	if device == "" {
		return nil
	}
	n, err := p.deleteDevicePushers(ctx, user, device)
	if err != nil || n == 0 {
		return err
	}
	return p.announcePushers(ctx, user)
}
