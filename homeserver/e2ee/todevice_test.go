package e2ee

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

func (w *world) received(user id.UserID, device id.DeviceID, since stream.Pos) []string {
	w.t.Helper()
	events, _, _, err := w.keys.ToDevice(w.ctx, user, device, since, w.stream.Head(), 1000)
	w.must(err)
	out := make([]string, len(events))
	for i, ev := range events {
		out[i] = string(ev)
	}
	return out
}

func content(n int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)) }

func TestSendToDevice_ReachesNamedAndAllDevices(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, device := range []id.DeviceID{"A", "B", "C"} {
			w.device(bob, device, "")
		}
		since := w.stream.Head()
		w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.\"x", "1", Messages{bob: {"*": content(0), "B": content(1), "NONE": content(2)}, carol: {"*": content(3)}}))
		for device, n := range map[id.DeviceID]int{"A": 0, "B": 1, "C": 0} {
			got := w.received(bob, device, 0)
			want := fmt.Sprintf(`{"content":{"n":%d},"sender":"@alice:here","type":"m.\"x"}`, n)
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s: %v", device, got)
			}
		}
		if got := w.received(bob, "NONE", 0); len(got) != 0 {
			t.Error(got)
		}
		touched, err := w.stream.Touched(w.ctx, since, w.stream.Head(), []stream.Topic{stream.UserTopic(bob), stream.UserTopic(carol)})
		w.must(err)
		if !touched[stream.UserTopic(bob)].Has(stream.ToDevice) || touched[stream.UserTopic(carol)].Has(stream.ToDevice) {
			t.Error(touched)
		}
	})
}

func TestSendToDevice_NewDeviceIsReachedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(bob, "A", "")
		w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.x", "1", Messages{bob: {"*": content(0)}}))
		w.device(bob, "B", "")
		w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.x", "2", Messages{bob: {"*": content(1)}}))
		if a, b := w.received(bob, "A", 0), w.received(bob, "B", 0); len(a) != 2 || len(b) != 1 {
			t.Fatal(a, b)
		}
	})
}

func TestSendToDevice_SameTransactionOnceForEachDevice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(bob, "A", "")
		var wg sync.WaitGroup
		for range 8 {
			for _, device := range []id.DeviceID{"D1", "D2"} {
				wg.Go(func() {
					if err := w.keys.SendToDevice(w.ctx, alice, device, "m.x", "txn", Messages{bob: {"A": content(0)}, dave: {"D": content(1)}}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if got := w.received(bob, "A", 0); len(got) != 2 {
			t.Fatal(got)
		}
		if got, err := w.keys.Outbox(w.ctx, "there", OutboxID{}, 100); err != nil || len(got) != 2 {
			t.Fatal(got, err)
		}
	})
}

func TestToDevice_InOrderInPartsAndDeletedWhenPassed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(bob, "A", "")
		for i := range 7 {
			w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.x", fmt.Sprint(i), Messages{bob: {"A": content(i)}}))
		}
		head := w.stream.Head()
		since, n := stream.Pos(0), 0
		for more := true; more; {
			events, last, again, err := w.keys.ToDevice(w.ctx, bob, "A", since, head, 3)
			w.must(err)
			for _, ev := range events {
				if !strings.Contains(string(ev), fmt.Sprintf(`{"n":%d}`, n)) {
					t.Fatalf("%d: %s", n, ev)
				}
				n++
			}
			if again != (n < 7) || (!again && last != head) {
				t.Fatal(n, again, last)
			}
			repeat, _, _, err := w.keys.ToDevice(w.ctx, bob, "A", since, head, 3)
			w.must(err)
			if len(repeat) != len(events) {
				t.Fatal("a repeated sync got something else")
			}
			since, more = last, again
			w.must(w.keys.DeleteToDevice(w.ctx, bob, "A", since))
			if got := w.received(bob, "A", 0); len(got) != 7-n {
				t.Fatalf("%d passed, still given: %v", n, got)
			}
		}
		w.must(w.keys.FlushAcks(w.ctx))
		var left int
		w.must(w.db.QueryRow(w.ctx, `SELECT COUNT(*) FROM to_device_inbox`).Scan(&left))
		if n != 7 || left != 0 {
			t.Fatal(n, left)
		}
	})
}

func TestDeleteToDevice_AfterARestart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(bob, "A", "")
		w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.x", "1", Messages{bob: {"A": content(1)}}))
		again := New(Deps{DB: w.db, Stream: w.stream, Accounts: w.people, Rooms: w.people})
		w.must(again.DeleteToDevice(w.ctx, bob, "A", w.stream.Head()))
		w.must(again.FlushAcks(w.ctx))
		if got := w.received(bob, "A", 0); len(got) != 0 {
			t.Fatal(got)
		}
	})
}

