package e2ee

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

// api is the client API of a world; the token is "user device".
type api struct {
	w    *world
	http http.Handler
}

func newAPI(w *world) api {
	cfg := config.Default()
	cfg.ServerName, cfg.Log.Requests, cfg.Limits.Enabled = "here", false, false
	users := web.AuthenticatorFunc(func(_ context.Context, r *http.Request, _ web.Auth) (web.Requester, error) {
		user, device, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), " ")
		return web.Requester{UserID: id.UserID(user), DeviceID: id.DeviceID(device)}, nil
	})
	s := web.New(cfg, web.Deps{Users: users, Log: zerolog.Nop()})
	s.Handle(rows(w.keys)...)
	return api{w, s.Handler()}
}

func (a api) do(method, path, body string, code int, contains string) string {
	a.w.t.Helper()
	var in io.Reader = http.NoBody
	if body != "" {
		in = strings.NewReader(body)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/_matrix/client/v3/" + path
	}
	r := httptest.NewRequest(method, path, in)
	r.Header.Set("Authorization", "Bearer "+string(alice)+" DEV")
	rec := httptest.NewRecorder()
	a.http.ServeHTTP(rec, r)
	got := rec.Body.String()
	if rec.Code != code || !strings.Contains(got, contains) {
		a.w.t.Errorf("%s %s: %d %s; want %d and %q", method, path, rec.Code, got, code, contains)
	}
	return got
}

func TestHTTP_Keys(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := newAPI(w)
		w.device(alice, "DEV", "phone")
		keys := string(newSigner(t).deviceKeys(t, alice, "DEV"))
		a.do("POST", "keys/upload", `{"device_keys":`+keys+`,"one_time_keys":{"signed_curve25519:a":{"key":"k","signatures":{}}}}`, 200, `{"one_time_key_counts":{"signed_curve25519":1}}`)
		a.do("POST", "/_matrix/client/r0/keys/upload", `{}`, 200, `{"one_time_key_counts":{"signed_curve25519":1}}`)
		a.do("POST", "keys/upload", `{"device_keys":{"user_id":"@alice:here","device_id":"DEV"},"one_time_keys":{}}`, 400, "M_BAD_JSON")
		a.do("POST", "keys/upload", `{"one_time_keys":[]}`, 400, "M_BAD_JSON")
		a.do("POST", "keys/query", `{"device_keys":{"@alice:here":{"DEV":true}}}`, 400, "M_BAD_JSON")
		a.do("POST", "keys/query", `{"timeout":10000,"device_keys":{"@alice:here":["DEV"]}}`, 200, `"device_display_name":"phone"`)
		a.do("POST", "keys/claim", `{"one_time_keys":{"@alice:here":{"DEV":"signed_curve25519"}}}`, 200,
			`"one_time_keys":{"@alice:here":{"DEV":{"signed_curve25519:a":{"key":"k","signatures":{}}}}}`)
		a.do("POST", "keys/claim", `{"one_time_keys":{"@alice:here":{"DEV":"signed_curve25519"}}}`, 200, `"one_time_keys":{}`)
		a.do("GET", "keys/changes?from=s0&to=s999", "", 200, `{"changed":["@alice:here"],"left":[]}`)
		a.do("GET", "keys/changes?from=x", "", 400, "M_INVALID_PARAM")
		a.do("PUT", "sendToDevice/m.x/1", `{"messages":{"@alice:here":{"DEV":{}}}}`, 200, "{}")
		a.do("PUT", "sendToDevice/m.x/2", `{}`, 400, "M_BAD_JSON")
	})
}

func TestHTTP_CrossSigning(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := newAPI(w)
		master := newSigner(t)
		key := string(master.signingKey(t, alice, "master", nil))
		w.people.confirm = mautrix.RespError{StatusCode: 401, ExtraData: map[string]any{"flows": []string{}}}
		a.do("POST", "keys/device_signing/upload", `{"master_key":`+key+`}`, 200, "{}")
		a.do("POST", "keys/device_signing/upload", `{"master_key":`+string(newSigner(t).signingKey(t, alice, "master", nil))+`}`, 401, "flows")
		w.people.confirm = nil
		other := newSigner(t)
		a.do("POST", "keys/device_signing/upload", `{"master_key":`+string(other.signingKey(t, alice, "master", nil))+`}`, 200, "{}")
		a.do("POST", "keys/signatures/upload", `{"@alice:here":{"NONE":{"signatures":{}}}}`, 200, `{"failures":{"@alice:here":{"NONE":{"errcode":"M_NOT_FOUND"`)
		a.do("POST", "keys/signatures/upload", `{"@alice:here":[]}`, 400, "M_BAD_JSON")
	})
}

