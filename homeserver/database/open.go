package database

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options says where the database is and how much it may use.
type Options struct {
	URL       string        // postgres://… or the path of an SQLite file
	MaxConns  int           // PostgreSQL: connections of all pools together; 0 means 24
	ReadConns int           // SQLite: read-only connections; 0 means 4
	CacheMB   int           // SQLite: page cache of the writer, and of the readers together; 0 means 64
	LeaseTTL  time.Duration // how long a lease outlives a process that died; 0 means 15 seconds
	Alone     bool          // PostgreSQL: no other process shares the database, so leases of one that died end at once
	NoSync    bool          // tests only: commits do not wait for the disk
	Strict    bool          // tests only: refuses statements beside the transaction that the same goroutine has open
}

// DB is an open database.
type DB struct {
	engine engine
	opts   Options
	owner  string // names this process in leases

	write *pool  // transactions that write; one connection on SQLite
	snap  *pool  // read-only snapshots
	side  *pool  // PostgreSQL: sequences, leases, notifications; nil on SQLite
	read  *reads // single reads outside of transactions

	seqs   sequences
	leases leases
	strict strict
	stats  counters
	fault  atomic.Pointer[Fault]

	lock      *fileLock
	closing   context.Context
	close     context.CancelFunc
	goroutine sync.WaitGroup
	closeOnce sync.Once
}

// engine is the kind of database.
type engine uint8

const (
	sqlite engine = iota + 1
	postgres
)

// Open opens the database and brings its schema up to date.
func Open(ctx context.Context, opts Options) (*DB, error) {
	db := &DB{opts: opts, engine: sqlite, owner: newOwner()}
	db.closing, db.close = context.WithCancel(context.Background())
	db.seqs.init()
	db.leases.init()
	var err error
	switch {
	case opts.URL == "":
		return nil, errors.New("database: no URL given")
	case strings.HasPrefix(opts.URL, "postgres://"), strings.HasPrefix(opts.URL, "postgresql://"):
		db.engine = postgres
		err = db.openPostgres()
	default:
		err = db.openSQLite()
	}
	if err == nil {
		err = db.migrate(ctx)
	}
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return db, nil
}

// Close gives leases back and closes all connections. Transactions still running fail.
func (db *DB) Close() error {
	var errs []error
	db.closeOnce.Do(func() {
		db.close()
		db.goroutine.Wait()
		db.leases.giveBack(db)
		for _, p := range []*pool{db.snap, db.side, db.write} {
			if p != nil {
				errs = append(errs, p.close())
			}
		}
		if db.read != nil {
			errs = append(errs, db.read.close())
		}
		errs = append(errs, db.lock.release())
	})
	return errors.Join(errs...)
}

// Replicated says whether other processes may use the same database at the same time.
func (db *DB) Replicated() bool { return db.engine == postgres }

// Owner is a name for this process that no other process on the same database has.
func (db *DB) Owner() string { return db.owner }

func newOwner() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
