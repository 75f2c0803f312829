package auth_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

var cast = []id.UserID{alice, bob, carol, dave, erin, frank, grace, heidi, ivan}

// dice makes random rooms and random events, allowed and not.
type dice struct{ *rand.Rand }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

func (d dice) levels(v event.Version) string {
	users := fmt.Sprintf(`"@bob:b.org":%d,"@carol:c.org":%d`, pick(d, 0, 50, 100), pick(d, 0, 50))
	if !v.PrivilegedCreators() {
		users += `,"@alice:a.org":100`
	}
	for _, user := range []id.UserID{grace, ivan, erin} {
		if d.IntN(2) == 0 {
			users += fmt.Sprintf(`,%q:%d`, user, pick(d, -1, 0, 49, 50, 51, 100))
		}
	}
	content := `{"users":{` + users + `}`
	for _, name := range []string{"users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"} {
		// Always named: what is "changed" when something is not named is read differently elsewhere.
		content += fmt.Sprintf(`,%q:%d`, name, pick(d, 0, 0, 10, 50, 60))
	}
	return content + fmt.Sprintf(`,"events":{"m.room.name":%d,"org.x":%d},"notifications":{"room":50}}`, pick(d, 0, 50, 100), pick(d, 0, 50))
}

func (d dice) joinRule() string {
	return fmt.Sprintf(`{"join_rule":%q}`, pick(d, "public", "invite", "knock", "restricted", "private", "knock_restricted"))
}

// state is a room in which anything may have happened.
func (d dice) state(version string) *eventtest.Branch {
	content := ""
	if d.IntN(8) == 0 {
		content = `{"m.federate":false}`
	}
	r, b := eventtest.NewRoom(version, "oracle", alice, content)
	if d.IntN(10) == 0 {
		return b
	}
	b.Send(eventtest.Member(alice, alice, "join"))
	if d.IntN(8) != 0 {
		b.Send(eventtest.State(alice, "m.room.power_levels", "", d.levels(r.Version)))
	}
	if d.IntN(8) != 0 {
		b.Send(eventtest.State(alice, "m.room.join_rules", "", d.joinRule()))
	}
	for _, user := range cast[1:] {
		if d.IntN(4) != 0 {
			b.Send(eventtest.Member(user, user, pick(d, "join", "join", "join", "leave", "ban", "invite", "knock")))
		}
	}
	return b
}

func (d dice) draft(v event.Version) eventtest.Draft {
	sender, target := pick(d, cast...), pick(d, cast...)
	switch d.IntN(8) {
	case 0, 1:
		return eventtest.Member(sender, sender, pick(d, "join", "leave", "knock", "ban", "invite", "odd"))
	case 2, 3:
		return eventtest.Member(sender, target, pick(d, "join", "leave", "knock", "ban", "invite"))
	case 4:
		return eventtest.State(sender, "m.room.power_levels", "", d.levels(v))
	case 5:
		return member(sender, sender, fmt.Sprintf(`{"membership":"join","join_authorised_via_users_server":%q}`, target))
	case 6:
		return eventtest.State(sender, pick(d, "m.room.name", "m.room.topic", "org.x", "m.room.third_party_invite", "m.room.aliases"), pick(d, "", string(target), "d.org"), `{}`)
	}
	return eventtest.Draft{Type: pick(d, "m.room.message", "org.x", "m.room.redaction"), Sender: sender, Redacts: "$x:b.org"}
}

// gmsl is the verdict of gomatrixserverlib.
func gmsl(t *testing.T, ev *event.Event, b *eventtest.Branch) bool {
	t.Helper()
	var state []gomatrixserverlib.PDU
	for _, key := range append(auth.NeededBy(ev), event.Key{Type: "m.room.create"}) {
		if known := b.Get(key); known != nil {
			state = append(state, gmslPDU(t, known))
		}
	}
	provider, err := gomatrixserverlib.NewAuthEvents(state)
	if err != nil {
		t.Fatal(err)
	}
	return gomatrixserverlib.Allowed(gmslPDU(t, ev), provider, func(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
		return spec.NewUserID(string(sender), true)
	}) == nil
}