func TestHTTP_Backup(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := newAPI(w)
		a.do("GET", "room_keys/version", "", 404, "M_NOT_FOUND")
		a.do("POST", "room_keys/version", `{"algorithm":"m.megolm_backup.v1","auth_data":{"foo":"bar"}}`, 200, `{"version":"1"}`)
		a.do("GET", "room_keys/version", "", 200, `{"algorithm":"m.megolm_backup.v1","auth_data":{"foo":"bar"},"count":0,"etag":"0","version":"1"}`)
		key := `{"first_message_index":10,"forwarded_count":5,"is_verified":false,"session_data":{"a":"b"}}`
		a.do("PUT", "room_keys/keys/!foo:hs1/a?version=1", key, 200, `{"count":1,"etag":"1"}`)
		a.do("GET", "room_keys/keys/!foo:hs1/a?version=1", "", 200, key)
		a.do("GET", "room_keys/keys/!foo:hs1?version=1", "", 200, `{"sessions":{"a":`+key+`}}`)
		a.do("GET", "room_keys/keys?version=1", "", 200, `{"rooms":{"!foo:hs1":{"sessions":{"a":`+key+`}}}}`)
		a.do("GET", "room_keys/keys/!foo:hs1/b?version=1", "", 404, "M_NOT_FOUND")
		a.do("GET", "room_keys/keys/!bar:hs1?version=1", "", 200, `{"sessions":{}}`)
		a.do("PUT", "room_keys/keys/!foo:hs1?version=1", `{"sessions":{"b":`+key+`}}`, 200, `"count":2`)
		a.do("PUT", "room_keys/keys?version=1", `{"rooms":{"!x:hs1":{"sessions":{"c":`+key+`}}}}`, 200, `"count":3`)
		a.do("PUT", "room_keys/keys?version=2", `{"rooms":{}}`, 403, `"current_version":"1"`)
		a.do("PUT", "room_keys/keys?version=1", `{}`, 400, "M_BAD_JSON")
		a.do("PUT", "room_keys/keys/!foo:hs1/a?version=1", `{"first_message_index":"1"}`, 400, "M_BAD_JSON")
		a.do("PUT", "room_keys/version/1", `{"algorithm":"m.megolm_backup.v1","auth_data":{"foo":"baz"},"version":"1"}`, 200, "{}")
		a.do("DELETE", "room_keys/keys/!foo:hs1/a?version=1", "", 200, `"count":2`)
		a.do("DELETE", "room_keys/keys/!foo:hs1?version=1", "", 200, `"count":1`)
		a.do("DELETE", "room_keys/keys?version=1", "", 200, `"count":0`)
		a.do("DELETE", "room_keys/version/1", "", 200, "{}")
		a.do("GET", "room_keys/version/1", "", 404, "M_NOT_FOUND")
	})
}

func TestHTTP_DehydratedDevice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
		a := newAPI(w)
		w.device(alice, "DEV", "")
		a.do("GET", path, "", 404, "M_NOT_FOUND")
		a.do("DELETE", path, "", 404, "M_NOT_FOUND")
		put := func(device id.DeviceID, code int, want string) {
			t.Helper()
			keys := string(newSigner(t).deviceKeys(t, alice, device))
			a.do("PUT", path, fmt.Sprintf(`{"device_id":%q,"device_data":{"algorithm":"x"},"device_keys":%s,"one_time_keys":{"signed_curve25519:a":{"key":"k","signatures":{}}}}`, device, keys), code, want)
		}
		put("DEV", 400, "M_INVALID_PARAM")
		put("DRY1", 200, `{"device_id":"DRY1"}`)
		w.must(w.keys.SendToDevice(w.ctx, bob, "B", "m.x", "1", Messages{alice: {"*": content(1)}}))
		if got := w.received(alice, "DEV", 0); len(got) != 1 {
			t.Fatal(got)
		}
		got := a.do("POST", path+"/DRY1/events", `{}`, 200, `"events":[{"content":{"n":1}`)
		_, next, _ := strings.Cut(got, `"next_batch":"`)
		next, _, _ = strings.Cut(next, `"`)
		a.do("POST", path+"/DRY1/events", `{"next_batch":"`+next+`"}`, 200, `"events":[]`)
		a.do("POST", path+"/DEV/events", `{}`, 403, "M_FORBIDDEN")
		put("DRY2", 200, `{"device_id":"DRY2"}`)
		a.do("GET", path, "", 200, `{"device_id":"DRY2","device_data":{"algorithm":"x"}}`)
		a.do("POST", "keys/query", `{"device_keys":{"@alice:here":[]}}`, 200, `{"@alice:here":{"DRY2":`)
		a.do("DELETE", path, "", 200, `{"device_id":"DRY2"}`)
		a.do("POST", "keys/query", `{"device_keys":{"@alice:here":[]}}`, 200, `{"@alice:here":{}}`)
	})
}

func TestUpload_ReplacedKeysLoseTheirSignatures(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.identity(alice)
		if code := w.sign(alice, alice, "DEV", a.self.sign(t, a.keys, alice, "ed25519:"+a.self.public)); code != "" {
			t.Fatal(code)
		}
		fresh := newSigner(t).deviceKeys(t, alice, "DEV")
		w.upload(alice, "DEV", Upload{DeviceKeys: fresh})
		if got := string(w.query(bob, alice).DeviceKeys[alice]); strings.Contains(got, a.self.public) {
			t.Fatal(got)
		}
		if code := w.sign(alice, alice, "DEV", a.self.sign(t, fresh, alice, "ed25519:"+a.self.public)); code != "" {
			t.Fatal(code)
		}
		if got := string(w.query(bob, alice).DeviceKeys[alice]); !strings.Contains(got, a.self.public) {
			t.Fatal(got)
		}
	})
}

func TestDeviceListChanges_LongWindowsForgetNobody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.member(room1, alice, "join")
		w.member(room1, carol, "join")
		since := w.stream.Head()
		w.member(room1, bob, "join")
		w.member(room1, carol, "leave")
		for range maxExactMoves {
			w.member(room1, "@busy:here", "join")
		}
		if changed, left := w.changes(alice, since); changed != "bob busy" || left != "carol" {
			t.Fatal(changed, left)
		}
		if _, err := w.keys.DeleteDehydrated(w.ctx, alice); !errors.Is(err, mautrix.MNotFound) {
			t.Fatal(err)
		}
	})
}
