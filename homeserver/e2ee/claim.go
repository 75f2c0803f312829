package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	maxClaim       = 20_000 // devices in one request
	defaultTimeout = 10 * time.Second
	maxTimeout     = 30 * time.Second
	remoteParallel = 16
)

// Wanted says which keys to claim: user → device → algorithm.
type Wanted map[id.UserID]map[id.DeviceID]string

// Claimed are keys given out: user → device → "algorithm:id" → key.
type Claimed map[id.UserID]map[id.DeviceID]map[string]json.RawMessage

// Failures names the servers that could not be asked.
type Failures map[string]Failure

// Failure says why.
type Failure struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

func (w Wanted) size() (n int) {
	for _, devices := range w {
		n += len(devices)
	}
	return n
}

// ClaimKeys takes one key for each wanted device, of local users and, from their servers, of remote ones.
// spec: cs#post_matrixclientv3keysclaim
func (k *Keys) ClaimKeys(ctx context.Context, want Wanted, timeout time.Duration) (Claimed, Failures, error) {
	if want.size() > maxClaim {
		return nil, nil, mautrix.MTooLarge.WithMessage("Too many keys claimed at once")
	}
	local := Wanted{}
	remote := map[string]Wanted{}
	for user, devices := range want {
		server := user.Homeserver()
		switch {
		case k.accounts.Local(user):
			local[user] = devices
		case server == "":
		case remote[server] == nil:
			remote[server] = Wanted{user: devices}
		default:
			remote[server][user] = devices
		}
	}
	out, err := k.claimLocal(ctx, local)
	if err != nil {
		return nil, nil, err
	}
	failures := k.claimRemote(ctx, remote, bounded(timeout), out)
	return out, failures, nil
}

// FederationClaim answers another server; only keys of our own users are given.
// spec: ss#post_matrixfederationv1userkeysclaim
func (k *Keys) FederationClaim(ctx context.Context, want Wanted) (*ClaimedKeys, error) {
	if want.size() > maxClaim {
		return nil, mautrix.MTooLarge.WithMessage("Too many keys claimed at once")
	}
	local := Wanted{}
	for user, devices := range want {
		if k.accounts.Local(user) {
			local[user] = devices
		}
	}
	out, err := k.claimLocal(ctx, local)
	if err != nil {
		return nil, err
	}
	return &ClaimedKeys{OneTimeKeys: out}, nil
}

func bounded(timeout time.Duration) time.Duration {
	if timeout <= 0 {
		return defaultTimeout
	}
	return min(timeout, maxTimeout)
}

// claimLocal takes keys in one transaction, one statement for each algorithm.
func (k *Keys) claimLocal(ctx context.Context, want Wanted) (Claimed, error) {
	out := Claimed{}
	var all []string
	byAlgorithm := map[string][]string{}
	for user, devices := range want {
		for device, algorithm := range devices {
			name := owner(user, device)
			all = append(all, name)
			byAlgorithm[algorithm] = append(byAlgorithm[algorithm], name)
		}
	}
	if len(all) == 0 {
		return out, nil
	}
	select {
	case k.claiming <- struct{}{}:
		defer func() { <-k.claiming }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	counted := map[string]func(keyCount) keyCount{}
	k.counts.freeze(all)
	defer func() { k.counts.thaw(all, counted) }()
	taken := make(map[string]*take, len(byAlgorithm))
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		var changes []stream.Change
		for algorithm, owners := range byAlgorithm {
			sort.Strings(owners)
			t := &take{algorithm: algorithm}
			if err := k.take(ctx, owners, t); err != nil {
				return err
			}
			taken[algorithm] = t
			changes = append(changes, t.tell...)
		}
		if len(changes) == 0 {
			return nil
		}
		_, err := k.stream.Append(ctx, changes...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claiming keys: %w", err)
	}
	for algorithm, t := range taken {
		metricClaimed.WithLabelValues("one_time").Add(float64(len(t.keys) - t.fallback))
		metricClaimed.WithLabelValues("fallback").Add(float64(t.fallback))
		for _, key := range t.keys {
			out.add(algorithm, key)
		}
		for _, name := range t.quiet {
			counted[name] = oneLess(algorithm)
		}
	}
	return out, nil
}

// take is what one claim gave for one algorithm.
type take struct {
	algorithm string
	keys      []takenKey
	tell      []stream.Change // devices that shall hear of it
	quiet     []string        // devices that need not
	fallback  int             // how many of keys are fallback keys
}

func (c Claimed) add(algorithm string, key takenKey) {
	user, device := splitOwner(key.Owner)
	if c[user] == nil {
		c[user] = map[id.DeviceID]map[string]json.RawMessage{}
	}
	c[user][device] = map[string]json.RawMessage{algorithm + ":" + key.KeyID: json.RawMessage(key.Key)}
}

// take deletes and returns the oldest key of each owner, else its fallback key.
func (k *Keys) take(ctx context.Context, owners []string, t *take) error {
	missing := owners
	for len(missing) > 0 {
		keys, err := k.takeRows(ctx, takeKeys, missing, database.List([]string{t.algorithm}))
		if err != nil {
			return err
		}
		t.keys = append(t.keys, keys...)
		if len(keys) == len(missing) {
			missing = nil
			break
		}
		missing = without(missing, keys)
		again, err := k.ownersWithKeys(ctx, missing, t.algorithm)
		if err != nil {
			return err
		}
		if len(again) == 0 {
			break
		}
	}
	for _, key := range t.keys {
		if k.worthTelling(key.Owner, t.algorithm) {
			t.tell = append(t.tell, keyCountChange(key.Owner))
		} else {
			t.quiet = append(t.quiet, key.Owner)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	fallback, err := k.takeRows(ctx, useFallback, missing, t.algorithm)
	for _, key := range fallback {
		t.tell = append(t.tell, keyCountChange(key.Owner))
	}
	t.keys, t.fallback = append(t.keys, fallback...), len(fallback)
	return err
}

func keyCountChange(name string) stream.Change {
	user, device := splitOwner(name)
	return stream.Change{Kind: stream.KeyCount, UserID: user, Ref: string(device)}
}

func without(owners []string, keys []takenKey) []string {
	got := make(map[string]bool, len(keys))
	for _, key := range keys {
		got[key.Owner] = true
	}
	var rest []string
	for _, o := range owners {
		if !got[o] {
			rest = append(rest, o)
		}
	}
	return rest
}

// claimRemote asks the other servers at the same time and adds what they give. An answer is cut to what was asked.
func (k *Keys) claimRemote(ctx context.Context, want map[string]Wanted, timeout time.Duration, out Claimed) Failures {
	return k.eachServer(ctx, len(want), timeout, func(ctx context.Context, g *errgroup.Group, done func(server string, err error, merge func())) {
		for server, devices := range want {
			g.Go(func() error {
				got, err := k.remote.ClaimUserKeys(ctx, server, devices)
				done(server, err, func() { mergeClaimed(out, devices, got) })
				return nil
			})
		}
	})
}

func mergeClaimed(out Claimed, want Wanted, got *ClaimedKeys) {
	if got == nil {
		return
	}
	for user, devices := range want {
		for device := range devices {
			keys := got.OneTimeKeys[user][device]
			if len(keys) == 0 {
				continue
			}
			if out[user] == nil {
				out[user] = map[id.DeviceID]map[string]json.RawMessage{}
			}
			out[user][device] = keys
		}
	}
}
