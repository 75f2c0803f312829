package stream

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/homeserver/database"
)

// publisher brings what was committed into memory, in the order of positions.
//
// Positions come from three sides: the committer, Append, and other replicas. The first two register the positions they got
// before they commit, so that a gap is known to be either ours, and then it will be published by whoever committed it, or
// somebody else's, and then it is read from the database.
type publisher struct {
	order sync.Mutex     // held by who publishes
	ready map[Pos]*batch // committed here, waiting for what comes before

	ownMu sync.Mutex
	own   map[Pos]int // first positions registered here and neither published nor given up
}

// batch is what one transaction committed.
type batch struct {
	first   Pos
	n       Pos // positions used
	entries []entry
	after   []func()
	done    chan struct{} // closed when it is published
}

func (p *publisher) init() {
	p.ready = make(map[Pos]*batch)
	p.own = make(map[Pos]int)
}

// promise registers positions that a transaction got and has not committed yet.
func (p *publisher) promise(first Pos) {
	p.ownMu.Lock()
	p.own[first]++
	p.ownMu.Unlock()
}

// release ends a promise.
func (p *publisher) release(first Pos) {
	p.ownMu.Lock()
	if p.own[first]--; p.own[first] <= 0 {
		delete(p.own, first)
	}
	p.ownMu.Unlock()
}

// entriesOf gives changes their audience.
func (s *Stream) entriesOf(ctx context.Context, changes []Change) []entry {
	out := make([]entry, len(changes))
	for i := range changes {
		out[i].Change = changes[i]
		if s.audience.Has(changes[i].Kind) {
			out[i].extra = s.extra(ctx, &changes[i])
		}
	}
	return out
}

// publish publishes a batch that is committed and was promised. It returns when that is done, or after some seconds if the
// database cannot be asked for what comes before; then learnLoop does it.
func (s *Stream) publish(ctx context.Context, b *batch) {
	b.done = make(chan struct{})
	s.order.Lock()
	s.ready[b.first] = b
	s.release(b.first)
	s.publishReady()
	s.order.Unlock()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		select {
		case <-b.done:
			return
		default:
		}
		if s.ours(s.Head() + 1) {
			select {
			case <-b.done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			continue
		}
		if err := s.learn(ctx); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Reading the log failed")
			time.Sleep(20 * time.Millisecond)
		}
	}
	kick(s.behind)
}

// ours says whether a transaction of this process got this position and will publish it.
func (s *Stream) ours(p Pos) bool {
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	return s.own[p] > 0
}

// publishReady publishes the batches that follow the head. The caller holds order.
func (s *Stream) publishReady() {
	for {
		b := s.ready[s.Head()+1]
		if b == nil {
			break
		}
		delete(s.ready, b.first)
		s.apply(b)
	}
	// A commit whose outcome was unknown has been learnt as if it were another replica's.
	head := s.Head()
	for first, b := range s.ready {
		if first <= head {
			delete(s.ready, first)
			close(b.done)
		}
	}
}

// apply publishes a batch: callbacks, observers, tail, waiters. The caller holds order.
func (s *Stream) apply(b *batch) {
	for _, f := range b.after {
		contain(f)
	}
	for i := range s.observers {
		s.observe(&s.observers[i], b.entries)
	}
	head := b.first + b.n - 1
	t := &s.tail
	t.mu.Lock()
	t.push(b.entries, head)
	s.head.Store(int64(head))
	var all KindSet
	for i := range b.entries {
		e := &b.entries[i]
		all |= 1 << e.Kind
		room, user := e.topics()
		t.wake(room)
		t.wake(user)
		for _, x := range e.extra {
			t.wake(x)
		}
	}
	for w := range t.watchers {
		if w.kinds&all != 0 {
			kick(w.ch)
		}
	}
	t.mu.Unlock()
	headPosition.Set(float64(head))
	if b.done != nil {
		close(b.done)
		kick(s.notify)
	}
}

func (s *Stream) observe(o *observer, entries []entry) {
	var list []Change
	for i := range entries {
		if o.kinds.Has(entries[i].Kind) {
			list = append(list, entries[i].Change)
		}
	}
	if list != nil {
		contain(func() { o.fn(list) })
	}
}

// contain runs a callback. One that panics must not stop the stream for everybody.
func contain(f func()) {
	defer func() {
		if r := recover(); r != nil {
			callbackPanics.Inc()
			zerolog.Ctx(context.Background()).Error().Str("panic", fmt.Sprint(r)).Bytes("stack", debug.Stack()).Msg("A callback of the stream panicked")
		}
	}()
	f()
}

// learnRows bounds what is read from the log at a time.
const learnRows = 5000

// learn reads what other replicas have appended and publishes it.
func (s *Stream) learn(ctx context.Context) error {
	ctx = s.db.Outside(ctx)
	for {
		more, err := s.learnSome(ctx)
		if err != nil || !more {
			return err
		}
	}
}

func (s *Stream) learnSome(ctx context.Context) (more bool, err error) {
	s.blind.RLock()
	defer s.blind.RUnlock()
	since := s.Head()
	upTo, err := s.readHead(ctx)
	if err != nil || upTo <= since {
		return false, err
	}
	rows, err := database.Rows(ctx, s.db, scanChange, rangeQuery, since, upTo, learnRows)
	if err != nil {
		return false, err
	}
	if len(rows) == learnRows {
		upTo = rows[learnRows-1].Pos
	}
	moved := s.publishLearnt(s.entriesOf(ctx, rows), upTo)
	return moved && len(rows) == learnRows, nil
}

// publishLearnt publishes rows that were read from the log, up to the first position that is ours to publish.
func (s *Stream) publishLearnt(rows []entry, upTo Pos) (moved bool) {
	s.order.Lock()
	defer s.order.Unlock()
	head := s.Head()
	s.ownMu.Lock()
	for first := range s.own {
		if first > head {
			upTo = min(upTo, first-1)
		}
	}
	s.ownMu.Unlock()
	for first := range s.ready {
		if first > head {
			upTo = min(upTo, first-1)
		}
	}
	if upTo <= head {
		return false
	}
	from, to := 0, len(rows)
	for from < to && rows[from].Pos <= head {
		from++
	}
	for to > from && rows[to-1].Pos > upTo {
		to--
	}
	s.apply(&batch{first: head + 1, n: upTo - head, entries: rows[from:to]})
	learntTotal.Add(float64(to - from))
	s.publishReady()
	return true
}
