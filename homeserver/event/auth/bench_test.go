package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

// flat is a room's state as servers keep it at hand.
func flat(b *eventtest.Branch) auth.Map {
	m := auth.Map{}
	for key := range b.State {
		m[key] = b.Get(key)
	}
	return m
}

func BenchmarkCheck_Message(b *testing.B) {
	line := room("12", "public")
	ev, state := line.Make(eventtest.Message(carol)), flat(line)
	b.ReportAllocs()
	for b.Loop() {
		if err := auth.Check(ev, state); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck_Join(b *testing.B) {
	line := room("12", "public")
	ev, state := line.Make(eventtest.Member(dave, dave, "join")), flat(line)
	b.ReportAllocs()
	for b.Loop() {
		if err := auth.Check(ev, state); err != nil {
			b.Fatal(err)
		}
	}
}

// The first check in a room with many named users, which has to read them.
func BenchmarkCheck_MessageAfterNewPowerLevels(b *testing.B) {
	var users []string
	for i := range 1000 {
		users = append(users, fmt.Sprintf(`"@user%d:a.org":%d`, i, i%100))
	}
	line := room("11", "public")
	levels := line.Send(eventtest.State(alice, "m.room.power_levels", "", `{"users":{`+strings.Join(users, ",")+`}}`))
	ev, state := line.Make(eventtest.Message(carol)), flat(line)
	b.ReportAllocs()
	for b.Loop() {
		fresh, _ := event.ParseStored(levels.Version(), levels.ID(), levels.JSON())
		state[fresh.Key()] = fresh
		if err := auth.Check(ev, state); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNeeded_Message(b *testing.B) {
	v := event.MustLookup("12")
	b.ReportAllocs()
	for b.Loop() {
		if len(auth.Needed(v, "m.room.message", nil, id.UserID("@a:b"), nil)) != 2 {
			b.Fatal("needed")
		}
	}
}
