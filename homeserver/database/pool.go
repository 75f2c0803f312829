package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxStatements bounds the statements kept prepared on one connection.
const maxStatements = 2000

// pool owns a fixed number of connections, each with its prepared statements. It serves transactions: once a connection is
// taken, nothing that happens on it needs another one.
type pool struct {
	db    *DB
	sql   *sql.DB
	slots chan struct{} // one per connection in use
	mu    sync.Mutex
	idle  []*conn
	shut  bool
}

// conn is one connection. It belongs to one goroutine at a time.
type conn struct {
	sql    *sql.Conn
	engine engine
	stmts  map[string]*sql.Stmt
	broken bool
}

func newPool(db *DB, s *sql.DB, size int) *pool {
	s.SetMaxOpenConns(size)
	s.SetMaxIdleConns(size)
	return &pool{db: db, sql: s, slots: make(chan struct{}, size)}
}

// get takes a connection; it waits for one while ctx lasts.
func (p *pool) get(ctx context.Context) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		start := time.Now()
		select {
		case p.slots <- struct{}{}:
			p.db.stats.waited(time.Since(start))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	shut := p.shut
	p.mu.Unlock()
	if shut {
		<-p.slots
		return nil, sql.ErrConnDone
	}
	c, err := p.sql.Conn(ctx)
	if err != nil {
		<-p.slots
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return &conn{sql: c, engine: p.db.engine, stmts: make(map[string]*sql.Stmt)}, nil
}

// put gives a connection back, or drops it if it broke.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	keep := !c.broken && !p.shut
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
	<-p.slots
}

// dropIdle forgets connections that were made before the database went away.
func (p *pool) dropIdle() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

func (p *pool) close() error {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.dropIdle()
	return p.sql.Close()
}

func (c *conn) close() {
	for _, s := range c.stmts {
		_ = s.Close()
	}
	c.stmts = nil
	_ = c.sql.Close()
}

// prepare gives the prepared statement of a text.
func (c *conn) prepare(ctx context.Context, q string) (*sql.Stmt, error) {
	if s := c.stmts[q]; s != nil {
		return s, nil
	}
	if len(c.stmts) >= maxStatements {
		for k, s := range c.stmts {
			_ = s.Close()
			delete(c.stmts, k)
		}
	}
	s, err := c.sql.PrepareContext(ctx, c.engine.rewrite(q))
	if err != nil {
		return nil, c.check(err)
	}
	c.stmts[q] = s
	return s, nil
}

// interruptible marks a context whose statements can be cancelled.
type interruptible struct{}

// Interruptible gives a context whose statements end when it ends. Others only do not begin any more: watching for the end of
// a context costs as much again as a short statement. It is for reads that may take long.
func Interruptible(ctx context.Context) context.Context {
	return context.WithValue(ctx, interruptible{}, true)
}

// patience is the context a statement runs under.
func patience(ctx context.Context) (context.Context, error) {
	if ctx.Done() == nil {
		return ctx, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ctx.Value(interruptible{}) != nil {
		return ctx, nil
	}
	return context.Background(), nil
}

func (c *conn) exec(ctx context.Context, q string, args []any) (sql.Result, error) {
	ctx, err := patience(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	r, err := s.ExecContext(ctx, c.engine.arguments(args)...)
	return r, c.check(err)
}

func (c *conn) query(ctx context.Context, q string, args []any) (*sql.Rows, error) {
	ctx, err := patience(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	r, err := s.QueryContext(ctx, c.engine.arguments(args)...)
	return r, c.check(err)
}

// plain runs a text without preparing it.
func (c *conn) plain(ctx context.Context, q string) error {
	_, err := c.sql.ExecContext(ctx, q)
	return c.check(err)
}

// check notices whether the connection can still be used after err.
func (c *conn) check(err error) error {
	if err != nil && c.engine == postgres && !answered(err) {
		c.broken = true
	}
	if errors.Is(err, sql.ErrConnDone) {
		c.broken = true
	}
	return err
}

// reads serves single read statements. The connections are handed out by database/sql, because the rows given to the
// caller know how to return those.
type reads struct {
	db  *DB
	sql *sql.DB
	mu  sync.RWMutex
	all map[string]*sql.Stmt
}

func newReads(db *DB, s *sql.DB) *reads {
	return &reads{db: db, sql: s, all: make(map[string]*sql.Stmt)}
}

func (r *reads) prepare(ctx context.Context, q string) (*sql.Stmt, error) {
	r.mu.RLock()
	s := r.all[q]
	r.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	// The statement outlives this request.
	s, err := r.sql.PrepareContext(context.WithoutCancel(ctx), r.db.engine.rewrite(q))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.all[q]; other != nil {
		_ = s.Close()
		return other, nil
	}
	if len(r.all) >= maxStatements {
		for k, old := range r.all {
			delete(r.all, k)
			_ = old.Close() // waits for nobody: database/sql counts its users
			break
		}
	}
	r.all[q] = s
	return s, nil
}

func (r *reads) query(ctx context.Context, q string, args []any) (*sql.Rows, error) {
	ctx, err := patience(ctx)
	if err != nil {
		return nil, err
	}
	s, err := r.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, r.db.engine.arguments(args)...)
}

func (r *reads) close() error {
	r.mu.Lock()
	for k, s := range r.all {
		_ = s.Close()
		delete(r.all, k)
	}
	r.mu.Unlock()
	return r.sql.Close()
}
