package e2ee

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"
)

// eachServer lets start ask several servers at the same time. It waits for them, at most for the timeout, and collects
// failures. merge functions run one after the other, and none after eachServer has returned.
func (k *Keys) eachServer(ctx context.Context, servers int, timeout time.Duration,
	start func(ctx context.Context, g *errgroup.Group, done func(server string, err error, merge func())),
) Failures {
	failures := Failures{}
	if servers == 0 {
		return failures
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	g := &errgroup.Group{}
	g.SetLimit(remoteParallel)
	var mu sync.Mutex
	start(ctx, g, func(server string, err error, merge func()) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures[server] = failureOf(err)
			return
		}
		merge()
	})
	_ = g.Wait() // the functions report through done
	return failures
}

// failureOf says what a client may know of a failed request to another server.
func failureOf(err error) Failure {
	var refused mautrix.RespError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Failure{http.StatusServiceUnavailable, "The server did not answer in time"}
	case errors.As(err, &refused) && refused.StatusCode != 0:
		return Failure{refused.StatusCode, "The server refused the request"}
	}
	return Failure{http.StatusServiceUnavailable, "The server could not be reached"}
}

// noRemote answers when there is no federation.
var errNoFederation = errors.New("federation is off")
