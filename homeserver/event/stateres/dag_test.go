package stateres_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

const (
	alice   = id.UserID("@alice:a.org")
	bob     = id.UserID("@bob:b.org")
	carol   = id.UserID("@carol:c.org")
	dave    = id.UserID("@dave:d.org")
	mallory = id.UserID("@mallory:m.org")
)

var users = []id.UserID{alice, bob, carol, dave, mallory, "@eve:b.org"}

func at(kind, key string) event.Key { return event.Key{Type: kind, StateKey: key} }

// generator grows a room in all directions.
type generator struct {
	*rand.Rand
	t       *testing.T
	room    *eventtest.Room
	lines   []*eventtest.Branch // growing
	past    []*eventtest.Branch // points that somebody may go back to
	accepts int
}

// grow makes a random room. Only allowed events are added to a line, but lines start anywhere in the past, clocks lie, and
// members of the room abuse all the power they have.
func grow(t *testing.T, version string, seed uint64, steps int) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 12)), t: t}
	content := ""
	if version == "12" && g.IntN(3) == 0 {
		content = `{"additional_creators":["@bob:b.org"]}`
	}
	room, b := eventtest.NewRoom(version, fmt.Sprint("r", seed), alice, content)
	g.room, g.lines = room, []*eventtest.Branch{b}
	b.Must(eventtest.Member(alice, alice, "join"))
	b.Must(eventtest.State(alice, "m.room.power_levels", "", g.levels()))
	b.Must(eventtest.State(alice, "m.room.join_rules", "", `{"join_rule":"public"}`))
	g.past = append(g.past, b.Fork())
	for range steps {
		g.step()
	}
	return g
}

func (g *generator) user() id.UserID { return users[g.IntN(len(users))] }

func (g *generator) levels() string {
	content := `{"users":{`
	if !g.room.Version.PrivilegedCreators() {
		content += `"@alice:a.org":100,`
	}
	b := []int{0, 50, 100}
	content += fmt.Sprintf(`"@carol:c.org":%d,"@dave:d.org":%d`, b[g.IntN(3)], b[g.IntN(3)])
	if g.IntN(2) == 0 {
		content += fmt.Sprintf(`,"@mallory:m.org":%d`, b[g.IntN(3)])
	}
	return content + fmt.Sprintf(`},"users_default":%d,"state_default":%d,"kick":%d}`, g.IntN(2)*10, g.IntN(6)*10, g.IntN(2)*50)
}

func (g *generator) draft() eventtest.Draft {
	sender, target := g.user(), g.user()
	if g.IntN(3) == 0 {
		sender = alice
	}
	var d eventtest.Draft
	switch g.IntN(12) {
	case 0, 1, 2:
		d = eventtest.Member(sender, sender, "join")
	case 3:
		d = eventtest.Member(sender, sender, []string{"leave", "knock"}[g.IntN(2)])
	case 4:
		d = eventtest.Member(sender, target, "ban")
	case 5:
		d = eventtest.Member(sender, target, "leave")
	case 6:
		d = eventtest.Member(sender, target, "invite")
	case 7, 8:
		d = eventtest.State(sender, "m.room.power_levels", "", g.levels())
	case 9:
		d = eventtest.State(sender, "m.room.join_rules", "", fmt.Sprintf(`{"join_rule":%q}`, []string{"public", "invite", "knock", "restricted"}[g.IntN(4)]))
	case 10:
		d = eventtest.State(sender, "m.room.member", string(sender), fmt.Sprintf(`{"membership":"join","join_authorised_via_users_server":%q}`, target))
	default:
		d = eventtest.State(sender, []string{"m.room.topic", "m.room.name"}[g.IntN(2)], "", fmt.Sprintf(`{"n":%d}`, g.IntN(1000)))
	}
	if g.IntN(4) == 0 {
		d.Timestamp = 1_700_000_000_000 + g.Int64N(100)
	}
	return d
}

func (g *generator) step() {
	switch g.IntN(10) {
	case 0:
		if len(g.lines) < 4 {
			g.lines = append(g.lines, g.past[g.IntN(len(g.past))].Fork())
		}
		return
	case 1:
		g.merge()
		return
	}
	line := g.lines[g.IntN(len(g.lines))]
	if _, err := line.Try(g.draft()); err == nil {
		g.accepts++
		g.past = append(g.past, line.Fork())
	}
}

// merge joins two lines as a server would that sees both.
func (g *generator) merge() {
	i, j := g.IntN(len(g.lines)), g.IntN(len(g.lines))
	if i == j {
		return
	}
	state := g.resolve([]stateres.StateMap{g.lines[i].State, g.lines[j].State})
	g.lines[i] = g.lines[i].Merge(g.lines[j], state)
	g.lines = slices.Delete(g.lines, j, j+1)
}

func (g *generator) resolve(sets []stateres.StateMap) stateres.StateMap {
	g.t.Helper()
	out, err := stateres.Resolve(context.Background(), g.room.Version, sets, g.room)
	if err != nil {
		g.t.Fatalf("version %s: %v", g.room.Version, err)
	}
	return out
}

// sets are the states of the lines, and of one point in the past.
func (g *generator) sets() []stateres.StateMap {
	sets := []stateres.StateMap{g.past[g.IntN(len(g.past))].State}
	for _, line := range g.lines {
		sets = append(sets, line.State)
	}
	return sets
}

func (g *generator) shuffled(sets []stateres.StateMap) []stateres.StateMap {
	sets = slices.Clone(sets)
	g.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	if g.IntN(2) == 0 {
		sets = append(sets, maps.Clone(sets[0])) // saying it twice changes nothing
	}
	return sets
}

// describe shows where two states differ.
func (g *generator) describe(got, want stateres.StateMap) string {
	out := ""
	for _, state := range []stateres.StateMap{got, want} {
		for key := range state {
			if got[key] != want[key] {
				out += fmt.Sprintf("\n  %v: got %s, want %s", key, g.about(got[key]), g.about(want[key]))
			}
		}
	}
	return out
}

func (g *generator) about(eventID id.EventID) string {
	ev := g.room.Known[eventID]
	if ev == nil {
		return "nothing"
	}
	return fmt.Sprintf("%.6s (%s %s)", eventID, ev.Sender(), ev.Content())
}
