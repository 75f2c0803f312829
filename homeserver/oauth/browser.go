package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"maunium.net/go/mautrix/id"
)

// browser is what is known of the browser that asks.
type browser struct {
	secret string    // of its cookie
	user   id.UserID // who is signed in; empty: nobody
}

type browserTicket struct {
	User id.UserID `json:"user"`
}

// cookieName binds the cookie to this host where the transport allows it.
func (o *OAuth) cookieName() string {
	if o.secure() {
		return "__Host-viaduc"
	}
	return "viaduc"
}

func (o *OAuth) secure() bool { return strings.HasPrefix(o.base(), "https://") }

// browser reads the cookie, or gives the browser one.
func (o *OAuth) browser(w http.ResponseWriter, r *http.Request) (browser, error) {
	c, err := r.Cookie(o.cookieName())
	if err != nil || len(c.Value) != 43 {
		b := browser{secret: secret()}
		o.setCookie(w, b.secret)
		return b, nil
	}
	b := browser{secret: c.Value}
	var t browserTicket
	found, err := o.look(r.Context(), kindBrowser, b.secret, &t)
	if err != nil || !found {
		return b, err
	}
	u, err := o.accounts.GetUser(r.Context(), t.User)
	if err != nil || u.Deactivated || u.Locked {
		return b, nil //nolint:nilerr // then nobody is signed in
	}
	b.user = t.User
	return b, nil
}

func (o *OAuth) setCookie(w http.ResponseWriter, value string) {
	http.SetCookie(w, &http.Cookie{Name: o.cookieName(), Value: value, Path: "/", HttpOnly: true, Secure: o.secure(), SameSite: http.SameSiteLaxMode})
}

// signedIn gives the browser a new cookie: one that somebody planted before is worth nothing.
func (o *OAuth) signedIn(ctx context.Context, w http.ResponseWriter, user id.UserID) error {
	s, err := o.give(ctx, kindBrowser, browserTicket{user}, browserLifetime)
	if err == nil {
		o.setCookie(w, s)
	}
	return err
}

// token goes into every form: only a page of ours knows it.
func (b browser) token() string {
	sum := sha256.Sum256([]byte("form " + b.secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (b browser) checks(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(b.token())) == 1
}
