package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Numbers are reserved in blocks; a sequence that is used quickly reserves larger ones.
const (
	firstBlock = 1000
	lastBlock  = 64000
)

// sequences gives numbers out.
//
// On PostgreSQL a block is reserved by a transaction of its own, on a connection of its own. On SQLite this process is the
// only one, so memory decides, and the reservation is written by whichever transaction commits next: no row with a number
// out of the block can be committed before.
type sequences struct {
	mu    sync.Mutex
	all   map[string]*sequence
	dirty atomic.Bool // SQLite: some reservation is not committed yet
}

type sequence struct {
	mu        sync.Mutex
	next, end int64 // numbers in [next, end) are free to give out
	block     int64
	refilled  time.Time
	stored    int64 // SQLite: the reservation in the database
	loaded    bool
}

func (s *sequences) init() { s.all = make(map[string]*sequence) }

func (s *sequences) get(name string) *sequence {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.all[name]
	if q == nil {
		q = &sequence{block: firstBlock}
		s.all[name] = q
	}
	return q
}

// NextID gives a number of a sequence that nobody ever got before; the first is 1.
func (db *DB) NextID(ctx context.Context, name string) (int64, error) {
	return db.NextIDs(ctx, name, 1)
}

// NextIDs gives n numbers of a sequence in a row and returns the first.
func (db *DB) NextIDs(ctx context.Context, name string, n int) (int64, error) {
	q := db.seqs.get(name)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next+int64(n) > q.end {
		if err := db.refill(ctx, name, q, int64(n)); err != nil {
			return 0, fmt.Errorf("reserving numbers of %s: %w", name, err)
		}
	}
	first := q.next
	q.next += int64(n)
	return first, nil
}

func (db *DB) refill(ctx context.Context, name string, q *sequence, n int64) error {
	now := time.Now()
	if now.Sub(q.refilled) < time.Second && q.block < lastBlock {
		q.block *= 2
	}
	q.refilled = now
	size := max(q.block, n)
	if db.engine == postgres {
		end, err := db.reserve(ctx, name, size)
		if err == nil {
			q.next, q.end = end-size, end
		}
		return err
	}
	if !q.loaded {
		next, err := db.storedNext(ctx, name)
		if err != nil {
			return err
		}
		q.next = next
		q.end, q.stored, q.loaded = q.next, q.next, true
	}
	q.end += size
	db.seqs.dirty.Store(true)
	return nil
}

// storedNext reads a sequence on SQLite; nobody but this process changes it.
func (db *DB) storedNext(ctx context.Context, name string) (int64, error) {
	rows, err := db.read.query(context.WithoutCancel(ctx), `SELECT next FROM ids WHERE name = $1`, []any{name})
	next := int64(1)
	if err = (Row{rows: rows, err: err}).Scan(&next); errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return next, err
}

// reserve takes numbers on PostgreSQL and returns the end of the block.
func (db *DB) reserve(ctx context.Context, name string, size int64) (end int64, err error) {
	err = db.aside(ctx, func(c *conn) error {
		rows, err := c.query(ctx, `INSERT INTO ids (name, next) VALUES ($1, 1 + $2)
			ON CONFLICT (name) DO UPDATE SET next = ids.next + $2 RETURNING next`, []any{name, size})
		if err != nil {
			return err
		}
		return Row{rows: rows}.Scan(&end)
	})
	return end, err
}

// aside runs statements on the connection kept for sequences, leases and notifications.
func (db *DB) aside(ctx context.Context, fn func(c *conn) error) error {
	for n := 0; ; n++ {
		c, err := db.side.get(ctx)
		if err != nil {
			return err
		}
		err = fn(c)
		db.side.put(c)
		if err == nil || !c.broken || n > 1 || ctx.Err() != nil {
			return err
		}
	}
}

func (s *sequences) unsaved() bool { return s.dirty.Load() }

// save writes new reservations into a transaction that is about to commit.
func (s *sequences) save(ctx context.Context, t *tx) error {
	if !s.dirty.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty.Store(false)
	for name, q := range s.all {
		q.mu.Lock()
		end, stored := q.end, q.stored
		q.mu.Unlock()
		if end == stored {
			continue
		}
		_, err := t.conn.exec(ctx, `INSERT INTO ids (name, next) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET next = excluded.next`, []any{name, end})
		if err != nil {
			s.dirty.Store(true)
			return fmt.Errorf("saving sequences: %w", err)
		}
		if t.saved == nil {
			t.saved = make(map[*sequence]int64)
		}
		t.saved[q] = end
	}
	return nil
}

// settle notes which reservations a transaction has committed; committed is false after a rollback.
func (s *sequences) settle(t *tx, committed bool) {
	for q, end := range t.saved {
		if !committed {
			s.dirty.Store(true)
			continue
		}
		q.mu.Lock()
		q.stored = max(q.stored, end)
		q.mu.Unlock()
	}
	t.saved = nil
}
