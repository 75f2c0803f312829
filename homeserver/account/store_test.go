package account_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// answerOf is the answer that an error makes.
func answerOf(t *testing.T, err error) answer {
	rec := httptest.NewRecorder()
	if err != nil {
		web.WriteError(rec, httptest.NewRequest("GET", "/", nil), err)
	}
	a := answer{t: t, Code: rec.Code, Raw: rec.Body.Bytes()}
	_ = json.Unmarshal(a.Raw, &a.JSON)
	return a
}

func TestProfile_NameAndAvatarArePublic(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		bob := w.register("bob")
		alice.ask("PUT", "profile/@alice:hs1/displayname", body{"displayname": "Alice Cooper"}).ok()
		alice.ask("PUT", "profile/@alice:hs1/avatar_url", body{"avatar_url": "mxc://example.com/SEsfnsuifSDFSSEF"}).ok()
		if a := w.do("GET", "profile/@alice:hs1/displayname", "", nil).ok(); string(a.Raw) != `{"displayname":"Alice Cooper"}` {
			t.Fatalf("%s", a.Raw)
		}
		if a := w.do("GET", "profile/@alice:hs1", "", nil).ok(); a.str("avatar_url") != "mxc://example.com/SEsfnsuifSDFSSEF" || len(a.JSON) != 2 {
			t.Fatalf("%s", a.Raw)
		}
		bob.ask("PUT", "profile/@alice:hs1/displayname", body{"displayname": "x"}).is(403, "M_FORBIDDEN")
		w.do("PUT", "profile/@alice:hs1/displayname", "", body{"displayname": "x"}).is(401, "M_MISSING_TOKEN")
		w.do("GET", "profile/@nobody:hs1", "", nil).is(404, "M_NOT_FOUND")
		w.do("GET", "profile/@nobody:hs1/displayname", "", nil).is(404, "M_NOT_FOUND")
		w.do("GET", "profile/nobody", "", nil).is(400, "M_INVALID_PARAM")
		alice.ask("PUT", "profile/@alice:hs1/displayname", body{"displayname": ""}).ok()
		w.do("GET", "profile/@alice:hs1/displayname", "", nil).is(404, "M_NOT_FOUND")
		alice.ask("DELETE", "profile/@alice:hs1/avatar_url", nil).ok()
		alice.ask("DELETE", "profile/@alice:hs1/avatar_url", nil).ok()
		if a := w.do("GET", "profile/@alice:hs1", "", nil).ok(); string(a.Raw) != `{}` {
			t.Fatalf("%s", a.Raw)
		}
		if err := w.a.SetAdmin(w.ctx, bob.user, true); err != nil {
			t.Fatal(err)
		}
		bob.ask("PUT", "profile/@alice:hs1/displayname", body{"displayname": "Moderated"}).ok()
	})
}

