package clientsync

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// The rows as clients reach them: parameters, bodies, errors.
func TestHTTP(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	a := w.user("a")
	r := w.create(a)
	cfg := config.Default()
	cfg.Limits.Enabled = false
	users := web.AuthenticatorFunc(func(context.Context, *http.Request, web.Auth) (web.Requester, error) {
		return web.Requester{UserID: a, DeviceID: id.DeviceID("DEV")}, nil
	})
	srv := web.New(cfg, web.Deps{Users: users, Log: zerolog.Nop()})
	const sliding = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
	srv.Handle(
		web.Row("GET", "/_matrix/client/v3/sync", web.UserOrGuest, web.NoLimit, web.JSON(w.syncs.GetSync), "cs#get_matrixclientv3sync"),
		web.Row("POST", sliding, web.User, web.NoLimit, web.JSON(w.syncs.PostSlidingSync), "msc#4186"))
	head := stream.Token(w.stream.Head())
	for _, c := range []struct {
		method, path, body string
		status             int
		has                string
	}{
		{"GET", "/_matrix/client/v3/sync", "", 200, string(r)},
		{"GET", "/_matrix/client/v3/sync?since=" + head + "&timeout=0", "", 200, `"next_batch":"s`},
		{"GET", "/_matrix/client/v3/sync?since=x", "", 400, "M_INVALID_PARAM"},
		{"GET", "/_matrix/client/v3/sync?filter=%7B", "", 400, "M_INVALID_PARAM"},
		{"GET", "/_matrix/client/v3/sync?filter=12", "", 404, "M_NOT_FOUND"},
		{"GET", "/_matrix/client/v3/sync?timeout=-1", "", 400, "M_INVALID_PARAM"},
		{"GET", "/_matrix/client/v3/sync?set_presence=sleepy", "", 400, "M_INVALID_PARAM"},
		{"GET", "/_matrix/client/v3/sync?full_state=true&use_state_after=true&set_presence=offline", "", 200, `"state_after"`},
		{"GET", "/_matrix/client/v3/sync?org.matrix.msc4222.use_state_after=true", "", 200, `"org.matrix.msc4222.state_after"`},
		{"POST", sliding, "", 200, `"pos":"0_`},
		{"POST", sliding + "?timeout=0", `{"lists":{"l":{"ranges":[[0,1]],"timeline_limit":1,"sort":["by_recency"],"include_old_rooms":{}}}}`, 200, `"initial":true`},
		{"POST", sliding + "?pos=7_7", `{}`, 400, "M_UNKNOWN_POS"},
		{"POST", sliding, `{"pos":"7_7"}`, 400, "M_UNKNOWN_POS"},
		{"POST", sliding, `{"lists":{"l":{"ranges":[[3,1]]}}}`, 400, "M_INVALID_PARAM"},
		{"POST", sliding, `{"lists":[]}`, 400, "M_BAD_JSON"},
	} {
		req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		rec := httptest.NewRecorder()
		srv.Handler().ServeHTTP(rec, req)
		body, _ := io.ReadAll(rec.Body)
		if rec.Code != c.status || !strings.Contains(string(body), c.has) {
			t.Errorf("%s %s %s: %d %.200s", c.method, c.path, c.body, rec.Code, body)
		}
	}
}
