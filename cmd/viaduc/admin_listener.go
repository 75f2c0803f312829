package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

var zeroTime time.Time

// adminTokenFile holds the secret of the admin listener.
func adminTokenFile(cfg *config.Config) string {
	return filepath.Join(filepath.Dir(cfg.SigningKeyFile), "admin.token")
}

// ensureAdminToken reads the secret, or makes it. Replicas that share the
// folder agree on one.
func ensureAdminToken(cfg *config.Config) (string, error) {
	file := adminTokenFile(cfg)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		var b [32]byte
		_, _ = rand.Read(b[:])
		_, err = f.WriteString(hex.EncodeToString(b[:]) + "\n")
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	text, err := os.ReadFile(file)
	token := strings.TrimSpace(string(text))
	if err == nil && len(token) < 32 {
		err = fmt.Errorf("%s holds no token; delete it and start again", file)
	}
	return token, err
}

// serveAdmin runs the admin listener until ctx ends.
func serveAdmin(ctx context.Context, cfg *config.Config, log zerolog.Logger, s server) error {
	token, err := ensureAdminToken(cfg)
	if err != nil {
		return fmt.Errorf("admin token: %w", err)
	}
	l, err := net.Listen("tcp", cfg.Listen.Admin)
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	return adminServer(cfg, log, s, token).Serve(ctx, l, nil)
}

func adminServer(cfg *config.Config, log zerolog.Logger, s server, token string) *web.Server {
	own := *cfg
	own.Listen.TokenInQuery = false
	own.Limits.Enabled = false
	own.Log.Requests = false
	ws := web.New(&own, web.Deps{Log: log, Users: web.TokenAuthenticator(
		func(_ context.Context, _ *http.Request, given string) (web.Requester, error) {
			if subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
				return web.Requester{}, mautrix.MUnknownToken.WithMessage("Wrong token for the admin listener")
			}
			return web.Requester{Admin: true}, nil
		})})
	h := &adminHandlers{s}
	ws.Handle(
		web.Route{Method: http.MethodGet, Path: "/health", Handler: web.JSON(h.health)},
		web.Route{Method: http.MethodPost, Path: "/operator/v1/add_user", Auth: web.Admin, Handler: web.JSON(h.addUser)},
		web.Route{Method: http.MethodPost, Path: "/operator/v1/set_password", Auth: web.Admin, Handler: web.JSON(h.setPassword)},
		web.Route{Method: http.MethodPost, Path: "/operator/v1/set_admin", Auth: web.Admin, Handler: web.JSON(h.setAdmin)},
		web.Route{Method: http.MethodPost, Path: "/operator/v1/deactivate", Auth: web.Admin, Handler: web.JSON(h.deactivate)},
		web.Route{Method: http.MethodGet, Path: "/operator/v1/users", Auth: web.Admin, Handler: web.JSON(h.listUsers)},
		web.Route{Method: http.MethodPost, Path: "/operator/v1/new_token", Auth: web.Admin, Handler: web.JSON(h.newToken)},
		web.Route{Method: http.MethodGet, Path: "/debug/pprof/profile", Auth: web.Admin, Handler: web.HTTP(http.HandlerFunc(pprof.Profile))},
		web.Route{Method: http.MethodGet, Path: "/debug/pprof/trace", Auth: web.Admin, Handler: web.HTTP(http.HandlerFunc(pprof.Trace))},
		web.Route{Method: http.MethodGet, Path: "/debug/pprof/{name...}", Auth: web.Admin, Handler: web.HTTP(http.HandlerFunc(pprof.Index))},
	)
	if cfg.Metrics.Enabled {
		ws.Handle(web.Route{Method: http.MethodGet, Path: "/metrics", Handler: web.HTTP(promhttp.Handler())})
	}
	return ws
}

// adminHandlers answer on the admin listener.
type adminHandlers struct{ s server }

type healthOut struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

func (h *adminHandlers) health(ctx context.Context, _ web.Requester, _ struct{}) (web.WithStatus[healthOut], error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := h.s.Health(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("Not well")
		return web.WithStatus[healthOut]{Code: http.StatusServiceUnavailable, Body: healthOut{"bad", err.Error()}}, nil
	}
	return web.WithStatus[healthOut]{Code: http.StatusOK, Body: healthOut{Status: "ok"}}, nil
}

type userIn struct {
	User     string `json:"user"`
	Password string `json:"password,omitempty"`
	Admin    bool   `json:"admin,omitempty"`
	Logout   bool   `json:"logout,omitempty"`
	Erase    bool   `json:"erase,omitempty"`
}

type userOut struct {
	UserID id.UserID `json:"user_id"`
}

func (h *adminHandlers) addUser(ctx context.Context, _ web.Requester, in userIn) (userOut, error) {
	if in.User == "" || in.Password == "" {
		return userOut{}, web.MMissingParam.WithMessage("A name and a password are needed")
	}
	u, err := h.s.AddUser(ctx, in.User, in.Password, in.Admin)
	return userOut{u}, err
}

func (h *adminHandlers) setPassword(ctx context.Context, _ web.Requester, in userIn) (struct{}, error) {
	if in.Password == "" {
		return struct{}{}, web.MMissingParam.WithMessage("A password is needed")
	}
	return struct{}{}, h.s.SetPassword(ctx, id.UserID(in.User), in.Password, in.Logout)
}

func (h *adminHandlers) setAdmin(ctx context.Context, _ web.Requester, in userIn) (struct{}, error) {
	return struct{}{}, h.s.SetAdmin(ctx, id.UserID(in.User), in.Admin)
}

func (h *adminHandlers) deactivate(ctx context.Context, _ web.Requester, in userIn) (struct{}, error) {
	return struct{}{}, h.s.Deactivate(ctx, id.UserID(in.User), in.Erase)
}

type listIn struct {
	After id.UserID `query:"after"`
	Limit int       `query:"limit"`
}

type listOut struct {
	Users []account `json:"users"`
}

func (h *adminHandlers) listUsers(ctx context.Context, _ web.Requester, in listIn) (listOut, error) {
	if in.Limit < 1 || in.Limit > 1000 {
		in.Limit = 1000
	}
	users, err := h.s.ListUsers(ctx, in.After, in.Limit)
	return listOut{users}, err
}

type tokenIn struct {
	Token   string `json:"token,omitempty"`
	Uses    int    `json:"uses,omitempty"`
	Expires int64  `json:"expires,omitempty"` // ms
}

type tokenOut struct {
	Token string `json:"token"`
}

func (h *adminHandlers) newToken(ctx context.Context, _ web.Requester, in tokenIn) (tokenOut, error) {
	if in.Uses < 0 || in.Expires < 0 {
		return tokenOut{}, mautrix.MInvalidParam.WithMessage("uses and expires must not be negative")
	}
	expires := zeroTime
	if in.Expires > 0 {
		expires = time.UnixMilli(in.Expires)
	}
	token, err := h.s.NewRegistrationToken(ctx, in.Token, in.Uses, expires)
	return tokenOut{token}, err
}

var errNotRunning = errors.New("the server does not answer on its admin listener; is it running?")
