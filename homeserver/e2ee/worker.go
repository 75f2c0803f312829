package e2ee

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"
)

const (
	resyncPoll  = 5 * time.Second // another replica may have marked a list
	flushEvery  = time.Second
	sweepEvery  = 10 * time.Minute
	keepSeen    = 3 * 24 * time.Hour
	keepChanges = 30 * 24 * time.Hour
)

// Run fetches stale device lists, deletes what was acknowledged and what is old, until ctx ends.
func (k *Keys) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { k.runAcks(ctx); return nil })
	g.Go(func() error { k.runLeased(ctx); return nil })
	return g.Wait()
}

// runLeased does what one replica at a time shall do.
func (k *Keys) runLeased(ctx context.Context) {
	lease := k.db.Lease("e2ee")
	for ctx.Err() == nil {
		held, err := lease.Acquire(ctx)
		if err != nil {
			if ctx.Err() == nil {
				k.log.Warn().Err(err).Msg("Cannot take the lease of e2ee")
			}
			pause(ctx, resyncPoll)
			continue
		}
		k.work(held)
		lease.Release()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (k *Keys) work(ctx context.Context) {
	poll := time.NewTicker(resyncPoll)
	defer poll.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		more, err := k.Resync(ctx)
		if err != nil && ctx.Err() == nil {
			k.log.Warn().Err(err).Msg("Cannot fetch stale device lists")
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-poll.C:
		case <-sweep.C:
			if err := k.Sweep(ctx); err != nil && ctx.Err() == nil {
				k.log.Warn().Err(err).Msg("Cannot delete what is old")
			}
		}
	}
}

// Resync fetches some of the lists that are stale and due, and tells whether there may be more.
func (k *Keys) Resync(ctx context.Context) (more bool, err error) {
	if k.remote == nil {
		return false, nil
	}
	rows, err := k.staleLists(ctx, time.Now().UnixMilli(), resyncBatch)
	if err != nil {
		return false, err
	}
	var done atomic.Int64
	g := &errgroup.Group{}
	g.SetLimit(remoteParallel)
	for _, row := range rows {
		g.Go(func() error {
			if k.resync(ctx, row.User) {
				done.Add(1)
			}
			return nil
		})
	}
	err = g.Wait()
	return len(rows) == resyncBatch && done.Load() > 0, err
}

func (k *Keys) resync(ctx context.Context, user id.UserID) bool {
	ctx, cancel := context.WithTimeout(ctx, resyncTimeout)
	defer cancel()
	wanted, err := k.isInteresting(ctx, user)
	switch {
	case err != nil:
	case wanted:
		_, err = k.follow(ctx, user)
	default:
		err = k.unfollow(ctx, user)
	}
	if err != nil {
		k.log.Debug().Err(err).Str("user_id", string(user)).Msg("Device list not fetched")
	}
	return err == nil
}

// Sweep deletes what is no longer needed: old transaction IDs, and old device list changes that newer ones cover.
func (k *Keys) Sweep(ctx context.Context) error {
	now := time.Now()
	if _, err := k.db.Exec(ctx, deleteOldSeen, now.Add(-keepSeen).UnixMilli()); err != nil {
		return err
	}
	_, err := k.db.Exec(ctx, deleteOldListChanges, now.Add(-keepChanges).UnixMilli())
	return err
}
