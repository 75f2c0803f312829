package federation

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/event"
)

// Profile asks for a user's profile; field empty asks for all of it (spec: ss#get_matrixfederationv1queryprofile).
func (c *Client) Profile(ctx context.Context, server string, user id.UserID, field string) (map[string]json.RawMessage, error) {
	q := url.Values{"user_id": {string(user)}}
	if field != "" {
		q.Set("field", field)
	}
	var out map[string]json.RawMessage
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/query/profile", Query: q, Out: &out, Limit: 256 << 10, Timeout: 15 * time.Second})
	return out, err
}

// UserDevices implements e2ee.Remote.
func (c *Client) UserDevices(ctx context.Context, server string, user id.UserID) (*e2ee.UserDevices, error) {
	out := new(e2ee.UserDevices)
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/user/devices/" + esc(user), Out: out, Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// QueryUserKeys implements e2ee.Remote.
func (c *Client) QueryUserKeys(ctx context.Context, server string, devices map[id.UserID][]id.DeviceID) (*e2ee.UserKeys, error) {
	for u, ds := range devices {
		if ds == nil {
			devices[u] = []id.DeviceID{}
		}
	}
	out := new(e2ee.UserKeys)
	err := c.do(ctx, request{Method: http.MethodPost, Server: server, Path: v1 + "/user/keys/query", Body: map[string]any{"device_keys": devices}, Out: out})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ClaimUserKeys implements e2ee.Remote.
func (c *Client) ClaimUserKeys(ctx context.Context, server string, want map[id.UserID]map[id.DeviceID]string) (*e2ee.ClaimedKeys, error) {
	out := new(e2ee.ClaimedKeys)
	err := c.do(ctx, request{Method: http.MethodPost, Server: server, Path: v1 + "/user/keys/claim", Body: map[string]any{"one_time_keys": want}, Out: out})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// PublicRooms asks for a server's room directory (spec: ss#post_matrixfederationv1publicrooms).
func (c *Client) PublicRooms(ctx context.Context, server string, query json.RawMessage) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.do(ctx, request{Method: http.MethodPost, Server: server, Path: v1 + "/publicRooms", Body: query, Out: &out})
	return out, err
}

// Hierarchy asks for a space's rooms (spec: ss#get_matrixfederationv1hierarchyroomid).
func (c *Client) Hierarchy(ctx context.Context, server string, roomID id.RoomID, suggestedOnly bool) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/hierarchy/" + esc(roomID),
		Query: url.Values{"suggested_only": {strconv.FormatBool(suggestedOnly)}}, Out: &out, Limit: 2 << 20})
	return out, err
}

// sendTransaction delivers a transaction (spec: ss#put_matrixfederationv1sendtxnid).
func (c *Client) sendTransaction(ctx context.Context, server, txnID string, t *event.Transaction) (map[id.EventID]pduResult, error) {
	var out struct {
		PDUs map[id.EventID]pduResult `json:"pdus"`
	}
	err := c.do(ctx, request{Method: http.MethodPut, Server: server, Path: v1 + "/send/" + esc(txnID), Body: encoded(t.JSON()), Out: &out})
	return out.PDUs, err
}

// serverKeys fetches a server's own keys, unsigned (spec: ss#get_matrixkeyv2server).
func (c *Client) serverKeys(ctx context.Context, server string) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: "/_matrix/key/v2/server", Out: &out, Limit: 1 << 20, Timeout: 20 * time.Second, Unsigned: true})
	return out, err
}

// notaryKeys asks a notary for keys of others (spec: ss#post_matrixkeyv2query).
func (c *Client) notaryKeys(ctx context.Context, notary string, want map[string]map[string]map[string]int64) ([]json.RawMessage, error) {
	var out struct {
		Keys []json.RawMessage `json:"server_keys"`
	}
	err := c.do(ctx, request{Method: http.MethodPost, Server: notary, Path: "/_matrix/key/v2/query", Body: map[string]any{"server_keys": want},
		Out: &out, Limit: 4 << 20, Timeout: 20 * time.Second, Unsigned: true})
	return out.Keys, err
}