func gmslPDU(t *testing.T, ev *event.Event) gomatrixserverlib.PDU {
	t.Helper()
	version := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(ev.Version().ID()))
	out, err := version.NewEventFromTrustedJSONWithEventID(string(ev.ID()), ev.JSON(), false)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// gmslIsWrong tells that the event is of a kind about which gomatrixserverlib does not follow the text;
// TestOracle_WhereGomatrixserverlibIsWrong shows each kind.
func gmslIsWrong(ev *event.Event, b *eventtest.Branch) bool {
	target, current, v, rule := deref(ev.StateKey()), "leave", ev.Version(), auth.JoinRule(b)
	if m := b.Get(event.Key{Type: "m.room.member", StateKey: target}); m != nil {
		current = m.Membership()
	}
	self := target == string(ev.Sender())
	switch ev.Type() {
	case "m.room.member":
		switch ev.Membership() {
		case "leave": // B3: lifting a ban; B4: leaving twice; taking back a knock where there is none
			return current == "ban" || self && (current == "leave" || current == "knock" && !v.Knock())
		case "knock": // B7
			return rule == "knock_restricted" && !v.KnockRestricted()
		case "join": // rules that the version does not know, joining after a knock, the creator being joined by another
			known := map[string]bool{"public": true, "invite": true, "knock": v.Knock(), "restricted": v.Restricted(), "knock_restricted": v.KnockRestricted()}
			return !known[rule] || current == "knock" || !self
		}
	case "m.room.power_levels": // B8; and users who are named for the first time count as changed from the default
		return v.PrivilegedCreators() || b.Get(keyLevels) != nil && namedUsers(ev) != namedUsers(b.Get(keyLevels))
	case "m.room.aliases": // has no rule of its own any more
		return !v.AliasesAuthorised()
	case "m.room.third_party_invite": // allowed before the rule about state keys
		return strings.HasPrefix(target, "@")
	}
	return false
}

func namedUsers(ev *event.Event) (all string) {
	event.Fields(ev.Field("users"), func(user string, _ json.RawMessage) bool { all += user; return true })
	return all
}

func TestOracle_Gomatrixserverlib(t *testing.T) {
	allowed := 0
	for _, version := range event.Versions() {
		for seed := range uint64(150) {
			allowed += compareWithGmsl(t, version, seed)
		}
	}
	if allowed < 1000 {
		t.Errorf("only %d events were allowed", allowed)
	}
}

func FuzzOracle_Gomatrixserverlib(f *testing.F) {
	f.Fuzz(func(t *testing.T, version uint8, seed uint64) {
		compareWithGmsl(t, event.Versions()[int(version)%len(event.Versions())], seed)
	})
}

// compareWithGmsl throws the dice for a room and some events. It gives how many were allowed.
func compareWithGmsl(t *testing.T, version string, seed uint64) (allowed int) {
	d := dice{rand.New(rand.NewPCG(seed, uint64(len(version))<<8|uint64(version[len(version)-1])))}
	b := d.state(version)
	for range 12 {
		ev := b.Make(d.draft(b.Room.Version))
		err := auth.Check(ev, b)
		if err == nil {
			allowed++
		}
		if got := err == nil; !gmslIsWrong(ev, b) && got != gmsl(t, ev, b) {
			t.Errorf("version %s, seed %d: %s %s %v %s: %v", version, seed, ev.Sender(), ev.Type(), deref(ev.StateKey()), ev.Content(), err)
		}
	}
	return allowed
}

