package stateres_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

// public is a room of alice (creator), bob (100), carol (50) and mallory that anybody may join.
func public(version string) *eventtest.Branch {
	r, b := eventtest.NewRoom(version, "scenario", alice, "")
	b.Must(eventtest.Member(alice, alice, "join"))
	b.Must(eventtest.State(alice, "m.room.power_levels", "", levels(r.Version, `"@bob:b.org":100,"@carol:c.org":50`)))
	b.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
	for _, user := range []id.UserID{bob, carol, mallory} {
		b.Must(eventtest.Member(user, user, "join"))
	}
	b.Must(eventtest.State(alice, "m.room.topic", "", `{"topic":"first"}`))
	return b
}

// levels are power levels that name these users, and the creator where that is allowed.
func levels(v event.Version, users string) string {
	if !v.PrivilegedCreators() {
		users = `"@alice:a.org":100,` + users
	}
	return `{"users":{` + users + `}}`
}

func resolve(t *testing.T, room *eventtest.Room, states ...stateres.StateMap) *eventtest.Branch {
	t.Helper()
	out, err := stateres.Resolve(context.Background(), room.Version, states, room)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(states)
	again, err := stateres.Resolve(context.Background(), room.Version, states, room)
	if err != nil || !maps.Equal(out, again) {
		t.Fatalf("version %s: the order of the states counts: %v", room.Version, err)
	}
	return &eventtest.Branch{Room: room, State: out}
}

// stands checks what is in the state.
func stands(t *testing.T, b *eventtest.Branch, what string, key event.Key, want *event.Event) {
	t.Helper()
	got := b.Get(key)
	if got != want {
		t.Errorf("version %s, %s: %s stands", b.Room.Version, what, content(got))
	}
}

func content(ev *event.Event) string {
	if ev == nil {
		return "nothing"
	}
	return string(ev.Content())
}

var fromV2 = event.Versions()[1:]

func TestResolve_BannedUserChangesNothing(t *testing.T) {
	for _, version := range fromV2 {
		base := public(version)
		base.Must(eventtest.State(alice, "m.room.power_levels", "", levels(base.Room.Version, `"@bob:b.org":100,"@mallory:m.org":50`)))
		topic := base.Get(at("m.room.topic", ""))
		good, evil := base.Fork(), base.Fork()
		ban := good.Must(eventtest.Member(alice, mallory, "ban"))
		evil.Must(eventtest.State(mallory, "m.room.topic", "", `{"topic":"evil"}`))
		evil.Must(eventtest.Member(mallory, carol, "leave"))
		after := resolve(t, base.Room, good.State, evil.State)
		stands(t, after, "ban", at("m.room.member", string(mallory)), ban)
		stands(t, after, "topic", at("m.room.topic", ""), topic)
		if got := after.Get(at("m.room.member", string(carol))); got == nil || got.Membership() != "join" {
			t.Errorf("version %s: carol is out: %s", version, content(got))
		}
	}
}

