package account_test

import (
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// Whatever write fails, an account is made whole or not at all, and so is its end.
func TestCrash_AccountsAreWholeOrAbsent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := func(k int) id.UserID { return id.UserID(fmt.Sprintf("@crash%d:hs1", k)) }
		dbtest.CrashPoints(t, w.db, func(k int) {
			s, err := w.a.Register(w.ctx, account.NewUser{Localpart: fmt.Sprintf("crash%d", k), Password: password, Refreshable: true})
			if err != nil {
				return
			}
			if _, err = w.a.Refresh(w.ctx, s.RefreshToken); err != nil {
				return
			}
			_ = w.a.Deactivate(w.ctx, user(k), true)
		}, func(k int) {
			count := func(table string) (n int) {
				t.Helper()
				if err := w.db.QueryRow(w.ctx, `SELECT COUNT(*) FROM `+table+` WHERE user_id = $1`, user(k)).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			u, err := w.a.GetUser(w.ctx, user(k))
			alive := err == nil && !u.Deactivated
			if got := count("devices") == 1; got != alive {
				t.Errorf("run %d: alive %v, has a device %v", k, alive, got)
			}
			if got := count("profiles") == 1; got != alive {
				t.Errorf("run %d: alive %v, has a profile %v", k, alive, got)
			}
			if got := count("access_tokens") > 0 && count("refresh_tokens") > 0; got != alive {
				t.Errorf("run %d: alive %v, has tokens %v", k, alive, got)
			}
			if alive && count("access_tokens") != count("refresh_tokens") {
				t.Errorf("run %d: %d access and %d refresh tokens", k, count("access_tokens"), count("refresh_tokens"))
			}
		})
	})
}
