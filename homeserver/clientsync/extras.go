package clientsync

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"maunium.net/go/mautrix/id"

	"github.com/tidwall/gjson"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

const (
	inboxPage    = 500
	inboxInitial = 20 * inboxPage
	// longAgo is a window that may begin before what the log keeps in memory. There, only the newest change of a device is
	// known, which may have moved behind the window: then the inbox itself is asked.
	longAgo = 500
	// maxNewcomers bounds whose presence is told at once on joining.
	maxNewcomers = 500
)

// inbox fetches to-device messages. When there are more than fit, the window ends at the last of them, so that the next
// request gets the rest.
//
// spec: cs#extensions-to-sync
func (a *answer) inbox() ([]json.RawMessage, error) {
	if a.s.ToDevice == nil || a.req.device == "" {
		return nil, nil
	}
	if !a.req.initial && !a.own().Has(stream.ToDevice) && a.upTo-a.req.since < longAgo {
		return nil, nil
	}
	msgs, last, more, err := a.s.ToDevice.ToDevice(a.ctx, a.req.user, a.req.device, a.req.since, a.upTo, inboxPage)
	if err != nil {
		return nil, err
	}
	if more && !a.req.initial {
		a.upTo = last
		if a.touched, err = a.s.Stream.Touched(a.ctx, a.req.since, a.upTo, a.view.topics); err != nil {
			return nil, err
		}
		return msgs, nil
	}
	for more && len(msgs) < inboxInitial {
		var next []json.RawMessage
		if next, last, more, err = a.s.ToDevice.ToDevice(a.ctx, a.req.user, a.req.device, last, a.upTo, inboxPage); err != nil {
			return nil, err
		}
		msgs = append(msgs, next...)
	}
	return msgs, nil
}

func (a *answer) toDevice(msgs []json.RawMessage) error {
	if len(msgs) > 0 {
		a.some = true
		a.dev = a.s.device(a.req)
		a.dev.mailed(a.upTo)
		a.buf = appendEvents(append(a.buf, `,"to_device":`...), msgs)
	}
	return nil
}

// acknowledge drops the messages that the token of this request says have arrived. It asks the inbox only if the log knows of
// messages in what is newly acknowledged.
func (s *Syncs) acknowledge(ctx context.Context, req *request) error {
	if s.ToDevice == nil || req.device == "" || req.initial {
		return nil
	}
	d := s.device(req)
	from, known := d.acknowledged()
	if known && from >= req.since {
		return nil
	}
	if known {
		topic := stream.UserTopic(req.user)
		touched, err := s.Stream.Touched(ctx, from, req.since, []stream.Topic{topic})
		if err != nil {
			return err
		}
		if !touched[topic].Has(stream.ToDevice) && !d.hasMail() {
			d.setAcknowledged(req.since)
			return nil
		}
	}
	if err := s.ToDevice.DeleteToDevice(ctx, req.user, req.device, req.since); err != nil {
		return err
	}
	d.setAcknowledged(req.since)
	return nil
}

// deviceLists tells whose devices are to be looked at again.
//
// spec: cs#e2e-extensions-to-sync
func (a *answer) deviceLists() error {
	if a.s.DeviceLists == nil || a.req.initial || !a.anywhere(stream.DeviceList, stream.Membership) {
		return nil
	}
	changed, left, err := a.s.DeviceLists.DeviceListChanges(a.ctx, a.req.user, a.req.since, a.upTo)
	if err != nil || len(changed)+len(left) == 0 {
		return err
	}
	a.some = true
	a.buf = appendUsers(append(a.buf, `,"device_lists":{"changed":`...), changed)
	a.buf = append(appendUsers(append(a.buf, `,"left":`...), left), '}')
	return nil
}

