package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

// newServer has Alice (token "alice"), a guest ("guest"), an administrator
// ("admin") and an application service ("as").
func newServer(t testing.TB, edit func(*config.Config)) *web.Server {
	cfg := config.Default()
	cfg.Log.Requests = false
	if edit != nil {
		edit(cfg)
	}
	users := web.TokenAuthenticator(func(_ context.Context, _ *http.Request, token string) (web.Requester, error) {
		who := web.Requester{UserID: id.UserID("@" + token + ":hs"), DeviceID: "D"}
		switch token {
		case "alice":
		case "guest":
			who.Guest = true
		case "admin":
			who.Admin = true
		case "as":
			who.AppService = &web.AppService{ID: "bridge"}
		default:
			return web.Requester{}, web.SoftLogout(false, "Unknown token")
		}
		return who, nil
	})
	servers := web.AuthenticatorFunc(func(_ context.Context, r *http.Request, _ web.Auth) (web.Requester, error) {
		body, err := web.ReadBody(r)
		if err != nil {
			return web.Requester{}, err
		}
		if r.Header.Get("Authorization") == "" {
			return web.Requester{}, web.MUnauthorized.WithMessage("No signature")
		}
		return web.Requester{Server: fmt.Sprintf("peer%d", len(body))}, nil
	})
	return web.New(cfg, web.Deps{Users: users, Servers: servers, Log: zerolog.Nop()})
}

type answer struct {
	*httptest.ResponseRecorder
}

func (a answer) errcode(t testing.TB) string {
	t.Helper()
	var e struct{ Errcode string }
	if err := json.Unmarshal(a.Body.Bytes(), &e); err != nil {
		t.Fatalf("answer is not JSON: %s", a.Body)
	}
	return e.Errcode
}

func ask(s http.Handler, method, target, token, body string) answer {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return answer{w}
}

func expect(t testing.TB, a answer, status int, errcode string) {
	t.Helper()
	if a.Code != status {
		t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	if errcode != "" && a.errcode(t) != errcode {
		t.Fatalf("errcode %s, want %s: %s", a.errcode(t), errcode, a.Body)
	}
	if a.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Fatal("no CORS header")
	}
}

type echoIn struct {
	RoomID id.RoomID `path:"roomId"`
	Type   string    `path:"eventType"`
	Key    string    `path:"stateKey"`
	Dir    string    `query:"dir"`
	Limit  *int      `query:"limit"`
	Full   bool      `query:"full"`
	Via    []string  `query:"via"`
	Match  string    `header:"if-match"`
	Name   string    `json:"name"`
	Count  int       `json:"count"`
}

func echo(_ context.Context, who web.Requester, in echoIn) (map[string]any, error) {
	out := map[string]any{
		"room": in.RoomID, "type": in.Type, "key": in.Key, "dir": in.Dir, "full": in.Full, "via": in.Via,
		"match": in.Match, "name": in.Name, "count": in.Count, "who": who.UserID, "server": who.Server,
	}
	if in.Limit != nil {
		out["limit"] = *in.Limit
	}
	return out, nil
}

const statePath = "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"

type shortIn struct {
	RoomID id.RoomID `path:"roomId"`
	Type   string    `path:"eventType"`
}

func echoServer(t testing.TB, edit func(*config.Config)) *web.Server {
	s := newServer(t, edit)
	s.Handle(
		web.Route{Method: "PUT", Path: statePath, Auth: web.User, Limit: web.LimitSend, Handler: web.JSON(echo)},
		web.Route{Method: "GET", Path: "/_matrix/client/v3/rooms/{roomId}/state/{eventType}", Auth: web.User,
			Handler: web.JSON(func(_ context.Context, _ web.Requester, in shortIn) (map[string]any, error) {
				return map[string]any{"room": in.RoomID, "type": in.Type}, nil
			})},
	)
	return s
}

func decode(t testing.TB, a answer) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(a.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return out
}

func TestJSON_FillsPathQueryHeaderAndBody(t *testing.T) {
	s := echoServer(t, nil)
	r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/%21a%2Fb%3Ahs/state/m.room.name/k%C3%A9y?dir=f+b&limit=5&full=true&via=x&via=y%2Fz&other=%zz",
		strings.NewReader(`{"name":"n","count":3,"RoomID":"!evil:hs","Dir":"evil","extra":1}`))
	r.Header.Set("Authorization", "Bearer alice")
	r.Header.Set("If-Match", "tag")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	got := decode(t, answer{w})
	want := `map[count:3 dir:f b full:true key:kéy limit:5 match:tag name:n room:!a/b:hs server: type:m.room.name via:[x y/z] who:@alice:hs]`
	if fmt.Sprint(got) != want {
		t.Fatalf("got  %v\nwant %s", got, want)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Request-Id") == "" {
		t.Fatalf("headers %v", w.Header())
	}
}

