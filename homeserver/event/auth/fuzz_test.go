package auth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

// hostile are contents that have broken servers.
var hostile = []string{
	`{}`, `[]`, `null`, `"x"`, `1`, `{"membership":{}}`, `{"membership":"join","join_authorised_via_users_server":{}}`,
	`{"membership":"invite","third_party_invite":{"signed":{"mxid":[],"token":{},"signatures":[1]}}}`,
	`{"membership":"invite","third_party_invite":{"signed":{"mxid":"@dave:d.org","token":"tok","signatures":{"a":{"ed25519:":1}}}}}`,
	`{"users":{"":0,"@":1,":":2,"@a:b":-9007199254740991},"events":{"":""},"notifications":[]}`,
	`{"users":{"@bob:b.org":"` + "\\u0000" + `"},"ban":"  ","kick":"+","redact":"-","invite":"--1"}`,
	`{"ban":1e30,"kick":-1.5,"users_default":0.999,"state_default":"1e3"}`,
	`{"join_rule":["public"]}`, `{"join_rule":null}`, `{"creator":[],"additional_creators":[[],{},null,""],"m.federate":0}`,
	`{"public_key":{},"public_keys":[[],{"public_key":1},null]}`, `{"redacts":5}`, `{"room_version":{},"predecessor":[]}`,
}

// FuzzCheck: no content of the event, nor of the state it stands on, panics or gives anything but a rule.
func FuzzCheck(f *testing.F) {
	kinds := []string{"m.room.member", "m.room.power_levels", "m.room.create", "m.room.join_rules", "m.room.third_party_invite",
		"m.room.aliases", "m.room.redaction", "m.room.message", ""}
	for i, content := range hostile {
		f.Add(uint8(i), uint8(i), content, "tok", hostile[(i+5)%len(hostile)])
		f.Add(uint8(i+1), uint8(11), content, "@dave:d.org", hostile[(i+9)%len(hostile)])
	}
	all := map[string]*eventtest.Branch{}
	for _, version := range event.Versions() {
		all[version] = room(version, "public")
	}
	f.Fuzz(func(t *testing.T, kind, version uint8, content, key, other string) {
		versions := event.Versions()
		v := event.MustLookup(versions[int(version)%len(versions)])
		b := all[v.ID()].Fork()
		under := kinds[int(kind/16)%len(kinds)]
		if ev := loose(v, b.Room.ID, under, &key, alice, other); ev != nil {
			b.Room.Known[ev.ID()] = ev
			b.State[event.Key{Type: under, StateKey: key}] = ev.ID()
			b.State[event.Key{Type: under}] = ev.ID()
		}
		for _, stateKey := range []*string{nil, new(string), &key} {
			for _, sender := range []id.UserID{alice, bob, dave} {
				ev := loose(v, b.Room.ID, kinds[int(kind)%len(kinds)], stateKey, sender, content)
				if ev == nil {
					continue
				}
				var rule *auth.Error
				if err := auth.Check(ev, b); err != nil && (!errors.As(err, &rule) || rule.Rule == "" || rule.Msg == "") {
					t.Fatalf("not a rule: %v", err)
				}
				_ = auth.CheckAuthEventList(ev, b.Room.AuthEvents(ev), nil)
				auth.CanRedact(ev, ev, b)
				auth.Needed(v, ev.Type(), stateKey, sender, json.RawMessage(content))
			}
		}
		levels := auth.PowerLevels(b)
		levels.User(id.UserID(key))
		auth.JoinRule(b)
	})
}

// loose stores an event without looking at its content more than the event needs.
func loose(v event.Version, room id.RoomID, kind string, stateKey *string, sender id.UserID, content string) *event.Event {
	canonical, err := event.LenientCanonicalJSON([]byte(content))
	if err != nil {
		return nil
	}
	members := map[string]any{"auth_events": []any{}, "content": json.RawMessage(canonical), "depth": 1, "hashes": map[string]string{},
		"origin_server_ts": 1, "prev_events": []any{}, "room_id": room, "sender": sender, "type": kind}
	if stateKey != nil {
		members["state_key"] = *stateKey
	}
	raw, err := json.Marshal(members)
	if err != nil {
		return nil
	}
	if raw, err = event.LenientCanonicalJSON(raw); err != nil {
		return nil
	}
	ev, err := event.ParseStored(v, id.EventID(fmt.Sprintf("$%d:a.org", len(raw))), raw)
	if err != nil {
		return nil
	}
	return ev
}

// Whatever the event door lets in, in any version.
func TestCheck_HostileContents(t *testing.T) {
	for _, version := range event.Versions() {
		v := event.MustLookup(version)
		for _, kind := range []string{"m.room.member", "m.room.power_levels", "m.room.create", "m.room.join_rules", "m.room.third_party_invite", "m.room.aliases"} {
			for _, content := range hostile {
				b := room(version, "public")
				key := ""
				if kind == "m.room.member" {
					key = string(dave)
				}
				ev := loose(v, b.Room.ID, kind, &key, alice, content)
				if ev == nil {
					t.Fatalf("version %s: %s %s", version, kind, content)
				}
				_ = auth.Check(ev, b)
				b.Room.Known[ev.ID()] = ev
				b.State[ev.Key()] = ev.ID()
				for _, d := range []eventtest.Draft{eventtest.Message(carol), eventtest.Member(dave, dave, "join"), eventtest.Member(bob, carol, "ban"),
					eventtest.State(alice, "m.room.power_levels", "", `{"users":{"@bob:b.org":1},"ban":2}`)} {
					_ = auth.Check(b.Make(d), b)
				}
			}
		}
	}
}
