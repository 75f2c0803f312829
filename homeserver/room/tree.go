package room

import "hash/maphash"

// ordered is what a key of a tree must be able to do.
type ordered[K any] interface {
	compare(K) int
	hash() uint64
}

// seed makes the shape of trees unpredictable to those who choose state keys.
var seed = maphash.MakeSeed()

// tree is an immutable ordered map: a treap whose priorities are hashes of the keys. So equal contents have equal shapes,
// a change copies O(log n) nodes, and the difference of two versions is found by comparing pointers.
type tree[K ordered[K], V comparable] struct {
	root *node[K, V]
	n    int
}

type node[K ordered[K], V comparable] struct {
	key         K
	prio        uint64
	val         V
	left, right *node[K, V]
}

func (t tree[K, V]) len() int { return t.n }

func (t tree[K, V]) get(k K) (v V, ok bool) {
	for n := t.root; n != nil; {
		switch c := k.compare(n.key); {
		case c == 0:
			return n.val, true
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return v, false
}

// set returns the map with k → v. An equal value gives the same map.
func (t tree[K, V]) set(k K, v V) tree[K, V] {
	old, ok := t.get(k)
	if ok && old == v {
		return t
	}
	n := t.n
	if !ok {
		n++
	}
	return tree[K, V]{insert(t.root, k, k.hash(), v), n}
}

// above says that (k, prio) stands nearer to the root than n.
func above[K ordered[K], V comparable](k K, prio uint64, n *node[K, V]) bool {
	return prio > n.prio || prio == n.prio && k.compare(n.key) < 0
}

func insert[K ordered[K], V comparable](n *node[K, V], k K, prio uint64, v V) *node[K, V] {
	if n == nil {
		return &node[K, V]{key: k, prio: prio, val: v}
	}
	c := k.compare(n.key)
	if c == 0 {
		m := *n
		m.val = v
		return &m
	}
	if above(k, prio, n) { // then k is nowhere below n
		l, r := split(n, k)
		return &node[K, V]{key: k, prio: prio, val: v, left: l, right: r}
	}
	m := *n
	if c < 0 {
		m.left = insert(n.left, k, prio, v)
	} else {
		m.right = insert(n.right, k, prio, v)
	}
	return &m
}

// split divides by k; an entry of k itself is dropped.
func split[K ordered[K], V comparable](n *node[K, V], k K) (l, r *node[K, V]) {
	if n == nil {
		return nil, nil
	}
	c := k.compare(n.key)
	if c == 0 {
		return n.left, n.right
	}
	m := *n
	if c < 0 {
		l, m.left = split(n.left, k)
		return l, &m
	}
	m.right, r = split(n.right, k)
	return &m, r
}

func merge[K ordered[K], V comparable](l, r *node[K, V]) *node[K, V] {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case above(l.key, l.prio, r):
		m := *l
		m.right = merge(l.right, r)
		return &m
	}
	m := *r
	m.left = merge(l, r.left)
	return &m
}

func (t tree[K, V]) remove(k K) tree[K, V] {
	if _, ok := t.get(k); !ok {
		return t
	}
	return tree[K, V]{removeNode(t.root, k), t.n - 1}
}

func removeNode[K ordered[K], V comparable](n *node[K, V], k K) *node[K, V] {
	c := k.compare(n.key)
	if c == 0 {
		return merge(n.left, n.right)
	}
	m := *n
	if c < 0 {
		m.left = removeNode(n.left, k)
	} else {
		m.right = removeNode(n.right, k)
	}
	return &m
}

// each visits all entries in the order of keys until fn says false.
func (t tree[K, V]) each(fn func(K, V) bool) { eachNode(t.root, fn) }

func eachNode[K ordered[K], V comparable](n *node[K, V], fn func(K, V) bool) bool {
	return n == nil || eachNode(n.left, fn) && fn(n.key, n.val) && eachNode(n.right, fn)
}

// from visits the entries whose key is at least k.
func (t tree[K, V]) from(k K, fn func(K, V) bool) { fromNode(t.root, k, fn) }

func fromNode[K ordered[K], V comparable](n *node[K, V], k K, fn func(K, V) bool) bool {
	if n == nil {
		return true
	}
	if k.compare(n.key) > 0 {
		return fromNode(n.right, k, fn)
	}
	return fromNode(n.left, k, fn) && fn(n.key, n.val) && eachNode(n.right, fn)
}

// diff reports every key whose entry differs: was and is say which side has one. Shared parts are skipped.
func diff[K ordered[K], V comparable](a, b *node[K, V], fn func(k K, old V, was bool, now V, is bool)) {
	var none V
	switch {
	case a == b:
	case a == nil:
		eachNode(b, func(k K, v V) bool { fn(k, none, false, v, true); return true })
	case b == nil:
		eachNode(a, func(k K, v V) bool { fn(k, v, true, none, false); return true })
	case a.key.compare(b.key) == 0:
		diff(a.left, b.left, fn)
		if a.val != b.val {
			fn(a.key, a.val, true, b.val, true)
		}
		diff(a.right, b.right, fn)
	case above(a.key, a.prio, b):
		l, r := split(b, a.key)
		diff(a.left, l, fn)
		fn(a.key, a.val, true, none, false)
		diff(a.right, r, fn)
	default:
		l, r := split(a, b.key)
		diff(l, b.left, fn)
		fn(b.key, none, false, b.val, true)
		diff(r, b.right, fn)
	}
}

// entry is a key with its value, for building.
type entry[K ordered[K], V comparable] struct {
	key K
	val V
}

// buildTree makes a map of entries that are sorted by key and have no doubles, in linear time.
func buildTree[K ordered[K], V comparable](sorted []entry[K, V]) tree[K, V] {
	var spine []*node[K, V] // the right edge, root first
	for _, e := range sorted {
		n := &node[K, V]{key: e.key, prio: e.key.hash(), val: e.val}
		var last *node[K, V]
		for len(spine) > 0 && above(n.key, n.prio, spine[len(spine)-1]) {
			last = spine[len(spine)-1]
			spine = spine[:len(spine)-1]
		}
		n.left = last
		if len(spine) > 0 {
			spine[len(spine)-1].right = n
		}
		spine = append(spine, n)
	}
	if len(spine) == 0 {
		return tree[K, V]{}
	}
	return tree[K, V]{spine[0], len(sorted)}
}
