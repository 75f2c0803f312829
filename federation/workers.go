package federation

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	// sweepRows is how often the tables are looked at for destinations that nobody woke, sweepMemory how often the workers are
	// that wait for another try.
	sweepRows   = 30 * time.Second
	sweepMemory = 2 * time.Second
	// maxHeard bounds the servers of which it is remembered that they are not in back-off, heardFor how long.
	maxHeard = 10_000
	heardFor = 15 * time.Second
)

// work says what may wait for a destination.
type work uint8

const (
	workEvents work = 1 << iota
	workDevices
	workMessages
	workPassing
	workAll = workEvents | workDevices | workMessages | workPassing
)

// run owns the workers.
func (o *outbound) run(ctx context.Context) {
	o.mu.Lock()
	o.ctx = ctx
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.ctx = nil
		o.mu.Unlock()
		o.wg.Wait()
	}()
	tick := time.NewTicker(sweepMemory)
	defer tick.Stop()
	for next := time.Now(); ; {
		if !time.Now().Before(next) {
			o.sweep(ctx)
			next = time.Now().Add(sweepRows)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			o.retry()
		}
	}
}

// sweep starts workers for all that waits in the tables.
func (o *outbound) sweep(ctx context.Context) {
	away, err := o.awayServers(ctx)
	if err == nil {
		o.mu.Lock()
		o.away = away
		o.mu.Unlock()
	}
	servers, werr := o.waitingServers(ctx)
	if err == nil {
		err = werr
	}
	if err != nil && ctx.Err() == nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("sweep of destinations")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range servers {
		w := o.worker(s)
		w.notBefore = time.Time{} // the table knows better
		o.startWorker(w, workAll)
	}
}

// retry starts workers whose pause is over.
func (o *outbound) retry() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.workers {
		if !w.running && w.todo != 0 {
			o.startWorker(w, 0)
		}
	}
}

// kick makes sure that a worker looks at a destination soon.
func (o *outbound) kick(server string, what work) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away[server] {
		return // the sweep comes when it is time
	}
	o.startWorker(o.worker(server), what)
}

// note remembers a passing fact for a destination. Of one that is failing, which has nobody to wait for, nothing is.
func (o *outbound) note(server string, k passingKey, since stream.Pos) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.worker(server)
	if time.Now().Before(w.notBefore) && !w.running {
		o.forget(w)
		return
	}
	if old, ok := w.pending[k]; ok {
		since = min(since, old)
	} else if len(w.pending) >= maxPassing {
		return
	}
	w.pending[k] = since
	o.startWorker(w, workPassing)
}

// worker finds or makes the worker of a destination. It is called under mu.
func (o *outbound) worker(server string) *worker {
	w := o.workers[server]
	if w == nil {
		w = &worker{o: o, server: server, wake: make(chan struct{}, 1), pending: map[passingKey]stream.Pos{}, most: maxItems}
		o.workers[server] = w
	}
	return w
}

// startWorker gives a worker something to do, and lets it run unless it does or has to pause. It is called under mu.
func (o *outbound) startWorker(w *worker, what work) {
	w.todo |= what
	switch {
	case w.running:
		select {
		case w.wake <- struct{}{}:
		default:
		}
	case o.ctx != nil && !time.Now().Before(w.notBefore):
		w.running = true
		ctx := o.ctx
		o.wg.Go(func() { w.run(ctx) })
	}
}

// forget drops a worker that has nothing to do and nothing to remember. It is called under mu.
func (o *outbound) forget(w *worker) {
	if !w.running && w.todo == 0 && len(w.pending) == 0 && o.workers[w.server] == w {
		delete(o.workers, w.server)
	}
}

// isAway says whether only the newest event of each room is to be kept for a server: it is not there, or not talked to.
func (o *outbound) isAway(ctx context.Context, server string) bool {
	if allowed := o.f.Client.o.Allowed; allowed != nil && allowed(ctx, server) != nil {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.away[server]
}

// alive ends the back-off of a server that was heard from.
func (o *outbound) alive(ctx context.Context, server string) error {
	now := time.Now()
	o.mu.Lock()
	w, at := o.workers[server], o.heard[server]
	pausing := o.away[server] || w != nil && now.Before(w.notBefore)
	if !pausing && now.Sub(at) < heardFor {
		o.mu.Unlock()
		return nil
	}
	if len(o.heard) >= maxHeard {
		clear(o.heard)
	}
	o.heard[server] = now
	o.mu.Unlock()
	failures, _, err := o.destination(ctx, server)
	if err != nil || failures == 0 && !pausing {
		return err
	}
	if err := o.noteSuccess(ctx, server); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.away, server)
	w = o.worker(server)
	w.notBefore, w.failures = time.Time{}, 0
	o.startWorker(w, workAll)
	return nil
}
