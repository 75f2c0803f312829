package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	defaultBatch  = 500
	saveEvery     = time.Second
	longestPause  = 30 * time.Second
	shortestPause = 50 * time.Millisecond
)

// followers are the readers of the log that have a cursor.
type followers struct {
	mu     sync.Mutex
	all    []*follower
	launch func(f *follower) // set while Run runs
}

func (f *followers) init() {}

// follower is one reader.
type follower struct {
	name  string
	kinds KindSet
	fn    func(ctx context.Context, changes []Change) error
	batch int
	from  Pos // where it starts when it has no cursor yet

	pos   Pos // handled up to here
	saved Pos // what the cursor in the database says
	at    time.Time
}

// FollowOption changes how a follower runs.
type FollowOption func(*follower)

// FromStart lets a new follower begin with the first change of the log, not with the next.
func FromStart() FollowOption { return func(f *follower) { f.from = 0 } }

// Batch sets how many changes a follower gets at most at a time.
func Batch(n int) FollowOption { return func(f *follower) { f.batch = max(n, 1) } }

// Follow runs fn over all changes of these kinds, at least once, in order, on one replica at a time. The cursor is saved some
// time after fn returned nil, or together with what fn writes if it calls SaveCursor in its transaction. When fn fails it is
// called again with the same changes, or more, after a pause that grows.
func (s *Stream) Follow(name string, of KindSet, fn func(ctx context.Context, changes []Change) error, options ...FollowOption) {
	f := &follower{name: name, kinds: of, fn: fn, batch: defaultBatch, from: s.Head()}
	for _, o := range options {
		o(f)
	}
	s.followers.mu.Lock()
	defer s.followers.mu.Unlock()
	s.followers.all = append(s.followers.all, f)
	if s.followers.launch != nil {
		s.followers.launch(f)
	}
}

// start runs the followers, and those that register later, until ctx ends.
func (l *followers) start(ctx context.Context, s *Stream, wg *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.launch = func(f *follower) { wg.Go(func() { s.follow(ctx, f) }) }
	for _, f := range l.all {
		l.launch(f)
	}
	wg.Go(func() {
		<-ctx.Done()
		l.mu.Lock()
		l.launch = nil
		l.mu.Unlock()
	})
}

// follow runs a follower whenever this replica has its lease.
func (s *Stream) follow(ctx context.Context, f *follower) {
	log := zerolog.Ctx(ctx).With().Str("follower", f.name).Logger()
	ctx = log.WithContext(ctx)
	for ctx.Err() == nil {
		lease := s.db.Lease("follow/" + f.name)
		held, err := lease.Acquire(ctx)
		if err != nil {
			return
		}
		if err = s.followHeld(held, f); err != nil && ctx.Err() == nil {
			log.Warn().Err(err).Msg("Follower stopped, starting again")
			pause(ctx, shortestPause)
		}
		if context.Cause(held) != database.ErrLeaseLost {
			s.saveCursor(context.WithoutCancel(ctx), f)
		}
		lease.Release()
	}
}

// followHeld runs a follower while the lease is held.
func (s *Stream) followHeld(ctx context.Context, f *follower) error {
	if err := s.loadCursor(ctx, f); err != nil {
		return err
	}
	w := s.watch(f.kinds)
	defer s.unwatch(w)
	failures := 0
	for ctx.Err() == nil {
		changes, seen, err := s.some(ctx, f.pos, s.Head(), f.kinds, f.batch)
		if err == nil && len(changes) > 0 {
			err = s.handle(ctx, f, changes, seen)
		}
		followerLag.WithLabelValues(f.name).Set(float64(s.Head() - f.pos))
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			failures++
			followerFailures.WithLabelValues(f.name).Inc()
			zerolog.Ctx(ctx).Warn().Err(err).Int("failures", failures).Msg("Follower failed, trying again")
			pause(ctx, min(shortestPause<<min(failures-1, 12), longestPause))
			continue
		}
		failures = 0
		f.pos = max(f.pos, seen)
		if err = s.rest(ctx, f, w, len(changes) == 0); err != nil {
			return err
		}
	}
	return nil
}

// rest saves the cursor now and then, and waits for news if there are none.
func (s *Stream) rest(ctx context.Context, f *follower, w *watcher, idle bool) error {
	var save <-chan time.Time
	if f.pos > f.saved {
		left := saveEvery - time.Since(f.at)
		if left <= 0 {
			return s.saveCursor(ctx, f)
		}
		if idle {
			t := time.NewTimer(left)
			defer t.Stop()
			save = t.C
		}
	}
	if !idle {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-w.ch:
	case <-save:
	}
	return nil
}

// handling is the batch that a follower has in hand, carried by the context.
type handling struct {
	s    *Stream
	f    *follower
	upTo Pos
}

type handlingKey struct{}

func (s *Stream) handle(ctx context.Context, f *follower, changes []Change, upTo Pos) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f.fn(context.WithValue(ctx, handlingKey{}, &handling{s, f, upTo}), changes)
}

// SaveCursor, called by a follower inside of its transaction, moves the cursor in that transaction: what it writes then
// happens exactly once.
func SaveCursor(ctx context.Context) error {
	h, _ := ctx.Value(handlingKey{}).(*handling)
	if h == nil || !h.s.db.InTx(ctx) {
		return errors.New("stream: SaveCursor is for followers inside of a transaction")
	}
	if err := h.s.moveCursor(ctx, h.f, h.upTo); err != nil {
		return err
	}
	h.s.db.AfterCommit(ctx, func() { h.f.saved, h.f.pos, h.f.at = h.upTo, h.upTo, time.Now() })
	return nil
}

// errNotOurs says that the cursor was moved by another replica.
var errNotOurs = errors.New("stream: another replica has moved the cursor")

func (s *Stream) moveCursor(ctx context.Context, f *follower, to Pos) error {
	r, err := s.db.Exec(ctx, moveCursorQuery, f.name, to, f.saved)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return errNotOurs
}

// saveCursor writes the cursor if it has moved.
func (s *Stream) saveCursor(ctx context.Context, f *follower) error {
	if f.pos <= f.saved {
		return nil
	}
	if err := s.moveCursor(ctx, f, f.pos); err != nil {
		return err
	}
	f.saved, f.at = f.pos, time.Now()
	return nil
}

// loadCursor reads the cursor, or makes it.
func (s *Stream) loadCursor(ctx context.Context, f *follower) error {
	if _, err := s.db.Exec(ctx, newCursorQuery, f.name, f.from); err != nil {
		return err
	}
	if err := s.db.QueryRow(ctx, cursorQuery, f.name).Scan(&f.saved); err != nil {
		return err
	}
	f.pos, f.at = f.saved, time.Now()
	return nil
}
