package stream

import (
	"context"
	"errors"
	"slices"
)

// Append gives changes their positions and writes them into the log; it returns the first position. It must be called inside
// of db.Tx, as the last write of the transaction, because from then on everybody else's commit waits for this one. The changes
// are published when the transaction has committed, before Tx returns.
func (s *Stream) Append(ctx context.Context, changes ...Change) (Pos, error) {
	if !s.db.InTx(ctx) {
		return 0, errors.New("stream: Append needs a transaction")
	}
	if len(changes) == 0 {
		return 0, nil
	}
	first, err := s.advance(ctx, len(changes))
	if err != nil {
		return 0, err
	}
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].Pos = first + Pos(i)
	}
	if err = s.writeLog(ctx, changes); err != nil {
		return 0, err
	}
	s.promise(first)
	s.db.AfterRollback(ctx, func() { s.release(first); kick(s.behind) })
	s.db.AfterCommit(ctx, func() {
		ctx := s.db.Outside(context.WithoutCancel(ctx))
		s.publish(ctx, &batch{first: first, n: Pos(len(changes)), entries: s.entriesOf(ctx, changes)})
	})
	return first, nil
}
