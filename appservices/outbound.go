package appservices

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// maxChanges bounds the changes of one transaction, and the messages of one device in it.
const maxChanges = 100

// delivery is the outgoing side of one service.
type delivery struct {
	a *AppServices
	s *Service
	interests
}

func (a *AppServices) follow(s *Service) {
	d := &delivery{a: a, s: s, interests: newInterests()}
	kinds := []stream.Kind{stream.Event, stream.Membership}
	if s.wantsEphemeral() {
		kinds = append(kinds, stream.Typing, stream.Receipt, stream.Presence, stream.ToDevice)
	}
	if s.Encryption {
		kinds = append(kinds, stream.DeviceList, stream.KeyCount, stream.ToDevice)
	}
	a.o.Stream.Follow("appservice/"+s.ID, stream.Kinds(kinds...), d.deliver, stream.Batch(maxChanges))
}

// deliver sends the changes in a transaction. One whose fate is unknown goes first, word for word. The cursor may be
// behind what was sent before a crash: of such changes only to-device messages that are still in an inbox are news.
func (d *delivery) deliver(ctx context.Context, changes []stream.Change) error {
	last, err := d.a.o.Pending.get(ctx, d.s.ID)
	if err != nil {
		return err
	}
	if len(last.body) > 0 {
		if err := d.put(ctx, last); err != nil {
			return err
		}
	}
	fresh := newest(changes, func(c stream.Change) bool { return c.Pos > last.last || c.Kind == stream.ToDevice })
	for len(fresh) > 0 {
		if fresh, err = d.send(ctx, last, fresh); err != nil {
			return err
		}
	}
	return nil
}

// newest picks changes, and leaves out those that a later one says again: what is told is the present value. Events are all
// told, and receipts, whose position says which one is meant.
func newest(changes []stream.Change, wanted func(stream.Change) bool) []stream.Change {
	type what struct {
		kind stream.Kind
		room id.RoomID
		user id.UserID
		ref  string
	}
	seen := map[what]bool{}
	out := make([]stream.Change, 0, len(changes))
	for _, c := range slices.Backward(changes) {
		if !wanted(c) {
			continue
		}
		w := what{c.Kind, c.RoomID, c.UserID, c.Ref}
		switch c.Kind {
		case stream.Event, stream.Membership, stream.Receipt:
		case stream.Typing:
			w.user, w.ref = "", ""
			fallthrough
		default:
			if seen[w] {
				continue
			}
			seen[w] = true
		}
		out = append(out, c)
	}
	slices.Reverse(out)
	return out
}

// send delivers one transaction and says which changes are not done with it: those of devices that have more messages
// than one transaction takes.
func (d *delivery) send(ctx context.Context, last *sent, changes []stream.Change) (rest []stream.Change, err error) {
	t, rest, err := d.build(ctx, changes)
	if err != nil || t.empty() {
		return nil, err
	}
	last.seq++
	last.last = max(last.last, changes[len(changes)-1].Pos)
	last.taken = t.taken
	if last.body, err = json.Marshal(t); err != nil {
		return nil, fmt.Errorf("encode transaction: %w", err)
	}
	if err := d.a.o.Pending.set(ctx, d.s.ID, last); err != nil {
		return nil, err
	}
	return rest, d.put(ctx, last)
}

// put sends the transaction noted last and notes that it was taken.
func (d *delivery) put(ctx context.Context, t *sent) error {
	call, cancel := context.WithTimeout(ctx, d.a.o.Timeout)
	defer cancel()
	if err := d.s.call.do(call, http.MethodPut, "/transactions/"+url.PathEscape(t.txnID()), nil, t.body, nil); err != nil {
		return fmt.Errorf("application service %s: %w", d.s.ID, err)
	}
	for _, m := range t.taken {
		if err := d.a.o.E2EE.DeleteToDevice(ctx, m.User, m.Device, m.UpTo); err != nil {
			return err
		}
	}
	if len(t.taken) > 0 { // before the transaction is forgotten, or they would come again after a crash
		if err := d.a.o.E2EE.FlushAcks(ctx); err != nil {
			return err
		}
	}
	t.body, t.taken = nil, nil
	return d.a.o.Pending.done(ctx, d.s.ID)
}
