package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

// GetContinue shows the next page of what a browser has come for.
func (o *OAuth) GetContinue(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	name := r.URL.Query().Get("r")
	p, err := o.findPending(r.Context(), name)
	if err != nil {
		return err
	}
	if p == nil {
		return o.fail(w, r, http.StatusNotFound, "gone")
	}
	b, err := o.browser(w, r)
	if err != nil {
		return err
	}
	if b.user != "" {
		return o.showDecision(w, r, name, p)
	}
	create := r.URL.Query().Get("create") == "1" || p.Create
	if p.Provider != "" && !create {
		for _, up := range o.providers {
			if up.cfg.ID == p.Provider {
				return up.start(w, r, name, b)
			}
		}
	}
	return o.showSignIn(w, r, name, p, create, "")
}

func (o *OAuth) showSignIn(w http.ResponseWriter, r *http.Request, name string, p *pending, create bool, problem string) error {
	g := page{Name: "signin", Request: name, Problem: problem, Create: o.mayRegister(), Local: o.cfg.Passwords.Enabled, Ask: o.cfg.Registration.RequireToken}
	if create && o.mayRegister() {
		g.Name = "create"
	}
	var err error
	if g.Client, g.Host, err = o.asker(r, p); err != nil {
		return err
	}
	if g.Client == "" {
		g.Client = g.Host
	}
	for _, up := range o.providers {
		g.Providers = append(g.Providers, providerLink{up.cfg.ID, up.cfg.Name})
	}
	return o.show(w, r, http.StatusOK, g)
}

// asker says on whose behalf a browser has come.
func (o *OAuth) asker(r *http.Request, p *pending) (name, host string, err error) {
	switch p.Kind {
	case "authorize", "link":
		c, err := o.client(r.Context(), p.ClientID)
		if err != nil || c == nil {
			return "", "", err
		}
		return c.title(), c.host(), nil
	case "sso":
		if u, err := url.Parse(p.RedirectURI); err == nil {
			if host = u.Host; host == "" {
				host = u.Scheme + ":"
			}
		}
		return host, "", nil
	}
	return "", "", nil
}

// entered is a form that a page of ours has sent: what for, and by which browser.
func (o *OAuth) entered(w http.ResponseWriter, r *http.Request) (f url.Values, p *pending, b browser, ok bool, err error) {
	if f, err = form(w, r); err != nil {
		return nil, nil, b, false, o.fail(w, r, http.StatusBadRequest, "badRequest")
	}
	if b, err = o.browser(w, r); err != nil {
		return nil, nil, b, false, err
	}
	if !b.checks(f.Get("token")) {
		return nil, nil, b, false, o.fail(w, r, http.StatusForbidden, "gone")
	}
	if p, err = o.findPending(r.Context(), f.Get("r")); err != nil {
		return nil, nil, b, false, err
	}
	if p == nil {
		return nil, nil, b, false, o.fail(w, r, http.StatusNotFound, "gone")
	}
	return f, p, b, true, nil
}

// PostSignIn checks name and password.
func (o *OAuth) PostSignIn(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	f, p, _, ok, err := o.entered(w, r)
	if !ok {
		return err
	}
	if err := web.TakeLimit(r.Context(), web.LimitLogin, strings.ToLower(cut(f.Get("user"), 255))); err != nil {
		return err
	}
	u, err := o.accounts.CheckPassword(r.Context(), strings.TrimSpace(f.Get("user")), f.Get("password"))
	if text, refused := account.Refused(err); refused {
		return o.showSignIn(w, r, f.Get("r"), p, false, text)
	}
	if err != nil {
		return err
	}
	return o.goOn(w, r, f.Get("r"), u.ID)
}

// goOn continues with a browser that has just signed in.
func (o *OAuth) goOn(w http.ResponseWriter, r *http.Request, name string, user id.UserID) error {
	if err := o.signedIn(r.Context(), w, user); err != nil {
		return err
	}
	return redirect(w, r, "/oauth2/continue?r="+url.QueryEscape(name))
}

