package auth_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

const (
	alice = id.UserID("@alice:a.org") // creator
	bob   = id.UserID("@bob:b.org")   // 50
	carol = id.UserID("@carol:c.org") // in the room
	dave  = id.UserID("@dave:d.org")  // never was in the room
	erin  = id.UserID("@erin:e.org")  // banned
	frank = id.UserID("@frank:f.org") // invited
	grace = id.UserID("@grace:b.org") // 50 as well
	heidi = id.UserID("@heidi:h.org") // knocked, where that exists
	ivan  = id.UserID("@ivan:i.org")  // in the room, with 70
)

// usersIn is the users object of the room: creators are not named in version 12.
func usersIn(v event.Version, more string) string {
	users := `"@bob:b.org":50,"@grace:b.org":50,"@ivan:i.org":70`
	if !v.PrivilegedCreators() {
		users += `,"@alice:a.org":100`
	}
	return "{" + users + more + "}"
}

// room is a room with everybody above in it.
func room(version, joinRule string) *eventtest.Branch {
	r, b := eventtest.NewRoom(version, "room", alice, "")
	b.Must(eventtest.Member(alice, alice, "join"))
	b.Must(eventtest.State(alice, "m.room.power_levels", "", `{"users":`+usersIn(r.Version, "")+`,"events":{"m.room.name":60,"org.low":10},"notifications":{"room":50}}`))
	b.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
	for _, user := range []id.UserID{bob, carol, grace, ivan} {
		b.Must(eventtest.Member(user, user, "join"))
	}
	b.Must(eventtest.Member(alice, erin, "ban"))
	b.Must(eventtest.Member(alice, frank, "invite"))
	if r.Version.Knock() {
		b.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"knock"}`))
		b.Must(eventtest.Member(heidi, heidi, "knock"))
	}
	b.Send(eventtest.State(alice, "m.room.join_rules", "", fmt.Sprintf(`{"join_rule":%q}`, joinRule)))
	return b
}

// ruleCase is an event and the rule it breaks, by the version from which on: "1:5.2.3 6:4.2.3", "ok" where it is allowed,
// "-" where the case does not apply.
type ruleCase struct {
	name  string
	rule  string // join rule of the room
	draft eventtest.Draft
	want  string
}

func expected(want string, version int) string {
	found, best := "", 0
	for _, part := range strings.Fields(want) {
		from, rule, named := strings.Cut(part, ":")
		if !named {
			from, rule = "1", part
		}
		if n, _ := strconv.Atoi(from); n <= version && n > best {
			found, best = rule, n
		}
	}
	return found
}

func ruleOf(err error) string {
	var e *auth.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return e.Rule
	}
	return "not a rule: " + err.Error()
}

func runCases(t *testing.T, cases []ruleCase) {
	for n, version := range event.Versions() {
		rooms := map[string]*eventtest.Branch{}
		for _, c := range cases {
			want := expected(c.want, n+1)
			if want == "-" || want == "" {
				continue
			}
			if rooms[c.rule] == nil {
				rooms[c.rule] = room(version, c.rule)
			}
			b := rooms[c.rule].Fork()
			if got := ruleOf(auth.Check(b.Make(c.draft), b)); got != want {
				t.Errorf("version %s, %s: rule %s, want %s", version, c.name, got, want)
			}
		}
	}
}

func member(sender, target id.UserID, content string) eventtest.Draft {
	return eventtest.State(sender, "m.room.member", string(target), content)
}

func authorisedBy(user string) eventtest.Draft {
	return member(dave, dave, `{"membership":"join","join_authorised_via_users_server":"`+user+`"}`)
}

func TestCheck_Members(t *testing.T) {
	withoutKey := eventtest.Draft{Type: "m.room.member", Sender: bob, Content: `{"membership":"join"}`}
	runCases(t, []ruleCase{
		{"no state key", "public", withoutKey, "1:5.1 6:4.1 12:5.1"},
		{"no membership", "public", member(bob, bob, `{}`), "1:5.1 6:4.1 12:5.1"},
		{"membership is a number", "public", member(bob, bob, `{"membership":1}`), "1:5.1 6:4.1 12:5.1"},
		{"membership unknown", "public", member(bob, bob, `{"membership":"admin"}`), "1:5.6 6:4.6 7:4.7 8:4.8 12:5.8"},

		{"join public", "public", eventtest.Member(dave, dave, "join"), "ok"},
		{"join for somebody else", "public", eventtest.Member(bob, dave, "join"), "1:5.2.2 6:4.2.2 8:4.3.2 12:5.3.2"},
		{"join while banned", "public", eventtest.Member(erin, erin, "join"), "1:5.2.3 6:4.2.3 8:4.3.3 12:5.3.3"},
		{"join uninvited", "invite", eventtest.Member(dave, dave, "join"), "1:5.2.6 6:4.2.6 8:4.3.7 12:5.3.7"},
		{"join invited", "invite", eventtest.Member(frank, frank, "join"), "ok"},
		{"join again", "invite", eventtest.Member(carol, carol, "join"), "ok"},
		{"join private although invited", "private", eventtest.Member(frank, frank, "join"), "1:5.2.6 6:4.2.6 8:4.3.7 12:5.3.7"},
		{"join knock room invited", "knock", eventtest.Member(frank, frank, "join"), "1:5.2.6 6:4.2.6 7:ok"},
		{"join knock room after knocking", "knock", eventtest.Member(heidi, heidi, "join"), "1:- 7:4.2.6 8:4.3.7 12:5.3.7"},
		{"join restricted invited", "restricted", eventtest.Member(frank, frank, "join"), "1:5.2.6 6:4.2.6 8:ok"},
		{"join restricted unauthorised", "restricted", eventtest.Member(dave, dave, "join"), "1:5.2.6 6:4.2.6 8:4.3.5.2 12:5.3.5.2"},
		{"join restricted authorised", "restricted", authorisedBy("@bob:b.org"), "1:5.2.6 6:4.2.6 8:ok"},
		{"join restricted authorised by one who left", "restricted", authorisedBy("@dave:d.org"), "1:5.2.6 6:4.2.6 8:4.3.5.2 12:5.3.5.2"},
		{"join restricted authorised by nonsense", "restricted", authorisedBy(""), "1:5.2.6 6:4.2.6 8:4.3.5.2 12:5.3.5.2"},
		{"join restricted authorised by a list", "restricted", member(dave, dave, `{"membership":"join","join_authorised_via_users_server":["@bob:b.org"]}`), "1:5.2.6 6:4.2.6 8:4.3.5.2 12:5.3.5.2"},
		{"join restricted authorised while banned", "restricted", member(erin, erin, `{"membership":"join","join_authorised_via_users_server":"@bob:b.org"}`), "1:5.2.3 6:4.2.3 8:4.3.3 12:5.3.3"},
		{"join knock_restricted authorised", "knock_restricted", authorisedBy("@bob:b.org"), "1:5.2.6 6:4.2.6 8:4.3.7 10:ok"},
		{"join knock_restricted invited", "knock_restricted", eventtest.Member(frank, frank, "join"), "1:5.2.6 6:4.2.6 8:4.3.7 10:ok"},

		{"invite", "invite", eventtest.Member(carol, dave, "invite"), "ok"},
		{"invite from outside", "invite", eventtest.Member(dave, heidi, "invite"), "1:5.3.2 6:4.3.2 8:4.4.2 12:5.4.2"},
		{"invite a member", "invite", eventtest.Member(bob, carol, "invite"), "1:5.3.3 6:4.3.3 8:4.4.3 12:5.4.3"},
		{"invite a banned user", "invite", eventtest.Member(alice, erin, "invite"), "1:5.3.3 6:4.3.3 8:4.4.3 12:5.4.3"},
		{"invite again", "invite", eventtest.Member(bob, frank, "invite"), "ok"},

		{"leave", "public", eventtest.Member(carol, carol, "leave"), "ok"},
		{"decline", "public", eventtest.Member(frank, frank, "leave"), "ok"},
		{"leave without being there (B4)", "public", eventtest.Member(dave, dave, "leave"), "1:5.4.1 6:4.4.1 8:4.5.1 12:5.5.1"},
		{"leave while banned", "public", eventtest.Member(erin, erin, "leave"), "1:5.4.1 6:4.4.1 8:4.5.1 12:5.5.1"},
		{"take a knock back", "knock", eventtest.Member(heidi, heidi, "leave"), "1:- 7:ok"},
		{"kick", "public", eventtest.Member(bob, carol, "leave"), "ok"},
		{"kick from outside", "public", eventtest.Member(dave, carol, "leave"), "1:5.4.2 6:4.4.2 8:4.5.2 12:5.5.2"},
		{"kick without power", "public", eventtest.Member(carol, frank, "leave"), "1:5.4.5 6:4.4.5 8:4.5.5 12:5.5.5"},
		{"kick an equal", "public", eventtest.Member(bob, grace, "leave"), "1:5.4.5 6:4.4.5 8:4.5.5 12:5.5.5"},
		{"kick a superior", "public", eventtest.Member(bob, ivan, "leave"), "1:5.4.5 6:4.4.5 8:4.5.5 12:5.5.5"},
		{"kick the creator", "public", eventtest.Member(ivan, alice, "leave"), "1:5.4.5 6:4.4.5 8:4.5.5 12:5.5.5"},
		{"unban", "public", eventtest.Member(bob, erin, "leave"), "ok"},
		{"unban without power", "public", eventtest.Member(carol, erin, "leave"), "1:5.4.3 6:4.4.3 8:4.5.3 12:5.5.3"},

		{"ban", "public", eventtest.Member(bob, carol, "ban"), "ok"},
		{"ban a stranger", "public", eventtest.Member(bob, dave, "ban"), "ok"},
		{"ban from outside", "public", eventtest.Member(dave, carol, "ban"), "1:5.5.1 6:4.5.1 8:4.6.1 12:5.6.1"},
		{"ban without power", "public", eventtest.Member(carol, frank, "ban"), "1:5.5.3 6:4.5.3 8:4.6.3 12:5.6.3"},
		{"ban an equal", "public", eventtest.Member(bob, grace, "ban"), "1:5.5.3 6:4.5.3 8:4.6.3 12:5.6.3"},
		{"ban oneself", "public", eventtest.Member(ivan, ivan, "ban"), "1:5.5.3 6:4.5.3 8:4.6.3 12:5.6.3"},

		{"knock", "knock", eventtest.Member(dave, dave, "knock"), "1:5.6 6:4.6 7:ok"},
		{"knock again", "knock", eventtest.Member(heidi, heidi, "knock"), "1:- 7:ok"},
		{"knock at a public room", "public", eventtest.Member(dave, dave, "knock"), "1:5.6 6:4.6 7:4.6.1 8:4.7.1 12:5.7.1"},
		{"knock with knock_restricted (B7)", "knock_restricted", eventtest.Member(dave, dave, "knock"), "1:5.6 6:4.6 7:4.6.1 8:4.7.1 10:ok"},
		{"knock for somebody else", "knock", eventtest.Member(bob, dave, "knock"), "1:5.6 6:4.6 7:4.6.2 8:4.7.2 12:5.7.2"},
		{"knock while banned", "knock", eventtest.Member(erin, erin, "knock"), "1:5.6 6:4.6 7:4.6.4 8:4.7.4 12:5.7.4"},
		{"knock while invited", "knock", eventtest.Member(frank, frank, "knock"), "1:5.6 6:4.6 7:4.6.4 8:4.7.4 12:5.7.4"},
		{"knock while in the room", "knock", eventtest.Member(carol, carol, "knock"), "1:5.6 6:4.6 7:4.6.4 8:4.7.4 12:5.7.4"},
	})
}

func TestCheck_OtherEvents(t *testing.T) {
	redaction := func(sender id.UserID, target id.EventID) eventtest.Draft {
		return eventtest.Draft{Type: "m.room.redaction", Sender: sender, Redacts: target}
	}
	runCases(t, []ruleCase{
		{"message", "public", eventtest.Message(carol), "ok"},
		{"message from outside", "public", eventtest.Message(dave), "1:6 6:5 12:6"},
		{"message of an invited user", "public", eventtest.Message(frank), "1:6 6:5 12:6"},
		{"message of a banned user", "public", eventtest.Message(erin), "1:6 6:5 12:6"},
		{"name needs 60", "public", eventtest.State(bob, "m.room.name", "", `{"name":"x"}`), "1:8 6:7 12:8"},
		{"name with 70", "public", eventtest.State(ivan, "m.room.name", "", `{"name":"x"}`), "ok"},
		{"topic needs the default", "public", eventtest.State(carol, "m.room.topic", "", `{"topic":"x"}`), "1:8 6:7 12:8"},
		{"topic with 50", "public", eventtest.State(bob, "m.room.topic", "", `{"topic":"x"}`), "ok"},
		{"message type with a level", "public", eventtest.Draft{Type: "org.low", Sender: carol}, "1:8 6:7 12:8"},
		{"state of another user", "public", eventtest.State(bob, "org.low", string(carol), `{}`), "1:9 6:8 12:9"},
		{"state of oneself", "public", eventtest.State(bob, "org.low", string(bob), `{}`), "ok"},
		{"third-party invite", "public", eventtest.State(carol, "m.room.third_party_invite", "token", `{}`), "ok"},
		{"third-party invite under a user's name", "public", eventtest.State(carol, "m.room.third_party_invite", "@x:y", `{}`), "ok"},
		{"third-party invite from outside", "public", eventtest.State(dave, "m.room.third_party_invite", "token", `{}`), "1:6 6:5 12:6"},
		{"aliases of the own server", "public", eventtest.State(dave, "m.room.aliases", "d.org", `{}`), "1:ok 6:5 12:6"},
		{"aliases of another server", "public", eventtest.State(bob, "m.room.aliases", "d.org", `{}`), "1:4.2 6:ok"},
		{"aliases without key", "public", eventtest.Draft{Type: "m.room.aliases", Sender: bob}, "1:4.1 6:ok"},
		{"redact a foreign event", "public", redaction(carol, "$x:b.org"), "1:11.3 3:ok"},
		{"redact an own event", "public", redaction(carol, "$x:c.org"), "ok"},
		{"redact with power", "public", redaction(bob, "$x:c.org"), "ok"},
		{"redact nothing", "public", redaction(carol, ""), "1:11.3 3:ok"},
	})
}

func TestCheck_RoomOfOthers(t *testing.T) {
	for _, version := range event.Versions() {
		want := map[bool]string{false: "2.5", true: "2"}[version == "12"]
		b, other := room(version, "public"), eventtest.Draft{}
		_, foreign := eventtest.NewRoom(version, "other", alice, "")
		other = eventtest.Message(carol)
		other.RoomID = foreign.Room.ID
		if got := ruleOf(auth.Check(b.Make(other), b)); got != want {
			t.Errorf("version %s: event of another room: rule %s, want %s", version, got, want)
		}
		want = map[bool]string{false: "2.4", true: "2"}[version == "12"]
		if got := ruleOf(auth.Check(b.Make(eventtest.Message(carol)), auth.Map{})); got != want {
			t.Errorf("version %s: no create event: rule %s, want %s", version, got, want)
		}
	}
}

func TestCheck_RoomThatDoesNotFederate(t *testing.T) {
	for _, version := range event.Versions() {
		for content, want := range map[string]string{
			`{"m.federate":false}`:   map[bool]string{false: "3", true: "4"}[version == "12"],
			`{"m.federate":true}`:    "ok",
			`{"m.federate":"false"}`: "ok",
			`{"m.federate":null}`:    "ok",
		} {
			_, b := eventtest.NewRoom(version, "closed", alice, content)
			b.Must(eventtest.Member(alice, alice, "join"))
			b.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
			if got := ruleOf(auth.Check(b.Make(eventtest.Member(bob, bob, "join")), b)); got != want {
				t.Errorf("version %s, %s: rule %s, want %s", version, content, got, want)
			}
			if got := ruleOf(auth.Check(b.Make(eventtest.Member("@kim:a.org", "@kim:a.org", "join")), b)); got != "ok" {
				t.Errorf("version %s, %s: same server: rule %s", version, content, got)
			}
		}
	}
}
