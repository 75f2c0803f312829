package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/oauth"
)

const (
	apiScope = "urn:matrix:client:api:* urn:matrix:client:device:"
	proofKey = "a-verifier-that-is-long-enough-0123456789-abcdef"
)

func challenge() string {
	sum := sha256.Sum256([]byte(proofKey))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

var clientMeta = map[string]any{
	"client_name": "<b>Bad\u202e name</b>", "client_uri": "https://app.example.org/", "redirect_uris": []string{"https://app.example.org/done?x=1"},
	"grant_types":    []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
	"response_types": []string{"code"}, "token_endpoint_auth_method": "none", "application_type": "web",
}

func (w *world) register(meta map[string]any) string {
	w.t.Helper()
	r := w.api("POST", "/oauth2/registration", "", meta)
	want(w.t, "registration "+r.body, r.status, 201)
	return r.json["client_id"].(string)
}

func authorizeURL(client, device string, more ...string) string {
	v := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {"https://app.example.org/done?x=1"}, "state": {"st&te"},
		"scope": {apiScope + device}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return "/oauth2/authorize?" + v.Encode()
}

// code signs in, allows the client and gives the code.
func (w *world) code(client, device, user string) string {
	w.t.Helper()
	p := w.get(w.get(authorizeURL(client, device)).to)
	if strings.Contains(p.body, "/oauth2/signin") {
		r := w.post("/oauth2/signin", p.with("user", user, "password", "pass word "+user))
		want(w.t, "sign-in", r.status, 303)
		p = w.get(r.to)
	}
	if !strings.Contains(p.body, "@"+user+":hs1") || strings.Contains(p.body, "<b>Bad") || strings.Contains(p.body, "\u202e") {
		w.t.Fatalf("page: %s", p.body)
	}
	r := w.post("/oauth2/decide", p.with("decision", "allow"))
	u, err := url.Parse(r.to)
	if err != nil || u.Host != "app.example.org" || u.Query().Get("state") != "st&te" || u.Query().Get("x") != "1" || u.Query().Get("iss") != w.cfg.PublicBaseURL+"/" {
		w.t.Fatalf("sent to %q", r.to)
	}
	return u.Query().Get("code")
}

func (w *world) exchange(client, code string, more ...string) reply {
	v := url.Values{"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {"https://app.example.org/done?x=1"}, "code_verifier": {proofKey}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return w.post("/oauth2/token", v)
}

func TestCodeGrant(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		want(t, "the same client again", w.register(clientMeta), client)
		code := w.code(client, "ABCDEFGHIJ", "alice")
		r := w.exchange(client, code)
		want(t, "exchange "+r.body, r.status, 200)
		access, refresh := r.json["access_token"].(string), r.json["refresh_token"].(string)
		who := w.api("GET", "/_matrix/client/v3/account/whoami", access, nil)
		want(t, "device", who.json["device_id"], "ABCDEFGHIJ")
		want(t, "user", who.json["user_id"], "@alice:hs1")

		next := w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {refresh}})
		want(t, "refresh "+next.body, next.status, 200)
		want(t, "new token", w.api("GET", "/_matrix/client/v3/account/whoami", next.json["access_token"].(string), nil).status, 200)
		// The old refresh token comes again: somebody has stolen it. The session ends.
		again := w.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {refresh}})
		want(t, "reuse", again.json["error"], "invalid_grant")
		want(t, "session after reuse", w.api("GET", "/_matrix/client/v3/account/whoami", next.json["access_token"].(string), nil).status, 401)
	})
}

func TestCodeGrant_CodeComesTwice(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		code := w.code(client, "ABCDEFGHIJ", "alice")
		access := w.exchange(client, code).json["access_token"].(string)
		want(t, "again", w.exchange(client, code).json["error"], "invalid_grant")
		want(t, "session", w.api("GET", "/_matrix/client/v3/account/whoami", access, nil).status, 401)
	})
}

