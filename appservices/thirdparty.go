package appservices

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"
)

const (
	// lookupTimeout bounds what somebody waits for services that are asked all at once, lookupsAtOnce how many those are.
	lookupTimeout = 15 * time.Second
	lookupsAtOnce = 16
)

// question is something that one service is asked.
type question struct {
	s    *Service
	path string
}

// Protocols describes the third-party networks that services bridge to (spec: cs#get_matrixclientv3thirdpartyprotocols).
func (a *AppServices) Protocols(ctx context.Context) map[string]json.RawMessage {
	return a.protocols(ctx, func(string) bool { return true })
}

// Protocol describes one network.
func (a *AppServices) Protocol(ctx context.Context, name string) (json.RawMessage, error) {
	if d, ok := a.protocols(ctx, func(p string) bool { return p == name })[name]; ok {
		return d, nil
	}
	return nil, mautrix.MNotFound.WithMessage("Unknown protocol")
}

func (a *AppServices) protocols(ctx context.Context, wanted func(string) bool) map[string]json.RawMessage {
	var names []string
	var ask []question
	for _, s := range a.o.Services.all {
		for _, p := range s.Protocols {
			if s.connected() && wanted(p) {
				names = append(names, p)
				ask = append(ask, question{s, "/thirdparty/protocol/" + url.PathEscape(p)})
			}
		}
	}
	out := map[string]json.RawMessage{}
	for i, d := range askAll[map[string]json.RawMessage](ctx, ask, nil) {
		if d != nil {
			out[names[i]] = mergeProtocol(out[names[i]], d)
		}
	}
	return out
}

// mergeProtocol adds the instances of a second service for the same protocol.
func mergeProtocol(have json.RawMessage, d map[string]json.RawMessage) json.RawMessage {
	if have != nil {
		var old map[string]json.RawMessage
		var a, b []json.RawMessage
		if json.Unmarshal(have, &old) == nil && json.Unmarshal(old["instances"], &a) == nil && json.Unmarshal(d["instances"], &b) == nil {
			if all, err := json.Marshal(append(a, b...)); err == nil {
				old["instances"] = all
				d = old
			}
		}
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return have
	}
	return raw
}

// Lookup asks for locations or users of a network, by its fields or by a Matrix identifier. kind is location or user.
func (a *AppServices) Lookup(ctx context.Context, kind, protocol string, query url.Values) []json.RawMessage {
	path := "/thirdparty/" + kind
	if protocol != "" {
		path += "/" + url.PathEscape(protocol)
	}
	var ask []question
	for _, s := range a.o.Services.all {
		if s.connected() && (protocol == "" || slices.Contains(s.Protocols, protocol)) {
			ask = append(ask, question{s, path})
		}
	}
	out := []json.RawMessage{}
	for _, found := range askAll[[]json.RawMessage](ctx, ask, query) {
		out = append(out, found...)
	}
	return out
}

// askAll asks services at the same time; the answers stand in the order of the questions, nil where there was none.
func askAll[T any](ctx context.Context, ask []question, query url.Values) []T {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	out := make([]T, len(ask))
	var g errgroup.Group
	g.SetLimit(lookupsAtOnce)
	for i, q := range ask {
		g.Go(func() error {
			var answer T
			if q.s.call.do(ctx, http.MethodGet, q.path, query, nil, &answer) == nil {
				out[i] = answer
			}
			return nil
		})
	}
	_ = g.Wait() // no question fails
	return out
}