func TestProfile_ExtendedFieldsAndTheirLimits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		put := func(key string, value any) answer {
			return alice.ask("PUT", "profile/@alice:hs1/"+key, body{key: value})
		}
		put("m.tz", "Europe/Paris").ok()
		put("org.example.job", body{"title": "Préfète", "n": 1, "nul": "\x00"}).ok()
		put("org.example.null", nil).ok()
		a := w.do("GET", "profile/@alice:hs1/org.example.job", "", nil).ok()
		if string(a.Raw) != `{"org.example.job":{"n":1,"nul":"\u0000","title":"Préfète"}}` {
			t.Fatalf("%s", a.Raw)
		}
		if a := w.do("GET", "profile/@alice:hs1/org.example.null", "", nil).ok(); string(a.Raw) != `{"org.example.null":null}` {
			t.Fatalf("%s", a.Raw)
		}
		alice.ask("PUT", "/_matrix/client/unstable/uk.tcpip.msc4133/profile/@alice:hs1/org.example.job", body{"org.example.job": 2}).ok()
		alice.ask("DELETE", "profile/@alice:hs1/org.example.job", nil).ok()
		w.do("GET", "profile/@alice:hs1/org.example.job", "", nil).is(404, "M_NOT_FOUND")

		put("displayname", 3).is(400, "M_BAD_JSON")
		put("displayname", body{}).is(400, "M_BAD_JSON")
		put("displayname", strings.Repeat("x", 1<<20)).is(400, "M_PROFILE_TOO_LARGE")
		put("displayname", strings.Repeat("x", 1000)).is(400, "M_INVALID_PARAM")
		put("BadKey", 1).is(400, "M_INVALID_PARAM")
		put("a."+strings.Repeat("x", 300), 1).is(400, "M_KEY_TOO_LARGE")
		alice.ask("PUT", "profile/@alice:hs1/m.tz", body{"other": 1}).is(400, "M_MISSING_PARAM")
		alice.ask("PUT", "profile/@alice:hs1/m.tz", "[]").is(400, "M_BAD_JSON")
		put("a.big", strings.Repeat("x", 40<<10)).ok()
		put("b.big", strings.Repeat("x", 40<<10)).is(400, "M_PROFILE_TOO_LARGE")
		put("a.big", "small").ok()
		put("b.big", strings.Repeat("x", 40<<10)).ok()
	})
}

type remoteProfiles struct{}

func (remoteProfiles) Profile(_ context.Context, server string, user id.UserID, field string) (map[string]json.RawMessage, error) {
	if user != "@user:remote" || server != "remote" {
		return nil, mautrix.MNotFound.WithMessage("not here")
	}
	return map[string]json.RawMessage{"displayname": json.RawMessage(`"my remote display name"`), "avatar_url": json.RawMessage(`null`)}, nil
}

func TestProfile_OfOtherServersIsAskedThere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if a := w.do("GET", "profile/@user:remote/displayname", "", nil).ok(); a.str("displayname") != "my remote display name" {
			t.Fatalf("%s", a.Raw)
		}
		w.do("GET", "profile/@user:remote", "", nil).ok()
		w.do("GET", "profile/@user:remote/avatar_url", "", nil).is(404, "M_NOT_FOUND")
		w.do("GET", "profile/@other:remote", "", nil).is(404, "M_NOT_FOUND")
	}, func(_ *config.Config, d *account.Deps) { d.Remote = remoteProfiles{} })
}

func TestProfile_ChangesAtOnceLoseNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if err := w.a.SetProfileField(w.ctx, alice.user, fmt.Sprintf("a.f%d", i), json.RawMessage("1")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if p, err := w.a.Profile(w.ctx, alice.user); err != nil || len(p.Extra) != 8 {
			t.Fatalf("%+v %v", p, err)
		}
	})
}

func TestAccountData_SetGetReplaceDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		for _, prefix := range []string{"user/@alice:hs1/", "user/@alice:hs1/rooms/!room:hs1/"} {
			path, unstable := prefix+"account_data/test.key", "/_matrix/client/unstable/org.matrix.msc3391/"+prefix+"account_data/test.key"
			alice.ask("GET", path, nil).is(404, "M_NOT_FOUND")
			alice.ask("PUT", path, body{"value": "first"}).ok()
			alice.ask("PUT", path, `{ "value" : "second", "html":"<a>&\u0000" }`).ok()
			if a := alice.ask("GET", path, nil).ok(); string(a.Raw) != `{"value":"second","html":"<a>&\u0000"}` {
				t.Fatalf("%s", a.Raw)
			}
			since := w.stream.Head()
			alice.ask("DELETE", unstable, nil).ok()
			alice.ask("GET", path, nil).is(404, "M_NOT_FOUND")
			ds, err := w.a.AccountDataSince(w.ctx, alice.user, since, w.stream.Head())
			if err != nil || len(ds) != 1 || string(ds[0].Content) != "{}" || ds[0].Type != "test.key" || ds[0].Pos <= since {
				t.Fatalf("%+v %v", ds, err)
			}
			if ds, err = w.a.AccountDataSince(w.ctx, alice.user, 0, w.stream.Head()); err != nil || len(ds) != 0 {
				t.Fatalf("%+v %v", ds, err)
			}
			alice.ask("PUT", path, body{"value": "third"}).ok()
			alice.ask("PUT", path, body{}).ok()
			alice.ask("GET", path, nil).is(404, "M_NOT_FOUND")
			alice.ask("DELETE", unstable, nil).ok()
		}
	})
}

