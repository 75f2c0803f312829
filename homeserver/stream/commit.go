package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
)

// committer writes units: all that wait at a moment in one transaction.
type committer struct {
	mu     sync.Mutex
	queue  []*Pending
	closed bool
	work   chan struct{} // capacity 1
}

func (c *committer) init() { c.work = make(chan struct{}, 1) }

// Commit writes a unit and returns the position of its first change once it is committed and published. The error is
// ErrConflict if its guard failed.
func (s *Stream) Commit(ctx context.Context, u *Unit) (first Pos, err error) {
	return s.commitAsync(ctx, u).Wait(ctx)
}

// CommitAsync hands a unit over without waiting for it. Units handed over one after the other are written in this order.
func (s *Stream) CommitAsync(u *Unit) *Pending { return s.commitAsync(context.Background(), u) }

func (s *Stream) commitAsync(ctx context.Context, u *Unit) *Pending {
	p := &Pending{unit: u, done: make(chan struct{})}
	if s.born != nil {
		return p.fail(s.born)
	}
	if s.db.InTx(ctx) {
		return p.fail(errors.New("stream: Commit cannot be part of a transaction"))
	}
	if s.audience != 0 {
		for i := range u.Changes {
			if s.audience.Has(u.Changes[i].Kind) {
				if p.extra == nil {
					p.extra = make([][]Topic, len(u.Changes))
				}
				p.extra[i] = s.extra(ctx, &u.Changes[i])
			}
		}
	}
	c := &s.committer
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return p.fail(ErrClosed)
	case len(c.queue) >= s.opts.Queue:
		c.mu.Unlock()
		return p.fail(ErrBusy)
	}
	c.queue = append(c.queue, p)
	c.mu.Unlock()
	kick(c.work)
	return p
}

func (p *Pending) fail(err error) *Pending {
	p.err = err
	close(p.done)
	return p
}

// take gives the units that wait, at most limit.
func (c *committer) take(limit int) []*Pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) <= limit {
		group := c.queue
		c.queue = nil
		return group
	}
	group := c.queue[:limit:limit]
	c.queue = c.queue[limit:]
	return group
}

func (c *committer) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// A group waits for company as long as some comes, but never long.
const (
	gathering  = 100 * time.Microsecond
	gatherIdle = 25 * time.Microsecond
)

// gather lets those who were just answered come back with their next unit, as many as were under way before: else the first of
// them would be committed alone and all others would wait for that.
func (c *committer) gather(expected int) {
	if expected < 2 {
		return
	}
	start := time.Now()
	seen, last := 0, start
	for now := start; now.Sub(start) < gathering && now.Sub(last) < gatherIdle; now = time.Now() {
		n := c.waiting()
		if n >= expected {
			return
		}
		if n > seen {
			seen, last = n, now
		}
		runtime.Gosched()
	}
}

// commitLoop commits group after group. When ctx ends it still commits what waits, and refuses more.
func (s *Stream) commitLoop(ctx context.Context) {
	c := &s.committer
	c.mu.Lock()
	c.closed = false
	c.mu.Unlock()
	for {
		group := c.take(s.opts.Group)
		if len(group) > 0 {
			s.commitGroup(context.WithoutCancel(ctx), group)
			c.gather(min(len(group)+c.waiting(), s.opts.Group))
			continue
		}
		select {
		case <-c.work:
		case <-ctx.Done():
			c.mu.Lock()
			c.closed = len(c.queue) == 0
			closed := c.closed
			c.mu.Unlock()
			if closed {
				return
			}
		}
	}
}

// commitGroup commits a group, and if the rows of some unit are to blame for a failure, each unit alone.
func (s *Stream) commitGroup(ctx context.Context, group []*Pending) {
	start := time.Now()
	err := s.commitTogether(ctx, group)
	switch {
	case err == nil:
	case len(group) > 1 && database.BlamesRows(err):
		groupsSplit.Inc()
		for _, p := range group {
			if err := s.commitTogether(ctx, []*Pending{p}); err != nil {
				p.err = err
			}
		}
	default:
		for _, p := range group {
			p.err = err
		}
	}
	for _, p := range group {
		close(p.done)
		if errors.Is(p.err, ErrConflict) {
			conflictsTotal.Inc()
		}
	}
	groupUnits.Observe(float64(len(group)))
	commitSeconds.Observe(time.Since(start).Seconds())
}