// keyCounts is in every answer: a missing count means none to clients.
func (a *answer) keyCounts() error {
	if a.s.KeyCounts == nil || a.req.device == "" {
		return nil
	}
	if a.view != nil && a.own().Has(stream.KeyCount) {
		a.some = true
	}
	counts, unused, err := a.s.KeyCounts.KeyCounts(a.ctx, a.req.user, a.req.device)
	if err != nil {
		return err
	}
	a.buf = append(a.buf, `,"device_one_time_keys_count":{`...)
	first := true
	for algorithm, n := range counts {
		if !first {
			a.buf = append(a.buf, ',')
		}
		first = false
		a.buf = append(timeline.AppendString(a.buf, algorithm), ':')
		a.buf = strconv.AppendInt(a.buf, int64(n), 10)
	}
	a.buf = append(a.buf, '}')
	for _, name := range []string{"device_unused_fallback_key_types", "org.matrix.msc2732.device_unused_fallback_key_types"} {
		a.buf = append(append(append(a.buf, `,"`...), name...), `":[`...)
		for i, algorithm := range unused {
			if i > 0 {
				a.buf = append(a.buf, ',')
			}
			a.buf = timeline.AppendString(a.buf, algorithm)
		}
		a.buf = append(a.buf, ']')
	}
	return nil
}

// presence tells of changes, and of people newly met.
func (a *answer) presence() error {
	if a.s.Presence == nil || !a.req.filter.presence.Type("m.presence") {
		return nil
	}
	var evs []json.RawMessage
	var err error
	if a.req.initial || a.anywhere(stream.Presence) {
		if evs, err = a.s.Presence.PresenceSince(a.ctx, a.req.user, a.req.since, a.upTo); err != nil {
			return err
		}
	}
	if len(a.newcomers) > 0 && !a.req.initial {
		users := make([]id.UserID, 0, len(a.newcomers))
		for u := range a.newcomers {
			users = append(users, u)
		}
		more, err := a.s.Presence.PresenceOf(a.ctx, users)
		if err != nil {
			return err
		}
		evs = mergePresence(evs, more)
	}
	if f := a.req.filter.presence; !f.All() {
		evs = slices.DeleteFunc(slices.Clone(evs), func(ev json.RawMessage) bool {
			return !f.Kind("m.presence", gjson.GetBytes(ev, "sender").Str)
		})
	}
	if len(evs) > 0 {
		a.some = true
		a.buf = appendEvents(append(a.buf, `,"presence":`...), evs)
	}
	return nil
}

// mergePresence appends events of users who are not there yet.
func mergePresence(evs, more []json.RawMessage) []json.RawMessage {
	seen := make(map[string]struct{}, len(evs))
	for _, ev := range evs {
		seen[gjson.GetBytes(ev, "sender").Str] = struct{}{}
	}
	for _, ev := range more {
		if _, ok := seen[gjson.GetBytes(ev, "sender").Str]; !ok {
			evs = append(evs, ev)
		}
	}
	return evs
}

// met notes somebody whom the user now shares a room with.
func (a *answer) met(user id.UserID) {
	if a.req.initial || a.s.Presence == nil || user == a.req.user || len(a.newcomers) >= maxNewcomers {
		return
	}
	if a.newcomers == nil {
		a.newcomers = map[id.UserID]struct{}{}
	}
	a.newcomers[user] = struct{}{}
}

// accountData fetches what changed, writes the global part and keeps the rest for the rooms.
func (a *answer) accountData() error {
	all := a.req.initial || a.req.full
	if all || a.own().Has(stream.AccountData) {
		since := a.req.since
		if a.req.full {
			since = 0
		}
		var err error
		if a.data, err = a.s.Accounts.AccountDataSince(a.ctx, a.req.user, since, a.upTo); err != nil {
			return err
		}
	}
	f, start := a.req.filter.accountData, len(a.buf)
	a.buf = append(a.buf, `,"account_data":{"events":[`...)
	open := len(a.buf)
	for _, d := range a.data {
		if d.RoomID != "" || !f.Type(d.Type) || d.Type == typePushRules {
			continue
		}
		if len(a.buf) > open {
			a.buf = append(a.buf, ',')
		}
		a.buf = appendDatum(a.buf, d.Type, d.Content)
	}
	if (all || a.own().Has(stream.PushRules)) && a.s.PushRules != nil && f.Type(typePushRules) {
		rules, err := a.s.PushRules.Rules(a.ctx, a.req.user)
		if err != nil {
			return err
		}
		if len(a.buf) > open {
			a.buf = append(a.buf, ',')
		}
		a.buf = appendDatum(a.buf, typePushRules, rules)
	}
	if len(a.buf) == open {
		a.buf = a.buf[:start]
		return nil
	}
	a.some = true
	a.buf = append(a.buf, ']', '}')
	return nil
}

const typePushRules = "m.push_rules"
