package oauth

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// waiting is a device that waits for its user to allow it elsewhere. RFC 8628
type waiting struct {
	ClientID string      `json:"client_id"`
	Scope    string      `json:"scope"`
	DeviceID id.DeviceID `json:"device_id"`
	User     id.UserID   `json:"user,omitempty"` // who allowed it
	Denied   bool        `json:"denied,omitempty"`
	Expires  int64       `json:"expires"`
	Asked    int64       `json:"asked,omitempty"` // when it asked last
}

const pollEvery = 5 * time.Second

type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// wordLetters cannot be mistaken for each other, and make no words.
const wordLetters = "BCDFGHJKLMNPQRSTVWXZ"

func newWord() string {
	var b [8]byte
	for i := range b {
		var one [1]byte
		for {
			_, _ = rand.Read(one[:])
			if n := int(one[0]); n < 240 { // 240 is 12 times the letters: each is as likely
				b[i] = wordLetters[n%len(wordLetters)]
				break
			}
		}
	}
	return string(b[:4]) + "-" + string(b[4:])
}

// plainWord is a typed code without what people add to it.
func plainWord(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(wordLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(cut(s, 40)))
}

// PostDevice begins the sign-in of a device that has no browser, or whose user is signed in elsewhere.
//
// spec: cs#device-authorisation-grant, RFC 8628 section 3.1
func (o *OAuth) PostDevice(w http.ResponseWriter, r *http.Request) error {
	if !o.cfg.OAuth.Enabled {
		return errOff
	}
	f, err := form(w, r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	c, err := o.client(ctx, f.Get("client_id"))
	if err != nil {
		return err
	}
	if c == nil {
		return problem{"invalid_client", "Unknown client", http.StatusUnauthorized}
	}
	if !slices.Contains(c.GrantTypes, grantDevice) {
		return invalid("unauthorized_client", "The client has not registered this grant type")
	}
	device, ok := readScope(f.Get("scope"))
	if !ok {
		return invalid("invalid_scope", "The scope must have the API and one device")
	}
	wait := waiting{ClientID: f.Get("client_id"), Scope: f.Get("scope"), DeviceID: device, Expires: o.now().Add(deviceLifetime).UnixMilli()}
	code, err := o.give(ctx, kindDevice, wait, deviceLifetime)
	if err != nil {
		return err
	}
	word := newWord()
	if err := o.keep(ctx, kindWord, plainWord(word), code, deviceLifetime); err != nil {
		return err
	}
	uri := o.at("/oauth2/link")
	return answer(w, http.StatusOK, deviceAnswer{code, word, uri, uri + "?code=" + url.QueryEscape(word),
		int64(deviceLifetime.Seconds()), int64(pollEvery.Seconds())})
}

func (o *OAuth) exchangeDevice(ctx context.Context, clientID string, c *Client, code string) (tokens, error) {
	var wait waiting
	found, err := o.look(ctx, kindDevice, code, &wait)
	if err != nil {
		return tokens{}, err
	}
	switch {
	case !found:
		return tokens{}, invalid("expired_token", "The code has expired")
	case wait.ClientID != clientID:
		return tokens{}, invalid("invalid_grant", "The code is not for this client")
	case wait.Denied:
		return tokens{}, invalid("access_denied", "The user did not allow it")
	case wait.User != "":
		if found, err = o.take(ctx, kindDevice, code, nil); err != nil || !found { // two polls at the same time get one session
			return tokens{}, orProblem(err, invalid("expired_token", "The code has been used"))
		}
		return o.startSession(ctx, clientID, c, wait.User, wait.DeviceID, wait.Scope)
	}
	return tokens{}, invalid("authorization_pending", "The user has not decided yet")
}

func orProblem(err error, p problem) error {
	if err != nil {
		return err
	}
	return p
}

// GetLink asks for the code that a device shows, or takes it from the address.
func (o *OAuth) GetLink(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	if !o.cfg.OAuth.Enabled {
		return errOff
	}
	word := plainWord(r.URL.Query().Get("code"))
	if word == "" {
		return o.show(w, r, http.StatusOK, page{Name: "link"})
	}
	var code string
	found, err := o.look(r.Context(), kindWord, word, &code)
	if err != nil {
		return err
	}
	if !found {
		return o.show(w, r, http.StatusOK, page{Name: "link", Problem: "wrongCode"})
	}
	var wait waiting
	if found, err = o.look(r.Context(), kindDevice, code, &wait); err != nil || !found {
		return orFail(err, func() error { return o.show(w, r, http.StatusOK, page{Name: "link", Problem: "wrongCode"}) })
	}
	return o.begin(w, r, pending{Kind: "link", Code: code, ClientID: wait.ClientID, DeviceID: wait.DeviceID})
}

func orFail(err error, fn func() error) error {
	if err != nil {
		return err
	}
	return fn()
}

// decideLink tells the device what its user decided.
func (o *OAuth) decideLink(ctx context.Context, p *pending, user id.UserID, allow bool) (bool, error) {
	var wait waiting
	found, err := o.look(ctx, kindDevice, p.Code, &wait)
	if err != nil || !found || wait.User != "" || wait.Denied {
		return false, err
	}
	if wait.Denied = !allow; allow {
		wait.User = user
	}
	return true, o.keep(ctx, kindDevice, p.Code, wait, time.UnixMilli(wait.Expires).Sub(o.now()))
}
