package e2ee

import (
	"encoding/json"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

func TestUpload_SameOneTimeKeysAgainAreNoError(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		if n := w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 3)}); n["signed_curve25519"] != 3 {
			t.Fatal(n)
		}
		if n := w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(1, 4)}); n["signed_curve25519"] != 4 {
			t.Fatal(n)
		}
		head := w.stream.Head()
		if n := w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 4)}); n["signed_curve25519"] != 4 {
			t.Fatal(n)
		}
		if w.stream.Head() != head {
			t.Fatal("a repeated upload changed something")
		}
		changed := oneTimeKeys(2, 3)
		changed["signed_curve25519:000002"] = json.RawMessage(`{"key":"other","signatures":{}}`)
		if _, err := w.keys.Upload(w.ctx, alice, "DEV", Upload{OneTimeKeys: changed}); errcode(err) != "M_INVALID_PARAM" {
			t.Fatal(err)
		}
	})
}

func TestUpload_EmptyBodyTellsTheCountOfTheUsualAlgorithm(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if n, ok := w.upload(alice, "DEV", Upload{})["signed_curve25519"]; !ok || n != 0 {
			t.Fatal(n, ok)
		}
	})
}

func TestUpload_RefusesWhatIsMalformed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		good := string(newSigner(t).deviceKeys(t, alice, "DEV"))
		for name, c := range map[string]struct{ up, code string }{
			"no object":         {`[]`, "M_BAD_JSON"},
			"missing members":   {`{"user_id":"@alice:here","device_id":"DEV"}`, "M_BAD_JSON"},
			"other user":        {strings.ReplaceAll(good, "@alice:here", "@bob:here"), "M_INVALID_PARAM"},
			"other device":      {strings.Replace(good, `"device_id":"DEV"`, `"device_id":"XXX"`, 1), "M_INVALID_PARAM"},
			"wrong signature":   {strings.Replace(good, "m.olm.v1", "m.olm.v2", 1), "M_INVALID_SIGNATURE"},
			"algorithms string": {strings.Replace(good, `["m.olm.v1.curve25519-aes-sha2"]`, `"x"`, 1), "M_BAD_JSON"},
			"other case":        {strings.Replace(good, `"user_id"`, `"User_Id"`, 1), "M_BAD_JSON"},
			"too large":         {strings.Replace(good, "m.olm.v1", strings.Repeat("x", maxDeviceKeys), 1), "M_TOO_LARGE"},
		} {
			_, err := w.keys.Upload(w.ctx, alice, "DEV", Upload{DeviceKeys: json.RawMessage(c.up)})
			if errcode(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, raw := range map[string]string{
			"no colon": `{"abc":"x"}`, "no ID": `{"curve25519:":"x"}`, "number": `{"curve25519:a":1}`, "signed string": `{"signed_curve25519:a":"x"}`,
			"no key": `{"signed_curve25519:a":{"signatures":{}}}`, "no signatures": `{"signed_curve25519:a":{"key":"x"}}`,
			"signatures list": `{"signed_curve25519:a":{"key":"x","signatures":[]}}`,
		} {
			var keys map[string]json.RawMessage
			w.must(json.Unmarshal([]byte(raw), &keys))
			if _, err := w.keys.Upload(w.ctx, alice, "DEV", Upload{OneTimeKeys: keys}); !strings.HasPrefix(errcode(err), "M_") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if a := w.query(alice, alice); string(a.DeviceKeys[alice]) != "{}" {
			t.Fatal("something was stored")
		}
	})
}

func TestUpload_UnchangedDeviceKeysAreNoNews(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "phone")
		w.member(room1, alice, "join")
		w.member(room1, bob, "join")
		keys := newSigner(t).deviceKeys(t, alice, "DEV")
		since := w.stream.Head()
		w.upload(alice, "DEV", Upload{DeviceKeys: keys})
		if changed, _ := w.changes(bob, since); changed != "alice" {
			t.Fatalf("changed: %q", changed)
		}
		since = w.stream.Head()
		w.upload(alice, "DEV", Upload{DeviceKeys: keys})
		if changed, _ := w.changes(bob, since); changed != "" || w.stream.Head() != since {
			t.Fatalf("changed: %q", changed)
		}
		w.upload(alice, "DEV", Upload{DeviceKeys: newSigner(t).deviceKeys(t, alice, "DEV")})
		if changed, _ := w.changes(bob, since); changed != "alice" {
			t.Fatalf("changed: %q", changed)
		}
	})
}

func TestUpload_KeysWithoutSignaturesAreTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		w.upload(alice, "DEV", Upload{DeviceKeys: json.RawMessage(
			`{"user_id":"@alice:here","device_id":"DEV","algorithms":["a"],"keys":{"ed25519:DEV":"abc"},"signatures":{},"unsigned":{"device_display_name":"forged"}}`)})
		got := string(w.query(bob, alice).DeviceKeys[alice])
		if got != `{"DEV":{"algorithms":["a"],"device_id":"DEV","keys":{"ed25519:DEV":"abc"},"signatures":{},"user_id":"@alice:here"}}` {
			t.Fatal(got)
		}
	})
}

