package auth_test

import (
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

func TestCheck_OwnedState(t *testing.T) {
	if len(event.Unstable()) != 2 {
		t.Fatalf("versions %v", event.Unstable())
	}
	for _, version := range append(event.Unstable(), "10", "11") {
		b := room(version, "public")
		owned := event.MustLookup(version).OwnedState()
		for _, c := range []struct {
			sender       id.UserID
			key          string
			owned, plain bool
		}{
			{bob, string(bob), true, true},
			{bob, string(bob) + "_device:!@#$", true, false},
			{bob, string(grace), false, false},
			{bob, string(grace) + "_device", false, false},
			{bob, string(bob) + "device", true, false},         // of a user of another server
			{bob, "@x" + string(bob) + "_device", true, false}, // of a user with an odd name and less power
			{ivan, string(bob), true, false},
			{ivan, string(bob) + "_device", true, false},
			{ivan, string(alice) + "_device", false, false},
			{ivan, "@nobody:n.org", true, false},
			{ivan, "@oops", false, false},
			{ivan, string(ivan) + "@_device", false, false},
			{ivan, "device_" + string(alice), true, true},
		} {
			want := c.plain
			if owned {
				want = c.owned
			}
			fork := b.Fork()
			err := auth.Check(fork.Make(eventtest.State(c.sender, "org.low", c.key, `{}`)), fork)
			if (err == nil) != want {
				t.Errorf("version %s: %s writes %s: %v", version, c.sender, c.key, err)
			}
		}
	}
}
