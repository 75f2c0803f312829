package auth_test

import (
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

var keyLevels = event.Key{Type: "m.room.power_levels"}

// change is a change of power levels and the rule it breaks.
type change struct {
	name          string
	before, after string // contents; %s is the users object members that let the test go on
	sender        id.UserID
	want          string
}

const rest = `,"users":{"@bob:b.org":50,"@grace:b.org":50,"@ivan:i.org":70}`

func runChanges(t *testing.T, changes []change) {
	for n, version := range event.Versions() {
		base := room(version, "public")
		for _, c := range changes {
			want := expected(c.want, n+1)
			if want == "-" {
				continue
			}
			b := base.Fork()
			b.Send(eventtest.State(alice, "m.room.power_levels", "", c.before))
			draft := eventtest.State(c.sender, "m.room.power_levels", "", c.after)
			if got := ruleOf(auth.Check(b.Make(draft), b)); got != want {
				t.Errorf("version %s, %s: rule %s, want %s", version, c.name, got, want)
			}
		}
	}
}

func TestCheck_PowerLevelChanges(t *testing.T) {
	const (
		named, mapsOld, maps = "1:10.3.%d 6:9.3.%d 10:9.5.%d 12:10.6.%d", "1:10.4.1 6:9.4.1 10:9.6.1 12:10.7.1", "1:10.5.1 6:9.5.1 10:9.7.1 12:10.8.1"
		usersOld, users      = "1:10.6.1 6:9.6.1 10:9.8.1 12:10.9.1", "1:10.7.1 6:9.7.1 10:9.9.1 12:10.10.1"
		notifyOld, notify    = "1:ok 6:9.4.1 10:9.6.1 12:10.7.1", "1:ok 6:9.5.1 10:9.7.1 12:10.8.1"
	)
	was, raised := fmt.Sprintf(named, 1, 1, 1, 1), fmt.Sprintf(named, 2, 2, 2, 2)
	changes := []change{
		{"nothing", `{"x":1` + rest + `}`, `{"x":2` + rest + `}`, bob, "ok"},
		{"level of events raised to one's own", `{"x":1` + rest + `}`, `{"events":{"a":50}` + rest + `}`, bob, "ok"},
		{"level of events raised above", `{"x":1` + rest + `}`, `{"events":{"a":51}` + rest + `}`, bob, maps},
		{"level of events changed from above", `{"events":{"a":51}` + rest + `}`, `{"events":{"a":1}` + rest + `}`, bob, mapsOld},
		{"level of events removed from above", `{"events":{"a":51}` + rest + `}`, `{"events":{}` + rest + `}`, bob, mapsOld},
		{"events removed", `{"events":{"a":51}` + rest + `}`, `{"x":1` + rest + `}`, bob, mapsOld},
		{"level of events above left alone", `{"events":{"a":51}` + rest + `}`, `{"events":{"a":51,"b":1}` + rest + `}`, bob, "ok"},
		{"notification raised", `{"x":1` + rest + `}`, `{"notifications":{"room":51}` + rest + `}`, bob, notify},
		{"notification lowered from above", `{"notifications":{"room":51}` + rest + `}`, `{"notifications":{"room":1}` + rest + `}`, bob, notifyOld},
		{"notification removed from above", `{"notifications":{"room":51}` + rest + `}`, `{"x":1` + rest + `}`, bob, notifyOld},
		{"notification by the creator (B8)", `{"x":1` + rest + `}`, `{"notifications":{"room":150}` + rest + `}`, alice, "1:- 12:ok"},

		{"new user at one's own level", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":50,"@grace:b.org":50,"@ivan:i.org":70,"@n:n.org":50}}`, bob, "ok"},
		{"new user above", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":50,"@grace:b.org":50,"@ivan:i.org":70,"@n:n.org":51}}`, bob, users},
		{"user raised above", `{"users":{"@bob:b.org":50,"@n:n.org":1}}`, `{"users":{"@bob:b.org":50,"@n:n.org":51}}`, bob, users},
		{"oneself raised", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":51,"@grace:b.org":50,"@ivan:i.org":70}}`, bob, users},
		{"oneself lowered", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":1,"@grace:b.org":50,"@ivan:i.org":70}}`, bob, "ok"},
		{"oneself removed", `{"x":1` + rest + `}`, `{"users":{"@grace:b.org":50,"@ivan:i.org":70}}`, bob, "ok"},
		{"equal lowered", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":50,"@grace:b.org":49,"@ivan:i.org":70}}`, bob, usersOld},
		{"equal removed (M1)", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":50,"@ivan:i.org":70}}`, bob, usersOld},
		{"superior removed", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":50,"@grace:b.org":50}}`, bob, usersOld},
		{"inferior removed", `{"users":{"@bob:b.org":50,"@n:n.org":49}}`, `{"users":{"@bob:b.org":50}}`, bob, "ok"},
		{"users removed", `{"x":1` + rest + `}`, `{"x":1}`, bob, usersOld},

		{"users a list", `{"x":1` + rest + `}`, `{"users":[]}`, bob, "1:10.1 6:9.1 10:9.3 12:10.3"},
		{"users null", `{"x":1` + rest + `}`, `{"users":null}`, bob, "1:10.1 6:9.1 10:9.3 12:10.3"},
		{"a user null", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":null}}`, bob, "1:10.1 6:9.1 10:9.3 12:10.3"},
		{"a user that is none", `{"x":1` + rest + `}`, `{"users":{"bob":1}}`, bob, "1:10.1 6:9.1 10:9.3 12:10.3"},
		{"a user true", `{"x":1` + rest + `}`, `{"users":{"@n:n.org":true}}`, bob, "1:10.1 6:9.1 10:9.3 12:10.3"},
		{"a user's level in words", `{"x":1` + rest + `}`, `{"users":{"@n:n.org":"ten"}}`, bob, "1:10.1 6:9.1 10:9.3 12:10.3"},
		{"a user's level in a string", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":" +050 ","@grace:b.org":"50","@ivan:i.org":70}}`, bob, "1:ok 10:9.3 12:10.3"},
		{"a user's level a float", `{"x":1` + rest + `}`, `{"users":{"@bob:b.org":50.9,"@grace:b.org":50,"@ivan:i.org":70}}`, bob, "1:ok 6:-"},
		{"events a list", `{"x":1` + rest + `}`, `{"events":[]` + rest + `}`, bob, "1:10.5.1 6:9.5.1 10:9.2 12:10.2"},
		{"events null", `{"x":1` + rest + `}`, `{"events":null` + rest + `}`, bob, "1:ok 10:9.2 12:10.2"},
		{"events in strings", `{"x":1` + rest + `}`, `{"events":{"a":"50"}` + rest + `}`, bob, "1:ok 10:9.2 12:10.2"},
		{"notifications in strings", `{"x":1` + rest + `}`, `{"notifications":{"room":"50"}` + rest + `}`, bob, "1:ok 10:9.2 12:10.2"},
	}
	for _, level := range []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"} {
		for _, c := range []change{
			{"added", `{"x":1` + rest + `}`, `{"%s":50` + rest + `}`, bob, "ok"},
			{"added above", `{"x":1` + rest + `}`, `{"%s":51` + rest + `}`, bob, raised},
			{"raised above", `{"%s":1` + rest + `}`, `{"%s":51` + rest + `}`, bob, raised},
			{"lowered from above", `{"%s":51` + rest + `}`, `{"%s":1` + rest + `}`, bob, was},
			{"removed from above", `{"%s":51` + rest + `}`, `{"x":1` + rest + `}`, bob, was},
			{"left above", `{"%s":51` + rest + `}`, `{"%s":51,"x":1` + rest + `}`, bob, "ok"},
			{"a string", `{"x":1` + rest + `}`, `{"%s":"1"` + rest + `}`, bob, "1:ok 10:9.1 12:10.1"},
			{"a high string", `{"x":1` + rest + `}`, `{"%s":"99999999999999999999999"` + rest + `}`, bob, "1:10.3.2 6:9.3.2 10:9.1 12:10.1"},
			{"a word", `{"x":1` + rest + `}`, `{"%s":"one"` + rest + `}`, bob, "1:10.3.2 6:9.3.2 10:9.1 12:10.1"},
			{"null", `{"x":1` + rest + `}`, `{"%s":null` + rest + `}`, bob, "1:ok 10:9.1 12:10.1"},
			{"false", `{"x":1` + rest + `}`, `{"%s":false` + rest + `}`, bob, "1:10.3.2 6:9.3.2 10:9.1 12:10.1"},
			{"a float", `{"x":1` + rest + `}`, `{"%s":50.5` + rest + `}`, bob, "1:ok 6:-"},
		} {
			fill := func(s string) string {
				if len(s) > 4 && s[2:4] == "%s" {
					return fmt.Sprintf(s, level)
				}
				return s
			}
			// The level that the sender needs to change power levels at all must not be in the way.
			if level == "state_default" && c.name == "left above" || level == "state_default" && fill(c.before) == `{"state_default":51`+rest+`}` {
				continue
			}
			changes = append(changes, change{level + " " + c.name, fill(c.before), fill(c.after), c.sender, c.want})
		}
	}
	runChanges(t, changes)
}

func TestCheck_FirstPowerLevels(t *testing.T) {
	for n, version := range event.Versions() {
		for content, want := range map[string]string{
			`{"users":{"@bob:b.org":1000},"ban":1000}`: "ok",
			`{"ban":"text"}`:                 "1:ok 10:9.1 12:10.1",
			`{"events":{"a":"x"}}`:           "1:ok 10:9.2 12:10.2",
			`{"users":{"@bob:b.org":"x"}}`:   "1:10.1 6:9.1 10:9.3 12:10.3",
			`{"users":{"@alice:a.org":100}}`: "1:ok 12:10.4",
			`{}`:                             "ok",
		} {
			_, b := eventtest.NewRoom(version, "first", alice, "")
			b.Must(eventtest.Member(alice, alice, "join"))
			draft := eventtest.State(alice, "m.room.power_levels", "", content)
			if got := ruleOf(auth.Check(b.Make(draft), b)); got != expected(want, n+1) {
				t.Errorf("version %s, %s: rule %s, want %s", version, content, got, expected(want, n+1))
			}
		}
	}
}

// B3: to lift a ban one needs the kick level as well, and to stand above the banned user.
func TestCheck_UnbanNeedsKickLevelAndRank(t *testing.T) {
	for n, version := range event.Versions() {
		want := expected("1:5.4.5 6:4.4.5 8:4.5.5 12:5.5.5", n+1)
		for content, want := range map[string]string{
			`{"ban":50,"kick":60,"users":{"@bob:b.org":55}}`:                   want,
			`{"ban":50,"kick":50,"users":{"@bob:b.org":55,"@erin:e.org":70}}`:  want,
			`{"ban":50,"kick":50,"users":{"@bob:b.org":55,"@erin:e.org":55}}`:  want,
			`{"ban":50,"kick":50,"users":{"@bob:b.org":55,"@erin:e.org":54}}`:  "ok",
			`{"ban":60,"kick":50,"users":{"@bob:b.org":55,"@erin:e.org":-10}}`: expected("1:5.4.3 6:4.4.3 8:4.5.3 12:5.5.3", n+1),
		} {
			b := room(version, "public")
			b.Send(eventtest.State(alice, "m.room.power_levels", "", content))
			if got := ruleOf(auth.Check(b.Make(eventtest.Member(bob, erin, "leave")), b)); got != want {
				t.Errorf("version %s, %s: rule %s, want %s", version, content, got, want)
			}
		}
	}
}

func TestPowerLevels(t *testing.T) {
	for _, version := range event.Versions() {
		_, b := eventtest.NewRoom(version, "levels", alice, "")
		creator := map[bool]int64{true: auth.Infinite, false: 100}[version == "12"]
		bare := auth.PowerLevels(b)
		if bare.Exist() || bare.User(alice) != creator || bare.User(bob) != 0 || bare.StateDefault != 50 || bare.EventsDefault != 0 ||
			bare.Ban != 50 || bare.Kick != 50 || bare.Redact != 50 || bare.Invite != 0 || bare.Event("a", true) != 50 ||
			bare.Event("a", false) != 0 || bare.Notification("room") != 50 {
			t.Errorf("version %s: without power levels: %+v", version, bare)
		}
		b.Send(eventtest.State(alice, "m.room.power_levels", "", `{"users":{"@bob:b.org":5},"users_default":1,"events_default":2,"state_default":3,
			"ban":4,"kick":6,"redact":7,"invite":8,"events":{"a":9},"notifications":{"room":10}}`))
		l := auth.PowerLevels(b)
		if creator = 1; version == "12" {
			creator = auth.Infinite
		}
		if !l.Exist() || l.User(alice) != creator || l.User(bob) != 5 || l.UsersDefault != 1 || l.EventsDefault != 2 || l.StateDefault != 3 ||
			l.Ban != 4 || l.Kick != 6 || l.Redact != 7 || l.Invite != 8 || l.Event("a", true) != 9 || l.Event("b", true) != 3 ||
			l.Event("b", false) != 2 || l.Notification("room") != 10 || l.Notification("other") != 50 {
			t.Errorf("version %s: %+v", version, l)
		}
	}
}

func TestPowerLevels_OldSpellings(t *testing.T) {
	for text, want := range map[string]int64{
		`"7"`: 7, `" 007 "`: 7, `"+7"`: 7, `"-7"`: -7, `""`: 1, `"7.5"`: 1, `"seven"`: 1, `"+-7"`: 1, `"- 7"`: 1, `"0x7"`: 1, `"1_0"`: 1,
		`7.99`: 7, `-7.99`: -7, `5.114698E4`: 51146, `null`: 1, `true`: 1, `[]`: 1, `{}`: 1,
		`"99999999999999999999"`: 1 << 62, `9223372036854775807`: 1 << 62, `99999999999999999999`: 1 << 62,
	} {
		_, b := eventtest.NewRoom("5", "old", alice, "")
		b.Send(eventtest.State(alice, "m.room.power_levels", "", `{"users":{"@bob:b.org":`+text+`},"users_default":1}`))
		l := auth.PowerLevels(b)
		if got := l.User(bob); got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
}

// Nothing of one check may be seen by the next (B2): an authorised join does not let an unauthorised one in.
func TestCheck_ChecksShareNothing(t *testing.T) {
	b := room("10", "restricted")
	authorised, unauthorised := b.Make(authorisedBy("@bob:b.org")), b.Make(eventtest.Member(heidi, heidi, "join"))
	for range 3 {
		if got := ruleOf(auth.Check(authorised, b)); got != "ok" {
			t.Fatalf("authorised: rule %s", got)
		}
		if got := ruleOf(auth.Check(unauthorised, b)); got != "4.3.5.2" {
			t.Fatalf("unauthorised: rule %s", got)
		}
	}
}

func TestCheck_AuthoriserNeedsTheInviteLevel(t *testing.T) {
	for content, want := range map[string]string{`{"invite":51` + rest + `}`: "4.3.5.2", `{"invite":50` + rest + `}`: "ok"} {
		b := room("10", "restricted")
		b.Send(eventtest.State(alice, "m.room.power_levels", "", content))
		if got := ruleOf(auth.Check(b.Make(authorisedBy("@bob:b.org")), b)); got != want {
			t.Errorf("%s: rule %s, want %s", content, got, want)
		}
	}
}
