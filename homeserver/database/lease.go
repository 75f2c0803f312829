package database

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// ErrLeaseLost is the cause of the end of a lease's context when the lease was lost, not given back.
var ErrLeaseLost = errors.New("database: lease lost")

const defaultTTL = 15 * time.Second

// Lease lets one process at a time do something. A Lease is used by one goroutine.
//
// A row in leases names the owner, a row in replicas says how long the owner is certainly alive. One goroutine of the process
// renews that row, whatever the number of leases. SQLite has one process, so memory is enough.
type Lease struct {
	db     *DB
	name   string
	cancel context.CancelCauseFunc
}

// leases are those that this process holds.
type leases struct {
	mu      sync.Mutex
	held    map[string]*Lease
	freed   map[string]chan struct{} // closed when the lease of that name is given back here
	owner   string                   // our row in replicas; "" before the first lease and after we were too slow
	safe    time.Time                // until then no other process takes our leases
	running bool
	joining sync.Mutex // one goroutine at a time registers the owner
}

func (l *leases) init() {
	l.held = make(map[string]*Lease)
	l.freed = make(map[string]chan struct{})
}

// Lease names a lease; Acquire takes it.
func (db *DB) Lease(name string) *Lease { return &Lease{db: db, name: name} }

// Acquire waits until the lease is ours. The context returned ends when ctx ends, when the lease is lost (the cause is then
// ErrLeaseLost) or given back.
func (l *Lease) Acquire(ctx context.Context) (context.Context, error) {
	for {
		held, ok, err := l.TryAcquire(ctx)
		if ok {
			return held, nil
		}
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("lease", l.name).Msg("Taking a lease failed, trying again")
		}
		pause := l.db.ttl()/8 + rand.N(l.db.ttl()/16)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-l.db.closing.Done():
			return nil, errors.New("database: closed")
		case <-l.freedHere():
		case <-time.After(pause):
		}
	}
}

// freedHere ends when somebody in this process gives the lease back.
func (l *Lease) freedHere() <-chan struct{} {
	s := &l.db.leases
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[l.name] == nil {
		return nil // another process has it: ask again later
	}
	if s.freed[l.name] == nil {
		s.freed[l.name] = make(chan struct{})
	}
	return s.freed[l.name]
}

// TryAcquire takes the lease if it is free.
func (l *Lease) TryAcquire(ctx context.Context) (held context.Context, ok bool, err error) {
	s := &l.db.leases
	s.mu.Lock()
	if s.held[l.name] != nil {
		s.mu.Unlock()
		return nil, false, nil
	}
	held, cancel := context.WithCancelCause(ctx)
	l.cancel = cancel
	s.held[l.name] = l
	s.mu.Unlock()
	if l.db.engine == postgres {
		ok, err = l.take(ctx)
		if !ok {
			l.drop(errors.New("database: lease not taken"))
			return nil, false, err
		}
	}
	return held, true, nil
}

// Release gives the lease back.
func (l *Lease) Release() {
	s := &l.db.leases
	s.mu.Lock()
	mine, owner := s.held[l.name] == l, s.owner
	s.mu.Unlock()
	if !mine {
		return // lost before
	}
	l.cancel(context.Canceled)
	if l.db.engine == postgres && owner != "" {
		ctx, cancel := context.WithTimeout(context.Background(), l.db.ttl()/3)
		defer cancel()
		_ = l.db.aside(ctx, func(c *conn) error { // if it fails, the row ends with our life
			_, err := c.exec(ctx, `DELETE FROM leases WHERE name = $1 AND owner = $2`, []any{l.name, owner})
			return err
		})
	}
	l.drop(context.Canceled)
}

// drop forgets the lease in this process.
func (l *Lease) drop(why error) {
	s := &l.db.leases
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[l.name] != l {
		return
	}
	delete(s.held, l.name)
	if ch := s.freed[l.name]; ch != nil {
		close(ch)
		delete(s.freed, l.name)
	}
	l.cancel(why)
}

func (db *DB) ttl() time.Duration {
	if db.opts.LeaseTTL > 0 {
		return db.opts.LeaseTTL
	}
	return defaultTTL
}

// nowMS is the clock of the server, the same for all replicas.
const nowMS = `(extract(epoch from clock_timestamp()) * 1000)::bigint`

