package auth_test

import (
	"encoding/json"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

func TestNeeded(t *testing.T) {
	const create, levels, joinRules = "m.room.create|", "m.room.power_levels|", "m.room.join_rules|"
	member := func(u id.UserID) string { return "m.room.member|" + string(u) }
	via := `{"join_authorised_via_users_server": "@bob:b.org", "membership": "join"}` // not canonical on purpose
	for n, version := range event.Versions() {
		for name, c := range map[string]struct {
			kind    string
			key     *string
			content string
			want    []string
		}{
			"create":            {"m.room.create", eventtest.Key(""), `{}`, nil},
			"message":           {"m.room.message", nil, `{}`, []string{levels, member(alice)}},
			"name":              {"m.room.name", eventtest.Key(""), `{}`, []string{levels, member(alice)}},
			"own join":          {"m.room.member", eventtest.Key(string(alice)), `{"membership":"join"}`, []string{levels, member(alice), joinRules}},
			"invite":            {"m.room.member", eventtest.Key(string(bob)), `{"membership":"invite"}`, []string{levels, member(alice), member(bob), joinRules}},
			"knock":             {"m.room.member", eventtest.Key(string(alice)), `{"membership":"knock"}`, []string{levels, member(alice), joinRules}},
			"kick":              {"m.room.member", eventtest.Key(string(bob)), `{"membership":"leave"}`, []string{levels, member(alice), member(bob)}},
			"ban":               {"m.room.member", eventtest.Key(string(bob)), `{"membership":"ban"}`, []string{levels, member(alice), member(bob)}},
			"member message":    {"m.room.member", nil, `{"membership":"join"}`, []string{levels, member(alice)}},
			"no JSON":           {"m.room.member", eventtest.Key(string(bob)), `{`, []string{levels, member(alice), member(bob)}},
			"third-party":       {"m.room.member", eventtest.Key(string(bob)), `{"membership":"invite","third_party_invite":{"signed":{"token":"t"}}}`, []string{levels, member(alice), member(bob), joinRules, "m.room.third_party_invite|t"}},
			"third-party list":  {"m.room.member", eventtest.Key(string(bob)), `{"membership":"invite","third_party_invite":["signed"]}`, []string{levels, member(alice), member(bob), joinRules}},
			"third-party join":  {"m.room.member", eventtest.Key(string(alice)), `{"membership":"join","third_party_invite":{"signed":{"token":"t"}}}`, []string{levels, member(alice), joinRules}},
			"authorised":        {"m.room.member", eventtest.Key(string(alice)), via, map[bool][]string{true: {levels, member(alice), joinRules, member(bob)}, false: {levels, member(alice), joinRules}}[n >= 7]},
			"authorised invite": {"m.room.member", eventtest.Key(string(carol)), `{"membership":"invite","join_authorised_via_users_server":"@bob:b.org"}`, []string{levels, member(alice), member(carol), joinRules}},
		} {
			var got []string
			for _, key := range auth.Needed(event.MustLookup(version), c.kind, c.key, alice, json.RawMessage(c.content)) {
				got = append(got, key.Type+"|"+key.StateKey)
			}
			if n < 11 && c.want != nil {
				c.want = append([]string{create}, c.want...)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("version %s, %s: %v, want %v", version, name, got, c.want)
			}
		}
	}
}

func TestCheckAuthEventList(t *testing.T) {
	for n, version := range event.Versions() {
		b := room(version, "public")
		at := func(kind, key string) id.EventID { return b.State[event.Key{Type: kind, StateKey: key}] }
		levels, self, create := at("m.room.power_levels", ""), at("m.room.member", string(carol)), at("m.room.create", "")
		oldLevels := b.Send(eventtest.State(alice, "m.room.power_levels", "", `{"users":`+usersIn(b.Room.Version, "")+`}`)).ID()
		name := b.Send(eventtest.State(ivan, "m.room.name", "", `{}`)).ID()
		message := b.Send(eventtest.Message(carol)).ID()
		_, foreign := eventtest.NewRoom(version, "foreign", alice, "")
		other := foreign.Must(eventtest.Member(alice, alice, "join"))
		foreignMember := foreign.Send(eventtest.Member(carol, carol, "join"))
		b.Room.Known[other.ID()], b.Room.Known[foreignMember.ID()] = other, foreignMember
		base := []id.EventID{create}
		if n == 11 {
			base = nil
		}
		list := map[bool]string{true: "3", false: "2"}[n == 11]
		for title, c := range map[string]struct {
			auth []id.EventID
			want string
		}{
			"right":           {append(base, levels, self), "ok"},
			"other order":     {append([]id.EventID{self, levels}, base...), "ok"},
			"levels missing":  {append(base, self), "ok"},
			"twice":           {append(base, levels, self, self), list + ".1"},
			"two levels":      {append(base, levels, self, oldLevels), list + ".1"},
			"unneeded":        {append(base, levels, self, name), list + ".2"},
			"message":         {append(base, levels, self, message), list + ".2"},
			"another member":  {append(base, levels, self, at("m.room.member", string(bob))), list + ".2"},
			"of another room": {append(base, levels, foreignMember.ID()), list + ".5"},
			"unknown":         {append(base, levels, self, "$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), list},
			"no create":       {[]id.EventID{levels, self}, map[bool]string{true: "ok", false: "2.4"}[n == 11]},
			"create":          {[]id.EventID{create, levels, self}, map[bool]string{true: "3.2", false: "ok"}[n == 11]},
			"nothing":         {[]id.EventID{}, map[bool]string{true: "ok", false: "2.4"}[n == 11]},
		} {
			if title == "unknown" && n < 2 {
				c.auth[len(c.auth)-1] = "$unknown:a.org"
			}
			ev := b.Make(eventtest.Draft{Type: "m.room.message", Sender: carol, Auth: slices.Clone(c.auth)})
			if got := ruleOf(auth.CheckAuthEventList(ev, b.Room.AuthEvents(ev), nil)); got != c.want {
				t.Errorf("version %s, %s: rule %s, want %s", version, title, got, c.want)
			}
		}
		ev := b.Make(eventtest.Message(carol))
		rejected := func(eventID id.EventID) bool { return eventID == self }
		if got := ruleOf(auth.CheckAuthEventList(ev, b.Room.AuthEvents(ev), rejected)); got != list+".3" {
			t.Errorf("version %s, rejected: rule %s", version, got)
		}
		if got := ruleOf(auth.CheckAuthEventList(b.Get(event.Key{Type: "m.room.create"}), nil, nil)); got != "ok" {
			t.Errorf("version %s, create: rule %s", version, got)
		}
	}
}

// What Needed leaves out, Check does not look at.
func TestNeeded_CoversWhatCheckReads(t *testing.T) {
	for _, version := range event.Versions() {
		b := room(version, "restricted")
		for _, d := range []eventtest.Draft{
			eventtest.Message(carol), eventtest.Member(dave, dave, "join"), eventtest.Member(frank, frank, "join"),
			eventtest.Member(bob, erin, "leave"), eventtest.Member(bob, dave, "invite"), eventtest.Member(dave, dave, "knock"),
			authorisedBy("@bob:b.org"), eventtest.State(bob, "m.room.power_levels", "", `{}`), eventtest.Member(bob, carol, "ban"),
		} {
			ev := b.Make(d)
			read := &recorder{State: b, read: map[event.Key]bool{}}
			_ = auth.Check(ev, read)
			needed := append(auth.NeededBy(ev), event.Key{Type: "m.room.create"})
			for key := range read.read {
				if !slices.Contains(needed, key) {
					t.Errorf("version %s: %s %v reads %v", version, ev.Type(), string(ev.Content()), key)
				}
			}
		}
	}
}

type recorder struct {
	auth.State
	read map[event.Key]bool
}

func (r *recorder) Get(key event.Key) *event.Event {
	r.read[key] = true
	return r.State.Get(key)
}
