package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
)

func TestSigningKeys_FirstAndRepeatedUploadsNeedNoConfirmation(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		master, other, self := newSigner(t), newSigner(t), newSigner(t)
		refuse := errors.New("confirm")
		asked := 0
		put := func(keys SigningKeys, answer error) error {
			return w.keys.UploadSigningKeys(w.ctx, alice, keys, func(ctxIgnored) error { asked++; return answer })
		}
		w.must(put(SigningKeys{Master: master.signingKey(t, alice, "master", nil)}, refuse))
		w.must(put(SigningKeys{Master: master.signingKey(t, alice, "master", nil)}, refuse))
		if asked != 0 {
			t.Fatal("asked for confirmation")
		}
		if err := put(SigningKeys{Master: other.signingKey(t, alice, "master", nil)}, refuse); err != refuse {
			t.Fatal(err)
		}
		selfKey := SigningKeys{SelfSigning: self.signingKey(t, alice, "self_signing", &master)}
		if err := put(selfKey, refuse); err != refuse {
			t.Fatal(err)
		}
		w.must(put(selfKey, nil))
		w.must(put(selfKey, refuse))
		if err := put(SigningKeys{SelfSigning: self.signingKey(t, alice, "self_signing", &other)}, nil); errcode(err) != "M_INVALID_SIGNATURE" {
			t.Fatal(err)
		}
		a := w.query(bob, alice)
		if signingPublic(a.Master[alice]) != master.public || signingPublic(a.SelfSigning[alice]) != self.public {
			t.Fatalf("%s", a.Encode())
		}
	})
}

func TestSigningKeys_RefusesWhatIsMalformed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		master, self := newSigner(t), newSigner(t)
		good := string(master.signingKey(t, alice, "master", nil))
		for name, raw := range map[string]string{
			"other user": strings.ReplaceAll(good, "@alice:here", "@bob:here"), "other usage": strings.Replace(good, "master", "self_signing", 1),
			"no keys": `{"user_id":"@alice:here","usage":["master"],"keys":{}}`, "list": `[]`,
			"two keys":   `{"user_id":"@alice:here","usage":["master"],"keys":{"ed25519:a":"a","ed25519:b":"b"}}`,
			"other name": `{"user_id":"@alice:here","usage":["master"],"keys":{"ed25519:a":"b"}}`,
		} {
			err := w.keys.UploadSigningKeys(w.ctx, alice, SigningKeys{Master: json.RawMessage(raw)}, func(ctxIgnored) error { return nil })
			if code := errcode(err); code != "M_INVALID_PARAM" && code != "M_BAD_JSON" {
				t.Errorf("%s: %v", name, err)
			}
		}
		err := w.keys.UploadSigningKeys(w.ctx, alice, SigningKeys{SelfSigning: self.signingKey(t, alice, "self_signing", &master)}, func(ctxIgnored) error { return nil })
		if errcode(err) != "M_INVALID_PARAM" {
			t.Fatal("a self-signing key without a master key:", err)
		}
		w.device(alice, id.DeviceID(master.public), "")
		if err := w.keys.UploadSigningKeys(w.ctx, alice, SigningKeys{Master: json.RawMessage(good)}, nil); errcode(err) != "M_INVALID_PARAM" {
			t.Fatal("a master key with the name of a device:", err)
		}
	})
}

// ctxIgnored shortens confirmations.
// identity is a user with all cross-signing keys and a device.
type ctxIgnored = context.Context

type identity struct {
	user                 id.UserID
	master, self, userby signer
	device               signer
	keys                 json.RawMessage
}

func (w *world) identity(user id.UserID) identity {
	w.t.Helper()
	i := identity{user: user, master: newSigner(w.t), self: newSigner(w.t), userby: newSigner(w.t), device: newSigner(w.t)}
	w.device(user, "DEV", "")
	i.keys = i.device.deviceKeys(w.t, user, "DEV")
	w.upload(user, "DEV", Upload{DeviceKeys: i.keys})
	w.must(w.keys.UploadSigningKeys(w.ctx, user, SigningKeys{
		Master:      i.master.signingKey(w.t, user, "master", nil),
		SelfSigning: i.self.signingKey(w.t, user, "self_signing", &i.master),
		UserSigning: i.userby.signingKey(w.t, user, "user_signing", &i.master),
	}, nil))
	return i
}

func (w *world) sign(user, target id.UserID, name string, signed json.RawMessage) string {
	w.t.Helper()
	failures, err := w.keys.UploadSignatures(w.ctx, user, SignedObjects{target: {name: signed}})
	w.must(err)
	if e := failures[target][name]; e != nil {
		return e.ErrCode
	}
	return ""
}