func TestJSON_BodyNeverReachesParameters(t *testing.T) {
	s := echoServer(t, nil)
	got := decode(t, ask(s, "PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/k", "alice", `{"Dir":"evil","Via":["evil"],"Limit":7,"Match":"evil"}`))
	if got["dir"] != "" || got["via"] != nil || got["limit"] != nil || got["match"] != "" {
		t.Fatalf("body reached parameters: %v", got)
	}
}

func TestPath_EmptyStateKeyAndTrailingSlash(t *testing.T) {
	s := echoServer(t, nil)
	if got := decode(t, ask(s, "PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/", "alice", "{}")); got["key"] != "" || got["type"] != "t" {
		t.Fatalf("empty state key: %v", got)
	}
	if got := decode(t, ask(s, "GET", "/_matrix/client/v3/rooms/!a:hs/state/t", "alice", "")); got["type"] != "t" {
		t.Fatalf("short path: %v", got)
	}
	expect(t, ask(s, "GET", "/_matrix/client/v3/rooms//state/t", "alice", ""), 404, "M_UNRECOGNIZED")
}

func TestPath_OldNamesAndUnknownOnes(t *testing.T) {
	s := echoServer(t, nil)
	s.Handle(web.Route{Method: "GET", Path: "/_matrix/media/v3/config", Handler: web.JSON(func(context.Context, web.Requester, struct{}) (struct{}, error) { return struct{}{}, nil })})
	expect(t, ask(s, "PUT", "/_matrix/client/r0/rooms/!a:hs/state/t/k", "alice", "{}"), 200, "")
	for _, v := range []string{"r0", "v1", "v3"} {
		a := ask(s, "GET", "/_matrix/media/"+v+"/config", "", "")
		expect(t, a, 200, "")
		if a.Body.String() != "{}" {
			t.Fatalf("body %q", a.Body)
		}
	}
	expect(t, ask(s, "PUT", "/_matrix/client/r1/rooms/!a:hs/state/t/k", "alice", "{}"), 404, "M_UNRECOGNIZED")
	wrong := ask(s, "PATCH", "/_matrix/client/v3/rooms/!a:hs/state/t/k", "alice", "{}")
	expect(t, wrong, 405, "M_UNRECOGNIZED")
	if wrong.Header().Get("Allow") != "PUT" {
		t.Fatalf("Allow: %q", wrong.Header().Get("Allow"))
	}
	expect(t, ask(s, "OPTIONS", "/_matrix/client/v3/rooms/!a:hs/state/t/k", "", ""), 204, "")
	expect(t, ask(s, "OPTIONS", "/nowhere", "", ""), 204, "")
	head := ask(s, "HEAD", "/_matrix/client/v3/rooms/!a:hs/state/t", "alice", "")
	expect(t, head, 200, "")
}

func TestPath_InvalidEscapesAreRefused(t *testing.T) {
	s := echoServer(t, nil)
	for _, p := range []string{"%FF", "a%00b", "%C3"} {
		expect(t, ask(s, "GET", "/_matrix/client/v3/rooms/"+p+"/state/t", "alice", ""), 400, "M_INVALID_PARAM")
	}
	expect(t, ask(s, "GET", "/"+strings.Repeat("a/", 5000), "", ""), 404, "M_UNRECOGNIZED")
}

