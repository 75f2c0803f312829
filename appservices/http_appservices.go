package appservices

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/viaduc/viaduc/homeserver/web"
)

// PingIn asks for a ping.
type PingIn struct {
	ID    string `path:"appserviceId"`
	TxnID string `json:"transaction_id"`
}

// PingOut says how long it took.
type PingOut struct {
	Duration int64 `json:"duration_ms"`
}

// PostPing calls the service that asks. spec: as#post_matrixclientv1appserviceappserviceidping
func (a *AppServices) PostPing(ctx context.Context, who web.Requester, in PingIn) (PingOut, error) {
	d, err := a.Ping(ctx, who, in.ID, in.TxnID)
	return PingOut{d.Milliseconds()}, err
}

// GetProtocols lists networks. spec: cs#get_matrixclientv3thirdpartyprotocols
func (a *AppServices) GetProtocols(ctx context.Context, _ web.Requester, _ struct{}) (map[string]json.RawMessage, error) {
	return a.Protocols(ctx), nil
}

// ProtocolIn names a network.
type ProtocolIn struct {
	Protocol string `path:"protocol"`
}

// GetProtocol describes a network. spec: cs#get_matrixclientv3thirdpartyprotocolprotocol
func (a *AppServices) GetProtocol(ctx context.Context, _ web.Requester, in ProtocolIn) (json.RawMessage, error) {
	return a.Protocol(ctx, in.Protocol)
}

func (a *AppServices) lookup(w http.ResponseWriter, r *http.Request, kind string) error {
	q := r.URL.Query()
	q.Del("access_token")
	return web.WriteJSON(w, http.StatusOK, a.Lookup(r.Context(), kind, r.PathValue("protocol"), q))
}

// GetLocations finds rooms of a network. spec: cs#get_matrixclientv3thirdpartylocationprotocol
func (a *AppServices) GetLocations(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	return a.lookup(w, r, "location")
}

// GetUsers finds users of a network. spec: cs#get_matrixclientv3thirdpartyuserprotocol
func (a *AppServices) GetUsers(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	return a.lookup(w, r, "user")
}
