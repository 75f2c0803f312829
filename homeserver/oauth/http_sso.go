package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Stages of user-interactive authentication that are passed on a page of ours.
const (
	StageSSO   = "m.login.sso"
	StageOAuth = "m.oauth"
)

// GetSSO begins single sign-on for a client that then logs in with a login token.
//
// spec: cs#get_matrixclientv3loginssoredirect, cs#get_matrixclientv3loginssoredirectidpid
func (o *OAuth) GetSSO(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	if !o.signOn() {
		return mautrix.MUnrecognized.WithMessage("This server has no single sign-on").WithStatus(http.StatusNotFound)
	}
	p := pending{Kind: "sso", RedirectURI: r.URL.Query().Get("redirectUrl"), Provider: r.PathValue("idpId")}
	if p.RedirectURI == "" {
		return web.MMissingParam.WithMessage("redirectUrl is missing")
	}
	if !ssoTarget(p.RedirectURI) {
		return mautrix.MInvalidParam.WithMessage("redirectUrl is no address of a client")
	}
	if p.Provider != "" && o.provider(p.Provider) == nil {
		return mautrix.MNotFound.WithMessage("Unknown identity provider")
	}
	if p.Provider == "" && len(o.providers) == 1 && !o.cfg.Passwords.Enabled {
		p.Provider = o.providers[0].cfg.ID
	}
	p.Create = r.URL.Query().Get("action") == "register" || r.URL.Query().Get("org.matrix.msc3824.action") == "register"
	name, err := o.give(r.Context(), kindPending, p, pendingLifetime)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", o.at("/oauth2/continue?r="+url.QueryEscape(name)))
	w.WriteHeader(http.StatusFound)
	return nil
}

// ssoTarget keeps addresses out at which a browser would run or read something. Who gets the token is asked of the user.
// spec: cs#sso-client-loginauthentication
func ssoTarget(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURI || u.Scheme == "" || strings.ContainsAny(s, "\r\n\t\\") {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return u.Hostname() != "" && u.User == nil
	case "javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "ftp", "ws", "wss", "view-source":
		return false
	}
	return true
}

// finishSSO sends the browser back to the client with a login token.
func (o *OAuth) finishSSO(w http.ResponseWriter, r *http.Request, p *pending, user id.UserID) error {
	token, _, err := o.accounts.NewLoginToken(r.Context(), user)
	if err != nil {
		return err
	}
	u, err := url.Parse(p.RedirectURI)
	if err != nil {
		return doing("reading a redirect URL", err)
	}
	q := u.Query()
	q.Set("loginToken", token)
	u.RawQuery = q.Encode()
	return redirect(w, r, u.String())
}

// proof is an operation that somebody has confirmed in a browser.
type proof struct {
	User id.UserID `json:"user"`
}

// proofStage is passed by a confirmation on a page of ours.
//
// spec: cs#single-sign-on, cs#oauth-authentication
type proofStage struct {
	o     *OAuth
	stage string
}

// Check looks whether the user has confirmed the session, or, for m.oauth, allowed a reset on the account page.
func (s proofStage) Check(ctx context.Context, at account.Attempt) (account.Proof, error) {
	var in struct {
		Session string `json:"session"`
	}
	_ = json.Unmarshal(at.Auth, &in)
	key := in.Session
	if s.stage == StageOAuth {
		key = string(at.Challenge.User)
	}
	var p proof
	found, err := s.o.look(ctx, kindProof, s.stage+" "+key, &p)
	if err != nil {
		return account.Proof{}, err
	}
	if !found {
		return account.Proof{}, mautrix.MForbidden.WithMessage("The operation has not been confirmed")
	}
	return account.Proof{User: p.User}, nil
}

// GetStagePage lets a person pass the stage m.login.sso.
//
// spec: cs#fallback
func (o *OAuth) GetStagePage(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	session := r.URL.Query().Get("session")
	if session == "" {
		return web.MMissingParam.WithMessage("The session is missing")
	}
	return o.begin(w, r, pending{Kind: "uia", Session: session, Stage: StageSSO})
}

// finishStage notes the stage as passed.
func (o *OAuth) finishStage(w http.ResponseWriter, r *http.Request, p *pending, user id.UserID) error {
	if err := o.keep(r.Context(), kindProof, p.Stage+" "+p.Session, proof{user}, proofLifetime); err != nil {
		return err
	}
	err := o.accounts.CompleteStage(r.Context(), p.Session, p.Stage, account.Proof{User: user})
	if text, refused := account.Refused(err); refused {
		return o.fail(w, r, http.StatusBadRequest, text)
	}
	if err != nil {
		return err
	}
	return o.show(w, r, http.StatusOK, page{Name: "done"})
}
