package room

import (
	"context"
	"errors"
	"fmt"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	maxTries     = 12 // decisions of one unit before giving up
	lockedPastOf = 4  // lost races before a unit is decided with the room's row locked
)

// write decides and commits a unit on a room. decide is called with the newest head, again each time that the unit lost a
// race; it must not wait for other servers. A batch left empty is not committed.
func (r *Rooms) write(ctx context.Context, e *roomEntry, decide decider) error {
	return r.writeRoom(ctx, e, event.Version{}, decide)
}

// writeRoom is write for a room that need not exist yet: if v is valid, its row is made with that version.
func (r *Rooms) writeRoom(ctx context.Context, e *roomEntry, v event.Version, decide decider) error {
	var err error
	for try := range maxTries {
		var b *batch
		if try < lockedPastOf {
			b, err = r.writeOnce(ctx, e, v, decide)
		} else {
			b, err = r.writeLocked(ctx, e, v, decide)
		}
		if err == nil || b == nil || !errors.Is(err, stream.ErrConflict) {
			return err
		}
		metricConflicts.Inc()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s is written to by too many at once: %w", e.id, err)
}

type decider func(ctx context.Context, b *batch) error

// writeOnce returns a nil batch if nothing was handed to the committer.
func (r *Rooms) writeOnce(ctx context.Context, e *roomEntry, v event.Version, decide decider) (*batch, error) {
	e.write.Lock()
	b, err := r.decide(ctx, e, v, decide)
	if b == nil {
		e.write.Unlock()
		return nil, err
	}
	next, unit, err := b.seal(ctx)
	if err != nil {
		b.discard()
		e.write.Unlock()
		return nil, err
	}
	waiting := r.stream.CommitAsync(unit)
	e.next = next
	alone := b.old == nil // nobody builds on a room whose row is not there
	if !alone {
		e.write.Unlock()
	}
	_, err = waiting.Wait(context.WithoutCancel(ctx))
	if err != nil {
		b.failed(next)
	}
	if alone {
		e.write.Unlock()
	}
	return b, err
}

// decide returns nil if there is nothing to commit. The caller holds write.
func (r *Rooms) decide(ctx context.Context, e *roomEntry, v event.Version, fn decider) (*batch, error) {
	h, err := e.newest(ctx)
	var b *batch
	switch {
	case err == nil:
		b = r.newBatch(e, h)
	case isNotFound(err) && v.Valid():
		if b, err = r.newRoomBatch(ctx, e, v); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	if err = fn(ctx, b); err != nil || b.empty() && len(b.members) == 0 {
		b.discard()
		return nil, err
	}
	return b, nil
}

// newRoomBatch is a batch that makes the row of a room.
func (r *Rooms) newRoomBatch(ctx context.Context, e *roomEntry, v event.Version) (*batch, error) {
	nid, err := r.db.NextID(ctx, "rooms")
	if err != nil {
		return nil, fmt.Errorf("number of a room: %w", err)
	}
	e.txns = txnCache{}
	return &batch{r: r, e: e, nid: nid, room: e.id, version: v, now: head{chain: &chain{}}}, nil
}

// newest is the head to decide on: the speculative one, or the committed one. The caller holds write.
func (e *roomEntry) newest(ctx context.Context) (*head, error) {
	if e.next != nil && !e.next.chain.dead.Load() {
		return e.next, nil
	}
	h, err := e.committed(ctx)
	if err != nil {
		return nil, err
	}
	if e.next == nil || e.next.chain != h.chain {
		e.txns = txnCache{} // others may have written meanwhile
	}
	e.next = h
	return h, nil
}

// newestForReading is a head for looking at, by those who do not hold write.
func (e *roomEntry) newestForReading(ctx context.Context) (*head, error) {
	h, err := e.committed(ctx)
	if err == nil && !h.inside() {
		return nil, errNotInRoom
	}
	return h, err
}

// seal makes the unit and the head that holds once it is committed.
func (b *batch) seal(ctx context.Context) (*head, *stream.Unit, error) {
	next := b.now
	var err error
	if len(b.items) > 0 {
		next.version = b.items[len(b.items)-1].s.NID<<1 | 1
	} else if next.version, err = b.r.db.NextID(ctx, "room_versions"); err != nil {
		return nil, nil, fmt.Errorf("number of a version: %w", err)
	} else {
		next.version <<= 1
	}
	var expect int64
	if b.old != nil {
		expect = b.old.version
	}
	for i := range b.members {
		b.writeMember(&b.members[i])
	}
	if err := b.writeLook(ctx); err != nil {
		return nil, nil, err
	}
	u := &stream.Unit{
		Guard: &stream.Guard{Table: b.r.tables.rooms, Key: b.nid, Expect: expect, Next: next.version,
			Row: roomRow(b.room, b.version, &next)},
		Writes: b.writes, Changes: b.changes,
	}
	u.After = func(first stream.Pos) { b.committed(&next, first) }
	return &next, u, nil
}

// committed runs in commit order, before anyone learns of the commit: memory follows the database.
func (b *batch) committed(next *head, first stream.Pos) {
	for i := range b.items {
		it := &b.items[i]
		if it.change >= 0 {
			it.s.Pos = first + stream.Pos(it.change)
			it.s.Order = orderOf(it.s.Pos)
		}
		b.r.events.put(it.s)
	}
	for _, s := range b.states {
		b.r.states.put(s.id, s, stateCost(s, true))
	}
	b.discard() // they are found in the cache or in the database now
	for i := range b.members {
		if m := &b.members[i]; m.change >= 0 {
			m.Pos = first + stream.Pos(m.change)
		}
	}
	b.r.redact(b.redacted)
	b.e.advance(b, next, first+stream.Pos(len(b.changes))-1)
	for i := range b.members {
		b.r.membershipCommitted(b.members[i].Member)
	}
	for _, f := range b.flights {
		f.land(true)
	}
	metricEvents.Add(float64(len(b.items)))
}

// failed makes everything decided on this batch void.
func (b *batch) failed(next *head) {
	next.chain.dead.Store(true)
	if b.old != nil {
		b.e.outdatedIf(b.old.chain)
	}
	b.discard()
	for _, f := range b.flights {
		f.land(false)
	}
}

// outdatedIf drops the head of a chain in which a unit failed: it may have been another replica's doing.
func (e *roomEntry) outdatedIf(c *chain) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != nil && e.current.chain == c {
		e.dropLocked(e.seen)
	}
}

// advance moves the room's memory to a committed head, if it was at the one before.
func (e *roomEntry) advance(b *batch, next *head, last stream.Pos) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rosterAge++
	switch {
	case b.old == nil:
		e.nid, e.version = b.nid, b.version
		e.tail = tail{}
		e.roster = &roster{}
	case e.current == nil || e.current.version != b.old.version:
		e.dropLocked(max(last, e.seen))
		return
	}
	e.current = next
	if len(b.changes) > 0 {
		e.trueUpTo, e.seen = max(e.trueUpTo, last), max(e.seen, last)
	}
	for _, it := range b.items {
		if it.change >= 0 {
			e.tail.add(it.s)
		}
	}
	for _, s := range b.redacted {
		e.tail.replace(s)
	}
	if e.roster != nil {
		e.roster = e.roster.with(e.r, b.members)
	}
}
