package account_test

import (
	"testing"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
)

func TestDeletedDevice_TakesItsNotificationSettingsAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		one := w.register("alice")
		two := w.login(one.user, password)
		at := func(prefix string, c client) string {
			return "user/@alice:hs1/account_data/" + prefix + "local_notification_settings." + string(c.device)
		}
		for _, prefix := range []string{"m.", "org.matrix.msc3890."} {
			one.ask("PUT", at(prefix, one), body{"is_silenced": true}).ok()
			one.ask("PUT", at(prefix, two), body{"is_silenced": true}).ok()
		}
		since := w.stream.Head()
		two.ask("POST", "logout", nil).ok()
		for _, prefix := range []string{"m.", "org.matrix.msc3890."} {
			one.ask("GET", at(prefix, two), nil).is(404, "M_NOT_FOUND")
			one.ask("GET", at(prefix, one), nil).ok()
		}
		gone, err := w.a.AccountDataSince(w.ctx, one.user, since, w.stream.Head())
		if err != nil || len(gone) != 2 || string(gone[0].Content) != "{}" || string(gone[1].Content) != "{}" {
			t.Fatalf("clients hear of %+v, %v", gone, err)
		}
	}, func(cfg *config.Config, _ *account.Deps) { cfg.Experimental.MSC3890 = true })
}
