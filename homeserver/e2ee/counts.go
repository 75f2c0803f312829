package e2ee

import (
	"context"
	"maps"
	"sort"

	"maunium.net/go/mautrix/id"
)

// keyCount is what /sync tells a device about its own keys. Both parts are immutable.
type keyCount struct {
	counts map[string]int
	unused []string
}

// KeyCounts returns the number of one-time keys per algorithm, and the algorithms that have a fallback key which was not
// given out yet. Callers must not change either.
func (k *Keys) KeyCounts(ctx context.Context, user id.UserID, device id.DeviceID) (counts map[string]int, unusedFallback []string, err error) {
	name := owner(user, device)
	c, err := k.counts.one(ctx, name, func(ctx context.Context) (keyCount, error) { return k.loadCounts(ctx, name) })
	return c.counts, c.unused, err
}

func (k *Keys) loadCounts(ctx context.Context, name string) (keyCount, error) {
	counts, err := k.countedKeys(ctx, name)
	if err != nil {
		return keyCount{}, err
	}
	// Clients take a missing algorithm for "not told", so the usual one is always there.
	if _, ok := counts[signedCurve25519]; !ok {
		counts[signedCurve25519] = 0
	}
	fallback, err := k.fallbackKeys(ctx, name)
	if err != nil {
		return keyCount{}, err
	}
	unused := []string{}
	for _, f := range fallback {
		if !f.Used {
			unused = append(unused, f.Algorithm)
		}
	}
	sort.Strings(unused)
	return keyCount{counts, unused}, nil
}

const signedCurve25519 = "signed_curve25519"

// worthTelling says whether the device should hear of one key less: always when few are left or nothing is known here, else
// now and then, so that replicas do not drift apart.
func (k *Keys) worthTelling(name, algorithm string) bool {
	before, known := k.counts.peek(name)
	n := before.counts[algorithm] - 1
	return !known || n < enoughKeys || n%8 == 0
}

// oneLess returns the count with one key of the algorithm less.
func oneLess(algorithm string) func(keyCount) keyCount {
	return func(c keyCount) keyCount {
		counts := maps.Clone(c.counts)
		counts[algorithm]--
		return keyCount{counts, c.unused}
	}
}

const enoughKeys = 24
