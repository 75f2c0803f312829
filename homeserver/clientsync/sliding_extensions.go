package clientsync

import (
	"encoding/json"
	"slices"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// slideExtensions writes `extensions`.
func (a *slide) slideExtensions() error {
	a.buf = append(a.buf, `,"extensions":{`...)
	x := a.in.Extensions
	for _, part := range []struct {
		on bool
		fn func() error
	}{
		{x.ToDevice.Enabled, a.extToDevice}, {x.E2EE.Enabled, a.extE2EE}, {x.AccountData.Enabled, a.extAccountData},
		{x.Receipts.Enabled, a.extReceipts}, {x.Typing.Enabled, a.extTyping},
	} {
		if !part.on {
			continue
		}
		if err := part.fn(); err != nil {
			return err
		}
	}
	a.buf = append(a.buf, '}')
	return nil
}

func (a *slide) openExtension(name string) {
	if a.buf[len(a.buf)-1] != '{' {
		a.buf = append(a.buf, ',')
	}
	a.buf = append(append(append(a.buf, '"'), name...), `":{`...)
}

// extToDevice has its own token, since messages are acknowledged by it.
func (a *slide) extToDevice() error {
	if a.s.ToDevice == nil || a.req.device == "" {
		return nil
	}
	since := stream.Pos(0)
	if token := a.in.Extensions.ToDevice.Since; token != "" {
		var err error
		if since, err = stream.ParseToken(token); err != nil {
			return mautrix.MInvalidParam.WithMessage("Malformed since of to_device")
		}
		since = min(since, a.upTo)
		if err := a.s.ToDevice.DeleteToDevice(a.ctx, a.req.user, a.req.device, since); err != nil {
			return err
		}
	}
	limit := a.in.Extensions.ToDevice.Limit
	if limit <= 0 {
		limit = 100
	}
	next := a.upTo
	var msgs []json.RawMessage
	if since < a.upTo {
		kinds := a.own()
		if since != a.req.since || a.req.initial {
			touched, err := a.s.Stream.Touched(a.ctx, since, a.upTo, a.view.topics[:1])
			if err != nil {
				return err
			}
			kinds = touched[a.view.topics[0]]
		}
		if kinds.Has(stream.ToDevice) || a.upTo-since >= longAgo {
			var last stream.Pos
			var more bool
			var err error
			if msgs, last, more, err = a.s.ToDevice.ToDevice(a.ctx, a.req.user, a.req.device, since, a.upTo, min(limit, inboxPage)); err != nil {
				return err
			}
			if more {
				next = last
			}
		}
	}
	a.some = a.some || len(msgs) > 0
	a.openExtension("to_device")
	a.buf = append(append(append(a.buf, `"next_batch":"`...), stream.Token(next)...), `","events":[`...)
	for i, m := range msgs {
		if i > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(a.buf, m...)
	}
	a.buf = append(a.buf, ']', '}')
	return nil
}

func (a *slide) extE2EE() error {
	a.openExtension("e2ee")
	mark := len(a.buf)
	if err := a.deviceLists(); err != nil {
		return err
	}
	if err := a.keyCounts(); err != nil {
		return err
	}
	if len(a.buf) > mark && a.buf[mark] == ',' { // the members are written to follow others
		a.buf = append(a.buf[:mark], a.buf[mark+1:]...)
	}
	a.buf = append(a.buf, '}')
	return nil
}

// wants says whether an extension is wanted for a room.
func (x *roomExtensionIn) wants(sel *selected) bool {
	if sel == nil {
		return false
	}
	if x.Rooms != nil && slices.Contains(*x.Rooms, "*") {
		return true // clients who say so want everything, whatever list it came through
	}
	if sel.subscribed && (x.Rooms == nil || slices.Contains(*x.Rooms, string(sel.member.RoomID))) {
		return true
	}
	if x.Lists == nil || slices.Contains(*x.Lists, "*") {
		return len(sel.lists) > 0
	}
	return overlap(*x.Lists, sel.lists)
}

// extensionRooms are the rooms that were sent anew, or saw something of the kind, and that the extension is wanted for.
func (a *slide) extensionRooms(x roomExtensionIn, kind stream.Kind) (fresh, touched []id.RoomID) {
	for _, sel := range a.sel.order {
		roomID := sel.member.RoomID
		if sel.member.Membership != memberJoin {
			continue
		}
		if _, ok := a.fresh[roomID]; ok {
			if x.wants(sel) {
				fresh = append(fresh, roomID)
			}
		} else if a.touched[stream.RoomTopic(roomID)].Has(kind) && x.wants(sel) {
			touched = append(touched, roomID)
		}
	}
	return fresh, touched
}

func (a *slide) extAccountData() error {
	var changed, all []account.AccountDatum
	var err error
	if a.req.initial || a.own().Has(stream.AccountData) {
		if changed, err = a.s.Accounts.AccountDataSince(a.ctx, a.req.user, a.req.since, a.upTo); err != nil {
			return err
		}
	}
	var freshRooms []id.RoomID
	for roomID := range a.fresh {
		freshRooms = append(freshRooms, roomID)
	}
	if len(freshRooms) > 0 && !a.req.initial {
		if all, err = a.s.Accounts.AccountDataOfRooms(a.ctx, a.req.user, freshRooms); err != nil {
			return err
		}
	}
	a.openExtension("account_data")
	mark := len(a.buf)
	a.buf = append(a.buf, `"global":[`...)
	open := len(a.buf)
	for _, d := range changed {
		if d.RoomID == "" && d.Type != typePushRules {
			a.comma(open)
			a.buf = appendDatum(a.buf, d.Type, d.Content)
		}
	}
	if a.s.PushRules != nil && (a.req.initial || a.own().Has(stream.PushRules)) {
		rules, err := a.s.PushRules.Rules(a.ctx, a.req.user)
		if err != nil {
			return err
		}
		a.comma(open)
		a.buf = appendDatum(a.buf, typePushRules, rules)
	}
	global := len(a.buf) > open
	a.buf = append(a.buf, `],"rooms":{`...)
	rooms := a.roomAccountDataOf(changed, all)
	if !global && !rooms {
		a.buf = a.buf[:mark]
	} else {
		a.some = true
		a.buf = append(a.buf, '}')
	}
	a.buf = append(a.buf, '}')
	return nil
}

// roomAccountDataOf writes the data of rooms: all for rooms sent from the beginning, else what changed.
func (a *slide) roomAccountDataOf(changed, all []account.AccountDatum) bool {
	byRoom := map[id.RoomID][]account.AccountDatum{}
	for _, d := range changed {
		if _, fresh := a.fresh[d.RoomID]; d.RoomID != "" && (a.req.initial || !fresh) {
			byRoom[d.RoomID] = append(byRoom[d.RoomID], d)
		}
	}
	for _, d := range all {
		byRoom[d.RoomID] = append(byRoom[d.RoomID], d)
	}
	open := len(a.buf)
	for roomID := range byRoom {
		if !a.in.Extensions.AccountData.wants(a.sel.rooms[roomID]) {
			continue
		}
		a.comma(open)
		a.buf = append(timeline.AppendString(a.buf, string(roomID)), `:[`...)
		inner := len(a.buf)
		for _, d := range byRoom[roomID] {
			a.comma(inner)
			a.buf = appendDatum(a.buf, d.Type, d.Content)
		}
		a.buf = append(a.buf, ']')
	}
	return len(a.buf) > open
}

// comma separates from what was written since open.
func (a *answer) comma(open int) {
	if len(a.buf) > open {
		a.buf = append(a.buf, ',')
	}
}

func (a *slide) extReceipts() error {
	if a.s.Receipts == nil {
		return nil
	}
	fresh, known := a.extensionRooms(a.in.Extensions.Receipts, stream.Receipt)
	out := map[id.RoomID]json.RawMessage{}
	if len(known) > 0 {
		evs, err := a.s.Receipts.ReceiptsSince(a.ctx, known, a.req.since, a.upTo, a.req.user)
		if err != nil {
			return err
		}
		for roomID, ev := range evs {
			out[roomID] = ev
		}
	}
	if len(fresh) > 0 {
		evs, err := a.s.Receipts.ReceiptsSince(a.ctx, fresh, 0, a.upTo, a.req.user)
		if err != nil {
			return err
		}
		for roomID, ev := range evs {
			if ev = receiptsAt(ev, a.fresh[roomID], a.req.user); ev != nil {
				out[roomID] = ev
			}
		}
	}
	a.writeRoomExtension("receipts", out)
	return nil
}

// receiptsAt keeps the receipts at events of the timeline, and the user's own: a room sent anew needs no others.
func receiptsAt(raw json.RawMessage, events map[id.EventID]struct{}, me id.UserID) json.RawMessage {
	dst := []byte(`{"type":"m.receipt","content":{`)
	open := len(dst)
	gjson.GetBytes(raw, "content").ForEach(func(eventID, receipts gjson.Result) bool {
		if _, ok := events[id.EventID(eventID.Str)]; ok {
			if len(dst) > open {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, eventID.Raw...), ':'), receipts.Raw...)
			return true
		}
		receipts.ForEach(func(kind, users gjson.Result) bool {
			users.ForEach(func(user, data gjson.Result) bool {
				if user.Str == string(me) {
					if len(dst) > open {
						dst = append(dst, ',')
					}
					dst = append(append(append(append(dst, eventID.Raw...), `:{`...), kind.Raw...), `:{`...)
					dst = append(append(append(append(dst, user.Raw...), ':'), data.Raw...), '}', '}')
				}
				return true
			})
			return true
		})
		return true
	})
	if len(dst) == open {
		return nil
	}
	return append(dst, '}', '}')
}

func (a *slide) extTyping() error {
	if a.s.Typing == nil {
		return nil
	}
	out := map[id.RoomID]json.RawMessage{}
	fresh, touched := a.extensionRooms(a.in.Extensions.Typing, stream.Typing)
	for _, roomID := range fresh {
		users, err := a.s.Typing.TypingIn(a.ctx, roomID)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			touched = append(touched, roomID)
		}
	}
	for _, roomID := range touched {
		ev, err := a.s.Typing.TypingEvent(a.ctx, roomID)
		if err != nil {
			return err
		}
		out[roomID] = ev
	}
	a.writeRoomExtension("typing", out)
	return nil
}

func (a *slide) writeRoomExtension(name string, rooms map[id.RoomID]json.RawMessage) {
	if len(rooms) == 0 {
		return
	}
	a.some = true
	a.openExtension(name)
	a.buf = append(a.buf, `"rooms":{`...)
	open := len(a.buf)
	for roomID, ev := range rooms {
		a.comma(open)
		a.buf = append(append(timeline.AppendString(a.buf, string(roomID)), ':'), ev...)
	}
	a.buf = append(a.buf, '}', '}')
}
