package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Bounds of .well-known (spec: ss#getwell-knownmatrixserver).
const (
	wellKnownBytes     = 64 << 10
	wellKnownRedirects = 5
	wellKnownTimeout   = 10 * time.Second
	wellKnownDefault   = 24 * time.Hour
	wellKnownMax       = 48 * time.Hour
	wellKnownMin       = 5 * time.Minute
	wellKnownFailed    = time.Minute
	wellKnownFailedMax = time.Hour
)

// wellKnown is what a server says about where it is.
type wellKnown struct {
	server   string // empty: nothing
	until    time.Time
	failures int
}

func (r *resolver) lookupWellKnown(ctx context.Context, server string) wellKnown {
	r.mu.Lock()
	old, ok := r.known[server]
	r.mu.Unlock()
	if ok && time.Now().Before(old.until) {
		return old
	}
	name, life, err := r.fetchWellKnown(ctx, server)
	wk := wellKnown{server: name, until: time.Now().Add(life)}
	if err != nil {
		if ctx.Err() != nil {
			return old // the caller gave up: that says nothing about the server
		}
		wk.failures = old.failures + 1
		wk.until = time.Now().Add(min(wellKnownFailed<<min(wk.failures-1, 6), wellKnownFailedMax))
		// A server that delegated keeps its delegation over a short failure.
		if old.server != "" && wk.failures <= 3 {
			wk.server = old.server
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= discoveryMax {
		clear(r.known)
	}
	r.known[server] = wk
	return wk
}

func (r *resolver) fetchWellKnown(ctx context.Context, server string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wellKnownTimeout)
	defer cancel()
	u := &url.URL{Scheme: "https", Host: server, Path: "/.well-known/matrix/server"}
	for range wellKnownRedirects + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return "", 0, err
		}
		res, err := r.http.Do(req)
		if err != nil {
			return "", 0, err
		}
		if loc, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
			res.Body.Close()
			if loc.Scheme != "https" || loc.User != nil {
				return "", 0, errors.New("redirect away from https")
			}
			u = loc
			continue
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return "", 0, fmt.Errorf("HTTP %d", res.StatusCode)
		}
		name, err := parseWellKnown(res.Body)
		return name, cacheLife(res.Header, time.Now()), err
	}
	return "", 0, errors.New("too many redirects")
}

// parseWellKnown reads the document, which names a server.
func parseWellKnown(r io.Reader) (string, error) {
	body, err := io.ReadAll(io.LimitReader(r, wellKnownBytes+1))
	if err != nil || len(body) > wellKnownBytes {
		return "", errors.New("answer too large or broken off")
	}
	var doc map[string]json.RawMessage
	var name string
	if json.Unmarshal(body, &doc) != nil || json.Unmarshal(doc["m.server"], &name) != nil || !event.ValidServerName(name) {
		return "", errors.New("m.server is not a server name")
	}
	return name, nil
}

// cacheLife reads Cache-Control and Expires, within bounds.
func cacheLife(h http.Header, now time.Time) time.Duration {
	life := wellKnownDefault
	if exp, err := http.ParseTime(h.Get("Expires")); err == nil {
		life = exp.Sub(now)
	}
	for _, d := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		d = strings.ToLower(strings.TrimSpace(d))
		if d == "no-store" || d == "no-cache" {
			return wellKnownMin
		}
		if v, ok := strings.CutPrefix(d, "max-age="); ok {
			sec, err := strconv.ParseInt(strings.Trim(v, `"`), 10, 64)
			if err == nil || errors.Is(err, strconv.ErrRange) {
				life = time.Duration(min(max(sec, 0), int64(wellKnownMax/time.Second))) * time.Second
			}
		}
	}
	return min(max(life, wellKnownMin), wellKnownMax)
}
