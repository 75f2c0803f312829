package stateres_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
	"github.com/viaduc/viaduc/homeserver/event/stateres"
)

// crowd is a room with that many members besides its officers, in which two lines disagree about a topic, a ban and who came.
func crowd(version string, members int) (room *eventtest.Room, one, other *eventtest.Branch) {
	base := public(version)
	for i := range members {
		user := id.UserID(fmt.Sprintf("@member%d:m%d.org", i, i%100))
		base.Send(eventtest.Member(user, user, "join"))
	}
	one, other = base.Fork(), base.Fork()
	one.Must(eventtest.Member(bob, mallory, "ban"))
	one.Must(eventtest.State(alice, "m.room.topic", "", `{"topic":"one"}`))
	other.Must(eventtest.State(bob, "m.room.topic", "", `{"topic":"other"}`))
	other.Must(eventtest.Member(dave, dave, "join"))
	return base.Room, one, other
}

// What is loaded follows the conflict, not the size of the state.
func TestResolve_LoadsWhatTheConflictNeeds(t *testing.T) {
	for _, version := range fromV2 {
		loads := func(members int) int {
			room, one, other := crowd(version, members)
			room.Loads = 0
			resolve(t, room, one.State, other.State)
			return room.Loads
		}
		if few, many := loads(3), loads(300); few != many || many > 60 {
			t.Errorf("version %s: %d events loaded in a small room, %d in a large one", version, few, many)
		}
	}
}

func benchmarkResolve(b *testing.B, version string) {
	room, one, other := crowd(version, 10000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stateres.Resolve(context.Background(), room.Version, []stateres.StateMap{one.State, other.State}, room); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve_10000Members_V2(b *testing.B)  { benchmarkResolve(b, "11") }
func BenchmarkResolve_10000Members_V21(b *testing.B) { benchmarkResolve(b, "12") }

// As room does it: the states share their entries and their differences are known.
func BenchmarkResolveConflict_10000Members(b *testing.B) {
	room, one, other := crowd("12", 10000)
	common := maps.Clone(one.State)
	c := stateres.Conflict{Sets: []stateres.StateMap{{}, {}}}
	for i, line := range []*eventtest.Branch{one, other} {
		for key, value := range line.State {
			if one.State[key] != other.State[key] {
				c.Sets[i][key] = value
				delete(common, key)
			}
		}
	}
	c.Common = func(key event.Key) (id.EventID, bool) { value, has := common[key]; return value, has }
	c.EachCommon = func(yield func(id.EventID) bool) {
		for _, value := range common {
			if !yield(value) {
				return
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stateres.ResolveConflict(context.Background(), room.Version, c, room); err != nil {
			b.Fatal(err)
		}
	}
}

// The comparison alone, which nobody can avoid who has only maps.
func BenchmarkResolve_10000Members_NoConflict(b *testing.B) {
	room, one, _ := crowd("12", 10000)
	sets := []stateres.StateMap{one.State, maps.Clone(one.State)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stateres.Resolve(context.Background(), room.Version, sets, room); err != nil {
			b.Fatal(err)
		}
	}
}
