package e2ee

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

func joinSorted(names []string) string {
	sort.Strings(names)
	return strings.Join(names, " ")
}

func TestDeviceListChanges_JoiningTellsBothSides(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, carol, "join")
		since := w.stream.Head()
		w.member(room1, bob, "invite")
		if changed, left := w.changes(alice, since); changed != "" || left != "" {
			t.Fatal(changed, left)
		}
		w.member(room1, bob, "join")
		if changed, left := w.changes(alice, since); changed != "bob" || left != "" {
			t.Fatal(changed, left)
		}
		if changed, left := w.changes(bob, since); changed != "alice bob carol" || left != "" {
			t.Fatal(changed, left)
		}
		since = w.stream.Head()
		w.member(room1, bob, "join") // a new display name
		if changed, left := w.changes(alice, since); changed != "" || left != "" {
			t.Fatal(changed, left)
		}
		w.member(room1, alice, "leave")
		for user, want := range map[id.UserID]string{alice: "bob carol", bob: "alice", carol: "alice"} {
			if changed, left := w.changes(user, since); changed != "" || left != want {
				t.Fatal(user, changed, left)
			}
		}
	})
}

// moment is the whole state of the model at a position.
type moment struct {
	pos    stream.Pos
	joined map[id.RoomID][]id.UserID
	// what happened at this moment
	user   id.UserID
	room   id.RoomID
	came   bool
	listed bool
}

func (m moment) share(a, b id.UserID) bool {
	for _, members := range m.joined {
		if slices.Contains(members, a) && slices.Contains(members, b) {
			return true
		}
	}
	return false
}

// model says slowly what DeviceListChanges must say.
func model(history []moment, user id.UserID, since stream.Pos, users []id.UserID) (changed, left string) {
	first, last := history[0], history[len(history)-1]
	var window []moment
	for _, m := range history {
		if m.pos <= since {
			first = m
		} else {
			window = append(window, m)
		}
	}
	var c, l []string
	for _, other := range users {
		news := false
		for _, m := range window {
			here := m.came && slices.Contains(last.joined[m.room], user) && slices.Contains(last.joined[m.room], other)
			news = news || (m.listed && m.user == other) || (here && (m.user == user || m.user == other) && (other != user || m.user == user))
		}
		shares := other == user || last.share(user, other)
		if news && shares {
			c = append(c, other.Localpart())
		}
		if other != user && first.share(user, other) && !shares {
			l = append(l, other.Localpart())
		}
	}
	return joinSorted(c), joinSorted(l)
}

func TestDeviceListChanges_AgreeWithASlowModel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		users := []id.UserID{alice, bob, carol, dave, erin}
		rooms := []id.RoomID{room1, room2, "!three:here"}
		for _, user := range users[:3] {
			w.device(user, "DEV", "")
		}
		rng := rand.New(rand.NewPCG(7, 11))
		history := []moment{{pos: w.stream.Head(), joined: map[id.RoomID][]id.UserID{}}}
		for range 250 {
			m := moment{joined: map[id.RoomID][]id.UserID{}, user: users[rng.IntN(len(users))], room: rooms[rng.IntN(len(rooms))]}
			for room, members := range history[len(history)-1].joined {
				m.joined[room] = slices.Clone(members)
			}
			in := slices.Contains(m.joined[m.room], m.user)
			switch n := rng.IntN(10); {
			case n < 2 && w.people.Local(m.user):
				w.upload(m.user, "DEV", Upload{DeviceKeys: newSigner(t).deviceKeys(t, m.user, "DEV")})
				m.listed = true
			case n < 2:
				w.must(w.keys.touchList(w.ctx, m.user))
				m.listed = true
			case n < 4 && in:
				w.member(m.room, m.user, "join") // a new display name
			case in:
				w.member(m.room, m.user, "leave")
				m.joined[m.room] = slices.DeleteFunc(m.joined[m.room], func(u id.UserID) bool { return u == m.user })
			default:
				w.member(m.room, m.user, "join")
				m.joined[m.room] = append(m.joined[m.room], m.user)
				m.came = true
			}
			m.pos = w.stream.Head()
			history = append(history, m)
			for _, user := range users[:3] {
				back := history[max(0, len(history)-1-rng.IntN(12))]
				wantChanged, wantLeft := model(history, user, back.pos, users)
				if changed, left := w.changes(user, back.pos); changed != wantChanged || left != wantLeft {
					t.Fatalf("step %d, %s since %d: changed %q, left %q; want %q and %q\n%s", len(history), user, back.pos, changed, left, wantChanged, wantLeft, told(history))
				}
			}
		}
	})
}

func told(history []moment) string {
	var b strings.Builder
	for _, m := range history[max(0, len(history)-14):] {
		fmt.Fprintf(&b, "%d %s %s came=%v listed=%v %v\n", m.pos, m.user, m.room, m.came, m.listed, m.joined)
	}
	return b.String()
}