func TestSignatures_OwnDevicesForAllOthersMasterForTheSignerAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.identity(alice), w.identity(bob)
		for _, user := range []id.UserID{alice, bob, carol} {
			w.member(room1, user, "join")
		}
		since := w.stream.Head()
		if code := w.sign(alice, alice, "DEV", a.self.sign(t, a.keys, alice, "ed25519:"+a.self.public)); code != "" {
			t.Fatal(code)
		}
		if changed, _ := w.changes(bob, since); changed != "alice" {
			t.Fatalf("changed for bob: %q", changed)
		}
		if got := string(w.query(bob, alice).DeviceKeys[alice]); !strings.Contains(got, "ed25519:"+a.self.public) || !strings.Contains(got, `"ed25519:DEV":`) {
			t.Fatal(got)
		}

		since = w.stream.Head()
		signed := a.userby.sign(t, b.master.signingKey(t, bob, "master", nil), alice, "ed25519:"+a.userby.public)
		if code := w.sign(alice, bob, b.master.public, signed); code != "" {
			t.Fatal(code)
		}
		for user, want := range map[id.UserID]string{alice: "bob", bob: "", carol: ""} {
			if changed, _ := w.changes(user, since); changed != want {
				t.Errorf("changed for %s: %q", user, changed)
			}
		}
		for user, sees := range map[id.UserID]bool{alice: true, bob: false, carol: false} {
			if got := string(w.query(user, bob).Master[bob]); strings.Contains(got, a.userby.public) != sees {
				t.Errorf("%s sees %s", user, got)
			}
		}
		fed, err := w.keys.FederationQuery(w.ctx, Asked{bob: nil, alice: nil, dave: nil})
		w.must(err)
		if out := string(fed.EncodeFederation()); strings.Contains(string(fed.Master[bob]), a.userby.public) || strings.Contains(out, "dave") || strings.Contains(out, b.userby.public) {
			t.Error(out)
		}
		if w.query(alice, alice).UserSigning[alice] == nil || w.query(bob, alice).UserSigning[alice] != nil {
			t.Error("the user-signing key is for the user alone")
		}

		if code := w.sign(alice, alice, a.master.public, a.device.sign(t, a.master.signingKey(t, alice, "master", nil), alice, "ed25519:DEV")); code != "" {
			t.Fatal(code)
		}
		if got := string(w.query(bob, alice).Master[alice]); !strings.Contains(got, `"ed25519:DEV"`) {
			t.Fatal(got)
		}
	})
}

func TestSignatures_WrongOnesAreReported(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.identity(alice), w.identity(bob)
		bobsMaster := b.master.signingKey(t, bob, "master", nil)
		good := a.userby.sign(t, bobsMaster, alice, "ed25519:"+a.userby.public)
		for name, c := range map[string]struct {
			target id.UserID
			object string
			signed json.RawMessage
			code   string
		}{
			"unknown device":         {alice, "NONE", a.keys, "M_NOT_FOUND"},
			"device of another":      {bob, "DEV", b.keys, "M_NOT_FOUND"},
			"by the wrong key":       {bob, b.master.public, a.self.sign(t, bobsMaster, alice, "ed25519:"+a.self.public), "M_INVALID_SIGNATURE"},
			"by an unknown device":   {alice, a.master.public, b.device.sign(t, a.master.signingKey(t, alice, "master", nil), alice, "ed25519:X"), "M_NOT_FOUND"},
			"changed object":         {bob, b.master.public, json.RawMessage(strings.Replace(string(good), `"master"`, `"master","x"`, 1)), "M_INVALID_PARAM"},
			"changed signature":      {bob, b.master.public, json.RawMessage(strings.Replace(string(good), a.userby.public+`":"`, a.userby.public+`":"A`, 1)), "M_INVALID_SIGNATURE"},
			"no signatures":          {bob, b.master.public, bobsMaster, "M_BAD_JSON"},
			"no object":              {bob, b.master.public, json.RawMessage(`1`), "M_BAD_JSON"},
			"self-signing as master": {bob, b.self.public, good, "M_NOT_FOUND"},
		} {
			if code := w.sign(alice, c.target, c.object, c.signed); code != c.code {
				t.Errorf("%s: %q", name, code)
			}
		}
		if got := string(w.query(alice, bob).Master[bob]); strings.Contains(got, "@alice:here") {
			t.Fatal(got)
		}
	})
}

func TestDeviceReserved_NamesOfCrossSigningKeys(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.identity(alice)
		for device, want := range map[id.DeviceID]bool{"DEV": false, id.DeviceID(a.master.public): true, id.DeviceID(a.userby.public): true} {
			if got, err := w.keys.DeviceReserved(w.ctx, alice, device); err != nil || got != want {
				t.Error(device, got, err)
			}
		}
	})
}
