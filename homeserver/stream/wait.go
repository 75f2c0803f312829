package stream

import (
	"context"
)

// waiter is a call of Wait.
type waiter struct {
	ch     chan struct{} // capacity 1
	woken  bool
	names  []Topic
	topics []*topic
	places []int32 // where it stands in the waiters of each topic
}

// place is a waiter in the list of a topic, with the number that the topic has in the waiter.
type place struct {
	w *waiter
	n int32
}

// Wait returns as soon as something newer than since touches one of the topics, with the head at that moment; at once if
// something has already. When ctx ends before, it returns the head and the error of ctx.
func (s *Stream) Wait(ctx context.Context, since Pos, topics ...Topic) (Pos, error) {
	for {
		w, old, unknown := s.register(since, topics)
		if w == nil && unknown == nil {
			return old, nil
		}
		if w == nil {
			touched, err := s.Touched(ctx, since, old, unknown)
			if err != nil || len(touched) > 0 {
				return old, err
			}
			since = old
			continue
		}
		select {
		case <-w.ch:
			s.unregister(w)
			return s.Head(), nil
		case <-ctx.Done():
			s.unregister(w)
			return s.Head(), ctx.Err()
		}
	}
}

// register enters a waiter. Without a waiter, some topic is touched already, or those returned are unknown.
func (s *Stream) register(since Pos, topics []Topic) (w *waiter, head Pos, unknown []Topic) {
	t := &s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	w = &waiter{ch: make(chan struct{}, 1), names: topics, topics: make([]*topic, len(topics)), places: make([]int32, len(topics))}
	for i, name := range topics {
		x := t.topics[name]
		w.topics[i] = x
		untouched, ask := t.untouched(x, since)
		if ask {
			unknown = append(unknown, name)
		} else if !untouched {
			return nil, t.last, nil
		}
	}
	if unknown != nil {
		return nil, t.last, unknown
	}
	for i, x := range w.topics {
		if x == nil {
			x = t.topic(topics[i])
			w.topics[i] = x
		}
		w.places[i] = int32(len(x.waiters))
		x.waiters = append(x.waiters, place{w, int32(i)})
	}
	return w, t.last, nil
}

func (s *Stream) unregister(w *waiter) {
	t := &s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, x := range w.topics {
		at, end := w.places[i], len(x.waiters)-1
		moved := x.waiters[end]
		x.waiters[at] = moved
		moved.w.places[moved.n] = at
		x.waiters[end] = place{}
		x.waiters = x.waiters[:end]
		if end == 0 {
			if cap(x.waiters) > 16 {
				x.waiters = nil
			}
			t.rest(w.names[i], x)
		}
	}
}

// wake wakes those who wait for a topic. The caller holds mu.
func (t *tail) wake(name Topic) {
	if name == "" {
		return
	}
	if x := t.topics[name]; x != nil {
		for _, p := range x.waiters {
			if !p.w.woken {
				p.w.woken = true
				p.w.ch <- struct{}{}
			}
		}
	}
}

// watcher is told whenever something of some kinds is published.
type watcher struct {
	kinds KindSet
	ch    chan struct{} // capacity 1
}

func (s *Stream) watch(of KindSet) *watcher {
	w := &watcher{of, make(chan struct{}, 1)}
	s.tail.mu.Lock()
	s.watchers[w] = struct{}{}
	s.tail.mu.Unlock()
	return w
}

func (s *Stream) unwatch(w *watcher) {
	s.tail.mu.Lock()
	delete(s.watchers, w)
	s.tail.mu.Unlock()
}