// commitTogether writes and publishes units in one transaction. An error is of all of them; a unit whose guard failed gets
// ErrConflict and is left out.
func (s *Stream) commitTogether(ctx context.Context, group []*Pending) error {
	g := &writing{s: s, group: group}
	if s.db.OneStatement() {
		done, err := g.writeOnce(ctx)
		if err != nil {
			return fmt.Errorf("committing %d units: %w", len(group), err)
		}
		if done {
			g.publish(ctx)
			return nil
		}
	}
	err := s.db.Tx(ctx, func(ctx context.Context) error {
		g = &writing{s: s, group: group}
		return g.write(ctx)
	})
	if err != nil {
		return fmt.Errorf("committing %d units: %w", len(group), err)
	}
	g.publish(ctx)
	return nil
}

// writing is one attempt to write a group.
type writing struct {
	s       *Stream
	group   []*Pending
	alive   []*Pending
	tables  []tableRows
	late    []tableRows // rows that need positions
	guards  []*guardRows
	changes []Change
	first   Pos
}

// tableRows are the rows of a group for one table.
type tableRows struct {
	table *database.Table
	rows  [][]any
}

func (g *writing) write(ctx context.Context) error {
	if err := g.checkGuards(ctx); err != nil {
		return err
	}
	n := 0
	for _, p := range g.alive {
		n += len(p.unit.Changes)
		for _, w := range p.unit.Writes {
			if !needsPosition(w.Row) {
				g.tables = add(g.tables, w.Table, w.Row)
			}
		}
	}
	if err := g.insert(ctx, g.tables); err != nil {
		return err
	}
	if n == 0 {
		return g.saveGuards(ctx, true)
	}
	var err error
	if g.first, err = g.s.advance(ctx, n); err != nil {
		return err
	}
	g.place(n)
	if err = g.saveGuards(ctx, true); err != nil {
		return err
	}
	if err = g.insert(ctx, g.late); err != nil {
		return err
	}
	if err = g.s.writeLog(ctx, g.changes); err != nil {
		return err
	}
	g.s.promise(g.first)
	g.s.db.AfterRollback(ctx, func() { g.s.release(g.first); kick(g.s.behind) })
	return nil
}

// place gives the changes their positions and puts them into the rows that want them.
func (g *writing) place(n int) {
	g.changes = make([]Change, 0, n)
	next := g.first
	for _, p := range g.alive {
		p.first = next
		if len(p.unit.Changes) == 0 {
			p.first = 0
		}
		for i, c := range p.unit.Changes {
			c.Pos = next + Pos(i)
			g.changes = append(g.changes, c)
		}
		for _, w := range p.unit.Writes {
			if !needsPosition(w.Row) {
				continue
			}
			g.late = add(g.late, w.Table, positioned(nil, w.Row, next))
		}
		next += Pos(len(p.unit.Changes))
	}
}

// positioned appends the values of a row with the positions in place of PosOf.
func positioned(to, row []any, first Pos) []any {
	for _, v := range row {
		switch of := v.(type) {
		case PosOf:
			v = int64(first) + int64(of)
		case OrderOf:
			v = (int64(first) + int64(of)) << OrderShift
		}
		to = append(to, v)
	}
	return to
}

func needsPosition(row []any) bool {
	for _, v := range row {
		switch v.(type) {
		case PosOf, OrderOf:
			return true
		}
	}
	return false
}

func add(tables []tableRows, t *database.Table, row []any) []tableRows {
	for i := range tables {
		if tables[i].table == t {
			tables[i].rows = append(tables[i].rows, row)
			return tables
		}
	}
	return append(tables, tableRows{t, [][]any{row}})
}

func (g *writing) insert(ctx context.Context, tables []tableRows) error {
	for _, t := range tables {
		if err := g.s.db.Insert(ctx, t.table, t.rows...); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes what was committed.
func (g *writing) publish(ctx context.Context) {
	b := &batch{first: g.first, n: Pos(len(g.changes)), entries: make([]entry, len(g.changes))}
	i := 0
	for _, p := range g.alive {
		if f := p.unit.After; f != nil {
			first := p.first
			b.after = append(b.after, func() { f(first) })
		}
		for j := range p.unit.Changes {
			b.entries[i].Change = g.changes[i]
			if p.extra != nil {
				b.entries[i].extra = p.extra[j]
			}
			i++
		}
	}
	if b.n > 0 {
		g.s.publish(ctx, b)
		return
	}
	g.s.order.Lock()
	defer g.s.order.Unlock()
	for _, f := range b.after {
		contain(f)
	}
}
