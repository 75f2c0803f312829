package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto/canonicaljson"
)

// spec: appendices#canonical-json
func TestCanonicalJSON_GivesTheVectorsOfTheSpecification(t *testing.T) {
	for _, c := range [][2]string{
		{`{}`, `{}`},
		{"{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", `{"one":1,"two":"Two"}`},
		{`{"b": "2", "a": "1"}`, `{"a":"1","b":"2"}`},
		{`{"b":"2","a":"1"}`, `{"a":"1","b":"2"}`},
		{`{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}`,
			`{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`},
		{`{"a": "日本語"}`, `{"a":"日本語"}`},
		{`{"本": 2, "日": 1}`, `{"日":1,"本":2}`},
		{`{"a": "\u65E5"}`, `{"a":"日"}`},
		{`{"a": null}`, `{"a":null}`},
		{`{"a": -0, "b": 1e10}`, `{"a":0,"b":10000000000}`},
	} {
		got, err := LenientCanonicalJSON([]byte(c[0]))
		if err != nil || string(got) != c[1] {
			t.Errorf("%s\n got %s %v\nwant %s", c[0], got, err, c[1])
		}
	}
}

func TestCanonicalJSON_WritesTextInItsShortestForm(t *testing.T) {
	for _, c := range [][2]string{
		{`"\/\u0041\u00e9\ud83d\ude00"`, `"/Aé😀"`},
		{`"\u0000\u0008\u0009\u000a\u000b\u000c\u000d\u001F\u007f\u2028"`, `"\u0000\b\t\n\u000b\f\r\u001f` + "\u007f\u2028" + `"`},
		{`"\u0022\u005c"`, `"\"\\"`},
		{`{"\u0062":1,"a":2}`, `{"a":2,"b":1}`},
		{`{"a\"b":1,"a":2}`, `{"a":2,"a\"b":1}`},
		{"{\"\uffff\":1,\"\U00010000\":2}", "{\"\uffff\":1,\"\U00010000\":2}"}, // by code point, not by UTF-16
		{"{\"\U00010000\":2,\"\uffff\":1}", "{\"\uffff\":1,\"\U00010000\":2}"},
		{` [ 1 , { "z" : [ ] , "y" : { } } , true , false , null ] `, `[1,{"y":{},"z":[]},true,false,null]`},
		{`{"":1,"\u0000":2}`, `{"":1,"\u0000":2}`},
	} {
		got, err := CanonicalJSON([]byte(c[0]))
		if err != nil || string(got) != c[1] {
			t.Errorf("%s\n got %s %v\nwant %s", c[0], got, err, c[1])
		}
	}
}

