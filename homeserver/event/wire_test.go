package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"maunium.net/go/mautrix"
)

func TestTransaction_RoundTripsAndIsCanonical(t *testing.T) {
	e := built(t, "11", nil)
	in := Transaction{Origin: "domain", Timestamp: 5, PDUs: []json.RawMessage{e.JSON(), e.JSON()},
		EDUs: []EDU{{"m.typing", json.RawMessage(`{"room_id":"!a:b"}`)}, {"x\"y", json.RawMessage(`{}`)}}}
	body := in.JSON()
	if canon, err := CanonicalJSON(body); err != nil || string(canon) != string(body) {
		t.Fatal(err, string(body))
	}
	out, err := ParseTransaction(body)
	if err != nil || out.Origin != "domain" || out.Timestamp != 5 || len(out.PDUs) != 2 || len(out.EDUs) != 2 || out.EDUs[1].Type != "x\"y" {
		t.Fatal(out, err)
	}
	var theirs gomatrixserverlib.Transaction
	if err = json.Unmarshal(body, &theirs); err != nil || len(theirs.PDUs) != 2 || len(theirs.EDUs) != 2 || theirs.EDUs[0].Type != "m.typing" {
		t.Fatal(theirs, err)
	}
	if got, err := ParseTransaction(Transaction{Origin: "a"}.JSON()); err != nil || len(got.PDUs)+len(got.EDUs) != 0 {
		t.Fatal(got, err)
	}
}

func TestParseTransaction_BoundsAndTolerates(t *testing.T) {
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	for in, want := range map[string]int{ // number of PDUs, -1 for an error
		`{"pdus":` + list(50, "{}") + `}`: 50, `{"pdus":` + list(51, "{}") + `}`: -1,
		`{"pdus":[],"edus":` + list(100, "{}") + `}`: 0, `{"pdus":[],"edus":` + list(101, "{}") + `}`: -1,
		`{}`: -1, `{"pdus":{}}`: -1, `{"pdus":null}`: -1, `[]`: -1, `x`: -1, ``: -1, `{"pdus":[]}x`: -1, `{"pdus":[],"pdus":[]}`: -1,
		`{"pdus":[null,"x",5,[[]],{}],"edus":null}`: 5, `{"pdus":[],"edus":{}}`: 0, `{"pdus":[],"edus":5,"origin":7}`: 0,
		`{"pdus":[],"edus":[null,5,{"edu_type":5,"content":{}},{"edu_type":"a"},{"edu_type":"a","content":[]}]}`: 0,
	} {
		got, err := ParseTransaction([]byte(in))
		if want < 0 {
			if !errors.Is(err, mautrix.MBadJSON) && !errors.Is(err, mautrix.MNotJSON) {
				t.Errorf("%.80s: %v", in, err)
			}
			continue
		}
		if err != nil || len(got.PDUs) != want || len(got.EDUs) != 0 {
			t.Errorf("%.80s: %v %v", in, got, err)
		}
	}
}

func TestParseTransaction_GivesEventsAsTheyWereSent(t *testing.T) {
	want := []string{`{ "x": 1e3 }`, `{"x":-0}`, `{"b":1,"a":1.50}`, `[ ]`, `5`}
	body := ` { "edus" : [ ] , "pdus" : [ ` + strings.Join(want, " ,\n") + ` ] , "origin":"a" } `
	got, err := ParseTransaction([]byte(body))
	if err != nil || len(got.PDUs) != len(want) {
		t.Fatal(got, err)
	}
	for i, w := range want {
		if string(got.PDUs[i]) != w {
			t.Errorf("%s became %s", w, got.PDUs[i])
		}
	}
}

func TestStrippedState_HasFourMembers(t *testing.T) {
	key := `a"b`
	e := built(t, "12", func(p *Proto) { p.Type, p.StateKey = "m.room.name", &key })
	raw := StrippedState(e)
	if canon, err := CanonicalJSON(raw); err != nil || string(canon) != string(raw) {
		t.Fatal(err, string(raw))
	}
	for _, form := range [][]byte{raw, e.JSON()} { // stripped, and the whole PDU
		s, ok := ParseStripped(form)
		if !ok || s.Type != "m.room.name" || s.StateKey != key || s.Sender != string(e.Sender()) || string(s.JSON()) != string(raw) {
			t.Errorf("%+v", s)
		}
	}
	list := `[` + string(raw) + `,null,5,{},{"type":"a","state_key":null,"content":{}},{"type":"a","state_key":"","content":[]},` + string(raw) + `]`
	if got := SplitStripped(json.RawMessage(list), 100); len(got) != 2 {
		t.Error(got)
	}
	if got := SplitStripped(json.RawMessage(list), 3); len(got) != 1 {
		t.Error(got)
	}
	for _, nonsense := range []string{"", "null", "{}", "5", "[", `"x"`} {
		if got := SplitStripped(json.RawMessage(nonsense), 10); got != nil {
			t.Error(nonsense, got)
		}
	}
}

func TestField_FindsKeysThatNeedEscapes(t *testing.T) {
	obj, err := CanonicalJSON([]byte(`{"@A\u0001\"\\:b":1,"@Z:b":2,"@a:b":3,"\u0000":4,"":5,"é":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"@A\x01\"\\:b": "1", "@Z:b": "2", "@a:b": "3", "\x00": "4", "": "5", "é": `"x"`, "x": "", "@": ""} {
		if got := string(Field(obj, key)); got != want {
			t.Errorf("%q: %q", key, got)
		}
	}
	seen := 0
	Fields(obj, func(key string, value json.RawMessage) bool {
		seen++
		return string(Field(obj, key)) == string(value)
	})
	if seen != 6 {
		t.Error(seen)
	}
	for _, damaged := range []string{"", "{", `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":"`, `{"a":{`, `{"a":1`, `{"a":[1`, "[", "5", `{"a":"\`, `{"\`} {
		Field(json.RawMessage(damaged), "a")
		Items(json.RawMessage(damaged), func(json.RawMessage) bool { return true })
		if _, err := ParseStored(MustLookup("11"), "$x", []byte(damaged)); err == nil {
			t.Errorf("%q is a stored event", damaged)
		}
	}
}
