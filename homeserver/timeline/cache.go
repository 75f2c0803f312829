package timeline

import "sync"

// Cache is a least-recently-used cache with a budget: every value has a cost (bytes, or 1 to count values).
// It is safe for concurrent use. Only immutable things, or things whose validity is checked by the reader, are kept in one.
type Cache[K comparable, V any] struct {
	mu     sync.Mutex
	budget int64
	used   int64
	items  map[K]*node[K, V]
	first  *node[K, V] // most recently used
	last   *node[K, V]
}

type node[K comparable, V any] struct {
	key        K
	value      V
	cost       int64
	prev, next *node[K, V]
}

// NewCache makes a cache that keeps values up to the given total cost.
func NewCache[K comparable, V any](budget int64) *Cache[K, V] {
	return &Cache[K, V]{budget: budget, items: map[K]*node[K, V]{}}
}

// Get returns the value of key and marks it as used.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.items[key]
	if !ok {
		var zero V
		return zero, false
	}
	if c.first != n {
		c.unlink(n)
		c.push(n)
	}
	return n.value, true
}

// Put stores a value, dropping the least recently used ones until the budget holds.
func (c *Cache[K, V]) Put(key K, value V, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.items[key]; ok {
		c.used += cost - n.cost
		n.value, n.cost = value, cost
		c.unlink(n)
		c.push(n)
	} else {
		n := &node[K, V]{key: key, value: value, cost: cost}
		c.items[key] = n
		c.used += cost
		c.push(n)
	}
	for c.used > c.budget && c.last != nil && c.last != c.first {
		c.drop(c.last)
	}
}

// Delete forgets a key.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.items[key]; ok {
		c.drop(n)
	}
}

// Len is the number of values held.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

func (c *Cache[K, V]) drop(n *node[K, V]) {
	c.unlink(n)
	delete(c.items, n.key)
	c.used -= n.cost
}

func (c *Cache[K, V]) push(n *node[K, V]) {
	n.prev, n.next = nil, c.first
	if c.first != nil {
		c.first.prev = n
	}
	c.first = n
	if c.last == nil {
		c.last = n
	}
}

func (c *Cache[K, V]) unlink(n *node[K, V]) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		c.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		c.last = n.prev
	}
	n.prev, n.next = nil, nil
}
