package federation

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"strconv"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	// maxItems bounds the events and EDUs of a transaction together, txnBytes its size: the largest that all servers take is a
	// little above.
	maxItems = event.MaxTransactionPDUs + event.MaxTransactionEDUs
	txnBytes = 8 << 20
	// deviceUsers is for how many users the changed devices are read at once.
	deviceUsers = 25
)

// batch is the transaction itself.
type batch struct{ event.Transaction }

func (t *batch) empty() bool { return len(t.PDUs) == 0 && len(t.EDUs) == 0 }

// outgoing is a transaction with what it was made of.
type outgoing struct {
	w        *worker
	txn      batch
	items    int // events, users with changed devices, messages and other EDUs in it
	left     int // that may still be added
	bytes    int // and their size
	more     work
	events   []outboundEvent
	devices  []outboundDevice
	messages []e2ee.OutboxItem
	passing  map[passingKey]stream.Pos
}

// nothing is said by a transaction of which nothing is left but rows to drop, which it then is not.
func (b *outgoing) nothing() bool { return b.txn.empty() && len(b.events) == 0 && len(b.devices) == 0 }

// build reads what waits: events, then device lists before the messages that are encrypted for those devices, then what
// passes.
func (b *outgoing) build(ctx context.Context, todo work) error {
	b.txn.Origin, b.txn.Timestamp = b.w.o.f.ServerName, nowMS()
	for _, part := range []struct {
		what work
		add  func(context.Context) error
	}{{workEvents, b.addEvents}, {workDevices, b.addDevices}, {workMessages, b.addMessages}, {workPassing, b.addPassing}} {
		if todo&part.what == 0 {
			continue
		}
		if b.edusLeft() <= 0 && part.what != workEvents {
			b.more |= part.what
			continue
		}
		if err := part.add(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *outgoing) edusLeft() int { return min(b.left, event.MaxTransactionEDUs-len(b.txn.EDUs)) }

// fits says whether something may be added. The first always may, whatever its size.
func (b *outgoing) fits(size int) bool { return b.items == 0 || b.left > 0 && b.bytes >= size }

// took counts an item that was added.
func (b *outgoing) took(size int) {
	b.items++
	b.left--
	b.bytes -= size
}

func (b *outgoing) addEDU(kind string, content json.RawMessage) {
	b.txn.EDUs = append(b.txn.EDUs, event.EDU{Type: kind, Content: content})
}

func (b *outgoing) addEvents(ctx context.Context) error {
	limit := min(event.MaxTransactionPDUs, b.left)
	rows, err := b.w.o.nextEvents(ctx, b.w.server, limit)
	if err != nil {
		return err
	}
	if len(rows) == limit {
		b.more |= workEvents
	}
	ids := make([]id.EventID, len(rows))
	for i, e := range rows {
		ids[i] = e.eventID
	}
	stored, err := b.w.o.f.Rooms.Events(ctx, ids)
	if err != nil {
		return err
	}
	for _, row := range rows {
		ev := stored[row.eventID]
		if ev == nil { // of a room that is gone
			b.events = append(b.events, row)
			continue
		}
		raw := ev.Pruned().JSON()
		if !b.fits(len(raw)) {
			b.more |= workEvents
			break
		}
		b.txn.PDUs = append(b.txn.PDUs, raw)
		b.events = append(b.events, row)
		b.took(len(raw))
	}
	return nil
}

func (b *outgoing) addDevices(ctx context.Context) error {
	rows, err := b.w.o.nextDevices(ctx, b.w.server, deviceUsers)
	if err != nil {
		return err
	}
	if len(rows) == deviceUsers {
		b.more |= workDevices
	}
	for _, d := range rows {
		edus, err := b.w.o.f.E2EE.DeviceListEDUs(ctx, d.user, stream.Pos(d.after))
		if err != nil {
			return err
		}
		size := 0
		for _, e := range edus {
			size += len(e.Content)
		}
		if !b.fits(size) || b.items > 0 && len(edus) > event.MaxTransactionEDUs-len(b.txn.EDUs) {
			b.more |= workDevices
			return nil
		}
		d.upTo = d.pos
		if len(edus) > event.MaxTransactionEDUs {
			edus = edus[:event.MaxTransactionEDUs]
			d.upTo = min(d.pos-1, max(lastStreamID(edus), d.after+1))
			b.more |= workDevices
		}
		for _, e := range edus {
			b.addEDU(e.Type, b.w.o.f.withoutName(e))
		}
		if len(edus) > 0 {
			b.took(size)
		}
		b.devices = append(b.devices, d)
	}
	return nil
}

// lastStreamID is the position of the last device list change among EDUs.
func lastStreamID(edus []e2ee.EDU) int64 {
	for i := len(edus) - 1; i >= 0; i-- {
		var c struct {
			StreamID int64 `json:"stream_id"`
		}
		if json.Unmarshal(edus[i].Content, &c) == nil && c.StreamID > 0 {
			return c.StreamID
		}
	}
	return 0
}

func (b *outgoing) addMessages(ctx context.Context) error {
	limit := b.edusLeft()
	messages, err := b.w.o.f.E2EE.Outbox(ctx, b.w.server, e2ee.OutboxID{}, limit)
	if err != nil {
		return err
	}
	if len(messages) == limit {
		b.more |= workMessages
	}
	followed := b.w.o.followed.Load()
	for _, m := range messages {
		if followed > 0 && int64(m.ID.Pos) > followed {
			return nil // device lists that changed before it may be missing: it is announced once they are there
		}
		if !b.fits(len(m.Content)) {
			b.more |= workMessages
			return nil
		}
		b.addEDU("m.direct_to_device", m.Content)
		b.took(len(m.Content))
		b.messages = append(b.messages, m)
	}
	return nil
}

// refuse gives up what is in the transaction.
func (b *outgoing) refuse() {
	for i := range b.devices {
		b.devices[i].upTo = b.devices[i].pos
	}
}

// describe says what is in a transaction of one item, without its content.
func (b *outgoing) describe() string {
	for _, e := range b.events {
		return string(e.eventID)
	}
	for _, e := range b.txn.EDUs {
		return e.Type
	}
	return ""
}

// txnID is new for each transaction that differs, and the same for one that is tried again as it was.
func (w *worker) txnID(b *outgoing) string {
	if w.txn == 0 {
		w.txn = w.o.txns.Add(1)
	}
	var h maphash.Hash
	h.SetSeed(w.o.seed)
	for _, p := range b.txn.PDUs {
		_, _ = h.Write(p)
	}
	for _, e := range b.txn.EDUs {
		_, _ = h.WriteString(e.Type)
		_, _ = h.Write(e.Content)
	}
	id := strconv.AppendInt(make([]byte, 0, 40), w.o.started.UnixMilli(), 36)
	id = strconv.AppendInt(append(id, '-'), w.txn, 36)
	return string(strconv.AppendUint(append(id, '-'), h.Sum64(), 36))
}