func TestCodeGrant_Refusals(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		other := w.register(map[string]any{"client_uri": "https://other.example/", "redirect_uris": []string{"https://other.example/"}})
		for _, bad := range [][]string{
			{"client_id", other}, {"redirect_uri", "https://app.example.org/else"}, {"code_verifier", proofKey + "x"}, {"code_verifier", "short"}, {"code_verifier", ""},
		} {
			r := w.exchange(client, w.code(client, "ABCDEFGHIJ", "alice"), bad...)
			want(t, bad[0]+" "+bad[1], r.json["error"], "invalid_grant")
		}
		want(t, "unknown client", w.exchange("nobody", "x").status, 401)
		// Who asks with a wrong address is never sent there.
		for _, bad := range [][]string{{"redirect_uri", "https://evil.example/"}, {"client_id", "nobody"}, {"redirect_uri", "https://app.example.org/done"}} {
			r := w.get(authorizeURL(client, "ABCDEFGHIJ", bad...))
			if r.status != 400 || r.to != "" {
				t.Errorf("%v: %d %s", bad, r.status, r.to)
			}
		}
		for wanted, bad := range map[string][]string{
			"invalid_scope": {"scope", "urn:matrix:client:api:*"}, "unsupported_response_type": {"response_type", "token"},
			"invalid_request": {"code_challenge_method", "plain"}, "login_required": {"prompt", "none"},
		} {
			u, _ := url.Parse(w.get(authorizeURL(client, "ABCDEFGHIJ", bad...)).to)
			want(t, wanted, u.Query().Get("error"), wanted)
		}
		frag := w.get(authorizeURL(client, "ABCDEFGHIJ", "response_mode", "fragment", "scope", "x")).to
		if u, _ := url.Parse(frag); !strings.Contains(u.Fragment, "error=invalid_scope") || u.RawQuery != "x=1" {
			t.Errorf("fragment: %s", frag)
		}
	})
}

func TestForms_FromElsewhereDoNothing(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		w.code(client, "ABCDEFGHIJ", "alice") // this browser is signed in
		p := w.get(w.get(authorizeURL(client, "KLMNOPQRST")).to)
		forged := p.with("decision", "allow", "token", "forged")
		if r := w.post("/oauth2/decide", forged); r.status != 403 || r.to != "" {
			t.Errorf("forged: %d %s", r.status, r.to)
		}
		mine := w.http
		w.http = w.newBrowser() // the token of another browser
		if r := w.post("/oauth2/decide", p.with("decision", "allow")); r.status != 403 {
			t.Errorf("another browser: %d", r.status)
		}
		w.http = mine
		if r := w.post("/oauth2/decide", p.with("decision", "deny")); !strings.Contains(r.to, "error=access_denied") {
			t.Errorf("denied: %s", r.to)
		}
		want(t, "decided twice", w.post("/oauth2/decide", p.with("decision", "allow")).status, 404)
		for _, h := range []string{"Content-Security-Policy", "X-Frame-Options", "Cache-Control"} {
			if p.head.Get(h) == "" {
				t.Errorf("no %s", h)
			}
		}
	})
}

func TestDeviceGrant(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		begin := w.post("/oauth2/device", url.Values{"client_id": {client}, "scope": {apiScope + "DEVICEDEVICE"}})
		want(t, "device "+begin.body, begin.status, 200)
		poll := func() reply {
			return w.post("/oauth2/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {client}, "device_code": {begin.json["device_code"].(string)}})
		}
		want(t, "early", poll().json["error"], "authorization_pending")
		word := strings.ToLower(strings.ReplaceAll(begin.json["user_code"].(string), "-", " "))
		p := w.get(w.get("/oauth2/link?code=" + url.QueryEscape(word)).to)
		p = w.get(w.post("/oauth2/signin", p.with("user", "@alice:hs1", "password", "pass word alice")).to)
		want(t, "done", w.post("/oauth2/decide", p.with("decision", "allow")).status, 200)
		got := poll()
		want(t, "tokens "+got.body, got.status, 200)
		want(t, "device", w.api("GET", "/_matrix/client/v3/account/whoami", got.json["access_token"].(string), nil).json["device_id"], "DEVICEDEVICE")
		want(t, "again", poll().json["error"], "expired_token")
		if !strings.Contains(w.get("/oauth2/link?code=BBBB-BBBB").body, "alert") {
			t.Error("a wrong code is not said to be wrong")
		}
	})
}

