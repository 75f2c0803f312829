package oauth

import (
	"context"
	"net/http"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// actionsSupported are the ends that the account page can be opened for; clients that use older names get the list.
//
// spec: cs#oauth-20-account-management
func actionsSupported() []string {
	return []string{"org.matrix.devices_list", "org.matrix.device_view", "org.matrix.device_delete", "org.matrix.cross_signing_reset"}
}

// GetAccount begins a visit to the account page.
func (o *OAuth) GetAccount(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	if !o.signOn() {
		return errOff
	}
	q := r.URL.Query()
	return o.begin(w, r, pending{Kind: "account", Action: cut(q.Get("action"), 100), DeviceID: id.DeviceID(cut(q.Get("device_id"), 255))})
}

// showAccount lists the sessions of a user.
func (o *OAuth) showAccount(w http.ResponseWriter, r *http.Request, name string, p *pending) error {
	b, err := o.browser(w, r)
	if err != nil {
		return err
	}
	devices, err := o.accounts.Devices(r.Context(), b.user)
	if err != nil {
		return err
	}
	g := page{Name: "account", Request: name}
	for _, d := range devices {
		if p.DeviceID != "" && d.ID != p.DeviceID {
			continue
		}
		row := deviceRow{ID: string(d.ID), Name: d.DisplayName, Seen: "–"}
		if row.Name == "" {
			row.Name = row.ID
		}
		if d.LastSeen > 0 {
			row.Seen = time.UnixMilli(d.LastSeen).UTC().Format("2006-01-02 15:04 UTC")
		}
		g.Devices = append(g.Devices, row)
	}
	return o.show(w, r, http.StatusOK, g)
}

// onAccount does something for a person on their account page.
func (o *OAuth) onAccount(fn func(w http.ResponseWriter, r *http.Request, b browser, device id.DeviceID) error) func(http.ResponseWriter, *http.Request, web.Requester) error {
	return func(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
		f, p, b, ok, err := o.entered(w, r)
		if !ok {
			return err
		}
		if b.user == "" || p.Kind != "account" {
			return o.fail(w, r, http.StatusForbidden, "gone")
		}
		return fn(w, r, b, id.DeviceID(f.Get("device")))
	}
}

// PostEnd signs a device out.
func (o *OAuth) PostEnd() func(http.ResponseWriter, *http.Request, web.Requester) error {
	return o.onAccount(func(w http.ResponseWriter, r *http.Request, b browser, device id.DeviceID) error {
		if device == "" {
			return o.fail(w, r, http.StatusBadRequest, "badRequest")
		}
		if err := o.accounts.DeleteDevices(r.Context(), b.user, device); err != nil {
			return err
		}
		return redirect(w, r, "/account/")
	})
}

// PostReset allows a new cross-signing identity for a short while. spec: cs#post_matrixclientv3keysdevice_signingupload
func (o *OAuth) PostReset() func(http.ResponseWriter, *http.Request, web.Requester) error {
	return o.onAccount(func(w http.ResponseWriter, r *http.Request, b browser, _ id.DeviceID) error {
		if err := o.keep(r.Context(), kindProof, StageOAuth+" "+string(b.user), proof{b.user}, proofLifetime); err != nil {
			return err
		}
		return o.show(w, r, http.StatusOK, page{Name: "done"})
	})
}

// PostSignOut makes the browser forget who is signed in.
func (o *OAuth) PostSignOut() func(http.ResponseWriter, *http.Request, web.Requester) error {
	return o.onAccount(func(w http.ResponseWriter, r *http.Request, b browser, _ id.DeviceID) error {
		if err := o.signOut(r.Context(), w, b); err != nil {
			return err
		}
		return redirect(w, r, "/account/")
	})
}

func (o *OAuth) signOut(ctx context.Context, w http.ResponseWriter, b browser) error {
	_, err := o.take(ctx, kindBrowser, b.secret, nil)
	o.setCookie(w, secret())
	return err
}
