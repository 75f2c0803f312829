package timeline

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// RenderOptions says for whom and in which form events are rendered. The zero value is the client format without anything
// personal.
type RenderOptions struct {
	ForUser    id.UserID   // fills unsigned.membership and, with Device, unsigned.transaction_id
	Device     id.DeviceID // the device that reads
	Federation bool        // event_format "federation": the event as servers see it
	NoRoomID   bool        // inside /sync the room is known
	State      bool        // a state listing: no previous content, no relations
	NoBundles  bool        // no bundled relations
	Fields     []string    // event_fields of a filter; nil means all
	Ignored    map[id.UserID]struct{}

	now int64
}

// Seen is an event together with the reader's membership at it.
type Seen struct {
	*room.Stored
	Membership string // "" when nobody in particular reads
}

// Render gives each event as JSON, in the order given.
func (t *Timelines) Render(ctx context.Context, evs []*room.Stored, o RenderOptions) ([]json.RawMessage, error) {
	seen := make([]Seen, len(evs))
	for i, ev := range evs {
		seen[i].Stored = ev
	}
	if o.ForUser != "" && !o.State {
		if err := t.fillMembership(ctx, o.ForUser, seen); err != nil {
			return nil, err
		}
	}
	bundles, err := t.bundles(ctx, seen, o)
	if err != nil {
		return nil, err
	}
	o.now = t.now().UnixMilli()
	out := make([]json.RawMessage, len(seen))
	for i, s := range seen {
		if out[i], err = t.appendEvent(ctx, make([]byte, 0, 1024), s, o, bundles[s.ID()]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AppendEvents appends the events separated by commas.
func (t *Timelines) AppendEvents(ctx context.Context, dst []byte, evs []Seen, o RenderOptions) ([]byte, error) {
	bundles, err := t.bundles(ctx, evs, o)
	if err != nil {
		return dst, err
	}
	o.now = t.now().UnixMilli()
	for i, s := range evs {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = t.appendEvent(ctx, dst, s, o, bundles[s.ID()]); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// AppendState appends state events separated by commas: base bytes and age only.
func (t *Timelines) AppendState(dst []byte, evs []*room.Stored, o RenderOptions) []byte {
	o.State, o.NoBundles = true, true
	o.now = t.now().UnixMilli()
	for i, ev := range evs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, _ = t.appendEvent(context.Background(), dst, Seen{Stored: ev}, o, nil)
	}
	return dst
}

// appendEvent copies the base and appends what belongs to this reader and this moment.
func (t *Timelines) appendEvent(ctx context.Context, dst []byte, s Seen, o RenderOptions, b *bundle) ([]byte, error) {
	if o.Federation {
		return appendFederation(dst, s.Stored), nil
	}
	start := len(dst)
	base := t.baseOf(s.Stored)
	dst = append(dst, base.body...)
	if !o.NoRoomID {
		dst = append(dst, base.room...)
	}
	dst = append(dst, `,"unsigned":{"age":`...)
	dst = strconv.AppendInt(dst, max(o.now-s.Timestamp(), 0), 10)
	if s.Membership != "" {
		dst = append(append(append(dst, `,"membership":"`...), s.Membership...), '"')
	}
	if o.Device != "" && s.TxnID != "" && s.DeviceID == o.Device && s.Sender() == o.ForUser {
		dst = AppendString(append(dst, `,"transaction_id":`...), s.TxnID)
	}
	var err error
	if s.RedactedBy != "" {
		if dst, err = t.appendRedactedBecause(ctx, dst, s.Stored, o); err != nil {
			return dst, err
		}
	}
	if !o.State && s.IsState() {
		if dst, err = t.appendPrevious(ctx, dst, s.Stored, o); err != nil {
			return dst, err
		}
	}
	if b != nil && s.RedactedBy == "" {
		if dst, err = t.appendBundle(ctx, dst, b, o); err != nil {
			return dst, err
		}
	}
	dst = append(dst, '}', '}')
	if o.Fields != nil {
		return append(dst[:start], onlyFields(dst[start:], o.Fields)...), nil
	}
	return dst, nil
}

// appendRedactedBecause adds the redaction that emptied this event.
func (t *Timelines) appendRedactedBecause(ctx context.Context, dst []byte, ev *room.Stored, o RenderOptions) ([]byte, error) {
	because, err := t.rooms.Event(ctx, ev.RedactedBy)
	if err != nil || because == nil || because.RedactedBy != "" {
		return dst, ignoreNotFound(err)
	}
	dst = append(dst, `,"redacted_because":`...)
	return t.appendEvent(ctx, dst, Seen{Stored: because}, RenderOptions{NoRoomID: o.NoRoomID, State: true, now: o.now}, nil)
}

// appendPrevious adds what a state event replaced. It is looked up each time, since the older event may be redacted later.
//
// spec: cs#definition-clientevent_unsigneddata
func (t *Timelines) appendPrevious(ctx context.Context, dst []byte, ev *room.Stored, o RenderOptions) ([]byte, error) {
	if member := ev.Type() == typeMember; member && o.ForUser != "" && *ev.StateKey() == string(o.ForUser) {
		dst = appendStripped(dst, ev)
	}
	if ev.StateID == 0 {
		return dst, nil
	}
	before, err := t.rooms.StateBefore(ctx, ev)
	if err != nil || before == nil {
		return dst, ignoreNotFound(err)
	}
	ref, ok := before.Get(ev.Key())
	if !ok || ref.EventID == ev.ID() {
		return dst, nil
	}
	prev, err := t.rooms.Event(ctx, ref.EventID)
	if err != nil || prev == nil {
		return dst, ignoreNotFound(err)
	}
	dst = AppendString(append(dst, `,"replaces_state":`...), string(prev.ID()))
	if ev.RedactedBy != "" {
		return dst, nil
	}
	content := prev.Content()
	if prev.RedactedBy != "" {
		content = prev.Redacted().Content()
	}
	dst = append(append(dst, `,"prev_content":`...), content...)
	return AppendString(append(dst, `,"prev_sender":`...), string(prev.Sender())), nil
}

// appendStripped adds the room's stripped state, which came with an invite or a knock, for the person concerned.
func appendStripped(dst []byte, ev *room.Stored) []byte {
	name := ""
	switch ev.Membership() {
	case memberInvite:
		name = "invite_room_state"
	case memberKnock:
		name = "knock_room_state"
	default:
		return dst
	}
	if v := gjson.GetBytes(ev.Unsigned(), name); v.IsArray() {
		dst = append(AppendString(append(dst, ','), name), ':')
		dst = append(dst, v.Raw...)
	}
	return dst
}

// appendFederation writes the event as servers exchange it.
func appendFederation(dst []byte, ev *room.Stored) []byte {
	pdu := ev.Event
	if ev.RedactedBy != "" {
		pdu = pdu.Redacted()
	}
	return append(dst, pdu.JSON()...)
}

// onlyFields keeps the top-level members that some wanted path begins with. The specification lets a server give more than asked
// for; the identifying members always stay.
func onlyFields(raw []byte, fields []string) []byte {
	keep := map[string]struct{}{"event_id": {}, "type": {}, "state_key": {}, "sender": {}}
	for _, f := range fields {
		top := f
		for i := 0; i < len(f); i++ {
			if f[i] == '.' && (i == 0 || f[i-1] != '\\') {
				top = f[:i]
				break
			}
		}
		keep[top] = struct{}{}
	}
	out := []byte{'{'}
	gjson.ParseBytes(raw).ForEach(func(key, value gjson.Result) bool {
		if _, ok := keep[key.Str]; ok {
			out = append(appendKey(out, key.Str), value.Raw...)
		}
		return true
	})
	return append(out, '}')
}

// AppendStrippedEvent writes the stripped form of a state event: type, state_key, sender, content.
//
// spec: cs#stripped-state
func AppendStrippedEvent(dst []byte, ev *event.Event) []byte {
	dst = append(append(dst, `{"content":`...), ev.Content()...)
	dst = AppendString(append(dst, `,"sender":`...), string(ev.Sender()))
	key := ""
	if ev.StateKey() != nil {
		key = *ev.StateKey()
	}
	dst = AppendString(append(dst, `,"state_key":`...), key)
	dst = AppendString(append(dst, `,"type":`...), ev.Type())
	return append(dst, '}')
}
