package e2ee

import (
	"context"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// A cache keeps what was read from the database together with the position at which it was known to be right. Before
// use, the stream tells whether anything of these kinds has happened to the user since, so replicas need no other
// invalidation.
type cache[K comparable, V any] struct {
	stream *stream.Stream
	kinds  []stream.Kind
	user   func(K) id.UserID
	max    int

	mu      sync.Mutex
	entries map[K]*cached[V]
	frozen  map[K]int
	drops   int64 // grows with each drop, so that a load that began before it is not kept
}

type cached[V any] struct {
	value V
	pos   stream.Pos
}

func newCache[K comparable, V any](s *stream.Stream, limit int, user func(K) id.UserID, kinds ...stream.Kind) *cache[K, V] {
	return &cache[K, V]{stream: s, kinds: kinds, user: user, max: limit, entries: make(map[K]*cached[V]), frozen: make(map[K]int)}
}

// get returns the values of all keys; load reads those that are missing or out of date.
func (c *cache[K, V]) get(ctx context.Context, keys []K, load func(ctx context.Context, missing []K) (map[K]V, error)) (map[K]V, error) {
	head := c.stream.Head()
	out := make(map[K]V, len(keys))
	missing, old, oldest := c.lookup(keys, head, out)
	if len(old) > 0 {
		stale, err := c.recheck(ctx, old, oldest, head, out)
		if err != nil {
			return nil, err
		}
		missing = append(missing, stale...)
	}
	if len(missing) == 0 {
		return out, nil
	}
	c.mu.Lock()
	drops := c.drops
	c.mu.Unlock()
	loaded, err := load(ctx, missing)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, v := range loaded {
		out[key] = v
		if drops == c.drops && c.frozen[key] == 0 {
			c.put(key, &cached[V]{v, head})
		}
	}
	return out, nil
}

// one is get for one key.
func (c *cache[K, V]) one(ctx context.Context, key K, load func(ctx context.Context) (V, error)) (V, error) {
	m, err := c.get(ctx, []K{key}, func(ctx context.Context, _ []K) (map[K]V, error) {
		v, err := load(ctx)
		return map[K]V{key: v}, err
	})
	return m[key], err
}

// lookup puts what is surely right into out, and returns the rest: unknown, and known at an older position.
func (c *cache[K, V]) lookup(keys []K, head stream.Pos, out map[K]V) (missing, old []K, oldest stream.Pos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest = head
	for _, key := range keys {
		e := c.entries[key]
		switch {
		case e == nil:
			missing = append(missing, key)
		case e.pos >= head:
			out[key] = e.value
		default:
			old = append(old, key)
			oldest = min(oldest, e.pos)
		}
	}
	return missing, old, oldest
}

// recheck asks the stream about entries that are behind it.
func (c *cache[K, V]) recheck(ctx context.Context, keys []K, since, head stream.Pos, out map[K]V) (stale []K, err error) {
	topics := make([]stream.Topic, len(keys))
	for i, key := range keys {
		topics[i] = stream.UserTopic(c.user(key))
	}
	touched, err := c.stream.Touched(ctx, since, head, topics)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, key := range keys {
		e := c.entries[key]
		if e == nil || c.hit(touched[topics[i]]) {
			delete(c.entries, key)
			stale = append(stale, key)
			continue
		}
		e.pos = max(e.pos, head)
		out[key] = e.value
	}
	return stale, nil
}

func (c *cache[K, V]) hit(set stream.KindSet) bool {
	for _, kind := range c.kinds {
		if set.Has(kind) {
			return true
		}
	}
	return false
}

// put must be called with the lock held. A full cache loses some entries, whichever come first.
func (c *cache[K, V]) put(key K, e *cached[V]) {
	if len(c.entries) >= c.max {
		n := c.max/16 + 1
		for k := range c.entries {
			delete(c.entries, k)
			if n--; n == 0 {
				break
			}
		}
	}
	c.entries[key] = e
}

// peek returns what is kept, however old.
func (c *cache[K, V]) peek(key K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		return e.value, true
	}
	return v, false
}

// freeze keeps values of the keys from being loaded into the cache until thaw, so that a change outside of the stream can
// be applied to what is kept.
func (c *cache[K, V]) freeze(keys []K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		c.frozen[key]++
	}
}

// thaw applies the changes to values that are there, and ends freeze. The functions must not change the old value.
func (c *cache[K, V]) thaw(keys []K, changes map[K]func(V) V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	for _, key := range keys {
		if c.frozen[key]--; c.frozen[key] <= 0 {
			delete(c.frozen, key)
		}
	}
	for key, f := range changes {
		if e := c.entries[key]; e != nil {
			e.value = f(e.value)
		}
	}
}

// drop forgets keys.
func (c *cache[K, V]) drop(keys ...K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	for _, key := range keys {
		delete(c.entries, key)
	}
}