func TestSingleSignOn(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		for _, bad := range []string{"javascript:alert(1)", "data:text/html,x", "", "https://a@b.example/", "/relative"} {
			if r := w.get("/_matrix/client/v3/login/sso/redirect?redirectUrl=" + url.QueryEscape(bad)); r.status != 400 {
				t.Errorf("%q: %d", bad, r.status)
			}
		}
		r := w.get("/_matrix/client/v3/login/sso/redirect?redirectUrl=" + url.QueryEscape("https://element.example/?a=b#c"))
		want(t, "redirect", r.status, 302)
		p := w.get(r.to)
		wrong := w.post("/oauth2/signin", p.with("user", "alice", "password", "wrong"))
		if wrong.status != 200 || !strings.Contains(wrong.body, "Wrong user name or password") {
			t.Fatalf("wrong password: %d %s", wrong.status, wrong.body)
		}
		p = w.get(w.post("/oauth2/signin", p.with("user", "alice", "password", "pass word alice")).to)
		if !strings.Contains(p.body, "element.example") {
			t.Fatalf("the host is not named: %s", p.body)
		}
		u, _ := url.Parse(w.post("/oauth2/decide", p.with("decision", "allow")).to)
		if u.Host != "element.example" || u.Query().Get("a") != "b" || u.Fragment != "c" {
			t.Fatalf("sent to %s", u)
		}
		login := func() reply {
			return w.api("POST", "/_matrix/client/v3/login", "", map[string]string{"type": "m.login.token", "token": u.Query().Get("loginToken")})
		}
		want(t, "login", login().json["user_id"], "@alice:hs1")
		want(t, "login again", login().status, 403)
		if !strings.Contains(w.get("/_matrix/client/v3/login").body, `"m.login.sso"`) {
			t.Error("the flow is not listed")
		}
	})
}

func TestAccountPage(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		access := w.exchange(client, w.code(client, "ABCDEFGHIJ", "alice")).json["access_token"].(string)
		p := w.get(w.get("/account/?action=org.matrix.devices_list").to)
		if !strings.Contains(p.body, "ABCDEFGHIJ") {
			t.Fatalf("page: %s", p.body)
		}
		want(t, "end", w.post("/account/end", p.with("device", "ABCDEFGHIJ")).status, 303)
		want(t, "session", w.api("GET", "/_matrix/client/v3/account/whoami", access, nil).status, 401)
		p = w.get(w.get("/account/").to)
		want(t, "sign out", w.post("/account/signout", p.fields()).status, 303)
		if p = w.get(w.get("/account/").to); !strings.Contains(p.body, "/oauth2/signin") {
			t.Error("still signed in")
		}
	})
}

func TestRevoke(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		w.user("alice")
		client := w.register(clientMeta)
		got := w.exchange(client, w.code(client, "ABCDEFGHIJ", "alice"))
		want(t, "of another client", w.post("/oauth2/revoke", url.Values{"token": {got.json["access_token"].(string)}, "client_id": {"x"}}).status, 401)
		want(t, "unknown", w.post("/oauth2/revoke", url.Values{"token": {"x"}}).status, 200)
		want(t, "revoke", w.post("/oauth2/revoke", url.Values{"token": {got.json["refresh_token"].(string)}, "client_id": {client}}).status, 200)
		want(t, "session", w.api("GET", "/_matrix/client/v3/account/whoami", got.json["access_token"].(string), nil).status, 401)
	})
}

