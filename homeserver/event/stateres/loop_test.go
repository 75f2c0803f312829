package stateres_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

// forge stores an event as somebody could send it in versions 1 and 2, where event IDs are free.
func forge(t *testing.T, room *eventtest.Room, eventID id.EventID, kind, stateKey string, sender id.UserID, content string, auth ...id.EventID) *event.Event {
	t.Helper()
	var refs []string
	for _, a := range auth {
		refs = append(refs, fmt.Sprintf(`[%q,{"sha256":"x"}]`, a))
	}
	raw := fmt.Sprintf(`{"auth_events":[%s],"content":%s,"depth":9,"event_id":%q,"hashes":{"sha256":"x"},"origin_server_ts":9,"prev_events":[],"room_id":%q,"sender":%q,"signatures":{},"state_key":%q,"type":%q}`,
		strings.Join(refs, ","), content, eventID, room.ID, sender, stateKey, kind)
	ev, err := event.ParseStored(room.Version, eventID, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	room.Known[eventID] = ev
	return ev
}

// Loops of auth events end every walk: the chain, the power order and the mainline.
func TestResolve_LoopsOfAuthEvents(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		base := public(version)
		create, member := base.State[at("m.room.create", "")], base.State[at("m.room.member", string(alice))]
		a, b, c := id.EventID("$loop-a:a.org"), id.EventID("$loop-b:a.org"), id.EventID("$loop-c:a.org")
		content := levels(base.Room.Version, `"@bob:b.org":99`)
		forge(t, base.Room, a, "m.room.power_levels", "", alice, content, create, member, b)
		forge(t, base.Room, b, "m.room.power_levels", "", alice, content, create, member, c)
		forge(t, base.Room, c, "m.room.power_levels", "", alice, content, create, member, a)
		self := forge(t, base.Room, "$self:a.org", "m.room.topic", "", alice, `{}`, create, member, "$self:a.org", a).ID()
		one, other := base.Fork(), base.Fork()
		one.State[at("m.room.power_levels", "")] = a
		one.State[at("m.room.topic", "")] = self
		other.State[at("m.room.power_levels", "")] = b
		third := base.Fork()
		third.Must(eventtest.State(bob, "m.room.topic", "", `{"topic":"third"}`))
		done := make(chan struct{})
		go func() {
			defer close(done)
			resolve(t, base.Room, one.State, other.State, base.State, third.State)
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("version %s: no end", version)
		}
	}
}

// A conflict on top of a very long auth chain is walked once, without recursion, and in good time.
func TestResolve_LongAuthChain(t *testing.T) {
	const length = 20000
	base := public("2")
	create, member := base.State[at("m.room.create", "")], base.State[at("m.room.member", string(alice))]
	last := base.State[at("m.room.power_levels", "")]
	for i := range length {
		next := id.EventID(fmt.Sprintf("$pl%d:a.org", i))
		forge(t, base.Room, next, "m.room.power_levels", "", alice, levels(base.Room.Version, `"@bob:b.org":100`), create, member, last)
		last = next
	}
	one, other := base.Fork(), base.Fork()
	one.State[at("m.room.power_levels", "")] = last
	other.Must(eventtest.State(bob, "m.room.topic", "", `{"topic":"other"}`))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := stateres.Resolve(ctx, base.Room.Version, []stateres.StateMap{one.State, other.State}, base.Room)
	if err != nil {
		t.Fatal(err)
	}
	again, err := stateres.Resolve(ctx, base.Room.Version, []stateres.StateMap{other.State, one.State}, base.Room)
	if err != nil || !maps.Equal(out, again) {
		t.Fatalf("depends on the order: %v", err)
	}
	if out[at("m.room.power_levels", "")] != last {
		t.Errorf("power levels %s", out[at("m.room.power_levels", "")])
	}
}
