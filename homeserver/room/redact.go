package room

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/stream"
)

func newRedactionTable() *database.Table {
	return database.NewTable("redactions", `ON CONFLICT (event_id, redacted_by) DO UPDATE SET applied = excluded.applied`,
		database.Text("event_id"), database.Text("redacted_by"), database.Int("applied"))
}

const sqlWaitingRedactions = `SELECT event_id, redacted_by FROM redactions WHERE event_id IN LIST($1) AND applied = 0 ORDER BY event_id, redacted_by`

// redacts takes what a redaction does into the unit. If its target is not known here, it waits for it.
// spec: rooms/v11#handling-redactions
func (b *batch) redacts(ctx context.Context, s *Stored, before *State) error {
	targetID := s.Redacts()
	if targetID == "" {
		return nil
	}
	target, err := b.known(ctx, targetID)
	if err != nil {
		return fmt.Errorf("redacted event: %w", err)
	}
	if target == nil {
		b.write(b.r.tables.redactions, string(targetID), string(s.ID()), int64(0))
		b.r.pending.redactions.Store(targetID, s.ID())
		b.waits = append(b.waits, targetID)
		return nil
	}
	return b.redactTarget(ctx, s, target, before)
}

// redactTarget marks an event as redacted, if the redaction may do that.
func (b *batch) redactTarget(ctx context.Context, s, target *Stored, before *State) error {
	if target.RoomID() != b.room || target.RedactedBy != "" {
		return nil
	}
	v := &view{ctx: ctx, s: before}
	allowed := auth.CanRedact(s.Event, target.Event, v)
	if v.err != nil {
		return v.err
	}
	if !allowed {
		return nil
	}
	b.write(b.r.tables.redactions, string(target.ID()), string(s.ID()), int64(1))
	b.changes = append(b.changes, stream.Change{Kind: stream.Redaction, RoomID: b.room, Ref: string(target.ID())})
	pruned := *target
	pruned.RedactedBy = s.ID()
	b.redacted = append(b.redacted, &pruned)
	if b.now.state == nil || !target.IsState() {
		return nil
	}
	ref, ok := b.now.state.Get(target.Key())
	if !ok || ref.NID != target.NID {
		return nil
	}
	b.looks = b.looks || isLook(target.Key())
	if target.Type() == typeMember {
		b.members = append(b.members, memberChange{Member: memberOf(&pruned), change: -1}) // without the names
	}
	return nil
}

// waitingRedactions applies redactions that arrived before their target did. It is for events that came from elsewhere.
func (b *batch) waitingRedactions(ctx context.Context, target *Stored) error {
	ids, err := b.waitingFor(ctx, target.ID())
	if err != nil {
		return err
	}
	for _, by := range ids {
		s, err := b.r.anyEvent(ctx, by)
		if err != nil {
			return err
		}
		if s == nil || s.RoomID() != b.room || s.Rejected || s.Outlier {
			continue
		}
		before, err := b.r.StateBefore(ctx, s)
		if err != nil {
			return err
		}
		if before == nil {
			before = b.now.state
		}
		if err := b.redactTarget(ctx, s, target, before); err != nil {
			return err
		}
		if len(b.redacted) > 0 && b.redacted[len(b.redacted)-1].NID == target.NID {
			return nil
		}
	}
	return nil
}

// waitingFor lists the redactions that wait for an event: those of the table and those on their way there.
func (b *batch) waitingFor(ctx context.Context, target id.EventID) ([]id.EventID, error) {
	ids, known := b.waiting[target]
	if !known {
		if err := b.readWaiting(ctx, []id.EventID{target}); err != nil {
			return nil, err
		}
		ids = b.waiting[target]
	}
	if by, ok := b.r.pending.redactions.Load(target); ok {
		ids = append(ids[:len(ids):len(ids)], by.(id.EventID))
	}
	return ids, nil
}

// readWaiting reads which redactions wait for events, so that they need not be asked for one by one.
func (b *batch) readWaiting(ctx context.Context, targets []id.EventID) error {
	scan := func(s database.Scanner) (pair [2]id.EventID, err error) { return pair, s.Scan(&pair[0], &pair[1]) }
	pairs, err := database.Rows(b.r.fresh(ctx), b.r.db, scan, sqlWaitingRedactions, database.List(targets))
	if err != nil {
		return fmt.Errorf("waiting redactions: %w", err)
	}
	if b.waiting == nil {
		b.waiting = make(map[id.EventID][]id.EventID, len(targets))
	}
	for _, t := range targets {
		b.waiting[t] = nil
	}
	for _, p := range pairs {
		b.waiting[p[0]] = append(b.waiting[p[0]], p[1])
	}
	return nil
}

// known finds an event among those stored or about to be; nil if there is none.
func (b *batch) known(ctx context.Context, eventID id.EventID) (*Stored, error) {
	for _, it := range b.items {
		if it.s.ID() == eventID {
			return it.s, nil
		}
	}
	if s, ok := b.r.pending.byID(eventID); ok {
		return s, nil
	}
	if s, ok := b.looked[eventID]; ok {
		return s, nil
	}
	return b.r.Event(ctx, eventID)
}

// look finds out about many events at once, so that known need not ask for each.
func (b *batch) look(ctx context.Context, ids []id.EventID) error {
	found, err := b.r.Events(ctx, ids)
	if err != nil {
		return err
	}
	b.looked = make(map[id.EventID]*Stored, len(ids))
	for _, eventID := range ids {
		b.looked[eventID] = found[eventID]
	}
	return nil
}

// redact makes memory show the redacted values. It runs after their commit.
func (r *Rooms) redact(list []*Stored) {
	if len(list) == 0 {
		return
	}
	r.redactionMu.Lock()
	defer r.redactionMu.Unlock()
	r.redactions++
	for _, s := range list {
		if now, ok := r.events.byNID.peek(s.NID); ok {
			s.Pos, s.Order = now.Pos, now.Order
		}
		r.events.put(s)
	}
}

// redactionNoticed forgets an event that another replica may have redacted.
func (r *Rooms) redactionNoticed(eventID id.EventID) {
	if s, ok := r.events.get(eventID); ok && s.RedactedBy != "" {
		return
	}
	r.redactionMu.Lock()
	defer r.redactionMu.Unlock()
	r.redactions++
	r.events.drop(eventID)
}

// remember puts events read from the database into memory, unless a redaction was committed since the reading began.
func (r *Rooms) remember(list []*Stored, seen uint64) {
	r.redactionMu.RLock()
	defer r.redactionMu.RUnlock()
	if r.redactions != seen {
		return
	}
	for _, s := range list {
		r.events.put(s)
	}
}

func (r *Rooms) redactionsSeen() uint64 {
	r.redactionMu.RLock()
	defer r.redactionMu.RUnlock()
	return r.redactions
}

func scanRoomID(s database.Scanner) (e id.RoomID, err error) { return e, s.Scan(&e) }
