package federation

import (
	"context"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

var errUnauthorized = mautrix.RespError{ErrCode: "M_UNAUTHORIZED", Err: "The request is not signed by your server", StatusCode: http.StatusUnauthorized}

// Authenticate implements web.Authenticator for requests of other servers (spec: ss#request-authentication). Nothing of
// the body is looked at before the signature is right.
func (k *KeyRing) Authenticate(ctx context.Context, r *http.Request, _ web.Auth) (web.Requester, error) {
	headers, err := event.ParseXMatrixHeaders(r.Header.Values("Authorization"))
	if err != nil {
		return web.Requester{}, errUnauthorized.WithMessage("%v", err)
	}
	origin := headers[0].Origin
	if origin == k.o.ServerName || !event.ValidServerName(origin) {
		return web.Requester{}, errUnauthorized
	}
	if to := headers[0].Destination; to != "" && to != k.o.ServerName {
		return web.Requester{}, errUnauthorized.WithMessage("The request is meant for another server")
	}
	if allowed := k.o.Client.o.Allowed; allowed != nil {
		if err := allowed(ctx, origin); err != nil {
			return web.Requester{}, err
		}
	}
	body, err := web.ReadBody(r)
	if err != nil {
		return web.Requester{}, err
	}
	now := time.Now().UnixMilli()
	want := make([]event.KeyRequest, len(headers))
	for i, x := range headers {
		want[i] = event.KeyRequest{Server: origin, KeyID: x.KeyID, At: now}
	}
	keys, err := k.Keys(ctx, want)
	if err != nil {
		return web.Requester{}, err
	}
	usable := false
	for i, x := range headers {
		key, ok := keys[want[i]]
		if !ok || key.Expired != 0 || !key.ValidAt(now) {
			continue
		}
		usable = true
		if _, err := x.Verify(r.Method, r.RequestURI, k.o.ServerName, body, key.Key); err == nil {
			return web.Requester{Server: origin}, nil
		} else {
			zerolog.Ctx(ctx).Debug().Err(err).Str("server", origin).Msg("request signature")
			if _, noJSON := web.AsRespError(err); noJSON { // nothing that could have been signed
				return web.Requester{}, err
			}
		}
	}
	if !usable {
		return web.Requester{}, errUnauthorized.WithMessage("No usable key of %s was found", origin)
	}
	return web.Requester{}, errUnauthorized
}