func TestAccountData_BadRequestsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		for _, prefix := range []string{"user/@alice:hs1/", "user/@alice:hs1/rooms/!room:hs1/"} {
			for _, kind := range []string{"m.push_rules", "m.fully_read"} {
				alice.ask("PUT", prefix+"account_data/"+kind, body{"a": 1}).is(405, "M_BAD_JSON")
			}
			alice.ask("PUT", prefix+"account_data/x", "[1]").is(400, "M_BAD_JSON")
			alice.ask("PUT", prefix+"account_data/x", "{").is(400, "M_NOT_JSON")
			alice.ask("PUT", prefix+"account_data/x", body{"x": strings.Repeat("x", 2<<20)}).is(413, "M_TOO_LARGE")
			alice.ask("PUT", prefix+"account_data/"+strings.Repeat("x", 300), body{}).is(400, "M_INVALID_PARAM")
		}
		alice.ask("PUT", "user/@bob:hs1/account_data/x", body{}).is(403, "M_FORBIDDEN")
		alice.ask("GET", "user/@bob:hs1/account_data/x", nil).is(403, "M_FORBIDDEN")
		alice.ask("PUT", "user/@alice:hs1/rooms/room/account_data/x", body{}).is(400, "M_INVALID_PARAM")
		alice.ask("GET", "user/@alice:hs1/rooms/room/account_data/x", nil).is(400, "M_INVALID_PARAM")
		// What has its own endpoint is written by whoever owns that.
		if err := w.a.SetAccountData(w.ctx, alice.user, "", "m.push_rules", []byte(`{"global":{}}`)); err != nil {
			t.Fatal(err)
		}
		alice.ask("GET", "user/@alice:hs1/account_data/m.push_rules", nil).ok()
	})
}

func TestAccountData_WindowsAndRooms(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		set := func(room id.RoomID, kind, content string) stream.Pos {
			t.Helper()
			if err := w.a.SetAccountData(w.ctx, alice.user, room, kind, []byte(content)); err != nil {
				t.Fatal(err)
			}
			return w.stream.Head()
		}
		one := set("", "a", `{"n":1}`)
		two := set("!r1:hs1", "b", `{"n":2}`)
		set("!r2:hs1", "b", `{"n":3}`)
		ds, err := w.a.AccountDataSince(w.ctx, alice.user, one, two)
		if err != nil || len(ds) != 1 || ds[0].RoomID != "!r1:hs1" || ds[0].Pos != two {
			t.Fatalf("%+v %v", ds, err)
		}
		if ds, err = w.a.AccountDataSince(w.ctx, alice.user, 0, w.stream.Head()); err != nil || len(ds) != 3 {
			t.Fatalf("%+v %v", ds, err)
		}
		if ds, err = w.a.AccountDataOfRooms(w.ctx, alice.user, []id.RoomID{"!r2:hs1", "!r9:hs1"}); err != nil || len(ds) != 1 {
			t.Fatalf("%+v %v", ds, err)
		}
	})
}

