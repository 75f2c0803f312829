package appservices

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

func TestAuthenticate_Masquerading(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, _ *bridge) {
		w.user("alice")
		ghost := w.ghost("_irc_bob")
		_, err := w.core.Accounts.PutDevice(w.ctx, ghost, "G", nil)
		w.must(err)
		whoami := func(token, query string) answer {
			return w.call("GET", "/_matrix/client/v3/account/whoami"+query, token, "")
		}
		who := func(a answer) string { return fmt.Sprint(a.ok().JSON["user_id"], " ", a.JSON["device_id"]) }
		for query, want := range map[string]string{
			"":                                       "@ircbot:hs.test <nil>",
			"?user_id=@ircbot:hs.test":               "@ircbot:hs.test <nil>",
			"?user_id=@_irc_bob:hs.test":             "@_irc_bob:hs.test <nil>",
			"?user_id=%40_irc_bob%3Ahs.test":         "@_irc_bob:hs.test <nil>",
			"?user_id=@_irc_bob:hs.test&device_id=G": "@_irc_bob:hs.test G",
			"?user_id=@_irc_bob:hs.test&org.matrix.msc3202.device_id=G": "@_irc_bob:hs.test G",
		} {
			if got := who(whoami("as", query)); got != want {
				t.Errorf("%q is %s, want %s", query, got, want)
			}
		}
		whoami("as", "?user_id=@alice:hs.test").is(403, "M_FORBIDDEN")
		whoami("as", "?user_id=@_irc_nobody:hs.test").is(403, "M_FORBIDDEN")
		whoami("as", "?user_id=@_irc_bob:other.test").is(403, "M_FORBIDDEN")
		whoami("as", "?user_id=%00").is(400, "M_INVALID_PARAM")
		whoami("as", "?user_id=%zz").is(400, "M_INVALID_PARAM")
		whoami("as", "?user_id=@_irc_bob:hs.test&device_id=%00").is(400, "M_INVALID_PARAM")
		whoami("as", "?user_id=@_irc_bob:hs.test&device_id=OTHER").is(400, "M_UNKNOWN_DEVICE")
		whoami("as", "?device_id=G").is(400, "M_UNKNOWN_DEVICE")
		whoami("hs", "").is(401, "M_UNKNOWN_TOKEN")
		whoami("", "").is(401, "M_MISSING_TOKEN")
	})
}

func TestAuthenticate_PeopleCannotActAsOthers(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, _ *bridge) {
		alice, token := w.user("alice")
		a := w.call("GET", "/_matrix/client/v3/account/whoami?user_id=@ircbot:hs.test", token, "").ok()
		if a.JSON["user_id"] != string(alice) {
			t.Errorf("alice became %v", a.JSON["user_id"])
		}
	})
}

func TestNamespaces_ReservedUsersAreMadeByTheServiceOnly(t *testing.T) {
	eachWorld(t, func(r *Registration) { r.Namespaces.Users[0].Regex = "@(_irc_|irc-)" }, func(t *testing.T, w *world, _ *bridge) {
		register := func(token, name, kind string) answer {
			auth := `,"auth":{"type":"m.login.dummy"},"password":"x9-very-long-one"`
			if kind != "" {
				auth = `,"type":"` + kind + `","inhibit_login":true`
			}
			return w.call("POST", "/_matrix/client/v3/register", token, `{"username":"`+name+`"`+auth+`}`)
		}
		register("", "irc-me", "").is(400, "M_EXCLUSIVE")
		register("", "ircbot", "").is(400, "M_EXCLUSIVE")
		register("", "alice", "").ok()
		register("as", "_irc_me", "m.login.application_service").ok()
		register("as", "other", "m.login.application_service").is(400, "M_EXCLUSIVE")
		register("wrong", "_irc_you", "m.login.application_service").is(401, "M_UNKNOWN_TOKEN")
		w.call("GET", "/_matrix/client/v3/register/available?username=irc-you", "", "").is(400, "M_EXCLUSIVE")
	})
}

