package stateres_test

import (
	"context"
	"maps"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

const rooms = 150 // per version

// The outcome is that of the text, whatever the order of the states, and the same when only the differences are given.
func TestResolve_RandomRooms(t *testing.T) {
	conflicts := 0
	for n, version := range event.Versions() {
		for seed := range uint64(rooms) {
			if checkRandomRoom(t, version, seed+uint64(n)*1000, 60) {
				conflicts++
			}
		}
	}
	if conflicts < 500 {
		t.Errorf("only %d rooms had a conflict", conflicts)
	}
}

func FuzzResolve(f *testing.F) {
	f.Fuzz(func(t *testing.T, version uint8, seed uint64, steps uint8) {
		checkRandomRoom(t, event.Versions()[int(version)%12], seed, int(steps))
	})
}

// checkRandomRoom tells whether there was anything to resolve.
func checkRandomRoom(t *testing.T, version string, seed uint64, steps int) bool {
	g := grow(t, version, seed, steps)
	sets := g.sets()
	want := g.resolve(sets)
	if version != "1" {
		if word := (reference{g.room, version == "12"}).resolve(sets); !maps.Equal(want, word) {
			t.Fatalf("version %s, seed %d: not what the text says:%s", version, seed, g.describe(want, word))
		}
	}
	for range 4 {
		if got := g.resolve(g.shuffled(sets)); !maps.Equal(got, want) {
			t.Fatalf("version %s, seed %d: depends on the order:%s", version, seed, g.describe(got, want))
		}
	}
	if got := byDifference(t, g, sets); !maps.Equal(got, want) {
		t.Fatalf("version %s, seed %d: differs by differences:%s", version, seed, g.describe(got, want))
	}
	if got := g.resolve([]stateres.StateMap{want, want, want}); !maps.Equal(got, want) {
		t.Fatalf("version %s, seed %d: equal states are not the outcome", version, seed)
	}
	return !maps.Equal(sets[0], want)
}

// byDifference resolves as room does: with the entries on which the states differ, and a source that knows auth events.
func byDifference(t *testing.T, g *generator, sets []stateres.StateMap) stateres.StateMap {
	common := maps.Clone(sets[0])
	for _, set := range sets {
		maps.DeleteFunc(common, func(key event.Key, value id.EventID) bool { return set[key] != value })
	}
	c := stateres.Conflict{
		Common: func(key event.Key) (id.EventID, bool) { value, has := common[key]; return value, has },
		EachCommon: func(yield func(id.EventID) bool) {
			for _, value := range common {
				if !yield(value) {
					return
				}
			}
		},
	}
	for _, set := range sets {
		set = maps.Clone(set)
		maps.DeleteFunc(set, func(key event.Key, _ id.EventID) bool { _, same := common[key]; return same })
		c.Sets = append(c.Sets, set)
	}
	out, err := stateres.ResolveConflict(context.Background(), g.room.Version, c, indexed{g})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(common, out)
	return common
}

// indexed knows auth events apart from events.
type indexed struct{ *generator }

func (s indexed) Events(ctx context.Context, ids []id.EventID) (map[id.EventID]*event.Event, error) {
	return s.room.Events(ctx, ids)
}
func (s indexed) Rejected(eventID id.EventID) bool { return s.room.Rejected(eventID) }
func (s indexed) AuthEventIDs(_ context.Context, ids []id.EventID) (map[id.EventID][]id.EventID, error) {
	out := map[id.EventID][]id.EventID{}
	for _, eventID := range ids {
		if ev := s.room.Known[eventID]; ev != nil {
			out[eventID] = ev.AuthEvents()
		}
	}
	return out, nil
}

// An index of auth chains gives the same outcome as walking.
func TestResolve_WithAuthChainIndex(t *testing.T) {
	for n, version := range event.Versions()[1:] {
		for seed := range uint64(40) {
			g := grow(t, version, seed+uint64(n)*1000, 60)
			sets := g.sets()
			got, err := stateres.Resolve(context.Background(), g.room.Version, sets, chains{indexed{g}})
			if err != nil {
				t.Fatal(err)
			}
			if want := g.resolve(sets); !maps.Equal(got, want) {
				t.Fatalf("version %s, seed %d:%s", version, seed, g.describe(got, want))
			}
		}
	}
}

type chains struct{ indexed }

func (s chains) AuthDifference(_ context.Context, sets [][]id.EventID, common func(func(id.EventID) bool)) ([]id.EventID, error) {
	r, shared, count := reference{room: s.room}, ids{}, map[id.EventID]int{}
	common(func(eventID id.EventID) bool { r.chain(eventID, shared); return true })
	for _, set := range sets {
		chain := ids{}
		for _, eventID := range set {
			r.chain(eventID, chain)
		}
		for eventID := range chain {
			count[eventID]++
		}
	}
	var out []id.EventID
	for eventID, n := range count {
		if n < len(sets) && !shared[eventID] {
			out = append(out, eventID)
		}
	}
	return out, nil
}

// Rejected events lend nobody their authority, whatever the order.
func TestResolve_RandomRoomsWithRejectedEvents(t *testing.T) {
	for n, version := range event.Versions() {
		for seed := range uint64(40) {
			g := grow(t, version, seed+uint64(n)*1000, 60)
			for _, line := range g.past {
				if g.IntN(10) == 0 {
					for _, eventID := range line.Heads {
						g.room.Bad[eventID] = true
					}
				}
			}
			sets := g.sets()
			want := g.resolve(sets)
			for range 3 {
				if got := g.resolve(g.shuffled(sets)); !maps.Equal(got, want) {
					t.Fatalf("version %s, seed %d: depends on the order:%s", version, seed, g.describe(got, want))
				}
			}
			if n > 0 {
				if word := (reference{g.room, n == 11}).resolve(sets); !maps.Equal(want, word) {
					t.Fatalf("version %s, seed %d: not what the text says:%s", version, seed, g.describe(want, word))
				}
			}
		}
	}
}
