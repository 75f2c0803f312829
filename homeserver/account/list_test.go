package account_test

import (
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
)

func TestListUsers_PagesFiltersAndSearches(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range 5 {
			if _, err := w.a.Register(w.ctx, account.NewUser{Localpart: fmt.Sprintf("u%d", i), Password: password, Admin: i == 3}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.a.SetDisplayName(w.ctx, "@u4:hs1", "Agnès 100%"); err != nil {
			t.Fatal(err)
		}
		if err := w.a.Deactivate(w.ctx, "@u0:hs1", false); err != nil {
			t.Fatal(err)
		}
		yes, no := true, false
		for what, c := range map[string]struct {
			q     account.UserQuery
			total int64
			first id.UserID
		}{
			"all":         {account.UserQuery{}, 5, "@u0:hs1"},
			"page":        {account.UserQuery{From: 2, Limit: 2}, 5, "@u2:hs1"},
			"after":       {account.UserQuery{After: "@u2:hs1"}, 2, "@u3:hs1"},
			"backward":    {account.UserQuery{Backward: true}, 5, "@u4:hs1"},
			"admins":      {account.UserQuery{Admin: &yes}, 1, "@u3:hs1"},
			"deactivated": {account.UserQuery{Deactivated: &yes}, 1, "@u0:hs1"},
			"active":      {account.UserQuery{Deactivated: &no, OrderBy: "created"}, 4, ""},
			"by ID":       {account.UserQuery{Search: "@U1"}, 1, "@u1:hs1"},
			"by name":     {account.UserQuery{Search: "100%"}, 1, "@u4:hs1"},
			"no wildcard": {account.UserQuery{Search: "u_"}, 0, ""},
			"last seen":   {account.UserQuery{OrderBy: "last_seen"}, 5, ""},
		} {
			page, total, err := w.a.ListUsers(w.ctx, c.q)
			if err != nil || total != c.total || c.first != "" && (len(page) == 0 || page[0].ID != c.first) {
				t.Errorf("%s: %d of %d: %+v %v", what, len(page), total, page, err)
			}
		}
		if _, _, err := w.a.ListUsers(w.ctx, account.UserQuery{OrderBy: "password_hash"}); err == nil {
			t.Error("an unknown order was taken")
		}
		page, _, err := w.a.ListUsers(w.ctx, account.UserQuery{After: "@u3:hs1"})
		if err != nil || len(page) != 1 || page[0].DisplayName != "Agnès 100%" || page[0].Created == 0 {
			t.Errorf("%+v %v", page, err)
		}
	})
}
