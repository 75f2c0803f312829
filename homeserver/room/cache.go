package room

import "sync"

// lru keeps values up to a budget of bytes; those not used for longest go first. Safe for concurrent use.
type lru[K comparable, V any] struct {
	mu     sync.Mutex
	budget int64
	used   int64
	m      map[K]*lruItem[K, V]
	newest *lruItem[K, V] // ring: newest.prev is the oldest
	gone   func(K, V)     // called under the lock when an entry leaves
}

type lruItem[K comparable, V any] struct {
	key        K
	val        V
	cost       int64
	prev, next *lruItem[K, V]
}

func newLRU[K comparable, V any](budget int64) *lru[K, V] {
	return &lru[K, V]{budget: budget, m: map[K]*lruItem[K, V]{}}
}

func (c *lru[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it, ok := c.m[k]
	if !ok {
		return v, false
	}
	c.touch(it)
	return it.val, true
}

func (c *lru[K, V]) put(k K, v V, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it, ok := c.m[k]; ok {
		c.used += cost - it.cost
		it.val, it.cost = v, cost
		c.touch(it)
	} else {
		it = &lruItem[K, V]{key: k, val: v, cost: cost}
		c.m[k] = it
		c.used += cost
		c.link(it)
	}
	for c.used > c.budget && len(c.m) > 1 {
		c.drop(c.newest.prev)
	}
}

func (c *lru[K, V]) remove(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it, ok := c.m[k]; ok {
		c.drop(it)
	}
}

func (c *lru[K, V]) drop(it *lruItem[K, V]) {
	delete(c.m, it.key)
	c.used -= it.cost
	c.unlink(it)
	if c.gone != nil {
		c.gone(it.key, it.val)
	}
}

func (c *lru[K, V]) touch(it *lruItem[K, V]) {
	if c.newest != it {
		c.unlink(it)
		c.link(it)
	}
}

func (c *lru[K, V]) link(it *lruItem[K, V]) {
	if c.newest == nil {
		it.prev, it.next = it, it
	} else {
		it.next, it.prev = c.newest, c.newest.prev
		it.prev.next, it.next.prev = it, it
	}
	c.newest = it
}

func (c *lru[K, V]) unlink(it *lruItem[K, V]) {
	if it.next == it {
		c.newest = nil
		return
	}
	it.prev.next, it.next.prev = it.next, it.prev
	if c.newest == it {
		c.newest = it.next
	}
}

// peek is get without counting as a use.
func (c *lru[K, V]) peek(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it, ok := c.m[k]
	if !ok {
		return v, false
	}
	return it.val, true
}

// getOrPut returns the value that is there, or puts this one.
func (c *lru[K, V]) getOrPut(k K, v V, cost int64) V {
	if old, ok := c.get(k); ok {
		return old
	}
	c.put(k, v, cost)
	return v
}

// charge corrects the cost of an entry.
func (c *lru[K, V]) charge(k K, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it, ok := c.m[k]; ok {
		c.used += cost - it.cost
		it.cost = cost
		for c.used > c.budget && len(c.m) > 1 {
			c.drop(c.newest.prev)
		}
	}
}

// clear drops everything.
func (c *lru[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range c.m {
		c.drop(it)
	}
}
