package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

const (
	alice = id.UserID("@alice:hs1")
	bob   = id.UserID("@bob:hs2")
	evil  = id.UserID("@evil:hs2:8448")
	local = id.UserID("@local:hs1")

	permission = "m.invite_permission_config"
	filter     = "org.matrix.msc4155.invite_permission_config"
)

func TestInvites_ByWishOfTheInvited(t *testing.T) {
	const refuse, ignore, allow = policy.Refuse, policy.Ignore, policy.Allow
	for name, c := range map[string]struct {
		eventType, content string
		bob, evil, local   policy.Verdict
	}{
		"nothing":             {filter, `{}`, allow, allow, allow},
		"all blocked":         {permission, `{"default_action":"block"}`, refuse, refuse, refuse},
		"unknown action":      {permission, `{"default_action":"allow"}`, allow, allow, allow},
		"action of no sense":  {permission, `{"default_action":["block"]}`, allow, allow, allow},
		"user blocked":        {filter, `{"blocked_users":["@bob:hs2"]}`, refuse, allow, allow},
		"user ignored":        {filter, `{"ignored_users":["@bob:hs2"]}`, ignore, allow, allow},
		"server blocked":      {filter, `{"blocked_servers":["HS2"]}`, refuse, refuse, allow},
		"server ignored":      {filter, `{"ignored_servers":["hs2"]}`, ignore, ignore, allow},
		"servers by pattern":  {filter, `{"blocked_servers":["hs*"]}`, refuse, refuse, refuse},
		"users by pattern":    {filter, `{"blocked_users":["@?ob:*"]}`, refuse, allow, allow},
		"allowed of blocked":  {filter, `{"allowed_users":["@bob:hs2"],"blocked_servers":["hs2"]}`, allow, refuse, allow},
		"blocked of allowed":  {filter, `{"blocked_users":["@evil:*"],"allowed_servers":["hs2"]}`, allow, refuse, allow},
		"ignored and blocked": {filter, `{"ignored_users":["@bob:hs2"],"blocked_users":["@bob:hs2"]}`, ignore, allow, allow},
		"only some servers":   {filter, `{"allowed_servers":["hs1"],"blocked_servers":["*"]}`, refuse, refuse, allow},
		"null":                {filter, `{"blocked_users":null,"blocked_servers":["hs2"]}`, refuse, refuse, allow},
		"one of no sense":     {filter, `{"blocked_users":"@bob:hs2","ignored_users":[1],"ignored_servers":["hs2"]}`, ignore, ignore, allow},
		"switched off":        {filter, `{"enabled":false,"blocked_users":["@bob:hs2"]}`, allow, allow, allow},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy.New(stream.New(dbtest.SQLite(t)), policy.Options{ServerName: "hs1",
				AccountData: func(_ context.Context, u id.UserID, eventType string) (json.RawMessage, error) {
					if u != alice || eventType != c.eventType {
						return nil, nil
					}
					return json.RawMessage(c.content), nil
				}})
			for inviter, want := range map[id.UserID]policy.Verdict{bob: c.bob, evil: c.evil, local: c.local} {
				q := policy.Question{Action: policy.Invite, User: inviter, Target: alice}
				d, err := p.Decide(t.Context(), q)
				if err != nil || d.Verdict != want || want != allow && (d.Rule == "" || d.Reason == "") {
					t.Errorf("%s: %+v, %v, want %d", inviter, d, err, want)
				}
				if err := p.Allowed(t.Context(), q); (err == nil) != (want != refuse) || err != nil && code(err) != "M_INVITE_BLOCKED" {
					t.Errorf("%s: %v", inviter, err)
				}
			}
			if err := p.Allowed(t.Context(), policy.Question{Action: "join", User: bob, Target: alice}); err != nil {
				t.Errorf("joining: %v", err)
			}
		})
	}
}

func code(err error) string {
	var resp mautrix.RespError
	if !errors.As(err, &resp) || resp.StatusCode != 403 {
		return ""
	}
	return resp.ErrCode
}

func TestInvites_FollowTheAccountData(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		s := stream.New(db)
		content, reads := `{"blocked_users":["@bob:hs2"]}`, 0
		p := policy.New(s, policy.Options{ServerName: "hs1", AccountData: func(_ context.Context, _ id.UserID, eventType string) (json.RawMessage, error) {
			reads++
			if eventType != filter {
				return nil, nil
			}
			return json.RawMessage(content), nil
		}})
		streamtest.Run(t, s)
		ask := func() policy.Verdict {
			w, err := p.Invites(t.Context(), alice)
			if err != nil {
				t.Fatal(err)
			}
			return w.Of(bob).Verdict
		}
		for range 3 {
			if ask() != policy.Refuse || reads != 2 {
				t.Fatalf("%d reads", reads)
			}
		}
		content = `{}`
		_, err := s.Commit(t.Context(), &stream.Unit{Changes: []stream.Change{{Kind: stream.AccountData, UserID: alice, Ref: filter}}})
		if err != nil || ask() != policy.Allow {
			t.Fatalf("old wishes, %v", err)
		}
	})
}

func TestServers_OfTheLists(t *testing.T) {
	for name, c := range map[string]struct {
		allow, deny     []string
		allowed, denied []string
	}{
		"no lists": {nil, nil, []string{"a.test", "hs1"}, nil},
		"denied":   {nil, []string{"*.evil.test", "Bad.test"}, []string{"evil.test", "a.test"}, []string{"x.evil.test", "bad.test", "bad.test:8448"}},
		"allowed":  {[]string{"*.gov.test"}, nil, []string{"a.gov.test", "a.gov.test:1", "hs1"}, []string{"gov.test", "a.test"}},
		"both":     {[]string{"*"}, []string{"a.test"}, []string{"b.test"}, []string{"a.test"}},
	} {
		p := policy.New(stream.New(dbtest.SQLite(t)), policy.Options{ServerName: "hs1", AllowServers: c.allow, DenyServers: c.deny})
		for _, s := range c.allowed {
			if err := p.Server(t.Context(), s); err != nil {
				t.Errorf("%s: %s: %v", name, s, err)
			}
		}
		for _, s := range c.denied {
			user := id.UserID("@u:" + s)
			for what, err := range map[string]error{
				"exchange":   p.Server(t.Context(), s),
				"invite to":  p.Allowed(t.Context(), policy.Question{Action: policy.Invite, User: alice, Target: user}),
				"invited by": p.Allowed(t.Context(), policy.Question{Action: policy.Invite, User: user, Target: alice}),
				"join":       p.Allowed(t.Context(), policy.Question{Action: "join", User: user}),
			} {
				if code(err) != "M_FORBIDDEN" {
					t.Errorf("%s: %s with %s: %v", name, what, s, err)
				}
			}
		}
	}
}

func TestPolicy_NoneAllowsAll(t *testing.T) {
	var p *policy.Policy
	if w, err := p.Invites(t.Context(), alice); err != nil || w.Of(bob).Verdict != policy.Allow {
		t.Error("invites")
	}
	if err := p.Server(t.Context(), "a.test"); err != nil {
		t.Error(err)
	}
}