func TestCreateAccount(t *testing.T) {
	each(t, nil, func(t *testing.T, w *world) {
		client := w.register(clientMeta)
		p := w.get(w.get(authorizeURL(client, "ABCDEFGHIJ", "prompt", "create")).to)
		r := w.post("/oauth2/create", p.with("user", "new.person", "password", "a long enough password"))
		p = w.get(r.to)
		if !strings.Contains(p.body, "@new.person:hs1") {
			t.Fatalf("page: %s", p.body)
		}
	})
	each(t, func(c *config.Config) { c.Registration.Enabled = false }, func(t *testing.T, w *world) {
		client := w.register(clientMeta)
		p := w.get(w.get(authorizeURL(client, "ABCDEFGHIJ", "prompt", "create")).to)
		want(t, "closed", w.post("/oauth2/create", p.with("user", "new.person", "password", "a long enough password")).status, 403)
	})
}

func TestOff(t *testing.T) {
	each(t, func(c *config.Config) { c.OAuth.Enabled = false }, func(t *testing.T, w *world) {
		r := w.get("/_matrix/client/v1/auth_metadata")
		want(t, "metadata", r.status, 404)
		want(t, "metadata", r.json["errcode"], "M_UNRECOGNIZED")
		want(t, "token", w.post("/oauth2/token", url.Values{}).status, 404)
		want(t, "sso", w.get("/_matrix/client/v3/login/sso/redirect?redirectUrl=https://x.example/").status, 404)
		if strings.Contains(w.get("/_matrix/client/v3/login").body, "m.login.sso") {
			t.Error("the flow is listed")
		}
	})
}

func TestParseClient(t *testing.T) {
	ok := []string{
		`{"client_uri":"https://a.example","redirect_uris":["https://a.example/x","https://sub.a.example/"]}`,
		`{"client_uri":"https://a.example","application_type":"native","redirect_uris":["example.a.app:/cb","http://127.0.0.1/cb","http://[::1]/","http://localhost/"]}`,
		`{"client_uri":"https://a.example","grant_types":["urn:ietf:params:oauth:grant-type:device_code"]}`,
	}
	for _, s := range ok {
		if _, err := oauth.ParseClient([]byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		`[]`, `{}`, `{"client_uri":"http://a.example","redirect_uris":["https://a.example/"]}`,
		`{"client_uri":"https://a.example","redirect_uris":["https://evil.example/"]}`,
		`{"client_uri":"https://a.example","redirect_uris":["https://nota.example/"]}`,
		`{"client_uri":"https://a.example","redirect_uris":["https://a.example/#f"]}`,
		`{"client_uri":"https://a.example","redirect_uris":["https://u@a.example/"]}`,
		`{"client_uri":"https://a.example","redirect_uris":["http://127.0.0.1/"]}`,
		`{"client_uri":"https://a.example","redirect_uris":["javascript:alert(1)"]}`,
		`{"client_uri":"https://a.example","application_type":"native","redirect_uris":["javascript:alert(1)"]}`,
		`{"client_uri":"https://a.example","application_type":"native","redirect_uris":["org.evil:/"]}`,
		`{"client_uri":"https://a.example","application_type":"native","redirect_uris":["http://10.0.0.1/"]}`,
		`{"client_uri":"https://a.example","redirect_uris":[]}`,
		`{"client_uri":"https://a.example","redirect_uris":["https://a.example/"],"logo_uri":"https://evil.example/x.png"}`,
		`{"client_uri":"https://a.example","redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"client_secret_basic"}`,
	} {
		if c, err := oauth.ParseClient([]byte(s)); err == nil {
			t.Errorf("%s: taken as %+v", s, c)
		}
	}
}

func FuzzParseClient(f *testing.F) {
	f.Add([]byte(`{"client_uri":"https://a.example","application_type":"native","redirect_uris":["example.a.app:/cb","http://127.0.0.1/cb"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := oauth.ParseClient(raw)
		if err != nil {
			return
		}
		for _, s := range c.Redirects {
			u, err := url.Parse(s)
			if err != nil || u.Fragment != "" || u.User != nil || u.Scheme == "javascript" || u.Scheme == "data" || u.Scheme == "https" && u.Host == "" {
				t.Errorf("redirect %q", s)
			}
		}
	})
}
