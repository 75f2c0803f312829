package oauth

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// Scopes. spec: cs#scope
const (
	scopeAPI            = "urn:matrix:client:api:*"
	scopeDevice         = "urn:matrix:client:device:"
	unstableScopeAPI    = "urn:matrix:org.matrix.msc2967.client:api:*"
	unstableScopeDevice = "urn:matrix:org.matrix.msc2967.client:device:"
)

// pending is what a browser has come for.
type pending struct {
	Kind     string `json:"kind"` // authorize, sso, link, account or uia
	Provider string `json:"provider,omitempty"`
	Create   bool   `json:"create,omitempty"`

	// authorize
	ClientID     string      `json:"client_id,omitempty"`
	RedirectURI  string      `json:"redirect_uri,omitempty"`
	State        string      `json:"state,omitempty"`
	ResponseMode string      `json:"response_mode,omitempty"`
	Challenge    string      `json:"challenge,omitempty"`
	Scope        string      `json:"scope,omitempty"`
	DeviceID     id.DeviceID `json:"device_id,omitempty"`

	Code    string    `json:"code,omitempty"`    // link: what the user typed
	Action  string    `json:"action,omitempty"`  // account
	Session string    `json:"session,omitempty"` // uia
	Stage   string    `json:"stage,omitempty"`
	User    id.UserID `json:"user,omitempty"` // of a code
}

var (
	deviceName = regexp.MustCompile(`^[A-Za-z0-9._~-]{10,255}$`)
	challenge  = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	verifier   = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
)

// readScope gives the device of a scope. ok is false if something is missing or unknown.
func readScope(scope string) (device id.DeviceID, ok bool) {
	api := false
	for s := range strings.FieldsSeq(scope) {
		name, isDevice := strings.CutPrefix(s, scopeDevice)
		if !isDevice {
			name, isDevice = strings.CutPrefix(s, unstableScopeDevice)
		}
		switch {
		case s == scopeAPI || s == unstableScopeAPI:
			api = true
		case s == "openid": // asked for out of habit; means nothing here
		case !isDevice || !deviceName.MatchString(name) || device != "" && device != id.DeviceID(name):
			return "", false
		default:
			device = id.DeviceID(name)
		}
	}
	return device, api && device != ""
}

// GetAuthorize begins an authorization.
//
// spec: cs#authorisation-code-grant, RFC 6749 section 4.1.1
func (o *OAuth) GetAuthorize(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	if !o.cfg.OAuth.Enabled {
		return errOff
	}
	q := r.URL.Query()
	for _, name := range []string{"client_id", "redirect_uri"} {
		if len(q[name]) != 1 {
			return o.fail(w, r, http.StatusBadRequest, "badRequest")
		}
	}
	c, err := o.client(r.Context(), q.Get("client_id"))
	if err != nil {
		return err
	}
	redirect := q.Get("redirect_uri")
	if c == nil || !c.mayRedirect(redirect) {
		return o.fail(w, r, http.StatusBadRequest, "badClient") // never sent on: nobody knows whose address it is
	}
	p := pending{Kind: "authorize", ClientID: q.Get("client_id"), RedirectURI: redirect, State: q.Get("state"),
		ResponseMode: q.Get("response_mode"), Challenge: q.Get("code_challenge"), Scope: q.Get("scope")}
	if code, text := p.readAuthorization(q); code != "" {
		return o.sendBack(w, r, &p, url.Values{"error": {code}, "error_description": {text}})
	}
	return o.begin(w, r, p)
}

// readAuthorization checks what must be right for a code to be given.
func (p *pending) readAuthorization(q url.Values) (code, text string) {
	if p.ResponseMode != "" && p.ResponseMode != "query" && p.ResponseMode != "fragment" {
		p.ResponseMode = ""
		return "invalid_request", "response_mode is query or fragment"
	}
	if len(p.State) > maxURI {
		p.State = ""
		return "invalid_request", "state is too long"
	}
	for name, values := range q {
		if len(values) > 1 {
			return "invalid_request", "A parameter comes twice: " + cut(name, 40)
		}
	}
	if q.Get("response_type") != "code" {
		return "unsupported_response_type", "response_type must be code"
	}
	if q.Get("code_challenge_method") != "S256" || !challenge.MatchString(p.Challenge) {
		return "invalid_request", "A code_challenge of method S256 is needed"
	}
	var ok bool
	if p.DeviceID, ok = readScope(p.Scope); !ok {
		return "invalid_scope", "The scope must have the API and one device"
	}
	switch q.Get("prompt") {
	case "none":
		return "login_required", "Nobody is asked without a page"
	case "create":
		p.Create = true
	}
	return "", ""
}

// sendBack answers a client by way of the browser.
func (o *OAuth) sendBack(w http.ResponseWriter, r *http.Request, p *pending, v url.Values) error {
	if p.State != "" {
		v.Set("state", p.State)
	}
	v.Set("iss", o.issuer())
	u, err := url.Parse(p.RedirectURI)
	if err != nil {
		return doing("reading a redirect URI", err)
	}
	if p.ResponseMode == "fragment" {
		u.Fragment, u.RawFragment = "", ""
		return redirect(w, r, u.String()+"#"+v.Encode())
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += v.Encode()
	return redirect(w, r, u.String())
}

// allowAuthorization gives the code.
func (o *OAuth) allowAuthorization(w http.ResponseWriter, r *http.Request, p *pending, user id.UserID) error {
	p.User = user
	code, err := o.give(r.Context(), kindCode, p, codeLifetime)
	if err != nil {
		return err
	}
	return o.sendBack(w, r, p, url.Values{"code": {code}})
}

// begin keeps what a browser has come for and sends it to the page that goes on with it.
func (o *OAuth) begin(w http.ResponseWriter, r *http.Request, p pending) error {
	name, err := o.give(r.Context(), kindPending, p, pendingLifetime)
	if err != nil {
		return err
	}
	return redirect(w, r, "/oauth2/continue?r="+url.QueryEscape(name))
}

// redirect is a 303: what comes next is always a GET.
func redirect(w http.ResponseWriter, _ *http.Request, to string) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (o *OAuth) findPending(ctx context.Context, name string) (*pending, error) {
	p := &pending{}
	found, err := o.look(ctx, kindPending, name, p)
	if !found {
		return nil, err
	}
	return p, nil
}