func TestBody_BadOnesHaveTheirCode(t *testing.T) {
	s := echoServer(t, func(c *config.Config) { c.Listen.MaxBody = 2000 })
	for _, tc := range []struct {
		name, body, code string
		status           int
	}{
		{"empty", "", "M_NOT_JSON", 400},
		{"spaces", "  \n", "M_NOT_JSON", 400},
		{"syntax", `{"name":`, "M_NOT_JSON", 400},
		{"trailing", `{"name":"a"}x`, "M_NOT_JSON", 400},
		{"two values", `{} {}`, "M_NOT_JSON", 400},
		{"utf8", "{\"name\":\"\xff\"}", "M_NOT_JSON", 400},
		{"type", `{"name":5}`, "M_BAD_JSON", 400},
		{"number", `{"count":1.5}`, "M_BAD_JSON", 400},
		{"array", `[]`, "M_BAD_JSON", 400},
		{"null", `null`, "M_BAD_JSON", 400},
		{"deep", strings.Repeat("[", 900) + strings.Repeat("]", 900), "M_BAD_JSON", 400},
		{"nul", `{"name":"a\u0000"}`, "M_BAD_JSON", 400},
		{"large", `{"name":"` + strings.Repeat("x", 2000) + `"}`, "M_TOO_LARGE", 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expect(t, ask(s, "PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/k", "alice", tc.body), tc.status, tc.code)
		})
	}
	expect(t, ask(s, "PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/k", "alice", `{"name":"a","name":"b"}`), 200, "")
}