func TestTags_PutListDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		const path = "user/@alice:hs1/rooms/!room:hs1/tags"
		if a := alice.ask("GET", path, nil).ok(); string(a.Raw) != `{"tags":{}}` {
			t.Fatalf("%s", a.Raw)
		}
		alice.ask("PUT", path+"/m.favourite", body{"order": 0.1}).ok()
		alice.ask("PUT", path+"/u.work", body{}).ok()
		alice.ask("PUT", path+"/u.gone", nil).ok()
		alice.ask("DELETE", path+"/u.gone", nil).ok()
		alice.ask("DELETE", path+"/u.never", nil).ok()
		if a := alice.ask("GET", path, nil).ok(); string(a.Raw) != `{"tags":{"m.favourite":{"order":0.1},"u.work":{}}}` {
			t.Fatalf("%s", a.Raw)
		}
		if a := alice.ask("GET", "user/@alice:hs1/rooms/!room:hs1/account_data/m.tag", nil).ok(); a.JSON["tags"] == nil {
			t.Fatalf("%s", a.Raw)
		}
		alice.ask("PUT", path+"/"+strings.Repeat("x", 300), body{}).is(400, "M_INVALID_PARAM")
		alice.ask("PUT", path+"/u.x", "[]").is(400, "M_BAD_JSON")
		alice.ask("PUT", "user/@bob:hs1/rooms/!room:hs1/tags/u.x", body{}).is(403, "M_FORBIDDEN")
		alice.ask("PUT", "user/@alice:hs1/rooms/x/tags/u.x", body{}).is(400, "M_INVALID_PARAM")
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				if err := w.a.SetTag(w.ctx, alice.user, "!other:hs1", fmt.Sprint("u.", i), []byte("{}")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if tags, err := w.a.Tags(w.ctx, alice.user, "!other:hs1"); err != nil || len(tags) != 6 {
			t.Fatalf("%v %v", tags, err)
		}
	})
}

func TestIgnoredUsers_FollowTheAccountData(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		ignored := func() map[id.UserID]struct{} {
			m, err := w.a.IgnoredUsers(w.ctx, alice.user)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		if len(ignored()) != 0 {
			t.Fatal("ignores somebody")
		}
		alice.ask("PUT", "user/@alice:hs1/account_data/m.ignored_user_list", body{"ignored_users": body{"@bob:hs1": body{}, "@alice:hs1": body{}}}).ok()
		if _, bob := ignored()["@bob:hs1"]; !bob || len(ignored()) != 1 {
			t.Fatalf("%v", ignored())
		}
		alice.ask("PUT", "user/@alice:hs1/account_data/m.ignored_user_list", body{"ignored_users": "nonsense"}).ok()
		if len(ignored()) != 0 {
			t.Fatalf("%v", ignored())
		}
	})
}

func TestFilter_UploadAndDownload(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		f := body{"room": body{"timeline": body{"limit": 10, "org.example": true}}, "event_fields": []string{"type"}}
		one := alice.ask("POST", "user/@alice:hs1/filter", f).ok().str("filter_id")
		if two := alice.ask("POST", "user/@alice:hs1/filter", f).ok().str("filter_id"); two != one {
			t.Fatalf("the same filter is %s and %s", one, two)
		}
		for range 2 { // the second from memory
			a := alice.ask("GET", "user/@alice:hs1/filter/"+one, nil).ok()
			if string(a.Raw) != `{"event_fields":["type"],"room":{"timeline":{"limit":10,"org.example":true}}}` {
				t.Fatalf("%s", a.Raw)
			}
		}
		alice.ask("GET", "user/@alice:hs1/filter/999999", nil).is(404, "M_NOT_FOUND")
		alice.ask("GET", "user/@alice:hs1/filter/abc", nil).is(404, "M_NOT_FOUND")
		alice.ask("GET", "user/@bob:hs1/filter/"+one, nil).is(403, "M_FORBIDDEN")
		alice.ask("POST", "user/@bob:hs1/filter", f).is(403, "M_FORBIDDEN")
		w.register("bob").ask("GET", "user/@bob:hs1/filter/"+one, nil).is(404, "M_NOT_FOUND")
	})
}

