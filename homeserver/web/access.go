package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/config"
)

// requestIDs gives each request a name: a prefix of this process and a number.
type requestIDs struct {
	prefix string
	n      *atomic.Uint64
}

func newRequestIDs() requestIDs {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return requestIDs{hex.EncodeToString(b[:]) + "-", new(atomic.Uint64)}
}

func (ids *requestIDs) next() string {
	return ids.prefix + strconv.FormatUint(ids.n.Add(1), 36)
}

// RequestID is the name of the request, as in the log and the X-Request-Id header.
func RequestID(ctx context.Context) string { return callOf(ctx).requestID() }

// ClientAddr is the address of the client, behind trusted proxies.
func ClientAddr(ctx context.Context) netip.Addr { return callOf(ctx).addr }

// clientAddr takes the right-most address of X-Forwarded-For that is not a
// proxy of ours, if the connection itself comes from one.
func (s *Server) clientAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a := ap.Addr().Unmap().WithZone("")
	if len(s.cfg.TrustedProxies) == 0 || !config.InNetworks(s.cfg.TrustedProxies, a) {
		return a
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return a
		}
		a = hop.Unmap().WithZone("")
		if !config.InNetworks(s.cfg.TrustedProxies, a) {
			return a
		}
	}
	return a
}

// done counts the request and writes its line.
func (s *Server) done(c *call, r *http.Request) {
	took := time.Since(c.start)
	status := c.w.status
	if !c.w.started {
		status = http.StatusOK
	}
	c.route.observe(r.Method, status, took)
	if !s.requests {
		return
	}
	e := zerolog.Ctx(c.Context).Info()
	if !e.Enabled() {
		return
	}
	e.Str("method", r.Method).Str("route", c.pattern()).Int("status", status).
		Dur("ms", took).Int64("bytes", c.w.bytes).Str("addr", c.addr.String())
	if c.errcode != "" {
		e.Str("errcode", c.errcode)
	}
	if c.who.UserID != "" {
		e.Str("user_id", string(c.who.UserID)).Str("device_id", string(c.who.DeviceID))
	}
	if c.who.Server != "" {
		e.Str("server", c.who.Server)
	}
	if c.who.AppService != nil {
		e.Str("appservice", c.who.AppService.ID)
	}
	e.Msg("request")
}