func deref(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// The kinds of events on which the texts and gomatrixserverlib differ. When the library follows the text, the case goes.
func TestOracle_WhereGomatrixserverlibIsWrong(t *testing.T) {
	withLevels := func(content string) func(*eventtest.Branch) {
		return func(b *eventtest.Branch) { b.Send(eventtest.State(alice, "m.room.power_levels", "", content)) }
	}
	nothing := func(*eventtest.Branch) {}
	for _, c := range []struct {
		name, version, rule string
		prepare             func(*eventtest.Branch)
		draft               eventtest.Draft
		right               bool
	}{
		{"B3: lifting a ban without the kick level", "11", "public", withLevels(`{"ban":50,"kick":60,"users":{"@bob:b.org":55}}`), eventtest.Member(bob, erin, "leave"), false},
		{"B3: lifting the ban of a superior", "11", "public", withLevels(`{"users":{"@bob:b.org":55,"@erin:e.org":70}}`), eventtest.Member(bob, erin, "leave"), false},
		{"B4: leaving a room where one is not", "11", "public", nothing, eventtest.Member(dave, dave, "leave"), false},
		{"B7: knock_restricted before version 10", "8", "knock_restricted", nothing, eventtest.Member(dave, dave, "knock"), false},
		{"B8: notifications by the creator", "12", "public", nothing, eventtest.State(alice, "m.room.power_levels", "", `{"users":`+usersIn(event.MustLookup("12"), "")+`,"events":{"m.room.name":60,"org.low":10},"notifications":{"room":150}}`), true},
		{"a join rule that the version does not know", "6", "knock", nothing, eventtest.Member(frank, frank, "join"), false},
		{"the join rule private", "11", "private", nothing, eventtest.Member(frank, frank, "join"), false},
		{"joining a public room after a knock", "11", "public", nothing, eventtest.Member(heidi, heidi, "join"), true},
		{"aliases after version 5", "11", "public", nothing, eventtest.State(bob, "m.room.aliases", "d.org", `{}`), true},
		{"a third-party invite under a user's name", "11", "public", nothing, eventtest.State(carol, "m.room.third_party_invite", "@x:y", `{}`), true},
	} {
		b := room(c.version, c.rule)
		c.prepare(b)
		ev := b.Make(c.draft)
		if err := auth.Check(ev, b); (err == nil) != c.right {
			t.Errorf("%s: %v", c.name, err)
		}
		if gmsl(t, ev, b) == c.right {
			t.Errorf("%s: gomatrixserverlib is right now", c.name)
		}
	}
}

// B5: the library cannot see auth events that are named twice or for nothing; the list is checked apart.
func TestOracle_AuthEventListIsOurs(t *testing.T) {
	b := room("11", "public")
	self := b.State[event.Key{Type: "m.room.member", StateKey: string(carol)}]
	ev := b.Make(eventtest.Draft{Type: "m.room.message", Sender: carol, Auth: []id.EventID{b.State[event.Key{Type: "m.room.create"}], b.State[keyLevels], self, self}})
	if !gmsl(t, ev, b) {
		t.Error("gomatrixserverlib sees the double now")
	}
	if got := ruleOf(auth.CheckAuthEventList(ev, b.Room.AuthEvents(ev), nil)); got != "2.1" {
		t.Errorf("rule %s", got)
	}
}

// B6: the library lets a third-party invite pass for a banned user, and from another sender than the token's.
func TestOracle_ThirdPartyInvites(t *testing.T) {
	for _, c := range []struct {
		sender, target id.UserID
		want           string
	}{{bob, erin, "4.4.1.1"}, {grace, dave, "4.4.1.6"}, {bob, dave, "ok"}} {
		b := room("11", "invite")
		b.Send(eventtest.State(bob, "m.room.third_party_invite", "tok", `{"display_name":"x","key_validity_url":"https://id.org","public_key":"`+publicKey("id.org")+`","public_keys":[{"public_key":"`+publicKey("id.org")+`"}]}`))
		ev := b.Make(member(c.sender, c.target, `{"membership":"invite","third_party_invite":{"display_name":"x","signed":`+signedFor(t, "id.org", c.target, "tok")+`}}`))
		if got := ruleOf(auth.Check(ev, b)); got != c.want {
			t.Errorf("%s invites %s: rule %s, want %s", c.sender, c.target, got, c.want)
		}
		if !gmsl(t, ev, b) {
			t.Errorf("%s invites %s: gomatrixserverlib rejects it now", c.sender, c.target)
		}
	}
}