func TestBody_LargeWithoutLengthIsRefused(t *testing.T) {
	s := echoServer(t, func(c *config.Config) { c.Listen.MaxBody = 2000 })
	r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/k", io.MultiReader(strings.NewReader(`{"name":"`), strings.NewReader(strings.Repeat("x", 5000))))
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer alice")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	expect(t, answer{w}, 413, "M_TOO_LARGE")
}

func TestBody_PeersMayNotRepeatKeys(t *testing.T) {
	s := newServer(t, nil)
	type in struct {
		Txn  string          `path:"txnId"`
		Body json.RawMessage `body:"raw"`
	}
	s.Handle(web.Route{Method: "PUT", Path: "/_matrix/federation/v1/send/{txnId}", Auth: web.ServerOnly, Limit: web.LimitFederation,
		Handler: web.JSON(func(_ context.Context, who web.Requester, in in) (map[string]any, error) {
			return map[string]any{"server": who.Server, "len": len(in.Body)}, nil
		})})
	expect(t, ask(s, "PUT", "/_matrix/federation/v1/send/1", "sig", `{"a":{"b":1,"c":{"b":2},"d":[{"b":1},{"b":2}]}}`), 200, "")
	for _, twice := range []string{`{"a":1,"a":2}`, `{"x":[{"a":1,"\u0061":2}]}`, `{"x":{"y":{"a":"}","b":2,"a":2}}}`} {
		expect(t, ask(s, "PUT", "/_matrix/federation/v1/send/1", "sig", twice), 400, "M_BAD_JSON")
	}
	expect(t, ask(s, "PUT", "/_matrix/federation/v1/send/1", "", `{}`), 401, "M_UNAUTHORIZED")
	if got := decode(t, ask(s, "PUT", "/_matrix/federation/v1/send/1", "sig", `{"abc":1}`)); got["server"] != "peer9" || got["len"] != 9.0 {
		t.Fatalf("authenticator and handler saw %v", got)
	}
}

func TestBody_OptionalAndDelete(t *testing.T) {
	s := newServer(t, nil)
	type in struct {
		_      struct{} `body:"optional"`
		Reason string   `json:"reason"`
	}
	type del struct {
		Auth json.RawMessage `json:"auth"`
	}
	s.Handle(
		web.Route{Method: "POST", Path: "/leave", Handler: web.JSON(func(_ context.Context, _ web.Requester, in in) (map[string]any, error) {
			return map[string]any{"reason": in.Reason}, nil
		})},
		web.Route{Method: "DELETE", Path: "/device", Handler: web.JSON(func(_ context.Context, _ web.Requester, in del) (map[string]any, error) {
			return map[string]any{"auth": len(in.Auth)}, nil
		})},
		web.Route{Method: "POST", Path: "/logout", Handler: web.JSON(func(context.Context, web.Requester, struct{}) (struct{}, error) { return struct{}{}, nil })},
	)
	expect(t, ask(s, "POST", "/leave", "", ""), 200, "")
	expect(t, ask(s, "POST", "/leave", "", "{"), 400, "M_NOT_JSON")
	expect(t, ask(s, "DELETE", "/device", "", ""), 200, "")
	expect(t, ask(s, "POST", "/logout", "", "whatever"), 200, "")
}

func TestQuery_BadValuesAreInvalidParam(t *testing.T) {
	s := echoServer(t, nil)
	for _, q := range []string{"limit=x", "full=perhaps", "dir=%FF", "dir=%00", "limit=99999999999999999999", "dir=%zz", "%zz=1"} {
		expect(t, ask(s, "PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/k?"+q, "alice", "{}"), 400, "M_INVALID_PARAM")
	}
	got := decode(t, ask(s, "PUT", "/_matrix/client/v3/rooms/!a:hs/state/t/k?dir=f&dir=b", "alice", "{}"))
	if got["dir"] != "f" {
		t.Fatalf("the first value counts: %v", got["dir"])
	}
}

func TestAuth_WhoMayAsk(t *testing.T) {
	s := newServer(t, nil)
	ok := web.JSON(func(_ context.Context, who web.Requester, _ struct{}) (map[string]any, error) {
		return map[string]any{"user": who.UserID}, nil
	})
	for path, a := range map[string]web.Auth{"/none": web.None, "/opt": web.Optional, "/user": web.User, "/guest": web.UserOrGuest, "/admin": web.Admin, "/as": web.AppServiceOnly} {
		s.Handle(web.Route{Method: "GET", Path: path, Auth: a, Handler: ok})
	}
	for _, tc := range []struct {
		path, token string
		status      int
		code        string
	}{
		{"/none", "wrong", 200, ""}, {"/opt", "", 200, ""}, {"/opt", "wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/user", "", 401, "M_MISSING_TOKEN"}, {"/user", "wrong", 401, "M_UNKNOWN_TOKEN"}, {"/user", "alice", 200, ""},
		{"/user", "guest", 403, "M_GUEST_ACCESS_FORBIDDEN"}, {"/guest", "guest", 200, ""},
		{"/admin", "alice", 403, "M_FORBIDDEN"}, {"/admin", "admin", 200, ""},
		{"/as", "alice", 403, "M_FORBIDDEN"}, {"/as", "as", 200, ""},
		{"/user?access_token=alice", "", 200, ""},
	} {
		expect(t, ask(s, "GET", tc.path, tc.token, ""), tc.status, tc.code)
	}
	strict := newServer(t, func(c *config.Config) { c.Listen.TokenInQuery = false })
	strict.Handle(web.Route{Method: "GET", Path: "/user", Auth: web.User, Handler: ok})
	expect(t, ask(strict, "GET", "/user?access_token=alice", "", ""), 401, "M_MISSING_TOKEN")
}

func TestErrors_ReachPeopleInOneForm(t *testing.T) {
	s := newServer(t, nil)
	fail := func(path string, err error) {
		s.Handle(web.Route{Method: "GET", Path: path, Handler: web.JSON(func(context.Context, web.Requester, struct{}) (struct{}, error) { return struct{}{}, err })})
	}
	fail("/forbidden", fmt.Errorf("while doing: %w", mautrix.MForbidden.WithMessage("no")))
	fail("/secret", errors.New("password is swordfish"))
	fail("/limit", web.LimitExceeded(1500*time.Millisecond))
	fail("/uia", mautrix.RespError{StatusCode: 401, ExtraData: map[string]any{"flows": []any{}, "session": "s"}})
	fail("/plain", mautrix.MBadState.WithMessage("x"))
	s.Handle(web.Route{Method: "GET", Path: "/panic", Handler: web.JSON(func(context.Context, web.Requester, struct{}) (struct{}, error) { panic("boom") })})
	expect(t, ask(s, "GET", "/forbidden", "", ""), 403, "M_FORBIDDEN")
	secret := ask(s, "GET", "/secret", "", "")
	expect(t, secret, 500, "M_UNKNOWN")
	if strings.Contains(secret.Body.String(), "swordfish") || !strings.Contains(secret.Body.String(), secret.Header().Get("X-Request-Id")) {
		t.Fatalf("body %s", secret.Body)
	}
	limited := ask(s, "GET", "/limit", "", "")
	expect(t, limited, 429, "M_LIMIT_EXCEEDED")
	if limited.Header().Get("Retry-After") != "2" || decode(t, limited)["retry_after_ms"] != 1500.0 {
		t.Fatalf("limit: %v %s", limited.Header(), limited.Body)
	}
	uia := ask(s, "GET", "/uia", "", "")
	expect(t, uia, 401, "")
	if _, has := decode(t, uia)["errcode"]; has {
		t.Fatalf("first UIA answer has an errcode: %s", uia.Body)
	}
	expect(t, ask(s, "GET", "/plain", "", ""), 400, "M_BAD_STATE")
	expect(t, ask(s, "GET", "/panic", "", ""), 500, "M_UNKNOWN")
}
