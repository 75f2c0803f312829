package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"maunium.net/go/mautrix/id"
)

// oracle builds the same event with gomatrixserverlib.
func oracle(t testing.TB, v Version, p Proto, s Signer) gomatrixserverlib.PDU {
	t.Helper()
	impl := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(v.ID()))
	refs := func(ids []id.EventID) any {
		plain := []string{}
		for _, ref := range ids {
			plain = append(plain, string(ref))
		}
		return plain
	}
	proto := &gomatrixserverlib.ProtoEvent{SenderID: string(p.Sender), RoomID: string(p.RoomID), Type: p.Type, StateKey: p.StateKey,
		PrevEvents: refs(p.PrevEvents), AuthEvents: refs(p.AuthEvents), Redacts: string(p.Redacts), Depth: p.Depth, Content: spec.RawJSON(p.Content)}
	pdu, err := impl.NewEventBuilderFromProtoEvent(proto).Build(time.UnixMilli(p.Timestamp), spec.ServerName(s.Server), gomatrixserverlib.KeyID(s.KeyID), s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pdu
}

// samples are events of all kinds that redaction treats differently.
func samples(v Version) []Proto {
	key, user := "", "@bob:example.org"
	var all []Proto
	add := func(kind string, stateKey *string, content string) {
		p := message(v)
		p.Type, p.StateKey, p.Content = kind, stateKey, json.RawMessage(content)
		all = append(all, p)
	}
	add("m.room.message", nil, string(message(v).Content))
	add("m.room.message", nil, `{}`)
	add("m.room.member", &user, `{"membership":"join","displayname":"Bób \"x\"\n","join_authorised_via_users_server":"@a:b"}`)
	add("m.room.create", &key, `{"creator":"@a:b","m.federate":true,"room_version":"`+v.ID()+`","additional_creators":["@c:d"]}`)
	add("m.room.join_rules", &key, `{"join_rule":"restricted","allow":[{"room_id":"!a:b","type":"m.room_membership"}],"x":1}`)
	add("m.room.power_levels", &key, `{"ban":50,"events":{"m.room.name":100},"events_default":0,"invite":10,"kick":50,"notifications":{"room":20},"redact":50,"state_default":50,"users":{"@a:b":100},"users_default":0}`)
	add("m.room.aliases", &user, `{"aliases":["#a:b"],"x":{}}`)
	add("m.room.history_visibility", &key, `{"history_visibility":"shared","y":[]}`)
	add("m.room.third_party_invite", &key, `{"public_key":"x","key_validity_url":"y"}`)
	add("org.example.odd", &key, `{"odd key 日":"\u0007\n\\\"é😀","":{"z":[{"b":1,"a":[]}],"a":null}}`)
	redaction := message(v)
	redaction.Type, redaction.Redacts, redaction.Content = "m.room.redaction", "$target", json.RawMessage(`{"reason":"spam"}`)
	if v.RedactsInContent() {
		redaction.Redacts, redaction.Content = "", json.RawMessage(`{"reason":"spam","redacts":"$target"}`)
	}
	return append(all, redaction)
}

