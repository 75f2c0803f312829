package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
)

// alter gives the event with one top-level member changed; "" removes it. Hashes are made right again, signatures are not.
func alter(t testing.TB, e *Event, key, value string) []byte {
	t.Helper()
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.JSON(), &members); err != nil {
		t.Fatal(err)
	}
	if value == "" {
		delete(members, key)
	} else {
		members[key] = json.RawMessage(value)
	}
	if key != "hashes" {
		delete(members, "hashes")
		obj := joined(members)
		if canon, err := LenientCanonicalJSON(obj); err == nil {
			sum := contentHash(canon)
			members["hashes"] = json.RawMessage(`{"sha256":"` + encode64(sum[:]) + `"}`)
		} else {
			members["hashes"] = json.RawMessage(`{"sha256":"` + encode64(make([]byte, 32)) + `"}`)
		}
	}
	return joined(members)
}

func joined(members map[string]json.RawMessage) []byte {
	obj := []byte{'{'}
	for _, k := range sortedKeys(members) {
		obj = append(append(appendKey(obj, k), ':'), members[k]...)
	}
	return append(obj, '}')
}

func built(t testing.TB, version string, change func(*Proto)) *Event {
	t.Helper()
	v := MustLookup(version)
	p := message(v)
	if change != nil {
		change(&p)
	}
	e, err := Build(v, p, vectorSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Old rooms hold events whose fields were measured in code points.
func TestParseUntrusted_OldRoomsMeasureFieldsInCodePoints(t *testing.T) {
	for _, version := range []string{"1", "6", "10"} {
		e := built(t, version, nil)
		if _, err := ParseUntrusted(e.Version(), alter(t, e, "state_key", `"`+strings.Repeat("é", 255)+`"`)); err != nil {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

func TestParseUntrusted_RefusesEventsOfWrongShape(t *testing.T) {
	hash := "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
	manyRefs := func(n int) string {
		return `[` + strings.TrimSuffix(strings.Repeat(`"$`+hash+`",`, n), ",") + `]`
	}
	long := strings.Repeat("x", 256)
	for _, c := range []struct{ versions, key, value string }{
		// gomatrixserverlib accepts these and panics later
		{"10 11", "room_id", `"!x:"`}, {"10 11", "room_id", `"!abc:exa mple"`},
		{"12", "room_id", `"!"`}, {"12", "room_id", `"!` + long + `"`}, {"12", "room_id", `"!a b"`}, {"12", "room_id", `"!é"`},
		{"12", "room_id", `"!a:b"`}, {"11", "room_id", `"!` + hash + `"`},
		{"1 6 11 12", "room_id", ""}, {"1 6 11 12", "room_id", "1"}, {"1 6 11 12", "room_id", "null"}, {"11", "room_id", `"!x:a:b"`},
		{"1 6 11 12", "depth", "9223372036854775808"}, {"1 11", "depth", "-1"}, {"1 11", "depth", `"5"`}, {"1 11", "depth", "true"},
		{"1 11", "depth", ""}, {"1 11", "depth", "1.5"}, {"6 11 12", "depth", "9007199254740992"},
		{"1 11", "origin_server_ts", ""}, {"1 11", "origin_server_ts", "1.5"}, {"1 11", "origin_server_ts", `"1"`},
		{"1 11", "origin_server_ts", "null"}, {"6 11", "origin_server_ts", "9007199254740992"},
		{"1 11", "type", ""}, {"1 11", "type", "1"}, {"1 11", "type", `""`}, {"1 11", "type", `"` + long + `"`},
		{"1 11", "state_key", "null"}, {"1 11", "state_key", "1"}, {"1 11", "state_key", `"` + long + `"`},
		{"11 12", "state_key", `"` + strings.Repeat("é", 128) + `"`}, {"1 10", "state_key", `"` + strings.Repeat("é", 256) + `"`},
		{"1 11", "sender", ""}, {"1 11", "sender", "{}"}, {"1 11", "sender", `"alice"`}, {"1 11", "sender", `"@a"`},
		{"1 11", "sender", `"@` + long + `:b"`}, {"1 11", "sender", `"@a:b:c"`}, {"1 11", "sender", `"@a\u0000:b"`},
		{"1 11", "content", ""}, {"1 11", "content", "[]"}, {"1 11", "content", "null"}, {"1 11", "content", `"x"`},
		{"6 11 12", "content", `{"a":1.5}`}, {"6 11", "content", `{"a":-0}`}, {"6 11", "content", `{"a":1e3}`},
		{"6 11", "content", `{"a":9007199254740992}`}, {"1 11", "content", `{"a":1,"a":2}`}, {"1 11", "content", `{"a":"\ud800"}`},
		{"1 11", "content", "{\"a\":\"\xff\"}"}, {"1 11", "content", `{"a":` + strings.Repeat("[", 501) + strings.Repeat("]", 501) + `}`},
		{"1 11", "content", `{"a":NaN}`},
		{"1 11", "hashes", ""}, {"1 11", "hashes", "[]"}, {"1 11", "hashes", "{}"}, {"1 11", "hashes", `{"sha256":1}`},
		{"1 11", "hashes", `{"sha256":"!!"}`}, {"1 11", "hashes", `{"sha256":"abcd"}`},
		{"1 11", "signatures", ""}, {"1 11", "signatures", "[]"}, {"1 11", "signatures", `{"a":1}`},
		{"1 4 11 12", "prev_events", ""}, {"1 4 11 12", "prev_events", "{}"}, {"1 4 11 12", "prev_events", "null"}, {"1 4 11 12", "prev_events", "[]"},
		{"4 11 12", "prev_events", `[1]`}, {"4 11", "prev_events", `["x"]`}, {"4 11", "prev_events", `["$a:b"]`},
		{"1", "prev_events", `["$a:b"]`}, {"1", "prev_events", `[["$a:b"]]`}, {"1", "prev_events", `[["$a:b",{},1]]`}, {"1", "prev_events", `[[]]`},
		{"1", "prev_events", `[[1,{}]]`}, {"4 11 12", "prev_events", manyRefs(21)}, {"4 11 12", "auth_events", manyRefs(11)},
		{"1 11", "auth_events", ""}, {"4 11", "auth_events", `[["$a:b",{}]]`},
		{"1 2", "event_id", ""}, {"1 2", "event_id", `"$a"`}, {"1 2", "event_id", "7"}, {"1 2", "event_id", `"$3:` + long + `"`},
		{"1 2", "event_id", `"$2:example.org"`}, // its own predecessor
	} {
		for _, version := range strings.Fields(c.versions) {
			e := built(t, version, nil)
			got, err := ParseUntrusted(e.Version(), alter(t, e, c.key, c.value))
			var answer mautrix.RespError
			if !errors.As(err, &answer) || answer.StatusCode/100 != 4 {
				t.Errorf("version %s, %s = %.60s: %v %v", version, c.key, c.value, got, err)
			}
		}
	}
}

func TestParseUntrusted_AcceptsOddButAllowedEvents(t *testing.T) {
	for _, c := range []struct{ versions, key, value string }{
		{"6 11 12", "depth", "9007199254740991"}, {"1 5", "depth", "9223372036854775807"}, {"1 11", "depth", "0"},
		{"1 5", "content", `{"a":1.5,"b":-0,"c":1e3,"d":9007199254740992}`},
		{"1 11", "origin_server_ts", "0"}, {"1 11", "origin_server_ts", "-5"}, {"11", "origin_server_ts", "253402300800000"},
		{"1 11", "sender", `"@Ä B:b.org"`}, {"1 11", "sender", `"@:b.org"`}, {"1 11", "sender", `"@a:[::1]:8448"`},
		{"1 11", "content", `{"\u0000":"\u0000"}`}, {"11", "content", `{"x":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}`},
		{"1 11", "something", `{"else":[1,2,3]}`}, {"1 11", "auth_events", `[]`}, {"1 11", "signatures", `{}`},
		{"1 11", "signatures", `{"a":{"ed25519:1":5}}`}, {"11", "state_key", `""`}, {"11", "state_key", `"\"\\\n"`},
		{"11", "type", `"x\"\\\u0001"`},
	} {
		for _, version := range strings.Fields(c.versions) {
			e := built(t, version, nil)
			got, err := ParseUntrusted(e.Version(), alter(t, e, c.key, c.value))
			if err != nil || got.WasRedacted() {
				t.Errorf("version %s, %s = %.60s: redacted %v, %v", version, c.key, c.value, got != nil && got.WasRedacted(), err)
				continue
			}
			stored, err := ParseStored(got.Version(), got.ID(), got.JSON())
			if err != nil || stored.Type() != got.Type() || stored.Sender() != got.Sender() || stored.Key() != got.Key() ||
				stored.Depth() != got.Depth() || stored.Timestamp() != got.Timestamp() || stored.IsState() != got.IsState() {
				t.Errorf("stored form of version %s, %s = %.60s differs: %v", version, c.key, c.value, err)
			}
		}
	}
}

func TestParseUntrusted_BoundsTheCanonicalSize(t *testing.T) {
	v := MustLookup("11")
	empty := built(t, "11", func(p *Proto) { p.Content = json.RawMessage(`{"b":""}`) })
	room := MaxEventBytes - len(empty.JSON())
	fits := func(n int) (*Event, error) {
		p := message(v)
		p.Content = json.RawMessage(`{"b":"` + strings.Repeat("x", n) + `"}`)
		return Build(v, p, vectorSigner(t))
	}
	e, err := fits(room)
	if err != nil || len(e.JSON()) != MaxEventBytes {
		t.Fatal(err)
	}
	if _, err = fits(room + 1); !errors.Is(err, mautrix.MTooLarge) {
		t.Fatal("too long an event was built", err)
	}
	// White space, escapes and unsigned do not count.
	spaced := strings.Replace(string(e.JSON()), `"xxx`, `"\u0078xx`, 1)
	spaced = "  " + strings.Replace(spaced, `"depth":`, `"unsigned":{"x":"`+strings.Repeat("y", 1000)+`"}, "depth" : `, 1)
	if got, err := ParseUntrusted(v, []byte(spaced)); err != nil || got.ID() != e.ID() || got.WasRedacted() {
		t.Fatal(err)
	}
	longer := strings.Replace(string(e.JSON()), `"xxx`, `"xxxx`, 1)
	if _, err := ParseUntrusted(v, []byte(longer)); !errors.Is(err, mautrix.MTooLarge) {
		t.Fatal("too long an event was accepted", err)
	}
}

func TestParseUntrusted_WrongContentHashGivesTheRedactedForm(t *testing.T) {
	for _, version := range Versions() {
		e := built(t, version, nil)
		raw := strings.Replace(string(e.JSON()), "Hello", "Hallo", 1)
		got, err := ParseUntrusted(e.Version(), []byte(raw))
		if err != nil || !got.WasRedacted() || got.ID() != e.ID() || string(got.Content()) != "{}" || got.RoomID() != e.RoomID() {
			t.Fatal(version, err, got)
		}
		if string(got.JSON()) != string(e.Redacted().JSON()) {
			t.Fatalf("%s\n%s\n%s", version, got.JSON(), e.Redacted().JSON())
		}
		again, err := ParseUntrusted(e.Version(), got.JSON())
		if err != nil || again.ID() != e.ID() || !again.WasRedacted() {
			t.Fatal(version, "the redacted form does not parse", err)
		}
	}
}

func TestParseUntrusted_KeepsOnlyHarmlessUnsigned(t *testing.T) {
	v := MustLookup("11")
	for _, c := range []struct{ kind, in, want string }{
		{"m.room.message", `{"age":5,"prev_content":{},"redacted_because":{},"transaction_id":"x"}`, `{"age":5}`},
		{"m.room.message", `{"age":-5}`, ``}, {"m.room.message", `{"age":"5"}`, ``}, {"m.room.message", `{"age":1e30}`, ``},
		{"m.room.message", `{"age":999999999999999999}`, ``}, {"m.room.message", `{"age":1.5}`, ``},
		{"m.room.message", `[]`, ``}, {"m.room.message", `"x"`, ``}, {"m.room.message", `null`, ``},
		{"m.room.message", `{"invite_room_state":[]}`, ``},
		{"m.room.member", `{"invite_room_state":[{"b":1, "a":2}],"membership":"join"}`, `{"invite_room_state":[{"a":2,"b":1}]}`},
		{"m.room.member", `{"invite_room_state":null}`, ``}, {"m.room.member", `{"invite_room_state":{}}`, ``},
		{"m.room.member", `{"age":1,"knock_room_state":[]}`, `{"age":1,"knock_room_state":[]}`},
	} {
		e := built(t, "11", func(p *Proto) { p.Type = c.kind })
		raw := strings.TrimSuffix(string(e.JSON()), "}") + `,"unsigned":` + c.in + `,"age_ts":1.5,"outlier":true,"destinations":[]}`
		got, err := ParseUntrusted(v, []byte(raw))
		if err != nil || string(got.Unsigned()) != c.want || got.WasRedacted() || got.ID() != e.ID() || string(got.JSON()) != string(e.JSON()) {
			t.Errorf("%s %s: %s %v", c.kind, c.in, got.Unsigned(), err)
		}
	}
}

// spec: rooms/v12#authorisation-rules 1.2
func TestParseUntrusted_CreateEventsMakeTheRoomID(t *testing.T) {
	empty := ""
	create := func(p *Proto) {
		p.Type, p.StateKey, p.PrevEvents, p.AuthEvents, p.Depth = "m.room.create", &empty, nil, nil, 1
		p.Content = json.RawMessage(`{"room_version":"12"}`)
	}
	e := built(t, "12", create)
	if e.RoomID() != RoomIDOf(e.ID()) || Field(e.JSON(), "room_id") != nil || CreateIDOf(e.RoomID()) != e.ID() {
		t.Fatal(e.RoomID(), string(e.JSON()))
	}
	got, err := ParseUntrusted(e.Version(), e.JSON())
	if err != nil || got.RoomID() != e.RoomID() || got.WasRedacted() {
		t.Fatal(err)
	}
	stored, err := ParseStored(e.Version(), e.ID(), e.JSON())
	if err != nil || stored.RoomID() != e.RoomID() || stored.Redacted().RoomID() != e.RoomID() {
		t.Fatal(err)
	}
	if _, err = ParseUntrusted(e.Version(), alter(t, e, "room_id", `"`+string(e.RoomID())+`"`)); err == nil {
		t.Fatal("create event with room_id accepted")
	}
	old := built(t, "11", create)
	if old.RoomID() != "!abcdefghijklmnopqr:example.org" {
		t.Fatal(old.RoomID())
	}
	room, kind, err := RoomIDOfUntrusted(e.JSON())
	if err != nil || room != "" || kind != "m.room.create" {
		t.Fatal(room, kind, err)
	}
}

func TestRoomIDOfUntrusted_GivesValidRoomsOnly(t *testing.T) {
	room, kind, err := RoomIDOfUntrusted([]byte(` {"type":"a","room_id":"!a:b"} `))
	if room != "!a:b" || kind != "a" || err != nil {
		t.Fatal(room, kind, err)
	}
	for _, in := range []string{`{"room_id":"!x:"}`, `{"room_id":1}`, `[]`, `null`, `1`, ``, `{"room_id":"!a:b"`, `{} {}`, `{"room_id":"!a:b"}x`, `{"type":{}}`} {
		if room, _, err := RoomIDOfUntrusted([]byte(in)); err == nil {
			t.Errorf("%s gives %q", in, room)
		}
	}
}

// touch calls everything that could panic.
func touch(e *Event) {
	_ = e.Signatures()
	_ = e.Membership()
	_ = e.Redacts()
	_ = e.Authoriser()
	_, _ = e.RequiredServers()
	_ = e.HasSignatureOf(e.SenderServer())
	_ = e.SenderServer() + fmt.Sprint(e.Key(), e.PrevEvents(), e.AuthEvents(), e.RoomID(), e.Depth(), e.Timestamp(), e.ThirdPartyInvite())
	_, _ = ParseStripped(StrippedState(e))
	_ = VerifySignatures(context.Background(), fixedKeys{}, []*Event{e})
}

func FuzzParseUntrusted(f *testing.F) {
	for _, version := range Versions() {
		e := built(f, version, nil)
		f.Add(version, e.JSON())
		f.Add(version, e.Redacted().JSON())
		key := "@bob:example.org"
		f.Add(version, built(f, version, func(p *Proto) {
			p.Type, p.StateKey = "m.room.member", &key
			p.Content = json.RawMessage(`{"membership":"invite","third_party_invite":{"signed":{"a":1},"display_name":"x"},"join_authorised_via_users_server":"@a:b"}`)
		}).JSON())
	}
	f.Add("12", []byte(`{"room_id":"!x:","type":"\ud800","unsigned":[],"signatures":{"a":{}},"prev_events":[[]]}`))
	f.Fuzz(func(t *testing.T, version string, raw []byte) {
		v, err := Lookup(version)
		if err != nil {
			return
		}
		_, _, _ = RoomIDOfUntrusted(raw)
		e, err := ParseUntrusted(v, raw)
		if err != nil {
			return
		}
		touch(e)
		if !ValidRoomID(string(e.RoomID())) || !v.ValidEventID(string(e.ID())) || len(e.JSON()) > MaxEventBytes {
			t.Fatal(e.RoomID(), e.ID())
		}
		again, err := ParseUntrusted(v, e.JSON())
		if err != nil || again.ID() != e.ID() || string(again.JSON()) != string(e.JSON()) {
			t.Fatalf("not stable: %v\n%s", err, e.JSON())
		}
		stored, err := ParseStored(v, e.ID(), e.JSON())
		if err != nil || stored.RoomID() != e.RoomID() || stored.Key() != e.Key() || stored.Sender() != e.Sender() {
			t.Fatalf("stored form differs: %v\n%s", err, e.JSON())
		}
		r := stored.Redacted()
		if r.ID() != e.ID() || !v.IDInside() && r.referenceID() != e.ID() {
			t.Fatalf("redaction changes the ID\n%s\n%s", e.JSON(), r.JSON())
		}
		if signed, err := e.Sign(vectorSigner(t)); err == nil {
			if err = signed.Verify("domain", "ed25519:1", vectorSigner(t).Public()); err != nil {
				t.Fatal(err)
			}
			if !v.IDInside() && signed.referenceID() != e.ID() {
				t.Fatal("signing changes the ID")
			}
		}
	})
}

// FuzzEventMember puts odd values into events that are otherwise good.
func FuzzEventMember(f *testing.F) {
	for _, c := range [][2]string{{"room_id", `"!x:"`}, {"depth", "1e3"}, {"state_key", `"\ud800"`}, {"prev_events", `[["$a:b",{}]]`}, {"content", `{"b":1,"a":{"c":[]}}`},
		{"signatures", `{"domain":{"ed25519:1":"AA"}}`}, {"hashes", `{"sha256":"x"}`}, {"unsigned", `{"age":1}`}, {"sender", `"@:b"`}, {"type", `"m.room.member"`}} {
		for n := range Versions() {
			f.Add(n, c[0], []byte(c[1]))
		}
	}
	f.Fuzz(func(t *testing.T, n int, key string, value []byte) {
		names := Versions()
		e := built(t, names[uint(n)%uint(len(names))], nil)
		quoted, _ := json.Marshal(key)
		got, err := ParseUntrusted(e.Version(), alter(t, e, string(quoted[1:len(quoted)-1]), string(value)))
		if err != nil {
			return
		}
		touch(got)
		if again, err := ParseUntrusted(e.Version(), got.JSON()); err != nil || again.ID() != got.ID() || string(again.JSON()) != string(got.JSON()) {
			t.Fatalf("not stable: %v\n%s", err, got.JSON())
		}
		if stored, err := ParseStored(e.Version(), got.ID(), got.JSON()); err != nil || stored.RoomID() != got.RoomID() || stored.Key() != got.Key() {
			t.Fatalf("stored form differs: %v\n%s", err, got.JSON())
		}
		if _, err := got.Sign(vectorSigner(t)); err != nil && len(got.JSON()) < MaxEventBytes-200 {
			t.Fatal(err)
		}
	})
}
