package room

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTree_BehavesLikeAMap compares random histories with a plain map, and differences between any two versions.
func TestTree_BehavesLikeAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type version struct {
		t tree[nameKey, int]
		m map[nameKey]int
	}
	all := []version{{m: map[nameKey]int{}}}
	for range 3000 {
		base := all[len(all)-1]
		if rng.IntN(50) == 0 {
			base = all[rng.IntN(len(all))]
		}
		k := nameKey(fmt.Sprint("k", rng.IntN(400)))
		next := version{m: maps.Clone(base.m)}
		if rng.IntN(3) == 0 {
			next.t = base.t.remove(k)
			delete(next.m, k)
		} else {
			v := rng.IntN(5)
			next.t = base.t.set(k, v)
			next.m[k] = v
		}
		all = append(all, next)
		if next.t.len() != len(next.m) {
			t.Fatalf("length %d, want %d", next.t.len(), len(next.m))
		}
	}
	for range 500 {
		a, b := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
		got := maps.Clone(a.m)
		diff(a.t.root, b.t.root, func(k nameKey, old int, was bool, now int, is bool) {
			if v, ok := a.m[k]; ok != was || v != old {
				t.Fatalf("old value of %s is %d %v, want %d %v", k, old, was, v, ok)
			}
			if is {
				got[k] = now
			} else {
				delete(got, k)
			}
		})
		if !maps.Equal(got, b.m) {
			t.Fatal("the difference does not lead from one to the other")
		}
		var keys []nameKey
		b.t.each(func(k nameKey, _ int) bool { keys = append(keys, k); return true })
		if !slices.IsSorted(keys) || len(keys) != len(b.m) {
			t.Fatal("not in order")
		}
		from := nameKey(fmt.Sprint("k", rng.IntN(400)))
		var rest []nameKey
		b.t.from(from, func(k nameKey, _ int) bool { rest = append(rest, k); return true })
		if i, _ := slices.BinarySearch(keys, from); !slices.Equal(rest, keys[i:]) {
			t.Fatal("from does not begin where it should")
		}
		sorted := make([]entry[nameKey, int], 0, len(keys))
		for _, k := range keys {
			sorted = append(sorted, entry[nameKey, int]{k, b.m[k]})
		}
		built := buildTree(sorted)
		diff(b.t.root, built.root, func(k nameKey, _ int, _ bool, _ int, _ bool) { t.Fatalf("built tree differs at %s", k) })
	}
}

func TestLRU_KeepsItsBudget(t *testing.T) {
	gone := 0
	c := newLRU[int, int](100)
	c.gone = func(int, int) { gone++ }
	for i := range 50 {
		c.put(i, i, 10)
		if _, ok := c.get(0); !ok {
			t.Fatal("what is used was dropped")
		}
	}
	if len(c.m) != 10 || c.used != 100 || gone != 40 {
		t.Fatalf("%d entries, %d bytes, %d gone", len(c.m), c.used, gone)
	}
	c.remove(0)
	if _, ok := c.get(0); ok || c.used != 90 {
		t.Fatal("removed, and still there")
	}
}