func TestSendToDevice_RefusesWhatIsTooLargeOrMalformed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(bob, "A", "")
		many := map[id.DeviceID]json.RawMessage{}
		for i := range maxRecipients + 1 {
			many[id.DeviceID(fmt.Sprint(i))] = content(0)
		}
		for name, c := range map[string]struct {
			kind     string
			messages Messages
			code     string
		}{
			"large":      {"m.x", Messages{bob: {"A": json.RawMessage(`{"x":"` + strings.Repeat("x", maxMessage) + `"}`)}}, "M_TOO_LARGE"},
			"many":       {"m.x", Messages{bob: many}, "M_TOO_LARGE"},
			"no object":  {"m.x", Messages{bob: {"A": json.RawMessage(`[]`)}}, "M_BAD_JSON"},
			"null":       {"m.x", Messages{bob: {"A": json.RawMessage(`null`)}}, "M_BAD_JSON"},
			"no user ID": {"m.x", Messages{"bob": {"A": content(0)}}, "M_INVALID_PARAM"},
			"no type":    {"", Messages{bob: {"A": content(0)}}, "M_INVALID_PARAM"},
		} {
			if err := w.keys.SendToDevice(w.ctx, alice, "DEV", c.kind, name, c.messages); errcode(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := w.received(bob, "A", 0); len(got) != 0 {
			t.Fatal(got)
		}
	})
}

func TestOutbox_BoundedEDUsStayUntilAcknowledged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		big := json.RawMessage(`{"x":"` + strings.Repeat("x", 30<<10) + `"}`)
		devices := map[id.DeviceID]json.RawMessage{}
		for i := range 7 {
			devices[id.DeviceID(fmt.Sprint(i))] = big
		}
		w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.x", "1", Messages{dave: devices}))
		w.must(w.keys.SendToDevice(w.ctx, alice, "DEV", "m.x", "2", Messages{dave: {"D": content(2)}, "@f:elsewhere": {"F": content(3)}}))
		items, err := w.keys.Outbox(w.ctx, "there", OutboxID{}, 100)
		w.must(err)
		got, ids := map[id.DeviceID]bool{}, map[string]bool{}
		for _, item := range items {
			if len(item.Content) > 2*maxMessage {
				t.Errorf("an EDU of %d bytes", len(item.Content))
			}
			var edu directToDevice
			w.must(json.Unmarshal(item.Content, &edu))
			for device := range edu.Messages[dave] {
				got[device] = true
			}
			ids[edu.MessageID] = true
		}
		if len(got) != 8 || len(ids) != len(items) || len(items) < 4 {
			t.Fatal(len(got), len(ids), len(items))
		}
		w.must(w.keys.Sent(w.ctx, "there", items[1].ID))
		rest, err := w.keys.Outbox(w.ctx, "there", OutboxID{}, 100)
		w.must(err)
		if len(rest) != len(items)-2 || rest[0].ID != items[2].ID {
			t.Fatal(len(rest))
		}
		more, err := w.keys.Outbox(w.ctx, "there", items[2].ID, 100)
		w.must(err)
		if len(more) != len(rest)-1 {
			t.Fatal(len(more))
		}
		if d, err := w.keys.WaitingDestinations(w.ctx); err != nil || len(d) != 2 {
			t.Fatal(d, err)
		}
	})
}

func TestReceiveToDevice_EachMessageOnceAndFromItsServerAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(bob, "A", "")
		edu := func(sender, message string) json.RawMessage {
			return json.RawMessage(fmt.Sprintf(`{"sender":%q,"type":"m.x","message_id":%q,"messages":{"@bob:here":{"*":{"n":1}},"@dave:there":{"D":{}}}}`, sender, message))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := w.keys.ReceiveToDevice(w.ctx, "there", edu("@dave:there", "m1")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.must(w.keys.ReceiveToDevice(w.ctx, "there", edu("@dave:there", "m1")))
		if got := w.received(bob, "A", 0); len(got) != 1 {
			t.Fatal(got)
		}
		w.must(w.keys.ReceiveToDevice(w.ctx, "evil", edu("@dave:there", "m2")))
		w.must(w.keys.ReceiveToDevice(w.ctx, "evil", edu("@x:evil", "m1")))
		for _, bad := range []string{``, `[]`, `{}`, `{"sender":1}`, `{"sender":"@dave:there","type":"m.x","message_id":"m3","messages":[]}`,
			`{"sender":"@dave:there","type":"m.x","message_id":"m3","messages":{"@bob:here":{"A":1}}}`} {
			w.must(w.keys.ReceiveToDevice(w.ctx, "there", json.RawMessage(bad)))
		}
		if got := w.received(bob, "A", 0); len(got) != 2 {
			t.Fatal(got)
		}
	})
}