func TestResolve_JoinRulesCannotBeEvaded(t *testing.T) {
	for _, version := range fromV2 {
		base := public(version)
		good, evil := base.Fork(), base.Fork()
		closed := good.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"invite"}`))
		evil.Must(eventtest.Member(dave, dave, "join"))
		after := resolve(t, base.Room, good.State, evil.State)
		stands(t, after, "join rule", at("m.room.join_rules", ""), closed)
		stands(t, after, "late join", at("m.room.member", string(dave)), nil)
	}
}

func TestResolve_DemotionWinsOverWhatTheDemotedDoes(t *testing.T) {
	for _, version := range fromV2 {
		base := public(version)
		good, evil := base.Fork(), base.Fork()
		demoted := good.Must(eventtest.State(alice, "m.room.power_levels", "", levels(base.Room.Version, `"@bob:b.org":100,"@carol:c.org":0`)))
		evil.Must(eventtest.Member(carol, mallory, "ban"))
		after := resolve(t, base.Room, good.State, evil.State)
		stands(t, after, "power levels", at("m.room.power_levels", ""), demoted)
		if m := after.Get(at("m.room.member", string(mallory))); m == nil || m.Membership() != "join" {
			t.Errorf("version %s: the ban stands: %s", version, content(m))
		}
	}
}

func TestResolve_BanAgainstBanFollowsPower(t *testing.T) {
	for _, version := range fromV2 {
		base := public(version)
		one, other := base.Fork(), base.Fork()
		d := eventtest.Member(carol, mallory, "ban")
		d.Timestamp = 1 // earlier clocks do not help
		other.Must(d)
		bobs := one.Must(eventtest.Member(bob, carol, "ban"))
		after := resolve(t, base.Room, one.State, other.State)
		stands(t, after, "bob's ban", at("m.room.member", string(carol)), bobs)
		if m := after.Get(at("m.room.member", string(mallory))); m == nil || m.Membership() != "join" {
			t.Errorf("version %s: the ban of the banned stands: %s", version, content(m))
		}
	}
}

// A topic on the newer power levels wins over one on the older, whatever the clocks say.
func TestResolve_TopicsFollowTheMainline(t *testing.T) {
	for _, version := range fromV2 {
		base := public(version)
		newer, older := base.Fork(), base.Fork()
		newer.Must(eventtest.State(alice, "m.room.power_levels", "", levels(base.Room.Version, `"@bob:b.org":100,"@carol:c.org":60`)))
		on := eventtest.State(alice, "m.room.topic", "", `{"topic":"newer"}`)
		on.Timestamp = 1_600_000_000_000
		want := newer.Must(on)
		older.Must(eventtest.State(bob, "m.room.topic", "", `{"topic":"older"}`))
		stands(t, resolve(t, base.Room, newer.State, older.State), "topic", at("m.room.topic", ""), want)
	}
}

// Of two topics on the same power levels the later one wins.
func TestResolve_LaterTopicWins(t *testing.T) {
	for _, version := range event.Versions() {
		base := public(version)
		one, other := base.Fork(), base.Fork()
		other.Must(eventtest.Message(bob))
		one.Must(eventtest.State(bob, "m.room.topic", "", `{"topic":"one"}`))
		want := other.Must(eventtest.State(alice, "m.room.topic", "", `{"topic":"other"}`))
		stands(t, resolve(t, base.Room, one.State, other.State), "topic", at("m.room.topic", ""), want)
	}
}

// Version 2 judges the join rules by a state in which alice has left, and loses both; 2.1 judges by what was true.
func TestResolve_ReplayStartsFromNothingIn21(t *testing.T) {
	for _, version := range []string{"11", "12"} {
		base := public(version)
		opened := base.Get(at("m.room.join_rules", ""))
		closed := base.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"invite"}`))
		left := base.Must(eventtest.Member(alice, alice, "leave"))
		wrong := base.Fork()
		wrong.State[at("m.room.join_rules", "")] = opened.ID() // a server that gives a wrong state
		base.Must(eventtest.Member(bob, bob, "join"))
		after := resolve(t, base.Room, base.State, wrong.State)
		if version == "11" {
			closed = nil
		}
		stands(t, after, "join rules", at("m.room.join_rules", ""), closed)
		stands(t, after, "alice", at("m.room.member", string(alice)), left)
	}
}

// The second power levels give bob the power to make the third. No state names them and all chains have them, so version 2
// does not replay them.
func TestResolve_ReplayIncludesWhatLiesBetweenIn21(t *testing.T) {
	for _, version := range []string{"11", "12"} {
		r, base := eventtest.NewRoom(version, "between", alice, "")
		base.Must(eventtest.Member(alice, alice, "join"))
		first := base.Must(eventtest.State(alice, "m.room.power_levels", "", levels(r.Version, `"@dave:d.org":100`)))
		base.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
		for _, user := range []id.UserID{bob, carol, dave} {
			base.Must(eventtest.Member(user, user, "join"))
		}
		base.Must(eventtest.State(dave, "m.room.power_levels", "", levels(r.Version, `"@dave:d.org":100,"@bob:b.org":50`)))
		third := base.Must(eventtest.State(bob, "m.room.power_levels", "", levels(r.Version, `"@dave:d.org":100,"@bob:b.org":50,"@carol:c.org":50`)))
		before := base.Fork()
		before.Must(eventtest.Member(mallory, mallory, "join"))
		wrong := base.Fork()
		wrong.Must(eventtest.Member("@eve:b.org", "@eve:b.org", "join"))
		wrong.State[at("m.room.power_levels", "")] = first.ID()
		after := resolve(t, r, before.State, wrong.State)
		want := third
		if version == "11" {
			want = first
		}
		stands(t, after, "power levels", at("m.room.power_levels", ""), want)
	}
}

