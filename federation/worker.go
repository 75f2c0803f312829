package federation

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	// workerIdle is how long a worker waits for more before it gives its lease back, longPause how long a pause may be for it to
	// stay.
	workerIdle = 10 * time.Second
	longPause  = time.Minute
	// busyElsewhere is the pause when another replica sends to the destination, ownTrouble that when our database fails.
	busyElsewhere = 3 * time.Second
	ownTrouble    = 2 * time.Second
	// maxPassing bounds the passing facts kept for one destination.
	maxPassing = 1000
)

// worker sends to one destination, on one replica at a time. Its fields are guarded by outbound.mu but for those at the end,
// which belong to the goroutine that runs it.
type worker struct {
	o      *outbound
	server string
	wake   chan struct{}

	running   bool
	todo      work
	pending   map[passingKey]stream.Pos
	notBefore time.Time // end of the pause
	failures  int

	most int // items in one transaction: less after a refusal
	txn  int64
}

// destinationError is a failure of the destination, as opposed to one of ours.
type destinationError struct{ error }

func (e destinationError) Unwrap() error { return e.error }

// run sends until nothing is left, and ends.
func (w *worker) run(ctx context.Context) {
	for {
		w.hold(ctx)
		w.o.mu.Lock()
		if ctx.Err() == nil && w.todo != 0 && !time.Now().Before(w.notBefore) { // something came while this worker was leaving
			w.o.mu.Unlock()
			continue
		}
		w.running = false
		w.o.forget(w)
		w.o.mu.Unlock()
		return
	}
}

// hold works as long as there is something to do and the lease is ours.
func (w *worker) hold(ctx context.Context) {
	lease := w.o.f.DB.Lease("destination/" + w.server)
	held, ok, err := lease.TryAcquire(ctx)
	if err != nil || !ok {
		w.pauseFor(busyElsewhere)
		return
	}
	defer lease.Release()
	if err := w.load(held); err != nil {
		w.trouble(held, err)
		return
	}
	for held.Err() == nil && w.pause(held) {
		sent, err := w.sendNext(held)
		var failure destinationError
		switch {
		case held.Err() != nil:
			return
		case errors.Is(err, errSmaller):
		case errors.As(err, &failure):
			w.failed(held, failure.error)
		case err != nil:
			w.trouble(held, err)
			return
		case !sent && !w.idle(held):
			return
		}
	}
}

// load reads how the destination is doing: another replica may have talked to it.
func (w *worker) load(ctx context.Context) error {
	failures, retry, err := w.o.destination(ctx, w.server)
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	w.failures, w.notBefore = failures, retry
	return err
}

func (w *worker) pauseFor(d time.Duration) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	w.notBefore = time.Now().Add(d)
}

// trouble is a failure of ours: nobody else has to know.
func (w *worker) trouble(ctx context.Context, err error) {
	if ctx.Err() == nil {
		zerolog.Ctx(ctx).Warn().Str("server", w.server).Err(err).Msg("sending to a destination")
	}
	w.pauseFor(ownTrouble)
}

// idle waits for something to do.
func (w *worker) idle(ctx context.Context) bool {
	t := time.NewTimer(workerIdle)
	defer t.Stop()
	select {
	case <-w.wake:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// pause waits out a back-off, unless that takes long. It ends when the destination is heard from.
func (w *worker) pause(ctx context.Context) bool {
	for {
		w.o.mu.Lock()
		left := time.Until(w.notBefore)
		if left > longPause {
			clear(w.pending) // such facts lose their worth meanwhile
		}
		w.o.mu.Unlock()
		if left <= 0 || left > longPause {
			return left <= 0
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-w.wake:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}

// takeTodo says what is to be looked at, which is then done unless again is called.
func (w *worker) takeTodo() work {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	what := w.todo
	w.todo = 0
	return what
}

func (w *worker) again(what work) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	w.todo |= what
}

// sendNext sends one transaction; false when there is nothing to send.
func (w *worker) sendNext(ctx context.Context) (bool, error) {
	todo := w.takeTodo()
	b := &outgoing{w: w, left: w.most, bytes: txnBytes}
	err := b.build(ctx, todo)
	if err != nil {
		w.again(todo)
		w.putBack(b.passing)
		return false, err
	}
	w.again(b.more)
	if b.nothing() {
		return false, nil
	}
	if !b.txn.empty() {
		err = w.deliver(ctx, b)
	}
	if err != nil {
		w.again(todo)
		w.putBack(b.passing)
		return false, err
	}
	if err := w.sent(ctx, b); err != nil {
		w.again(todo)
		return false, err
	}
	return true, nil
}

// deliver sends a transaction. Is it refused for what is in it, smaller ones are tried until the item that is to blame is
// alone; that one is left out.
func (w *worker) deliver(ctx context.Context, b *outgoing) error {
	_, err := w.o.f.Client.sendTransaction(ctx, w.server, w.txnID(b), &b.txn.Transaction)
	switch {
	case err == nil:
		metricSent.Inc()
		w.most = min(2*w.most, maxItems)
		return nil
	case !hopeless(err):
		metricSendFailures.Inc()
		return destinationError{err}
	case b.items > 1:
		w.most = max(b.items/2, 1)
		return errSmaller
	}
	b.refuse()
	zerolog.Ctx(ctx).Warn().Str("server", w.server).Err(err).Str("item", b.describe()).Msg("a destination refuses this for what it is")
	return nil
}

// errSmaller asks for another try with a smaller transaction.
var errSmaller = errors.New("the transaction was refused, smaller ones follow")

// hopeless tells whether trying the same transaction again cannot help: the destination understood it and refuses it
// for what it holds.
func hopeless(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusBadRequest && e.ErrCode != "")
}

func (w *worker) sent(ctx context.Context, b *outgoing) error {
	if err := w.o.dropSent(ctx, w.server, b); err != nil {
		return err
	}
	if n := len(b.messages); n > 0 {
		if err := w.o.f.E2EE.Sent(ctx, w.server, b.messages[n-1].ID); err != nil {
			return err
		}
	}
	w.txn = 0
	w.o.mu.Lock()
	failed := w.failures > 0
	w.failures, w.notBefore = 0, time.Time{}
	delete(w.o.away, w.server)
	w.o.mu.Unlock()
	if failed {
		return w.o.noteSuccess(ctx, w.server)
	}
	return nil
}

// failed notes the failure and when to try again.
func (w *worker) failed(ctx context.Context, cause error) {
	var e *Error
	after := time.Duration(0)
	if errors.As(cause, &e) && e.Status == http.StatusTooManyRequests {
		if ms, ok := e.ExtraData["retry_after_ms"].(float64); ok && ms > 0 {
			after = time.Duration(min(ms, float64(backoffLast.Milliseconds()))) * time.Millisecond
		}
	}
	w.o.mu.Lock()
	w.failures++
	failures := w.failures
	wait := w.o.backoff(failures, after)
	w.notBefore = time.Now().Add(wait)
	retry := w.notBefore
	if failures >= awayAfter {
		w.o.away[w.server] = true
	}
	w.o.mu.Unlock()
	zerolog.Ctx(ctx).Info().Str("server", w.server).Int("failures", failures).Dur("pause", wait).Err(cause).Msg("destination failed")
	if err := w.o.noteFailure(ctx, w.server, failures, retry); err != nil && ctx.Err() == nil {
		zerolog.Ctx(ctx).Warn().Str("server", w.server).Err(err).Msg("note failure of destination")
	}
}
