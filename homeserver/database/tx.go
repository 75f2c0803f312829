package database

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// attempts bounds how often a transaction that lost against others runs again.
const attempts = 8

// txKey is the key of a database's transaction in a context.
type txKey struct{ db *DB }

// tx is a transaction or a snapshot under way.
type tx struct {
	db       *DB
	conn     *conn
	readOnly bool
	over     bool
	failed   error // the transaction can only be rolled back
	after    []func()
	undone   []func()
	leave    func()              // tells the strict check that the transaction is over
	saved    map[*sequence]int64 // reservations of numbers written along
}

func (db *DB) tx(ctx context.Context) *tx {
	t, _ := ctx.Value(txKey{db}).(*tx)
	return t
}

// InTx says whether ctx carries a writing transaction of this database.
func (db *DB) InTx(ctx context.Context) bool {
	t := db.tx(ctx)
	return t != nil && !t.readOnly
}

// Outside gives a context that no longer carries a transaction.
func (db *DB) Outside(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{db}, (*tx)(nil))
}

// Tx runs fn in a writing transaction, carried by the context given to fn, and commits if fn returns nil. It joins the
// transaction that ctx carries, if any; then the outermost Tx commits, or rolls back if any inner one failed. After a deadlock or
// serialisation failure fn runs again.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context) error) error {
	if t := db.tx(ctx); t != nil {
		return t.join(ctx, fn)
	}
	if err := db.strict.check(db); err != nil {
		return err
	}
	for n := 1; ; n++ {
		err := db.once(ctx, fn)
		if err == nil || n == attempts || !again(err) {
			return err
		}
		db.stats.repeated()
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(rand.Int64N(int64(n*n)*int64(2*time.Millisecond)) + int64(time.Millisecond))):
		}
	}
}

func (t *tx) join(ctx context.Context, fn func(ctx context.Context) error) error {
	if t.readOnly {
		return ErrReadOnly
	}
	err := fn(ctx)
	if err != nil && t.failed == nil {
		t.failed = fmt.Errorf("a part of the transaction failed: %w", err)
	}
	return err
}

// once runs one attempt.
func (db *DB) once(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	start := time.Now()
	t, err := db.begin(ctx, db.write)
	if err != nil {
		return err
	}
	t.leave = db.strict.enter(db)
	returned := false
	defer func() {
		if !returned { // fn panicked or ended the goroutine
			t.rollback()
		}
	}()
	err = fn(context.WithValue(ctx, txKey{db}, t))
	returned = true
	if err == nil {
		err = t.failed
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		t.rollback()
		db.stats.rolledBack()
		return err
	}
	if err = t.commit(ctx); err != nil {
		db.stats.rolledBack()
		return err
	}
	db.stats.committed(time.Since(start))
	return nil
}

// begin takes a connection of the pool and starts a transaction on it.
func (db *DB) begin(ctx context.Context, p *pool) (*tx, error) {
	text := "BEGIN"
	switch {
	case p == db.write && db.engine == sqlite:
		text = "BEGIN IMMEDIATE"
	case p == db.snap && db.engine == postgres:
		text = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	}
	for n := 0; ; n++ {
		c, err := p.get(ctx)
		if err != nil {
			return nil, err
		}
		t := &tx{db: db, conn: c, readOnly: p == db.snap}
		if err = t.control(ctx, text); err == nil {
			return t, nil
		}
		p.put(c)
		if !c.broken || n > 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("beginning a transaction: %w", err)
		}
		p.dropIdle() // the server was restarted; one more try with a new connection
	}
}

// control runs BEGIN, COMMIT or ROLLBACK.
func (t *tx) control(ctx context.Context, text string) error {
	ctx = context.WithoutCancel(ctx)
	if t.db.engine == sqlite {
		_, err := t.conn.exec(ctx, text, nil)
		return err
	}
	return t.conn.plain(ctx, text)
}

func (t *tx) pool() *pool {
	if t.readOnly {
		return t.db.snap
	}
	return t.db.write
}

// end marks the transaction as over.
func (t *tx) end() {
	t.over = true
	if t.leave != nil {
		t.leave()
	}
}

func (t *tx) rollback() {
	t.end()
	if t.control(context.Background(), "ROLLBACK") != nil && t.db.engine == postgres {
		t.conn.broken = true
	}
	t.db.seqs.settle(t, false)
	t.pool().put(t.conn)
	for _, f := range t.undone {
		f()
	}
}

func (t *tx) commit(ctx context.Context) error {
	err := t.db.seqs.save(ctx, t)
	if err == nil {
		err = t.db.strike(BeforeCommit, "COMMIT")
	}
	if err != nil {
		t.rollback()
		return err
	}
	t.end()
	// From here on the outcome must be known, however long the caller waits.
	if err = t.control(ctx, "COMMIT"); err != nil {
		if t.db.engine == sqlite {
			_ = t.control(context.Background(), "ROLLBACK")
		} else {
			t.conn.broken = true
		}
	}
	t.db.seqs.settle(t, err == nil)
	t.pool().put(t.conn)
	if err == nil {
		err = t.db.strike(CommitUnheard, "COMMIT")
	}
	if err != nil {
		for _, f := range t.undone {
			f()
		}
		return &CommitError{err}
	}
	for _, f := range t.after {
		f()
	}
	return nil
}

// AfterCommit runs fn once the transaction of ctx is committed; at once if ctx carries none. fn must not block. What is
// registered in an attempt that is rolled back never runs.
func (db *DB) AfterCommit(ctx context.Context, fn func()) {
	if t := db.tx(ctx); t != nil && !t.readOnly {
		t.after = append(t.after, fn)
		return
	}
	fn()
}

// AfterRollback runs fn if the transaction of ctx is not committed, or if that is not known.
func (db *DB) AfterRollback(ctx context.Context, fn func()) {
	if t := db.tx(ctx); t != nil && !t.readOnly {
		t.undone = append(t.undone, fn)
	}
}

// Snapshot runs fn with a context whose reads all see the same state. Inside of a Tx it only joins.
func (db *DB) Snapshot(ctx context.Context, fn func(ctx context.Context) error) error {
	if db.tx(ctx) != nil {
		return fn(ctx)
	}
	if err := db.strict.check(db); err != nil {
		return err
	}
	t, err := db.begin(ctx, db.snap)
	if err != nil {
		return err
	}
	defer t.rollback()
	return fn(context.WithValue(ctx, txKey{db}, t))
}

func (t *tx) exec(ctx context.Context, q string, args []any) (sql.Result, error) {
	if err := t.usable(q); err != nil {
		return nil, err
	}
	r, err := t.conn.exec(ctx, q, args)
	return r, t.note(err, q)
}

func (t *tx) query(ctx context.Context, q string, args []any) (*sql.Rows, error) {
	if err := t.usable(q); err != nil {
		return nil, err
	}
	r, err := t.conn.query(ctx, q, args)
	return r, t.note(err, q)
}

// usable says whether another statement may run.
func (t *tx) usable(q string) error {
	if t.over {
		return describe(sql.ErrTxDone, q)
	}
	if t.failed != nil {
		return t.failed
	}
	if t.readOnly {
		return nil
	}
	return t.note(t.db.strike(BeforeStatement, q), q)
}

// note remembers that a statement failed: both engines then allow a rollback only.
func (t *tx) note(err error, q string) error {
	if err == nil {
		return nil
	}
	err = describe(err, q)
	if t.failed == nil && !t.readOnly {
		t.failed = err
	}
	return err
}

// caller names the code outside of this package that runs now.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(5, pcs[:])])
	f, _ := frames.Next()
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}
