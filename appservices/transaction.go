package appservices

import (
	"context"
	"encoding/json"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// transaction is what a service gets (spec: as#put_matrixappv1transactionstxnid).
type transaction struct {
	Events    []json.RawMessage `json:"events"`
	Ephemeral []json.RawMessage `json:"ephemeral,omitempty"`
	ToDevice  []json.RawMessage `json:"to_device,omitempty"`

	SoruEphemeral []json.RawMessage                            `json:"de.sorunome.msc2409.ephemeral,omitempty"`
	SoruToDevice  []json.RawMessage                            `json:"de.sorunome.msc2409.to_device,omitempty"`
	DeviceLists   *deviceLists                                 `json:"org.matrix.msc3202.device_lists,omitempty"`
	KeyCounts     map[id.UserID]map[id.DeviceID]map[string]int `json:"org.matrix.msc3202.device_one_time_keys_count,omitempty"`
	Fallback      map[id.UserID]map[id.DeviceID][]string       `json:"org.matrix.msc3202.device_unused_fallback_key_types,omitempty"`

	taken []takenMessages
}

type deviceLists struct {
	Changed []id.UserID `json:"changed,omitempty"`
	Left    []id.UserID `json:"left,omitempty"`
}

func (t *transaction) empty() bool {
	return len(t.Events) == 0 && len(t.Ephemeral) == 0 && len(t.ToDevice) == 0 && t.DeviceLists == nil && len(t.KeyCounts) == 0
}

// build reads what the changes are about. rest are the changes of devices with more messages than one transaction takes.
func (d *delivery) build(ctx context.Context, changes []stream.Change) (t *transaction, rest []stream.Change, err error) {
	t = &transaction{Events: []json.RawMessage{}}
	if err := d.addEvents(ctx, t, changes); err != nil {
		return nil, nil, err
	}
	for _, c := range changes {
		more := false
		switch c.Kind {
		case stream.Typing, stream.Receipt, stream.Presence:
			err = d.addEphemeral(ctx, t, c)
		case stream.ToDevice:
			more, err = d.addToDevice(ctx, t, c)
		case stream.DeviceList:
			err = d.addDeviceList(ctx, t, c)
		case stream.KeyCount:
			err = d.addKeyCount(ctx, t, c)
		}
		if err != nil {
			return nil, nil, err
		}
		if more {
			rest = append(rest, c)
		}
	}
	t.SoruEphemeral, t.SoruToDevice = t.Ephemeral, t.ToDevice
	return t, rest, nil
}

func (d *delivery) addEvents(ctx context.Context, t *transaction, changes []stream.Change) error {
	var ids []id.EventID
	for _, c := range changes {
		if c.Kind == stream.Event || c.Kind == stream.Membership {
			ids = append(ids, id.EventID(c.Ref))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	events, err := d.a.o.Rooms.Events(ctx, ids)
	if err != nil {
		return err
	}
	var wanted []*room.Stored
	for _, eventID := range ids {
		ev := events[eventID]
		if ev == nil || ev.Rejected || ev.SoftFailed {
			continue
		}
		d.moved(ev)
		ok, err := d.interested(ctx, ev)
		if err != nil {
			return err
		}
		if ok {
			d.offer(ctx, ev)
			wanted = append(wanted, ev)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	t.Events, err = d.a.o.Render(ctx, wanted)
	return err
}

// offer asks the service to make the user whom an invitation is for, if nobody did yet
// (spec: as#get_matrixappv1usersuserid).
func (d *delivery) offer(ctx context.Context, ev *room.Stored) {
	if d.a.o.UserExists == nil || ev.Type() != "m.room.member" || ev.StateKey() == nil || ev.Membership() != "invite" {
		return
	}
	user := id.UserID(*ev.StateKey())
	if user == d.s.Sender || !d.s.OwnsUser(user) {
		return
	}
	if exists, err := d.a.o.UserExists(ctx, user); err != nil || exists {
		return
	}
	if !d.a.QueryUser(ctx, user) {
		zerolog.Ctx(ctx).Debug().Str("user_id", string(user)).Msg("The application service did not make a user who is invited")
	}
}

func (d *delivery) addEphemeral(ctx context.Context, t *transaction, c stream.Change) error {
	if !d.s.wantsEphemeral() {
		return nil
	}
	if c.Kind == stream.Presence {
		return d.addPresence(ctx, t, c)
	}
	if ok, err := d.inRoom(ctx, c.RoomID); err != nil || !ok {
		return err
	}
	var raw json.RawMessage
	var err error
	if c.Kind == stream.Typing {
		raw, err = d.a.o.Ephemeral.TypingEvent(ctx, c.RoomID)
	} else {
		private := id.UserID("") // private receipts of the service's own users only
		if d.s.OwnsUser(c.UserID) {
			private = c.UserID
		}
		var m map[id.RoomID]json.RawMessage
		m, err = d.a.o.Ephemeral.ReceiptsSince(ctx, []id.RoomID{c.RoomID}, c.Pos-1, c.Pos, private)
		raw = m[c.RoomID]
	}
	if err != nil || raw == nil {
		return err
	}
	withRoom := append([]byte(`{"room_id":`), quoted(string(c.RoomID))...)
	t.Ephemeral = append(t.Ephemeral, append(append(withRoom, ','), raw[1:]...))
	return nil
}

func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return b
}

func (d *delivery) addPresence(ctx context.Context, t *transaction, c stream.Change) error {
	if !d.s.OwnsUser(c.UserID) {
		if ok, err := d.shares(ctx, c.UserID); err != nil || !ok {
			return err
		}
	}
	p, err := d.a.o.Ephemeral.OwnPresence(ctx, c.UserID)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"type": "m.presence", "sender": c.UserID, "content": p.Content()})
	t.Ephemeral = append(t.Ephemeral, raw)
	return err
}

// addToDevice takes the messages for one device of the service's users (msc: 4203). Users whom the service shares with
// others are left out: their devices read their messages themselves.
func (d *delivery) addToDevice(ctx context.Context, t *transaction, c stream.Change) (more bool, err error) {
	if !d.s.reserves(c.UserID) {
		return false, nil
	}
	device := id.DeviceID(c.Ref)
	msgs, last, more, err := d.a.o.E2EE.ToDevice(ctx, c.UserID, device, 0, c.Pos, maxChanges)
	if err != nil || len(msgs) == 0 {
		return false, err
	}
	for _, m := range msgs {
		to := append(append([]byte(`{"to_user_id":`), quoted(string(c.UserID))...), `,"to_device_id":`...)
		to = append(append(to, quoted(string(device))...), ',')
		t.ToDevice = append(t.ToDevice, append(to, m[1:]...))
	}
	t.taken = append(t.taken, takenMessages{c.UserID, device, last})
	return more, nil
}

func (d *delivery) addDeviceList(ctx context.Context, t *transaction, c stream.Change) error {
	if !d.s.Encryption || c.Ref != "" { // with a reference it concerns the user alone
		return nil
	}
	ok, err := d.shares(ctx, c.UserID)
	if err != nil || !ok {
		return err
	}
	if t.DeviceLists == nil {
		t.DeviceLists = &deviceLists{}
	}
	t.DeviceLists.Changed = append(t.DeviceLists.Changed, c.UserID)
	return nil
}

func (d *delivery) addKeyCount(ctx context.Context, t *transaction, c stream.Change) error {
	if !d.s.Encryption || !d.s.reserves(c.UserID) {
		return nil
	}
	device := id.DeviceID(c.Ref)
	counts, unused, err := d.a.o.E2EE.KeyCounts(ctx, c.UserID, device)
	if err != nil {
		return err
	}
	if t.KeyCounts == nil {
		t.KeyCounts, t.Fallback = map[id.UserID]map[id.DeviceID]map[string]int{}, map[id.UserID]map[id.DeviceID][]string{}
	}
	if t.KeyCounts[c.UserID] == nil {
		t.KeyCounts[c.UserID], t.Fallback[c.UserID] = map[id.DeviceID]map[string]int{}, map[id.DeviceID][]string{}
	}
	t.KeyCounts[c.UserID][device], t.Fallback[c.UserID][device] = counts, unused
	return nil
}