func TestFilter_BadOnesAreRefused(t *testing.T) {
	timeline := func(key string, value any) body { return body{"room": body{"timeline": body{key: value}}} }
	bad := []any{
		body{"presence": "x"}, body{"account_data": 1}, body{"room": "x"}, body{"event_format": "other"}, body{"event_fields": "x"},
		body{"room": body{"timeline": "x"}}, body{"room": body{"state": "x"}}, body{"room": body{"ephemeral": "x"}}, body{"room": body{"account_data": "x"}},
		timeline("rooms", "x"), timeline("not_rooms", "x"), timeline("senders", "x"), timeline("not_senders", "x"), timeline("types", "x"),
		timeline("not_types", "x"), timeline("types", []int{1}), timeline("rooms", []string{"not_a_room_id"}), timeline("senders", []string{"not_a_sender_id"}),
		timeline("limit", -1), timeline("limit", "x"), timeline("limit", 1.5), body{"room": body{"rooms": []string{"x"}}}, "[]", "{",
		timeline("types", []string{strings.Repeat("x", 70<<10)}),
	}
	each(t, func(t *testing.T, w *world) {
		alice := w.register("alice")
		for _, f := range bad {
			if a := alice.ask("POST", "user/@alice:hs1/filter", f); a.Code < 400 || a.Code >= 500 {
				t.Errorf("%.200v: %d", f, a.Code)
			}
		}
		alice.ask("POST", "user/@alice:hs1/filter", body{"room": body{"timeline": body{"limit": 0, "senders": []string{"@a:b"}}, "rooms": []string{"!a:b", "!hash"}}}).ok()
	})
}

func TestHooks_MayRefuse(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		no := mautrix.MForbidden.WithMessage("no")
		w.a.OnRegister(func(_ context.Context, u id.UserID) error {
			if u == "@evil:hs1" {
				return no
			}
			return nil
		})
		w.a.SetDeviceReserved(func(_ context.Context, _ id.UserID, d id.DeviceID) (bool, error) { return d == "crosskey", nil })
		w.a.OnProfileChanging(func(_ context.Context, _ id.UserID, field string, _ json.RawMessage) error {
			if field == "m.tz" {
				return no
			}
			return nil
		})
		w.a.OwnAccountData("org.example.owned", "its own API")
		w.a.ComputeAccountData("org.example.owned", func(_ context.Context, u id.UserID, room id.RoomID) (json.RawMessage, error) {
			return json.RawMessage(`{"of":"` + string(u) + `"}`), nil
		})
		var changed []id.DeviceID
		w.a.OnDeviceChanged(func(_ context.Context, _ id.UserID, d id.DeviceID) error { changed = append(changed, d); return nil })
		w.do("POST", "register", "", body{"username": "evil", "password": password, "auth": body{"type": "m.login.dummy"}}).is(403, "M_FORBIDDEN")
		alice := w.register("alice")
		b := w.loginBody(alice.user, password)
		b["device_id"] = "crosskey"
		w.do("POST", "login", "", b).is(403, "M_FORBIDDEN")
		alice.ask("PUT", "profile/@alice:hs1/m.tz", body{"m.tz": "Europe/Paris"}).is(403, "M_FORBIDDEN")
		alice.ask("PUT", "user/@alice:hs1/account_data/org.example.owned", body{}).is(http.StatusMethodNotAllowed, "M_BAD_JSON")
		if a := alice.ask("GET", "user/@alice:hs1/account_data/org.example.owned", nil).ok(); a.str("of") != "@alice:hs1" {
			t.Fatalf("%s", a.Raw)
		}
		w.gate.Allow = func(_ context.Context, r *http.Request, who web.Requester) error {
			return mautrix.RespError{ErrCode: "ORG_MATRIX_EXPIRED_ACCOUNT", StatusCode: 403}
		}
		alice.ask("GET", "account/whoami", nil).is(403, "ORG_MATRIX_EXPIRED_ACCOUNT")
		w.gate.Allow = nil
		alice.ask("PUT", "devices/"+string(alice.device), body{"display_name": "x"}).ok()
		if len(changed) != 2 || changed[0] != alice.device || changed[1] != alice.device {
			t.Fatalf("%v", changed)
		}
	})
}
