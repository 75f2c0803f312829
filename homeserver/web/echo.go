package web

import (
	"context"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"
)

// A client that sends an event gets it back by sync. Clients know it by its transaction ID, but some take it for somebody else's
// where the answer to their own request comes later: matrix-js-sdk then says that sending a reply in a thread has failed. So the
// sync of a device waits until the sends of the same device that are under way have been answered.
type echoes struct {
	mu   sync.Mutex
	open map[echoKey][]chan struct{}
}

type echoKey struct {
	user   id.UserID
	device id.DeviceID
}

const (
	// maxEcho bounds the wait, echoAhead is how far an answer is to be ahead.
	maxEcho   = 100 * time.Millisecond
	echoAhead = time.Millisecond
)

// begin notes a send. The function returned is called when it has been answered.
func (e *echoes) begin(who *Requester) func() {
	key := echoKey{who.UserID, who.DeviceID}
	done := make(chan struct{})
	e.mu.Lock()
	if e.open == nil {
		e.open = map[echoKey][]chan struct{}{}
	}
	e.open[key] = append(e.open[key], done)
	e.mu.Unlock()
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		close(done)
		rest := e.open[key]
		if i := slices.Index(rest, done); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
		if len(rest) == 0 {
			delete(e.open, key)
		} else {
			e.open[key] = rest
		}
	}
}

// AfterSends waits, for a short time at most, until the events that a device is sending at this moment have been answered. It is
// called before that device is told of them.
func AfterSends(ctx context.Context, who Requester) {
	c := callOf(ctx)
	if c.srv == nil {
		return
	}
	e := &c.srv.echoes
	e.mu.Lock()
	open := slices.Clone(e.open[echoKey{who.UserID, who.DeviceID}])
	e.mu.Unlock()
	if len(open) == 0 {
		return
	}
	late := time.NewTimer(maxEcho)
	defer late.Stop()
	for _, done := range open {
		select {
		case <-done:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
	time.Sleep(echoAhead)
}

// settle says that the request has been answered.
func (c *call) settle() {
	if c.answered == nil {
		return
	}
	if c.w.started {
		_ = c.w.ctl.Flush() // an error means that nobody listens
	}
	c.answered()
}
