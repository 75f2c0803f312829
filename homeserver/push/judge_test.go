package push

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	mxevent "maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"

	"github.com/viaduc/viaduc/homeserver/event"
)

// scene is a room with fixed facts, for both evaluators.
type scene struct {
	name  string
	count int
	power int
}

func (s scene) members() (int64, error)               { return int64(s.count), nil }
func (s scene) displayName(id.UserID) (string, error) { return s.name, nil }
func (s scene) mayNotify(_ id.UserID, key string) (bool, error) {
	return key == "room" && s.power >= 50, nil
}
func (s scene) GetOwnDisplayname() string { return s.name }
func (s scene) GetMemberCount() int       { return s.count }
func (s scene) GetPowerLevels() *mxevent.PowerLevelsEventContent {
	return &mxevent.PowerLevelsEventContent{UsersDefault: s.power}
}

const (
	me     = id.UserID("@me:hs1")
	sender = id.UserID("@someone:hs1")
	place  = id.RoomID("!room:hs1")
)

func build(tb testing.TB, evType string, key *string, content string) *event.Event {
	tb.Helper()
	v, err := event.Lookup("11")
	if err != nil {
		tb.Fatal(err)
	}
	ev, err := event.Build(v, event.Proto{RoomID: place, Type: evType, StateKey: key, Sender: sender, Content: json.RawMessage(content), Depth: 1, Timestamp: 1},
		event.Signer{Server: "hs1", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	if err != nil {
		tb.Fatalf("%v: %s", err, content)
	}
	return ev
}

type dice struct{ *rand.Rand }

func (d dice) pick(list ...string) string { return list[d.IntN(len(list))] }
func (d dice) maybe(n int) bool           { return d.IntN(n) == 0 }

func (d dice) words(n int) string {
	var b strings.Builder
	for i := range 1 + d.IntN(n) {
		if i > 0 {
			b.WriteString(d.pick(" ", ", ", ". ", "-"))
		}
		b.WriteString(d.pick("me", "some", "cake", "lie", "cakes", "xa", "name", "@room", "o"))
	}
	return b.String()
}

func (d dice) value() string {
	return d.pick(`"x"`, `"me"`, `1`, `-5`, `true`, `false`, `null`, `"@me:hs1"`)
}

// pattern has a wildcard (the oracle takes others as part of a text) and a letter at both ends.
func (d dice) pattern() string {
	p := d.pick("c*e", "ca?e", "l*", "*e", "so?e", "m*m*e", "c?k*s", "?????", "a", "*", "m.*", "m.room.m*")
	if !strings.ContainsAny(p, "*?") {
		p += "*"
	}
	return p
}

func (d dice) condition() string {
	switch d.IntN(7) {
	case 0:
		return fmt.Sprintf(`{"kind":"event_match","key":%q,"pattern":%q}`, d.pick("type", "sender", "room_id", "state_key", "content.msgtype", `content.a\\.b.c`, "content.text"), d.pattern())
	case 1:
		return fmt.Sprintf(`{"kind":"event_property_is","key":%q,"value":%s}`, d.pick("content.v", "content.w", "content.msgtype", `content.o.v`), d.value())
	case 2:
		return fmt.Sprintf(`{"kind":"event_property_contains","key":%q,"value":%s}`, d.pick("content.list", "content.v"), d.value())
	case 3:
		return `{"kind":"contains_display_name"}`
	case 4:
		return fmt.Sprintf(`{"kind":"room_member_count","is":%q}`, d.pick("", "==", "<", ">", "<=", ">=")+d.pick("2", "3", "10"))
	case 5:
		return `{"kind":"sender_notification_permission","key":"room"}`
	}
	return d.pick(`{"kind":"org.example.unknown"}`, `{"kind":"room_member_count","is":"two"}`)
}

func (d dice) document() *document {
	doc := &document{}
	for _, k := range kinds() {
		for i := range d.IntN(3) {
			n := NewRule{Kind: k, RuleID: fmt.Sprint("own", i), Actions: json.RawMessage(d.pick(quiet, notify, ping, mention, `["dont_notify"]`))}
			switch k {
			case Content:
				p := d.pick("cake", "c*e", "lie", "ca?e", "so*e", "name", "m*e")
				n.Pattern = &p
			case Room:
				n.RuleID = d.pick(string(place), "!other:hs1")
			case Sender:
				n.RuleID = d.pick(string(sender), "@other:hs1")
			default:
				var list []string
				for range d.IntN(3) {
					list = append(list, d.condition())
				}
				n.Conditions = json.RawMessage("[" + strings.Join(list, ",") + "]")
			}
			if doc.set(&n) == nil && d.maybe(4) {
				_ = doc.enable(k, n.RuleID, false)
			}
		}
	}
	for i := range predefinedRules {
		if r := &predefinedRules[i]; d.maybe(6) {
			_ = doc.enable(r.kind, r.id, d.maybe(2) && r.id != masterRule)
		} else if d.maybe(8) {
			_ = doc.setActions(r.kind, r.id, json.RawMessage(d.pick(quiet, notify, mention)))
		}
	}
	return doc
}

func (d dice) event(tb testing.TB) (*event.Event, *mxevent.Event) {
	content := map[string]json.RawMessage{}
	put := func(key, value string) {
		if d.maybe(2) {
			content[key] = json.RawMessage(value)
		}
	}
	put("body", quoted(d.words(5)))
	put("msgtype", quoted(d.pick("m.text", "m.notice", "m.image")))
	put("text", quoted(d.words(2)))
	put("v", d.value())
	put("w", d.value())
	put("o", `{"v":`+d.value()+`}`)
	put("a.b", `{"c":`+quoted(d.words(2))+`}`)
	put("list", `[`+d.value()+`,`+d.value()+`]`)
	if d.maybe(3) {
		content["m.mentions"] = json.RawMessage(d.pick(`{}`, `{"user_ids":["@me:hs1"]}`, `{"room":true}`, `{"user_ids":["@you:hs1"],"room":false}`))
	}
	if d.maybe(5) {
		content["m.relates_to"] = json.RawMessage(`{"rel_type":"m.replace","event_id":"$x"}`)
	}
	evType, key := d.pick("m.room.message", "m.room.message", "m.room.encrypted", "m.reaction", "m.call.invite", "org.matrix.msc3381.poll.start"), (*string)(nil)
	if d.maybe(5) {
		evType = d.pick("m.room.tombstone", "m.room.member", "m.room.server_acl")
		k := "" // the oracle takes an empty pattern as part of any text
		if key = &k; evType == "m.room.member" {
			k = d.pick("@you:hs1", string(me))
			content["membership"] = json.RawMessage(d.pick(`"invite"`, `"join"`))
		}
	}
	raw, _ := json.Marshal(content)
	ev := build(tb, evType, key, string(raw))
	mx := &mxevent.Event{Type: mxevent.Type{Type: evType}, Sender: sender, RoomID: place, StateKey: key}
	if err := json.Unmarshal(raw, &mx.Content); err != nil {
		tb.Fatal(err)
	}
	return ev, mx
}

// The evaluator of mautrix decides the same, where it does what the specification says.
func TestJudge_AgreesWithMautrix(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(7, 9))}
	shared := newSharedRules()
	matched := map[string]int{}
	for n := range 3000 {
		doc := d.document()
		raw, err := doc.content(me)
		if err != nil {
			t.Fatal(err)
		}
		var oracle pushrules.EventContent
		if err := json.Unmarshal(raw, &oracle); err != nil {
			t.Fatal(err)
		}
		j := newJudge(me)
		j.rules = shared.rules(doc)
		for range 8 {
			ev, mx := d.event(t)
			s := scene{name: d.pick("", "name", "xa"), count: 1 + d.IntN(4), power: d.IntN(2) * 100}
			got, err := newSubject(ev, s).judge(j)
			if err != nil {
				t.Fatal(err)
			}
			want := oracle.Ruleset.GetMatchingRule(s, mx)
			gotID, wantID := "", ""
			var verdict Verdict
			if got != nil {
				gotID, verdict = got.id, got.Verdict
			}
			if want != nil {
				wantID = want.RuleID
			}
			should := want.GetActions().Should()
			if gotID != wantID || verdict.Notify != should.Notify || verdict.Highlight != should.Highlight {
				t.Fatalf("%d: rule %q (%+v), mautrix says %q (%+v)\nroom %+v\nevent %s\nrules %s", n, gotID, verdict, wantID, should, s, ev.JSON(), raw)
			}
			matched[gotID]++
		}
	}
	for _, p := range predefinedRules {
		if matched[p.id] == 0 && p.id != masterRule && !strings.Contains(p.id, "poll") {
			t.Errorf("%s never matched", p.id)
		}
	}
}

