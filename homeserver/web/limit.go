package web

import (
	"context"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/viaduc/viaduc/config"
)

// Limit is the name of a bucket. Its rate is in the configuration; each user,
// address or server has a bucket of its own.
type Limit string

// The limits that routes name.
const (
	NoLimit         Limit = ""
	LimitDefault    Limit = "default"
	LimitSend       Limit = "send"
	LimitLogin      Limit = "login"
	LimitRegister   Limit = "register"
	LimitCreate     Limit = "create"
	LimitJoin       Limit = "join"
	LimitInvite     Limit = "invite"
	LimitUpload     Limit = "upload"
	LimitDownload   Limit = "download"
	LimitSearch     Limit = "search"
	LimitKeys       Limit = "keys"
	LimitSettings   Limit = "settings"
	LimitEphemeral  Limit = "ephemeral"
	LimitReport     Limit = "report"
	LimitFederation Limit = "federation"
)

func bucketsOf(l config.Limits) map[Limit]config.Bucket {
	return map[Limit]config.Bucket{
		LimitDefault: l.Default, LimitSend: l.Send, LimitLogin: l.Login, LimitRegister: l.Register,
		LimitCreate: l.Create, LimitJoin: l.Join, LimitInvite: l.Invite, LimitUpload: l.Upload,
		LimitDownload: l.Download, LimitSearch: l.Search, LimitKeys: l.Keys, LimitSettings: l.Settings,
		LimitEphemeral: l.Ephemeral, LimitReport: l.Report, LimitFederation: l.Federation,
	}
}

// limiter holds the buckets of one limit, in bounded memory: of each shard the
// buckets used lately, in two generations. When the newer is full, the older
// is forgotten.
type limiter struct {
	rate   rate.Limit
	burst  int
	seed   maphash.Seed
	shards [16]limitShard
}

type limitShard struct {
	mu       sync.Mutex
	now, old map[string]*rate.Limiter
}

// maxBuckets is how many buckets a generation of a shard holds.
const maxBuckets = 4096

func newLimiter(b config.Bucket) *limiter {
	return &limiter{rate: rate.Limit(b.PerSecond), burst: max(b.Burst, 1), seed: maphash.MakeSeed()}
}

// take takes one token, or returns after what time one will be there.
func (l *limiter) take(key string, at time.Time) (wait time.Duration) {
	s := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.now[key]
	if b == nil {
		if b = s.old[key]; b == nil {
			b = rate.NewLimiter(l.rate, l.burst)
		}
		if len(s.now) >= maxBuckets {
			s.old, s.now = s.now, nil
		}
		if s.now == nil {
			s.now = make(map[string]*rate.Limiter)
		}
		s.now[key] = b
	}
	if b.AllowN(at, 1) {
		return 0
	}
	missing := 1 - b.TokensAt(at)
	return time.Duration(missing / float64(l.rate) * float64(time.Second))
}

func newLimiters(cfg config.Limits) map[Limit]*limiter {
	out := make(map[Limit]*limiter)
	for name, b := range bucketsOf(cfg) {
		if cfg.Enabled && b.PerSecond > 0 {
			out[name] = newLimiter(b)
		} else {
			out[name] = nil
		}
	}
	return out
}

// takeLimit takes from the route's bucket of whoever asks.
func (c *call) takeLimit() error {
	l := c.route.limiter
	if l == nil || c.who.Unlimited || c.who.AppService != nil && !c.who.AppService.RateLimited {
		return nil
	}
	key := string(c.who.UserID)
	if key == "" {
		key = c.who.Server
	}
	if key == "" {
		key = addrKey(c.addr)
	}
	if wait := l.take(key, c.start); wait > 0 {
		return LimitExceeded(wait)
	}
	return nil
}

// addrKey is an IPv4 address, or the /64 network of an IPv6 address.
func addrKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr().String()
		}
	}
	return a.String()
}

// TakeLimit takes from a bucket inside a handler, for instance login attempts
// by account besides those by address.
func TakeLimit(ctx context.Context, name Limit, key string) error {
	c := callOf(ctx)
	if c.srv == nil {
		return nil
	}
	l := c.srv.limiters[name]
	if l == nil || c.who.Unlimited {
		return nil
	}
	if wait := l.take("\x00"+key, time.Now()); wait > 0 {
		return LimitExceeded(wait)
	}
	return nil
}
