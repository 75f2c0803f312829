package e2ee

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// ToDevice returns messages for a device in the window (since, upTo], oldest first, at most limit. last is the position
// up to which the device has everything once it has these; more tells that upTo was not reached.
func (k *Keys) ToDevice(ctx context.Context, user id.UserID, device id.DeviceID, since, upTo stream.Pos, limit int) (events []json.RawMessage, last stream.Pos, more bool, err error) {
	if device == "" {
		return nil, upTo, false, nil
	}
	name := owner(user, device)
	since = max(since, k.acks.passed(name))
	if since >= upTo {
		return nil, upTo, false, nil
	}
	rows, err := k.inbox(ctx, user, device, since, upTo, limit+1)
	if err != nil {
		return nil, 0, false, fmt.Errorf("reading to-device messages: %w", err)
	}
	last = upTo
	if len(rows) > limit {
		rows, more = rows[:limit], true
		last = rows[limit-1].Pos
	}
	events = make([]json.RawMessage, len(rows))
	for i, r := range rows {
		events[i] = r.Event
	}
	if len(rows) > 0 {
		k.acks.delivered(name, rows[len(rows)-1].Pos)
	}
	return events, last, more, nil
}

// DeleteToDevice notes that a device has everything up to a position. The messages are deleted soon after, many at once:
// if that is lost in a crash, they are deleted with the next ones.
func (k *Keys) DeleteToDevice(_ context.Context, user id.UserID, device id.DeviceID, upTo stream.Pos) error {
	if device != "" {
		k.acks.ack(owner(user, device), upTo)
	}
	return nil
}

// ackQueue gathers what devices have acknowledged. Devices for which nothing was read here since their last
// acknowledgement cost nothing.
type ackQueue struct {
	flushing sync.Mutex // one flush at a time

	mu      sync.Mutex
	devices map[string]*ackState
	due     map[string]stream.Pos
}

type ackState struct {
	given stream.Pos // newest message read here
	acked stream.Pos
	dirty bool // there may be messages to delete
}

const maxAckDevices = 100_000

func (q *ackQueue) state(name string) *ackState {
	s := q.devices[name]
	if s == nil {
		if q.devices == nil || len(q.devices) >= maxAckDevices {
			q.devices = make(map[string]*ackState)
		}
		s = &ackState{dirty: true} // another process may have read some
		q.devices[name] = s
	}
	return s
}

func (q *ackQueue) passed(name string) stream.Pos {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.devices[name]; s != nil {
		return s.acked
	}
	return 0
}

func (q *ackQueue) delivered(name string, last stream.Pos) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.state(name)
	s.given, s.dirty = max(s.given, last), true
}

func (q *ackQueue) ack(name string, upTo stream.Pos) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.state(name)
	if upTo <= s.acked {
		return
	}
	s.acked = upTo
	if !s.dirty {
		return
	}
	s.dirty = s.given > upTo
	q.put(name, upTo)
}

func (q *ackQueue) put(name string, upTo stream.Pos) {
	if q.due == nil {
		q.due = make(map[string]stream.Pos)
	}
	q.due[name] = max(q.due[name], upTo)
}

// again gives back what could not be deleted.
func (q *ackQueue) again(due map[string]stream.Pos) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, upTo := range due {
		q.put(name, upTo)
	}
}

// take returns what is to be deleted.
func (q *ackQueue) take() map[string]stream.Pos {
	q.mu.Lock()
	defer q.mu.Unlock()
	due := q.due
	q.due = nil
	return due
}

// runAcks deletes acknowledged messages until ctx ends.
func (k *Keys) runAcks(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			k.logFlush(k.FlushAcks(last))
			return
		case <-tick.C:
			k.logFlush(k.FlushAcks(ctx))
		}
	}
}

func (k *Keys) logFlush(err error) {
	if err != nil {
		k.log.Warn().Err(err).Msg("Cannot delete acknowledged to-device messages")
	}
}

// FlushAcks deletes what was acknowledged, in one transaction. When it returns, nothing that was acknowledged before the call
// is still on its way.
func (k *Keys) FlushAcks(ctx context.Context) error {
	k.acks.flushing.Lock()
	defer k.acks.flushing.Unlock()
	due := k.acks.take()
	if len(due) == 0 {
		return nil
	}
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		for name, upTo := range due {
			user, device := splitOwner(name)
			if _, err := k.db.Exec(ctx, deleteInboxUpTo, user, device, upTo); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.acks.again(due)
		return fmt.Errorf("deleting to-device messages: %w", err)
	}
	return nil
}

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return string(b)
}