func TestJudge_OnlyTextMatches(t *testing.T) {
	shared := newSharedRules()
	for _, c := range []struct {
		condition, content string
		want               bool
	}{
		{`{"kind":"event_match","key":"content.x","pattern":"*"}`, `{"x":1}`, false},
		{`{"kind":"event_match","key":"content.x","pattern":"*"}`, `{"x":""}`, true},
		{`{"kind":"event_match","key":"content.x","pattern":"*"}`, `{}`, false},
		{`{"kind":"event_match","key":"content.x","pattern":"YES"}`, `{"x":"yes"}`, true},
		{`{"kind":"event_match","key":"content.x","pattern":"yes"}`, `{"x":"oh yes"}`, false},
		{`{"kind":"event_match","key":"content.body","pattern":"yes"}`, `{"body":"oh YES!"}`, true},
		{`{"kind":"event_match","key":"content.x","pattern":"a\nb"}`, `{"x":"a\nb"}`, true},
		{`{"kind":"event_match","key":"content.x"}`, `{"x":""}`, false},
		{`{"kind":"event_match","pattern":"x"}`, `{"x":"x"}`, false},
		{`{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, `{"m.federate":true}`, true},
		{`{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, `{"m.federate":"true"}`, false},
		{`{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, `{"m.federate":1}`, false},
		{`{"kind":"event_property_is","key":"content.x","value":null}`, `{"x":null}`, true},
		{`{"kind":"event_property_is","key":"content.x","value":null}`, `{}`, false},
		{`{"kind":"event_property_is","key":"content.x"}`, `{"x":null}`, false},
		{`{"kind":"event_property_is","key":"content.x","value":{}}`, `{"x":{}}`, false},
		{`{"kind":"event_property_is","key":"content.x","value":1.5}`, `{"x":1}`, false},
		{`{"kind":"event_property_is","key":"content.x","value":"\u00e9"}`, `{"x":"é"}`, true},
		{`{"kind":"event_property_contains","key":"content.x","value":"a"}`, `{"x":["b","a"]}`, true},
		{`{"kind":"event_property_contains","key":"content.x","value":"a"}`, `{"x":["ab",["a"]]}`, false},
		{`{"kind":"event_property_contains","key":"content.x","value":"a"}`, `{"x":"a"}`, false},
		{`{"kind":"event_property_is","key":"content.a\\\\b","value":1}`, `{"a\\b":1}`, true},
		{`{"kind":"event_property_is","key":"content.a.b","value":1}`, `{"a.b":1}`, false},
		{`{"kind":"event_match","key":"content","pattern":"*"}`, `{}`, false},
		{`{"kind":"room_member_count","is":"<3"}`, `{}`, true},
		{`{"kind":"room_member_count","is":"+2"}`, `{}`, false},
		{`{"kind":"room_member_count","is":2}`, `{}`, false},
		{`{"kind":"room_member_count"}`, `{}`, false},
	} {
		doc := &document{}
		if err := doc.set(&NewRule{Kind: Override, RuleID: "x", Conditions: json.RawMessage("[" + c.condition + "]"), Actions: json.RawMessage(highlight)}); err != nil {
			t.Fatal(err)
		}
		j := newJudge(me)
		j.rules = shared.rules(doc)
		got, err := newSubject(build(t, "org.example", nil, c.content), scene{count: 2}).judge(j)
		if err != nil || (got != nil && got.id == "x") != c.want {
			t.Errorf("%s on %s: %+v, %v", c.condition, c.content, got, err)
		}
	}
}

func FuzzRule(f *testing.F) {
	f.Add(`[{"kind":"event_match","key":"content.body","pattern":"*a?"}]`, `{"body":"xa"}`, "a*b")
	f.Add(`[{"kind":"event_property_is","key":"content.\\.","value":1e9}]`, `{"":0}`, "?")
	shared := newSharedRules()
	f.Fuzz(func(t *testing.T, conditions, content, pattern string) {
		doc := &document{}
		for _, n := range []NewRule{
			{Kind: Override, RuleID: "x", Conditions: json.RawMessage(conditions), Actions: json.RawMessage(highlight)},
			{Kind: Content, RuleID: "x", Pattern: &pattern, Actions: json.RawMessage(highlight)},
		} {
			if n.check() == nil {
				_ = doc.set(&n)
			}
		}
		canonical, err := event.CanonicalJSON([]byte(content))
		if err != nil || len(canonical) == 0 || canonical[0] != '{' {
			return
		}
		j := newJudge(me)
		j.rules = shared.rules(doc)
		ev := build(t, "m.room.message", nil, string(canonical))
		if _, err := newSubject(ev, scene{count: 2}).judge(j); err != nil {
			t.Error(err)
		}
	})
}