func TestQuery_TellsDisplayNameAndFollowsItsChange(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "my \"phone\"")
		w.upload(alice, "DEV", Upload{DeviceKeys: newSigner(t).deviceKeys(t, alice, "DEV")})
		if got := string(w.query(bob, alice).DeviceKeys[alice]); !strings.Contains(got, `"unsigned":{"device_display_name":"my \"phone\""}`) {
			t.Fatal(got)
		}
		w.device(alice, "DEV", "tablet")
		if got := string(w.query(bob, alice).DeviceKeys[alice]); !strings.Contains(got, `"device_display_name":"tablet"`) {
			t.Fatal(got)
		}
		a, err := w.keys.QueryKeys(w.ctx, bob, Asked{alice: {"NONE"}, bob: nil, "@nobody:here": nil}, 0)
		w.must(err)
		for _, user := range []id.UserID{alice, bob, "@nobody:here"} {
			if string(a.DeviceKeys[user]) != "{}" {
				t.Errorf("%s: %s", user, a.DeviceKeys[user])
			}
		}
	})
}

func TestFallbackKey_IsGivenAgainAndToldWhenUsed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		fallback := map[string]json.RawMessage{"signed_curve25519:fb": json.RawMessage(`{"fallback":true,"key":"f","signatures":{}}`)}
		w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 1), FallbackKeys: fallback})
		unused := func() []string {
			_, u, err := w.keys.KeyCounts(w.ctx, alice, "DEV")
			w.must(err)
			return u
		}
		if u := unused(); len(u) != 1 || u[0] != "signed_curve25519" {
			t.Fatal(u)
		}
		want := Wanted{alice: {"DEV": "signed_curve25519"}}
		for i, id := range []string{"signed_curve25519:000000", "signed_curve25519:fb", "signed_curve25519:fb"} {
			got, _, err := w.keys.ClaimKeys(w.ctx, want, 0)
			w.must(err)
			if len(got[alice]["DEV"]) != 1 || got[alice]["DEV"][id] == nil {
				t.Fatalf("claim %d: %v", i, got)
			}
		}
		if u := unused(); len(u) != 0 {
			t.Fatal(u)
		}
		w.upload(alice, "DEV", Upload{FallbackKeys: fallback})
		if u := unused(); len(u) != 0 {
			t.Fatal("repeating an upload made a used key fresh")
		}
		fallback = map[string]json.RawMessage{"signed_curve25519:fb2": json.RawMessage(`{"fallback":true,"key":"g","signatures":{}}`)}
		w.upload(alice, "DEV", Upload{FallbackKeys: fallback})
		if u := unused(); len(u) != 1 {
			t.Fatal(u)
		}
	})
}

func TestUpload_WakesTheDevicesOwnSync(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		since := w.stream.Head()
		w.upload(alice, "DEV", Upload{OneTimeKeys: oneTimeKeys(0, 1)})
		touched, err := w.stream.Touched(w.ctx, since, w.stream.Head(), []stream.Topic{stream.UserTopic(alice)})
		w.must(err)
		if !touched[stream.UserTopic(alice)].Has(stream.KeyCount) {
			t.Fatal("no change of the count")
		}
	})
}

func TestDeviceDeleted_TakesKeysAndMessagesWithIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.device(alice, "DEV", "")
		w.device(alice, "OTHER", "")
		w.member(room1, alice, "join")
		w.member(room1, bob, "join")
		w.upload(alice, "DEV", Upload{DeviceKeys: newSigner(t).deviceKeys(t, alice, "DEV"), OneTimeKeys: oneTimeKeys(0, 2)})
		w.must(w.keys.SendToDevice(w.ctx, bob, "B", "m.x", "1", Messages{alice: {"DEV": json.RawMessage(`{}`)}}))
		since := w.stream.Head()
		w.deleteDevice(alice, "DEV")
		if changed, _ := w.changes(bob, since); changed != "alice" {
			t.Fatalf("changed: %q", changed)
		}
		if got := string(w.query(bob, alice).DeviceKeys[alice]); got != "{}" {
			t.Fatal(got)
		}
		if got, _, err := w.keys.ClaimKeys(w.ctx, Wanted{alice: {"DEV": "signed_curve25519"}}, 0); err != nil || len(got) != 0 {
			t.Fatal(got, err)
		}
		if got, _, _, err := w.keys.ToDevice(w.ctx, alice, "DEV", 0, w.stream.Head(), 10); err != nil || len(got) != 0 {
			t.Fatal(got, err)
		}
		edus, err := w.keys.DeviceListEDUs(w.ctx, alice, since)
		w.must(err)
		if len(edus) != 1 || !strings.Contains(string(edus[0].Content), `"deleted":true`) {
			t.Fatalf("%s", edus)
		}
	})
}
