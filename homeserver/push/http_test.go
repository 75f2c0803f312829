package push

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/web"
)

// only lets everybody in as one user.
type only struct{ user id.UserID }

func (o only) Authenticate(context.Context, *http.Request, web.Auth) (web.Requester, error) {
	return web.Requester{UserID: o.user, DeviceID: "DEV"}, nil
}

// rows are the endpoints of this package as the client API has them.
func rows(p *Push) []web.Route {
	const rule = "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}"
	return []web.Route{
		web.Row("GET", "/_matrix/client/v3/pushrules/", web.User, web.NoLimit, web.JSON(p.GetRules), "cs#get_matrixclientv3pushrules"),
		web.Row("GET", "/_matrix/client/v3/pushrules/global/", web.User, web.NoLimit, web.JSON(p.GetGlobalRules), "cs#get_matrixclientv3pushrulesglobal"),
		web.Row("GET", rule, web.User, web.NoLimit, web.JSON(p.GetRule), "cs#get_matrixclientv3pushrulesglobalkindruleid"),
		web.Row("PUT", rule, web.User, web.NoLimit, web.JSON(p.PutRule), "cs#put_matrixclientv3pushrulesglobalkindruleid"),
		web.Row("DELETE", rule, web.User, web.NoLimit, web.JSON(p.DeleteOwnRule), "cs#delete_matrixclientv3pushrulesglobalkindruleid"),
		web.Row("GET", rule+"/enabled", web.User, web.NoLimit, web.JSON(p.GetRuleEnabled), "cs#get_matrixclientv3pushrulesglobalkindruleidenabled"),
		web.Row("PUT", rule+"/enabled", web.User, web.NoLimit, web.JSON(p.PutRuleEnabled), "cs#put_matrixclientv3pushrulesglobalkindruleidenabled"),
		web.Row("GET", rule+"/actions", web.User, web.NoLimit, web.JSON(p.GetRuleActions), "cs#get_matrixclientv3pushrulesglobalkindruleidactions"),
		web.Row("PUT", rule+"/actions", web.User, web.NoLimit, web.JSON(p.PutRuleActions), "cs#put_matrixclientv3pushrulesglobalkindruleidactions"),
		web.Row("GET", "/_matrix/client/v3/pushers", web.User, web.NoLimit, web.JSON(p.GetPushers), "cs#get_matrixclientv3pushers"),
		web.Row("POST", "/_matrix/client/v3/pushers/set", web.User, web.NoLimit, web.JSON(p.PostPusher), "cs#post_matrixclientv3pushersset"),
		web.Row("GET", "/_matrix/client/v3/notifications", web.User, web.NoLimit, web.JSON(p.GetNotifications), "cs#get_matrixclientv3notifications"),
	}
}

func TestHTTP_RulesAndPushers(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), nil)
	alice, bob := w.user("alice"), w.user("bob")
	w.say(alice, w.create(alice, bob), "hello")
	s := web.New(config.Default(), web.Deps{Users: only{bob}, Log: zerolog.Nop()})
	s.Handle(rows(w.push)...)
	const pusher = `"app_id":"a","pushkey":"k"`
	for _, c := range []struct {
		method, path, body string
		status             int
		at, want           string
	}{
		{"GET", "pushrules/", "", 200, "global.override.0.rule_id", masterRule},
		{"GET", "pushrules/global/", "", 200, "override.0.rule_id", masterRule},
		{"PUT", "pushrules/global/room/%21foo%3Aexample.com", `{"actions":["dont_notify"]}`, 200, "@this", "{}"},
		{"GET", "pushrules/global/room/!foo:example.com", "", 200, "actions.0", "dont_notify"},
		{"PUT", "pushrules/global/room/!foo:example.com/enabled", `{"enabled":false}`, 200, "@this", "{}"},
		{"GET", "pushrules/global/room/!foo:example.com/enabled", "", 200, "enabled", "false"},
		{"PUT", "pushrules/global/room/!foo:example.com/enabled", `{}`, 400, "errcode", "M_MISSING_PARAM"},
		{"PUT", "pushrules/global/room/!foo:example.com/actions", `{"actions":["notify"]}`, 200, "@this", "{}"},
		{"GET", "pushrules/global/room/!foo:example.com/actions", "", 200, "actions.0", "notify"},
		{"GET", "pushrules/global/postcontent/.io.element.msc4306.rule.subscribed_thread", "", 404, "errcode", "M_NOT_FOUND"},
		{"PUT", "pushrules/global/room/x?before=y", `{"actions":[]}`, 400, "errcode", "M_UNKNOWN"},
		{"PUT", "pushrules/global/room/a%2Fb", `{"actions":[]}`, 400, "errcode", "M_INVALID_PARAM"},
		{"DELETE", "pushrules/global/room/!foo:example.com", "", 200, "@this", "{}"},
		{"DELETE", "pushrules/global/room/!foo:example.com", "", 404, "errcode", "M_NOT_FOUND"},
		{"POST", "pushers/set", `{` + pusher + `}`, 400, "errcode", "M_MISSING_PARAM"},
		{"POST", "pushers/set", `{"kind":"http",` + pusher + `}`, 400, "error", "Missing parameters: app_display_name, device_display_name, lang, data"},
		{"POST", "pushers/set", `{"kind":1,` + pusher + `}`, 400, "errcode", "M_BAD_JSON"},
		{"POST", "pushers/set", `{"kind":"http",` + pusher + `,"app_display_name":"A","device_display_name":"D","lang":"en","profile_tag":"t",
			"data":{"url":"https://dummy.url/_matrix/push/v1/notify"}}`, 200, "@this", "{}"},
		{"GET", "pushers", "", 200, "pushers.0.data.url", "https://dummy.url/_matrix/push/v1/notify"},
		{"GET", "pushers", "", 200, "pushers.0.profile_tag", "t"},
		{"POST", "pushers/set", `{"kind":null,` + pusher + `}`, 200, "@this", "{}"},
		{"GET", "pushers", "", 200, "pushers.#", "0"},
		{"GET", "notifications?limit=1", "", 200, "notifications.0.event.content.body", "hello"},
		{"GET", "notifications?from=x", "", 400, "errcode", "M_INVALID_PARAM"},
	} {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(c.method, "/_matrix/client/v3/"+c.path, strings.NewReader(c.body)))
		if got := gjson.Get(rec.Body.String(), c.at).String(); rec.Code != c.status || got != c.want {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, rec.Code, rec.Body)
		}
	}
}