// PostCreate makes an account where registration is open.
func (o *OAuth) PostCreate(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	f, p, _, ok, err := o.entered(w, r)
	if !ok {
		return err
	}
	if !o.mayRegister() {
		return o.fail(w, r, http.StatusForbidden, "noAccount")
	}
	n := account.NewUser{Localpart: strings.TrimSpace(f.Get("user")), Password: f.Get("password"), NoSession: true}
	if o.cfg.Registration.RequireToken {
		n.RegistrationToken = f.Get("registration_token")
		valid, err := o.accounts.RegistrationTokenValid(r.Context(), n.RegistrationToken)
		if err != nil {
			return err
		}
		if !valid {
			return o.showSignIn(w, r, f.Get("r"), p, true, "wrongCode")
		}
	}
	if n.Localpart == "" || n.Password == "" {
		return o.showSignIn(w, r, f.Get("r"), p, true, "badRequest")
	}
	s, err := o.accounts.Register(r.Context(), n)
	if text, refused := account.Refused(err); refused {
		return o.showSignIn(w, r, f.Get("r"), p, true, text)
	}
	if err != nil {
		return err
	}
	return o.goOn(w, r, f.Get("r"), s.UserID)
}

// showDecision asks a signed-in person what is to be done.
func (o *OAuth) showDecision(w http.ResponseWriter, r *http.Request, name string, p *pending) error {
	g := page{Name: "allow", Request: name, Device: string(p.DeviceID)}
	switch p.Kind {
	case "account":
		return o.showAccount(w, r, name, p)
	case "uia":
		g.Name = "confirm"
		return o.show(w, r, http.StatusOK, g)
	}
	var err error
	if g.Client, g.Host, err = o.asker(r, p); err != nil {
		return err
	}
	if c, err := o.client(r.Context(), p.ClientID); err != nil {
		return err
	} else if c != nil {
		g.Policy, g.Terms = c.Policy, c.Terms
	}
	return o.show(w, r, http.StatusOK, g)
}

// PostDecide does what the person has decided. The pending request is used up.
func (o *OAuth) PostDecide(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	f, p, b, ok, err := o.entered(w, r)
	if !ok {
		return err
	}
	name := f.Get("r")
	if b.user == "" {
		return redirect(w, r, "/oauth2/continue?r="+url.QueryEscape(name))
	}
	if f.Get("decision") == "other" {
		if err := o.signOut(r.Context(), w, b); err != nil {
			return err
		}
		return redirect(w, r, "/oauth2/continue?r="+url.QueryEscape(name))
	}
	found, err := o.take(r.Context(), kindPending, name, nil)
	if err != nil {
		return err
	}
	if !found {
		return o.fail(w, r, http.StatusNotFound, "gone")
	}
	return o.decided(w, r, p, b.user, f.Get("decision") == "allow")
}

var errKind = errors.New("oauth: unknown kind of a pending request")

func (o *OAuth) decided(w http.ResponseWriter, r *http.Request, p *pending, user id.UserID, allow bool) error {
	switch p.Kind {
	case "authorize":
		if !allow {
			return o.sendBack(w, r, p, url.Values{"error": {"access_denied"}})
		}
		return o.allowAuthorization(w, r, p, user)
	case "link":
		done, err := o.decideLink(r.Context(), p, user, allow)
		switch {
		case err != nil:
			return err
		case !done:
			return o.fail(w, r, http.StatusNotFound, "gone")
		case !allow:
			return o.fail(w, r, http.StatusOK, "denied")
		}
		return o.show(w, r, http.StatusOK, page{Name: "done"})
	case "sso":
		if !allow {
			return o.fail(w, r, http.StatusOK, "denied")
		}
		return o.finishSSO(w, r, p, user)
	case "uia":
		if !allow {
			return o.fail(w, r, http.StatusOK, "denied")
		}
		return o.finishStage(w, r, p, user)
	}
	return errKind
}