// Events of gomatrixserverlib are read with the same ID, hash and redaction as there, and ours are read there.
func TestEvents_AgreeWithGomatrixserverlib(t *testing.T) {
	s := vectorSigner(t)
	for _, name := range Versions() {
		v := MustLookup(name)
		impl := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(name))
		for _, p := range samples(v) {
			if v.DomainlessRoomID() && p.Type == "m.room.create" {
				p.RoomID, p.AuthEvents, p.PrevEvents = "", nil, nil
			}
			what := fmt.Sprintf("version %s, %s", name, p.Type)
			pdu := oracle(t, v, p, s)
			got, err := ParseUntrusted(v, pdu.JSON())
			if err != nil || got.WasRedacted() {
				t.Errorf("%s: %v\n%s", what, err, pdu.JSON())
				continue
			}
			if string(got.ID()) != pdu.EventID() || string(got.RoomID()) != pdu.RoomID().String() {
				t.Errorf("%s: ID %s, there %s", what, got.ID(), pdu.EventID())
			}
			if err = got.Verify(s.Server, s.KeyID, s.Public()); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			compareRedacted(t, what, v, impl, pdu, got)

			if v.IDInside() {
				p.EventID = got.ID()
			}
			ours, err := Build(v, p, s)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			back, err := impl.NewEventFromUntrustedJSON(ours.JSON())
			if err != nil || back.Redacted() || back.EventID() != string(ours.ID()) || string(back.JSON()) != string(ours.JSON()) {
				t.Errorf("%s: gomatrixserverlib reads our event differently: %v\n%s", what, err, ours.JSON())
				continue
			}
			redacted, _ := impl.RedactEventJSON(ours.JSON())
			if err = gomatrixserverlib.VerifyJSON(s.Server, gomatrixserverlib.KeyID(s.KeyID), s.Public(), redacted); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

func compareRedacted(t *testing.T, what string, v Version, impl gomatrixserverlib.IRoomVersion, pdu gomatrixserverlib.PDU, got *Event) {
	t.Helper()
	want, err := impl.RedactEventJSON(pdu.JSON())
	if err != nil {
		t.Fatal(what, err)
	}
	if want, err = gomatrixserverlib.CanonicalJSON(want); err != nil {
		t.Fatal(what, err)
	}
	if string(want) != string(got.Redacted().JSON()) {
		t.Errorf("%s: redacted\n%s\nthere\n%s", what, got.Redacted().JSON(), want)
	}
}

// Random contents survive: our canonical form is the one of gomatrixserverlib.
func TestBuild_RandomContentsAgreeWithGomatrixserverlib(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	v, s := MustLookup("11"), vectorSigner(t)
	impl := gomatrixserverlib.MustGetRoomVersion("11")
	for range 300 {
		p := message(v)
		p.Content = json.RawMessage(randomObject(r, 4))
		ours, err := Build(v, p, s)
		if err != nil {
			t.Fatal(err, string(p.Content))
		}
		back, err := impl.NewEventFromUntrustedJSON(ours.JSON())
		if err != nil || back.Redacted() || back.EventID() != string(ours.ID()) {
			t.Fatalf("%v\n%s", err, ours.JSON())
		}
		var a, b any
		_ = json.Unmarshal(p.Content, &a)
		_ = json.Unmarshal(ours.Content(), &b)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("content changed\n%s\n%s", p.Content, ours.Content())
		}
	}
}

func randomObject(r *rand.Rand, depth int) string {
	var b strings.Builder
	b.WriteString("{ ")
	seen := map[string]bool{}
	for i := r.IntN(6); i > 0; i-- {
		key := randomText(r)
		if seen[key] {
			continue
		}
		if len(seen) > 0 {
			b.WriteString(" ,\n")
		}
		seen[key] = true
		quoted, _ := json.Marshal(key)
		fmt.Fprintf(&b, "%s : %s", quoted, randomValue(r, depth-1))
	}
	return b.String() + "}"
}

func randomText(r *rand.Rand) string {
	letters := []rune("abcXYZ019-_ äß日本😀")
	var b strings.Builder
	for i := r.IntN(5); i >= 0; i-- {
		b.WriteRune(letters[r.IntN(len(letters))])
	}
	return b.String()
}

func randomValue(r *rand.Rand, depth int) string {
	switch n := r.IntN(8); {
	case n == 0 && depth > 0:
		return randomObject(r, depth)
	case n == 1 && depth > 0:
		return "[" + randomObject(r, depth) + ", " + randomValue(r, depth-1) + "]"
	case n == 2:
		return "null"
	case n == 3:
		return "true"
	case n == 4:
		return fmt.Sprint(r.Int64N(1<<54) - 1<<53 + 1)
	default:
		quoted, _ := json.Marshal(randomText(r) + []string{"", "\n", "\x01", `"`, `\`, "/", "<>&"}[r.IntN(7)])
		return string(quoted)
	}
}
