package media

import (
	"context"
	"sync"
	"time"
)

// pendingUploads wakes those who wait for an upload. Another replica may finish the upload, so waiters also look
// again every second.
type pendingUploads struct {
	mu sync.Mutex
	m  map[string]chan struct{}
}

func newPendingUploads() *pendingUploads { return &pendingUploads{m: map[string]chan struct{}{}} }

// wait returns true when it is worth looking again, false when the time is over.
func (p *pendingUploads) wait(ctx context.Context, mediaID string, left time.Duration) bool {
	if left <= 0 {
		return false
	}
	p.mu.Lock()
	ch, ok := p.m[mediaID]
	if !ok {
		ch = make(chan struct{})
		p.m[mediaID] = ch
	}
	p.mu.Unlock()
	t := time.NewTimer(min(left, time.Second))
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		p.done(mediaID)
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *pendingUploads) done(mediaID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch, ok := p.m[mediaID]; ok {
		close(ch)
		delete(p.m, mediaID)
	}
}