// take writes the row of the lease.
func (l *Lease) take(ctx context.Context) (bool, error) {
	owner, err := l.db.register(ctx)
	if err != nil {
		return false, err
	}
	var n int64
	err = l.db.aside(ctx, func(c *conn) error {
		r, err := c.exec(ctx, `INSERT INTO leases (name, owner) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner WHERE leases.owner = excluded.owner
			OR NOT EXISTS (SELECT 1 FROM replicas r WHERE r.owner = leases.owner AND r.expires > `+nowMS+`)`, []any{l.name, owner})
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("taking the lease %s: %w", l.name, err)
	}
	s := &l.db.leases
	s.mu.Lock()
	defer s.mu.Unlock()
	return n == 1 && s.owner == owner && time.Now().Before(s.safe), nil
}

// register makes sure that this process has a living row in replicas, and returns its name there.
func (db *DB) register(ctx context.Context) (string, error) {
	s := &db.leases
	s.joining.Lock()
	defer s.joining.Unlock()
	s.mu.Lock()
	owner := s.owner
	if owner != "" && time.Now().Before(s.safe) {
		s.mu.Unlock()
		return owner, nil
	}
	s.mu.Unlock()
	if owner != "" {
		return "", errors.New("database: leases are not renewed in time")
	}
	owner = newOwner()
	start, ttl := time.Now(), db.ttl()
	err := db.aside(ctx, func(c *conn) error {
		var err error
		if db.opts.Alone { // whoever else is in the list has died
			_, err = c.exec(ctx, `DELETE FROM replicas`, nil)
		}
		if err != nil {
			return err
		}
		_, err = c.exec(ctx, `INSERT INTO replicas (owner, expires) VALUES ($1, `+nowMS+` + $2)`, []any{owner, ttl.Milliseconds()})
		if err == nil {
			_, err = c.exec(ctx, `DELETE FROM leases l WHERE NOT EXISTS (SELECT 1 FROM replicas r WHERE r.owner = l.owner AND r.expires > `+nowMS+`)`, nil)
		}
		if err == nil {
			_, err = c.exec(ctx, `DELETE FROM replicas WHERE expires < `+nowMS+` - 86400000`, nil)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("registering this replica: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner, s.safe = owner, start.Add(ttl*4/5)
	if !s.running && db.closing.Err() == nil {
		s.running = true
		db.goroutine.Go(db.renew)
	}
	return owner, nil
}

// renew keeps our row in replicas alive as long as the database is open; if that fails too long, all leases are lost.
func (db *DB) renew() {
	s, ttl := &db.leases, db.ttl()
	tick := time.NewTicker(ttl / 4)
	defer tick.Stop()
	for {
		select {
		case <-db.closing.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		owner, safe := s.owner, s.safe
		s.mu.Unlock()
		if owner == "" {
			continue
		}
		start := time.Now()
		alive, err := db.extend(owner, safe)
		s.mu.Lock()
		switch {
		case alive:
			s.safe = start.Add(ttl * 4 / 5)
			s.mu.Unlock()
		case err == nil || !time.Now().Before(safe):
			s.owner = ""
			lost := make([]*Lease, 0, len(s.held))
			for _, l := range s.held {
				lost = append(lost, l)
			}
			s.mu.Unlock()
			for _, l := range lost {
				l.drop(ErrLeaseLost)
			}
		default:
			s.mu.Unlock() // there is time for another try
		}
	}
}

// extend reports whether our row was still alive and is longer now.
func (db *DB) extend(owner string, safe time.Time) (alive bool, err error) {
	ctx, cancel := context.WithDeadline(db.closing, safe)
	defer cancel()
	err = db.aside(ctx, func(c *conn) error {
		r, err := c.exec(ctx, `UPDATE replicas SET expires = `+nowMS+` + $2 WHERE owner = $1 AND expires > `+nowMS, []any{owner, db.ttl().Milliseconds()})
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		alive = n == 1
		return err
	})
	return alive && err == nil, err
}

// giveBack ends all leases when the database is closed.
func (l *leases) giveBack(db *DB) {
	l.mu.Lock()
	held, owner := make([]*Lease, 0, len(l.held)), l.owner
	for _, h := range l.held {
		held = append(held, h)
	}
	l.owner = ""
	l.mu.Unlock()
	for _, h := range held {
		h.drop(context.Canceled)
	}
	if owner == "" || db.side == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = db.aside(ctx, func(c *conn) error { // if it fails, the rows end with our life
		_, err := c.exec(ctx, `DELETE FROM leases WHERE owner = $1`, []any{owner})
		if err == nil {
			_, err = c.exec(ctx, `DELETE FROM replicas WHERE owner = $1`, []any{owner})
		}
		return err
	})
}