// The creator of a version 12 room comes before everybody, however high a level somebody has.
func TestResolve_CreatorsComeFirst(t *testing.T) {
	_, base := eventtest.NewRoom("12", "creator", alice, "")
	base.Must(eventtest.Member(alice, alice, "join"))
	base.Must(eventtest.State(alice, "m.room.power_levels", "", `{"users":{"@bob:b.org":9493420}}`))
	base.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
	base.Must(eventtest.Member(bob, bob, "join"))
	one, other := base.Fork(), base.Fork()
	one.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"invite"}`))
	bobs := other.Must(eventtest.State(bob, "m.room.join_rules", "", `{"join_rule":"knock"}`))
	stands(t, resolve(t, base.Room, one.State, other.State), "join rules", at("m.room.join_rules", ""), bobs)
}

// An authorised restricted join does not open the door for one that nobody authorised (B2 of what is known of libraries).
func TestResolve_UnauthorisedRestrictedJoinStaysOut(t *testing.T) {
	for _, version := range []string{"8", "9", "10", "11", "12"} {
		base := public(version)
		base.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"restricted"}`))
		good, evil := base.Fork(), base.Fork()
		in := good.Must(eventtest.State(dave, "m.room.member", string(dave), `{"membership":"join","join_authorised_via_users_server":"@bob:b.org"}`))
		for i := range 8 {
			user := id.UserID(fmt.Sprintf("@evil%d:m.org", i))
			evil.Send(eventtest.Member(user, user, "join"))
		}
		after := resolve(t, base.Room, good.State, evil.State)
		stands(t, after, "authorised join", at("m.room.member", string(dave)), in)
		for i := range 8 {
			stands(t, after, "unauthorised join", at("m.room.member", fmt.Sprintf("@evil%d:m.org", i)), nil)
		}
	}
}

// A state without a create event is a state (B13): what the others have wins.
func TestResolve_OneStateIsEmpty(t *testing.T) {
	for _, version := range fromV2 {
		base := public(version)
		after := resolve(t, base.Room, base.State, stateres.StateMap{})
		if !maps.Equal(after.State, base.State) {
			t.Errorf("version %s: %d entries of %d", version, len(after.State), len(base.State))
		}
	}
}

func TestResolve_NothingToResolve(t *testing.T) {
	base := public("12")
	base.Room.Loads = 0
	for _, sets := range [][]stateres.StateMap{nil, {base.State}, {base.State, maps.Clone(base.State), base.State}, {{}, {}}} {
		out, err := stateres.Resolve(context.Background(), base.Room.Version, sets, base.Room)
		if err != nil || len(sets) > 0 && !maps.Equal(out, sets[0]) || out == nil {
			t.Errorf("%d sets: %v, %v", len(sets), len(out), err)
		}
	}
	if base.Room.Loads != 0 {
		t.Errorf("%d events were loaded", base.Room.Loads)
	}
}

func TestResolve_UnknownStateEventIsAnError(t *testing.T) {
	for _, version := range event.Versions() {
		base := public(version)
		broken := base.Fork()
		broken.State[at("m.room.topic", "")] = "$unknown"
		_, err := stateres.Resolve(context.Background(), base.Room.Version, []stateres.StateMap{base.State, broken.State}, base.Room)
		var missing *stateres.MissingError
		if !errors.As(err, &missing) || missing.EventID != "$unknown" {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

// What is lost of the auth chain is as if it had never been: the room goes on.
func TestResolve_HolesInTheAuthChain(t *testing.T) {
	for _, version := range event.Versions() {
		g := grow(t, version, 7, 80)
		sets := g.sets()
		inState := map[id.EventID]bool{}
		for _, set := range sets {
			for _, eventID := range set {
				inState[eventID] = true
			}
		}
		for eventID := range g.room.Known {
			if !inState[eventID] {
				delete(g.room.Known, eventID)
			}
		}
		want := g.resolve(sets)
		if got := g.resolve(g.shuffled(sets)); !maps.Equal(got, want) {
			t.Errorf("version %s: depends on the order:%s", version, g.describe(got, want))
		}
	}
}

func TestResolve_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	base := public("11")
	other := base.Fork()
	other.Must(eventtest.State(alice, "m.room.topic", "", `{"topic":"second"}`))
	if _, err := stateres.Resolve(ctx, base.Room.Version, []stateres.StateMap{base.State, other.State}, base.Room); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestResolve_UnknownVersion(t *testing.T) {
	sets := []stateres.StateMap{{at("a", ""): "$a"}, {at("a", ""): "$b"}}
	if _, err := stateres.Resolve(context.Background(), event.Version{}, sets, public("11").Room); err == nil {
		t.Error("a version that does not exist was resolved")
	}
}