func TestPing(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, b *bridge) {
		_, token := w.user("alice")
		ping := func(id, token, body string) answer {
			return w.call("POST", "/_matrix/client/v1/appservice/"+id+"/ping", token, body)
		}
		var body string
		b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
			raw := make([]byte, 100)
			n, _ := r.Body.Read(raw)
			body = r.URL.Path + " " + string(raw[:n])
			return false
		})
		if a := ping("irc", "as", `{"transaction_id":"meow"}`).ok(); a.JSON["duration_ms"] == nil {
			t.Errorf("no duration in %s", a.Body)
		}
		if want := `/_matrix/app/v1/ping {"transaction_id":"meow"}`; body != want {
			t.Errorf("the service was asked %s, want %s", body, want)
		}
		ping("irc", token, `{}`).is(403, "M_FORBIDDEN")
		ping("other", "as", `{}`).is(403, "M_FORBIDDEN")
		b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.WriteHeader(403)
			_, _ = rw.Write([]byte(`{"errcode":"M_FORBIDDEN"}`))
			return true
		})
		a := ping("irc", "as", `{}`).is(502, "M_BAD_STATUS")
		if a.JSON["status"] != 403.0 || a.JSON["body"] != `{"errcode":"M_FORBIDDEN"}` {
			t.Errorf("the answer does not tell what the service said: %s", a.Body)
		}
		b.srv.Close()
		if a := ping("irc", "as", `{}`).is(502, "M_CONNECTION_FAILED"); strings.Contains(a.Body, "hs") && strings.Contains(a.Body, "token") {
			t.Errorf("the answer tells too much: %s", a.Body)
		}
	})
}

func TestPing_WithoutAddressAndWithoutAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	none := service(t, "", func(r *Registration) { r.ID, r.ASToken, r.SenderLocalpart = "none", "none", "none" })
	silent := service(t, "http://"+l.Addr().String(), nil)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, []*Service{none, silent}, options{})
		w.call("POST", "/_matrix/client/v1/appservice/none/ping", "none", `{}`).is(400, "M_URL_NOT_SET")
		silent.call.client = &http.Client{Timeout: 50 * time.Millisecond}
		w.call("POST", "/_matrix/client/v1/appservice/irc/ping", "as", `{}`).is(504, "M_CONNECTION_TIMEOUT")
	})
}

func TestQueryAlias_TheServiceMakesTheRoom(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, b *bridge) {
		_, token := w.user("alice")
		b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/_matrix/app/v1/rooms/#_irc_chan:hs.test":
				body := `{"preset":"public_chat","room_alias_name":"_irc_chan"}`
				w.call("POST", "/_matrix/client/v3/createRoom", "as", body).ok()
				return false
			case "/_matrix/app/v1/rooms/#_irc_none:hs.test":
				rw.WriteHeader(404)
				_, _ = rw.Write([]byte(`{"errcode":"ORG.EXAMPLE.NOT_FOUND"}`))
				return true
			}
			return false
		})
		if a := w.call("POST", "/_matrix/client/v3/join/"+url.PathEscape("#_irc_chan:hs.test"), token, `{}`).ok(); a.JSON["room_id"] == "" {
			t.Errorf("joined %s", a.Body)
		}
		w.call("GET", "/_matrix/client/v3/directory/room/"+url.PathEscape("#_irc_none:hs.test"), token, "").is(404, "M_NOT_FOUND")
		w.call("GET", "/_matrix/client/v3/directory/room/"+url.PathEscape("#nobody:hs.test"), token, "").is(404, "M_NOT_FOUND")
		for _, c := range b.called() {
			if strings.Contains(c, "nobody") {
				t.Errorf("the service was asked for an alias outside its namespace: %s", c)
			}
			if strings.HasPrefix(c, "GET /rooms/") {
				t.Errorf("a service that knows the path was asked at the old one: %s", c)
			}
		}
	})
}

func TestCall_ServiceThatKnowsOldPathsOnly(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, b *bridge) {
		var old []string
		b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/_matrix/app/v1/") {
				rw.WriteHeader(404)
				return true
			}
			old = append(old, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("access_token"))
			return false
		})
		if !w.apps.QueryUser(w.ctx, "@_irc_a:hs.test") {
			t.Error("the service knows the user")
		}
		if want := []string{"GET /users/@_irc_a:hs.test hs"}; !slices.Equal(old, want) {
			t.Errorf("the service was asked %v, want %v", old, want)
		}
	})
}

