package account

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"
)

// seenDevices gathers when devices were last seen; Run writes it down. No request waits for that.
type seenDevices struct {
	mu      sync.Mutex
	pending map[deviceKey]sighting
}

type deviceKey struct {
	user   id.UserID
	device id.DeviceID
}

type sighting struct {
	at        int64
	ip, agent string
}

const (
	seenEvery      = 5 * time.Minute
	maxPendingSeen = 100_000
	maxUserAgent   = 300
)

// noteSeen remembers that a device was here, at most once in a few minutes.
func (a *Accounts) noteSeen(k *known, ip func() string, agent string) {
	now := a.now().UnixMilli()
	last := k.seen.Load()
	if k.device == "" || now-last < seenEvery.Milliseconds() || !k.seen.CompareAndSwap(last, now) {
		return
	}
	a.seen.mu.Lock()
	defer a.seen.mu.Unlock()
	if len(a.seen.pending) < maxPendingSeen {
		a.seen.pending[deviceKey{k.user, k.device}] = sighting{now, ip(), cut(agent, maxUserAgent)}
	}
}

// FlushSeen writes down what noteSeen has gathered.
func (a *Accounts) FlushSeen(ctx context.Context) error {
	a.seen.mu.Lock()
	batch := a.seen.pending
	a.seen.pending = make(map[deviceKey]sighting)
	a.seen.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	keys := make([]deviceKey, 0, len(batch))
	for k := range batch {
		keys = append(keys, k)
	}
	// In one order, so that two processes never wait for each other.
	slices.SortFunc(keys, func(x, y deviceKey) int {
		return cmp.Or(cmp.Compare(x.user, y.user), cmp.Compare(x.device, y.device))
	})
	for len(keys) > 0 {
		n := min(len(keys), 500)
		if err := a.writeSeen(ctx, keys[:n], batch); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (a *Accounts) writeSeen(ctx context.Context, keys []deviceKey, batch map[deviceKey]sighting) error {
	return a.db.Tx(ctx, func(ctx context.Context) error {
		for _, k := range keys {
			s := batch[k]
			if _, err := a.db.Exec(ctx, updateDeviceSeen, k.user, k.device, s.at, s.ip, s.agent); err != nil {
				return doing("writing when devices were seen", err)
			}
		}
		return nil
	})
}

func logError(ctx context.Context, err error, what string) {
	zerolog.Ctx(ctx).Error().Err(err).Msg(what)
}
