package account

import (
	"encoding/binary"
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"
)

func cacheKey(i int) (k tokenKey) {
	binary.BigEndian.PutUint64(k[24:], uint64(i))
	k[0] = byte(i)
	return k
}

func TestTokenCache_WhatWasReadBeforeADropIsNotKept(t *testing.T) {
	c := newTokenCache(1000)
	gen := c.generation.Load()
	c.dropUser("@alice:hs1")
	c.put(cacheKey(1), &known{user: "@alice:hs1"}, gen)
	if c.get(cacheKey(1)) != nil {
		t.Fatal("a session read before the logout was kept")
	}
	c.put(cacheKey(1), &known{user: "@alice:hs1"}, c.generation.Load())
	if c.get(cacheKey(1)) == nil {
		t.Fatal("a session was not kept")
	}
}

func TestTokenCache_DropsOneDeviceOrAll(t *testing.T) {
	c := newTokenCache(1000)
	for i, k := range []*known{{user: "@a:x", device: "1"}, {user: "@a:x", device: "2"}, {user: "@b:x", device: "1"}} {
		c.put(cacheKey(i), k, c.generation.Load())
	}
	c.dropDevice("@a:x", "1")
	if c.get(cacheKey(0)) != nil || c.get(cacheKey(1)) == nil || c.get(cacheKey(2)) == nil {
		t.Fatal("not exactly one device was dropped")
	}
	c.dropUser("@a:x")
	if c.get(cacheKey(1)) != nil || c.get(cacheKey(2)) == nil {
		t.Fatal("not exactly one user was dropped")
	}
}

func TestTokenCache_StaysBounded(t *testing.T) {
	const limit = 64 * 4
	c := newTokenCache(limit)
	for i := range 10_000 {
		c.put(cacheKey(i), &known{user: id.UserID(fmt.Sprintf("@u%d:x", i%997))}, c.generation.Load())
	}
	entries, indexed := 0, 0
	for i := range c.shards {
		entries += len(c.shards[i].entries)
		for _, keys := range c.users[i].tokens {
			indexed += len(keys)
		}
	}
	if entries > limit || entries != indexed {
		t.Fatalf("%d entries, %d indexed, at most %d wanted", entries, indexed, limit)
	}
}
