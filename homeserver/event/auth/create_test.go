package auth_test

import (
	"encoding/json"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

func create(t *testing.T, version string, p event.Proto) *event.Event {
	t.Helper()
	v := event.MustLookup(version)
	if p.RoomID == "" && !v.DomainlessRoomID() {
		p.RoomID = "!r:a.org"
	}
	if v.IDInside() {
		p.EventID = "$create:a.org"
	}
	if p.Sender == "" {
		p.Sender = alice
	}
	p.Type, p.Timestamp = "m.room.create", 1
	ev, err := event.Build(v, p, eventtest.Signer("a.org"))
	if err != nil {
		t.Fatalf("version %s: %v", version, err)
	}
	return ev
}

func TestCheck_CreateEvents(t *testing.T) {
	root, prev := "", []id.EventID{"$x:a.org"}
	for n, version := range event.Versions() {
		if n >= 2 {
			prev = []id.EventID{"$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
		}
		content := func(more string) json.RawMessage {
			return json.RawMessage(`{"creator":"@alice:a.org"` + more + `}`)
		}
		for name, c := range map[string]struct {
			proto event.Proto
			want  string
		}{
			"plain":             {event.Proto{StateKey: &root, Content: content("")}, "ok"},
			"own version":       {event.Proto{StateKey: &root, Content: content(`,"room_version":"` + version + `"`)}, "ok"},
			"previous events":   {event.Proto{StateKey: &root, Content: content(""), PrevEvents: prev}, "1.1"},
			"unknown version":   {event.Proto{StateKey: &root, Content: content(`,"room_version":"org.none"`)}, "1.3"},
			"version a number":  {event.Proto{StateKey: &root, Content: content(`,"room_version":1`)}, "1.3"},
			"version null":      {event.Proto{StateKey: &root, Content: content(`,"room_version":null`)}, "1.3"},
			"no creator":        {event.Proto{StateKey: &root, Content: json.RawMessage(`{}`)}, map[bool]string{true: "1.4", false: "ok"}[n < 10]},
			"other server":      {event.Proto{StateKey: &root, Content: content(""), RoomID: "!r:b.org"}, map[bool]string{true: "1.2", false: "ok"}[n < 11]},
			"state key":         {event.Proto{StateKey: eventtest.Key("x"), Content: content(""), RoomID: "!r:a.org"}, "1"},
			"predecessor":       {event.Proto{StateKey: &root, Content: content(`,"predecessor":"text"`)}, "ok"},
			"creators":          {event.Proto{StateKey: &root, Content: content(`,"additional_creators":["@b:b.org"]`)}, "ok"},
			"creators empty":    {event.Proto{StateKey: &root, Content: content(`,"additional_creators":[]`)}, "ok"},
			"creators a string": {event.Proto{StateKey: &root, Content: content(`,"additional_creators":"@b:b.org"`)}, map[bool]string{true: "1.4", false: "ok"}[n == 11]},
			"creators null":     {event.Proto{StateKey: &root, Content: content(`,"additional_creators":null`)}, map[bool]string{true: "1.4", false: "ok"}[n == 11]},
			"creators numbers":  {event.Proto{StateKey: &root, Content: content(`,"additional_creators":["@b:b.org",42]`)}, map[bool]string{true: "1.4", false: "ok"}[n == 11]},
			"creators no users": {event.Proto{StateKey: &root, Content: content(`,"additional_creators":["@b:b.org","b"]`)}, map[bool]string{true: "1.4", false: "ok"}[n == 11]},
			"creators' servers": {event.Proto{StateKey: &root, Content: content(`,"additional_creators":["@invalid:dom$ain$.com"]`)}, map[bool]string{true: "1.4", false: "ok"}[n == 11]},
		} {
			if n == 11 && name == "state key" {
				c.proto.RoomID = "!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			}
			if got := ruleOf(auth.Check(create(t, version, c.proto), auth.Map{})); got != c.want {
				t.Errorf("version %s, %s: rule %s, want %s", version, name, got, c.want)
			}
		}
	}
}

// M3: the create event is state.
func TestCheck_CreateWithoutStateKeyIsRejected(t *testing.T) {
	for _, version := range event.Versions() {
		p := event.Proto{Content: json.RawMessage(`{"creator":"@alice:a.org"}`)}
		if version == "12" {
			p.RoomID = "!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		}
		if got := ruleOf(auth.Check(create(t, version, p), auth.Map{})); got != "1" {
			t.Errorf("version %s: rule %s", version, got)
		}
	}
}

func TestCheck_CreateOfVersion12WithRoomIDIsRejected(t *testing.T) {
	v := event.MustLookup("12")
	raw := []byte(`{"auth_events":[],"content":{"room_version":"12"},"depth":1,"hashes":{"sha256":"x"},"origin_server_ts":1,"prev_events":[],"room_id":"!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","sender":"@alice:a.org","signatures":{},"state_key":"","type":"m.room.create"}`)
	ev, err := event.ParseStored(v, "", raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := ruleOf(auth.Check(ev, auth.Map{})); got != "1.2" {
		t.Errorf("rule %s", got)
	}
}

func TestCheck_FirstJoin(t *testing.T) {
	for n, version := range event.Versions() {
		text := map[bool]string{true: "5.2", false: "4.2"}[n < 5]
		switch {
		case n >= 11:
			text = "5.3"
		case n >= 7:
			text = "4.3"
		}
		_, b := eventtest.NewRoom(version, "first", alice, "")
		if got := ruleOf(auth.Check(b.Make(eventtest.Member(alice, alice, "join")), b)); got != "ok" {
			t.Errorf("version %s: creator: rule %s", version, got)
		}
		if got := ruleOf(auth.Check(b.Make(eventtest.Member(bob, bob, "join")), b)); got != text+map[bool]string{true: ".6", false: ".7"}[n < 7] {
			t.Errorf("version %s: somebody else: rule %s", version, got)
		}
		b.Must(eventtest.Member(alice, alice, "join"))
		b.Must(eventtest.Member(alice, alice, "leave"))
		if got := ruleOf(auth.Check(b.Make(eventtest.Member(alice, alice, "join")), b)); got == "ok" {
			t.Errorf("version %s: the creator comes back into a room by invitation", version)
		}
	}
}

func TestCheck_CreatorIsTheOneNamedUpToVersion10(t *testing.T) {
	for n, version := range event.Versions() {
		_, b := eventtest.NewRoom(version, "named", alice, `{"creator":"@bob:b.org"}`)
		named, sender := b.Make(eventtest.Member(bob, bob, "join")), b.Make(eventtest.Member(alice, alice, "join"))
		if ok := auth.Check(named, b) == nil; ok != (n < 10) {
			t.Errorf("version %s: named creator allowed: %v", version, ok)
		}
		if ok := auth.Check(sender, b) == nil; ok != (n >= 10) {
			t.Errorf("version %s: sender allowed: %v", version, ok)
		}
	}
}

// The creator's level counts without power levels, nobody else may set state then (no taking over of a room whose power
// levels somebody hides).
func TestCheck_RoomWithoutPowerLevels(t *testing.T) {
	for _, version := range event.Versions() {
		_, b := eventtest.NewRoom(version, "bare", alice, "")
		b.Must(eventtest.Member(alice, alice, "join"))
		b.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
		b.Must(eventtest.Member(bob, bob, "join"))
		b.Must(eventtest.Message(bob))
		if _, err := b.Try(eventtest.State(bob, "m.room.power_levels", "", `{"users":{"@bob:b.org":100}}`)); err == nil {
			t.Errorf("version %s: power taken by somebody who is not the creator", version)
		}
		if _, err := b.Try(eventtest.State(bob, "m.room.topic", "", `{}`)); err == nil {
			t.Errorf("version %s: state set by somebody who is not the creator", version)
		}
		b.Must(eventtest.Member(alice, bob, "ban"))
	}
}

func TestCreators(t *testing.T) {
	_, b := eventtest.NewRoom("12", "many", alice, `{"additional_creators":["@bob:b.org","@bob:b.org","@alice:a.org"]}`)
	got := auth.Creators(b.Get(event.Key{Type: "m.room.create"}))
	if len(got) != 2 || got[0] != alice || got[1] != bob {
		t.Errorf("creators %v", got)
	}
}

func TestCheck_AdditionalCreatorsHaveAllPower(t *testing.T) {
	_, b := eventtest.NewRoom("12", "many", alice, `{"additional_creators":["@bob:b.org"]}`)
	b.Must(eventtest.Member(alice, alice, "join"))
	if _, err := b.Try(eventtest.Member(bob, bob, "join")); err == nil {
		t.Fatal("an additional creator came in without an invitation")
	}
	b.Must(eventtest.Member(alice, bob, "invite"))
	b.Must(eventtest.Member(bob, bob, "join"))
	b.Must(eventtest.State(bob, "m.room.power_levels", "", `{"users":{"@carol:c.org":9007199254740991},"ban":9007199254740991,"events":{"m.room.name":9007199254740991}}`))
	b.Must(eventtest.State(bob, "m.room.name", "", `{"name":"x"}`))
	b.Must(eventtest.Member(alice, carol, "invite"))
	b.Must(eventtest.Member(carol, carol, "join"))
	for _, target := range []id.UserID{alice, bob} {
		if got := ruleOf(auth.Check(b.Make(eventtest.Member(carol, target, "leave")), b)); got != "5.5.5" {
			t.Errorf("kick of %s: rule %s", target, got)
		}
	}
	if got := ruleOf(auth.Check(b.Make(eventtest.Member(alice, bob, "ban")), b)); got != "5.6.3" {
		t.Errorf("creators are equal: rule %s", got)
	}
	b.Must(eventtest.Member(alice, carol, "ban"))
	if got := ruleOf(auth.Check(b.Make(eventtest.State(alice, "m.room.power_levels", "", `{"users":{"@bob:b.org":0}}`)), b)); got != "10.4" {
		t.Errorf("creator in users: rule %s", got)
	}
}
