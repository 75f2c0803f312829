package web

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/viaduc/viaduc/config"
)

func TestLimit_RefillsAndSaysWhen(t *testing.T) {
	l := newLimiter(config.Bucket{PerSecond: 2, Burst: 3})
	now := time.Unix(1000, 0)
	for i := range 3 {
		if wait := l.take("a", now); wait != 0 {
			t.Fatalf("request %d waits %v", i, wait)
		}
	}
	if wait := l.take("a", now); wait != 500*time.Millisecond {
		t.Fatalf("wait %v, want 500ms", wait)
	}
	if wait := l.take("b", now); wait != 0 {
		t.Fatalf("another key waits %v", wait)
	}
	if wait := l.take("a", now.Add(500*time.Millisecond)); wait != 0 {
		t.Fatalf("after the time it said, waits %v", wait)
	}
}

func TestLimit_MemoryIsBounded(t *testing.T) {
	l := newLimiter(config.Bucket{PerSecond: 0.001, Burst: 1})
	now := time.Unix(1000, 0)
	for i := range 16 * maxBuckets * 3 {
		l.take(fmt.Sprint(i), now)
		if i%1000 == 0 && l.take("busy", now) == 0 && i > 0 {
			t.Fatalf("a bucket in use was forgotten after %d others", i)
		}
	}
	n := 0
	for i := range l.shards {
		n += len(l.shards[i].now) + len(l.shards[i].old)
	}
	if n > 2*16*maxBuckets {
		t.Fatalf("%d buckets", n)
	}
}

func TestLimit_AddressesCountByNetwork(t *testing.T) {
	key := func(s string) string { return addrKey(netip.MustParseAddr(s)) }
	if key("2001:db8::1") != key("2001:db8::ffff") || key("2001:db8::1") == key("2001:db8:0:1::1") {
		t.Fatal("IPv6 addresses must count by /64")
	}
	if key("192.0.2.1") == key("192.0.2.2") {
		t.Fatal("IPv4 addresses must count one by one")
	}
}
