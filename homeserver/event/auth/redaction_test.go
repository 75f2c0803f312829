package auth_test

import (
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

func TestCanRedact(t *testing.T) {
	for _, version := range event.Versions() {
		b := room(version, "public")
		hers := b.Send(eventtest.Message(carol))
		redaction := func(sender id.UserID, target id.EventID) *event.Event {
			return b.Make(eventtest.Draft{Type: "m.room.redaction", Sender: sender, Redacts: target})
		}
		_, foreign := eventtest.NewRoom(version, "foreign", alice, "")
		elsewhere := foreign.Send(eventtest.Message(carol))
		for name, c := range map[string]struct {
			redaction, target *event.Event
			want              bool
		}{
			"own":              {redaction(carol, hers.ID()), hers, true},
			"of one's server":  {redaction("@other:c.org", hers.ID()), hers, true},
			"with power":       {redaction(bob, hers.ID()), hers, true},
			"without power":    {redaction(dave, hers.ID()), hers, false},
			"another target":   {redaction(carol, b.Make(eventtest.Message(carol)).ID()), hers, false},
			"another room":     {redaction(bob, elsewhere.ID()), elsewhere, false},
			"not a redaction":  {b.Make(eventtest.Message(carol)), hers, false},
			"no target at all": {redaction(bob, ""), hers, false},
		} {
			if got := auth.CanRedact(c.redaction, c.target, b); got != c.want {
				t.Errorf("version %s, %s: %v", version, name, got)
			}
		}
	}
}

func TestCanRedact_NeverItself(t *testing.T) {
	v := event.MustLookup("1")
	root := `{"auth_events":[],"content":{},"depth":1,"event_id":"$x:a.org","hashes":{"sha256":"x"},"origin_server_ts":1,"prev_events":[],"redacts":"$x:a.org","room_id":"!r:a.org","sender":"@alice:a.org","signatures":{},"type":"m.room.redaction"}`
	ev, err := event.ParseStored(v, "$x:a.org", []byte(root))
	if err != nil {
		t.Fatal(err)
	}
	if auth.CanRedact(ev, ev, auth.Map{}) {
		t.Error("an event redacts itself")
	}
}