func TestCanonicalJSON_RefusesWhatHasNoCanonicalForm(t *testing.T) {
	for in, want := range map[string]mautrix.RespError{
		`{"a":1.5}`: mautrix.MBadJSON, `{"a":1e3}`: mautrix.MBadJSON, `{"a":-0}`: mautrix.MBadJSON, `{"a":1.0}`: mautrix.MBadJSON,
		`{"a":9007199254740992}`: mautrix.MBadJSON, `{"a":-9007199254740992}`: mautrix.MBadJSON,
		`{"a":99999999999999999999999999}`: mautrix.MBadJSON,
		`{"a":1,"a":2}`:                    mautrix.MBadJSON, `{"b":1,"a":2,"b":3}`: mautrix.MBadJSON, `{"a":1,"\u0061":2}`: mautrix.MBadJSON,
		`"\ud800"`: mautrix.MBadJSON, `"\udc00"`: mautrix.MBadJSON, `"\ud800\ud800"`: mautrix.MBadJSON, `"\ud800x"`: mautrix.MBadJSON,
		"\"\xff\"": mautrix.MNotJSON, "\"\xed\xa0\x80\"": mautrix.MNotJSON, "\"\n\"": mautrix.MNotJSON,
		``: mautrix.MNotJSON, ` `: mautrix.MNotJSON, `{`: mautrix.MNotJSON, `{"a"`: mautrix.MNotJSON, `{"a":`: mautrix.MNotJSON,
		`{"a":1`: mautrix.MNotJSON, `{"a":1,`: mautrix.MNotJSON, `{"a":1,}`: mautrix.MNotJSON, `[1,]`: mautrix.MNotJSON,
		`[`: mautrix.MNotJSON, `{a:1}`: mautrix.MNotJSON, `NaN`: mautrix.MNotJSON, `Infinity`: mautrix.MNotJSON, `01`: mautrix.MNotJSON,
		`1.`: mautrix.MNotJSON, `1e`: mautrix.MNotJSON, `-`: mautrix.MNotJSON, `+1`: mautrix.MNotJSON, `.5`: mautrix.MNotJSON,
		`{} {}`: mautrix.MNotJSON, `{}x`: mautrix.MNotJSON, `"\x41"`: mautrix.MNotJSON, `"\u12"`: mautrix.MNotJSON, `"`: mautrix.MNotJSON,
		`"\`: mautrix.MNotJSON, `tru`: mautrix.MNotJSON, `truefalse`: mautrix.MNotJSON, "\ufeff{}": mautrix.MNotJSON,
		strings.Repeat("[", 100_000): mautrix.MBadJSON, strings.Repeat(`{"a":`, 100_000): mautrix.MBadJSON,
	} {
		got, err := CanonicalJSON([]byte(in))
		if !errors.Is(err, want) {
			t.Errorf("%.60s: got %s, %v, want %s", in, got, err, want.ErrCode)
		}
	}
	if got, err := CanonicalJSON([]byte(`[9007199254740991,-9007199254740991,0]`)); err != nil {
		t.Error(got, err)
	}
}

func TestLenientCanonicalJSON_KeepsNumbersAsOthersWriteThem(t *testing.T) {
	for in, want := range map[string]string{
		"1.5": "1.5", "1.0": "1.0", "-0": "0", "0.1": "0.1", "1e-7": "1e-07", "1E3": "1000", "100000000000000000000": "100000000000000000000",
		"1e300": "1e+300", "1.50": "1.5", "12345678901234567.5": "1.2345678901234568e+16", "-1.5e2": "-150", "0.0001": "0.0001",
	} {
		got, err := LenientCanonicalJSON([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s %v, want %s", in, got, err, want)
		}
	}
	if _, err := LenientCanonicalJSON([]byte("1e999")); !errors.Is(err, mautrix.MBadJSON) {
		t.Error("infinity accepted", err)
	}
}

func TestCanonicalJSON_GivesCanonicalInputBackUncopied(t *testing.T) {
	in := []byte(`{"a":[1,2,{"b":"\n\u0001é"}],"c":null}`)
	got, err := CanonicalJSON(in)
	if err != nil || &got[0] != &in[0] {
		t.Fatal("copied", err)
	}
}

// Nested objects with keys in wrong order must not cost more than linear time.
func TestCanonicalJSON_IsLinearInNesting(t *testing.T) {
	in := strings.Repeat(`{"b":`, MaxNesting-1) + `"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat(`,"a":1}`, MaxNesting-1)
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := CanonicalJSON([]byte(in)); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 16<<20 {
		t.Errorf("%d bytes allocated for %d bytes of input", allocated, len(in))
	}
}

func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"b":[1,2.5,-0,1e3],"a":"\u65e5\ud83d\ude00\/"}`, `[{"a":{"z":1,"y":[null,true,false]}}]`, `"\u0000\u001f"`,
		`{"a":1,"a":2}`, `{"\"":1,"\\":2}`, "\"\xff\"", `9007199254740992`, `[[[[[[]]]]]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		lenient, err := LenientCanonicalJSON(in)
		if err != nil {
			if _, strictErr := CanonicalJSON(in); strictErr == nil {
				t.Fatal("strict accepts what lenient refuses")
			}
			return
		}
		if !json.Valid(in) || !json.Valid(lenient) || !utf8.Valid(lenient) {
			t.Fatalf("accepted invalid JSON %q", in)
		}
		again, err := LenientCanonicalJSON(lenient)
		if err != nil || !bytes.Equal(again, lenient) {
			t.Fatalf("not stable: %q %q %v", lenient, again, err)
		}
		var a, b any
		if json.Unmarshal(in, &a) == nil && json.Unmarshal(lenient, &b) == nil && !reflect.DeepEqual(a, b) {
			t.Fatalf("meaning changed: %q %q", in, lenient)
		}
		strict, err := CanonicalJSON(in)
		if err != nil {
			return
		}
		if !bytes.Equal(strict, lenient) {
			t.Fatalf("strict %q, lenient %q", strict, lenient)
		}
		if bytes.IndexByte(in, '\\') >= 0 {
			return // the oracles leave escapes in keys as they are
		}
		if want, err := gomatrixserverlib.CanonicalJSON(in); err != nil || !bytes.Equal(want, strict) {
			t.Fatalf("gomatrixserverlib %q, here %q %v", want, strict, err)
		}
		other := json.RawMessage(bytes.Clone(in))
		if err := canonicaljson.Canonicalize(&other); err != nil || !bytes.Equal(other, strict) {
			t.Fatalf("mautrix %q, here %q %v", other, strict, err)
		}
	})
}