func TestThirdParty(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		irc, xmpp, down := newBridge(t), newBridge(t), newBridge(t)
		make := func(b *bridge, name string, protocols ...string) *Service {
			return service(t, b.srv.URL, func(r *Registration) {
				r.ID, r.ASToken, r.SenderLocalpart, r.Protocols, r.Namespaces = name, name, name, protocols, Namespaces{}
			})
		}
		w := newWorld(t, db, []*Service{make(irc, "one", "irc"), make(xmpp, "two", "irc", "xmpp"), make(down, "three", "irc", "gone")}, options{})
		down.scripted(func(rw http.ResponseWriter, r *http.Request) bool { rw.WriteHeader(500); return true })
		say := func(b *bridge, name string) {
			b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasPrefix(r.URL.Path, "/_matrix/app/v1/thirdparty/protocol/"):
					fmt.Fprintf(rw, `{"user_fields":["nick"],"location_fields":[],"icon":"","field_types":{},"instances":[{"desc":%q,"network_id":%q,"fields":{}}]}`, name, name)
				case strings.HasPrefix(r.URL.Path, "/_matrix/app/v1/thirdparty/"):
					fmt.Fprintf(rw, `[{"from":%q,"path":%q,"q":%q}]`, name, strings.TrimPrefix(r.URL.Path, "/_matrix/app/v1/thirdparty"), r.URL.RawQuery)
				default:
					return false
				}
				return true
			})
		}
		say(irc, "one")
		say(xmpp, "two")
		_, token := w.user("alice")
		get := func(path string) answer { return w.call("GET", "/_matrix/client/v3/thirdparty/"+path, token, "") }
		all := get("protocols").ok()
		if len(all.JSON) != 2 || all.JSON["gone"] != nil {
			t.Errorf("protocols are %s", all.Body)
		}
		var one struct{ Instances []struct{ Desc string } }
		if err := json.Unmarshal([]byte(get("protocol/irc").ok().Body), &one); err != nil || len(one.Instances) != 2 {
			t.Errorf("irc is %+v, %v", one, err)
		}
		get("protocol/gone").is(404, "M_NOT_FOUND")
		get("protocol/none").is(404, "M_NOT_FOUND")
		for path, want := range map[string]string{
			"location/irc?channel=%23a&access_token=secret": `[{"from":"one","path":"/location/irc","q":"channel=%23a"},{"from":"two","path":"/location/irc","q":"channel=%23a"}]`,
			"user/xmpp?nick=bob":                            `[{"from":"two","path":"/user/xmpp","q":"nick=bob"}]`,
			"user?userid=@a:b":                              `[{"from":"one","path":"/user","q":"userid=%40a%3Ab"},{"from":"two","path":"/user","q":"userid=%40a%3Ab"}]`,
			"location/none":                                 `[]`,
		} {
			if a := get(path); a.Code != 200 || a.Body != want {
				t.Errorf("%s: %d %s\nwant %s", path, a.Code, a.Body, want)
			}
		}
		w.call("GET", "/_matrix/client/v3/thirdparty/protocols", "", "").is(401, "M_MISSING_TOKEN")
	})
}

func TestThirdParty_AnswersThatMakeNoSense(t *testing.T) {
	eachWorld(t, func(r *Registration) { r.Protocols = []string{"irc"} }, func(t *testing.T, w *world, b *bridge) {
		_, token := w.user("alice")
		for _, junk := range []string{``, `[]`, `{`, `null`, `"x"`, `{"instances":5}`, `[` + strings.Repeat(`{"a":1},`, answerBytes/8) + `{}]`} {
			b.scripted(func(rw http.ResponseWriter, r *http.Request) bool { _, _ = rw.Write([]byte(junk)); return true })
			for _, path := range []string{"protocols", "protocol/irc", "user/irc", "location"} {
				if a := w.call("GET", "/_matrix/client/v3/thirdparty/"+path, token, ""); a.Code >= 500 {
					t.Errorf("%s with %.20q: %d %s", path, junk, a.Code, a.Body)
				}
			}
		}
	})
}

func TestLoopback_DeliversWithoutConnection(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		b := newBridge(t)
		w := newWorld(t, db, []*Service{service(t, "", nil)}, options{local: map[string]http.Handler{"irc": b}})
		alice, _ := w.user("alice")
		r := w.room(alice)
		w.join(w.ghost("_irc_bob"), r)
		said := w.say(alice, r, "hello")
		w.until("the message", func() bool { return b.has(said) })
		w.call("POST", "/_matrix/client/v1/appservice/irc/ping", "as", `{}`).ok()
		b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Body == nil || r.URL.Path == "" {
				t.Errorf("a request without body or path: %+v", r)
			}
			rw.Header().Set("X", "y")
			rw.WriteHeader(404)
			rw.WriteHeader(200) // too late
			return true
		})
		if w.apps.QueryUser(w.ctx, id.UserID("@_irc_x:"+domain)) {
			t.Error("the service said 404, and the user exists")
		}
		b.scripted(func(rw http.ResponseWriter, r *http.Request) bool {
			for range answerBytes / 1000 {
				_, _ = rw.Write(make([]byte, 2000))
			}
			return true
		})
		if found := w.apps.Lookup(w.ctx, "user", "", nil); len(found) != 0 {
			t.Errorf("an endless answer was read as %d users", len(found))
		}
	})
}
