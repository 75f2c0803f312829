package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/rs/zerolog"
	"golang.org/x/oauth2"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

// provider is an OpenID provider at which people sign in.
type provider struct {
	cfg config.OpenIDProvider
	o   *OAuth

	mu    sync.Mutex
	found *oidc.Provider // what discovery gave; nil: not asked yet, or in vain
}

// state is a sign-in that is under way at a provider.
type state struct {
	Provider string `json:"provider"`
	Request  string `json:"request"` // name of the pending request
	Browser  string `json:"browser"` // hash of the cookie of the browser that left
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

func (o *OAuth) provider(id string) *provider {
	for _, p := range o.providers {
		if p.cfg.ID == id {
			return p
		}
	}
	return nil
}

// discover reads the provider's metadata, once.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	// The keys are read later with this context's client, so it must not end with the request.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.o.http), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("OpenID provider %s: %w", p.cfg.ID, err)
	}
	p.found = found
	return found, nil
}

func (p *provider) oauth(found *oidc.Provider) *oauth2.Config {
	scopes := p.cfg.Scopes
	if len(scopes) == 0 {
		scopes = []string{oidc.ScopeOpenID, "profile", "email"}
	}
	return &oauth2.Config{ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: found.Endpoint(),
		RedirectURL: p.o.at("/oauth2/callback"), Scopes: scopes}
}

// PostUpstream sends a browser to a provider.
func (o *OAuth) PostUpstream(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	f, _, b, ok, err := o.entered(w, r)
	if !ok {
		return err
	}
	p := o.provider(f.Get("provider"))
	if p == nil {
		return o.fail(w, r, http.StatusNotFound, "badRequest")
	}
	return p.start(w, r, f.Get("r"), b)
}

func (p *provider) start(w http.ResponseWriter, r *http.Request, request string, b browser) error {
	found, err := p.discover(r.Context())
	if err != nil {
		zerolog.Ctx(r.Context()).Warn().Err(err).Msg("OpenID provider")
		return p.o.fail(w, r, http.StatusBadGateway, "provider")
	}
	s := state{Provider: p.cfg.ID, Request: request, Browser: hashOf(b.secret), Nonce: secret(), Verifier: oauth2.GenerateVerifier()}
	name, err := p.o.give(r.Context(), kindState, s, pendingLifetime)
	if err != nil {
		return err
	}
	more := []oauth2.AuthCodeOption{oidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier)}
	if p.cfg.ACRValues != "" {
		more = append(more, oauth2.SetAuthURLParam("acr_values", p.cfg.ACRValues))
	}
	return redirect(w, r, p.oauth(found).AuthCodeURL(name, more...))
}

// GetCallback is where a provider sends a browser back to.
func (o *OAuth) GetCallback(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	q := r.URL.Query()
	var s state
	found, err := o.take(r.Context(), kindState, q.Get("state"), &s)
	if err != nil {
		return err
	}
	b, err := o.browser(w, r)
	if err != nil {
		return err
	}
	p := o.provider(s.Provider)
	if !found || p == nil || s.Browser != hashOf(b.secret) {
		return o.fail(w, r, http.StatusBadRequest, "gone")
	}
	if iss := q.Get("iss"); iss != "" && iss != p.cfg.Issuer || q.Get("code") == "" { // RFC 9207
		return o.fail(w, r, http.StatusBadRequest, "provider")
	}
	subject, claims, err := p.exchange(r.Context(), q.Get("code"), s)
	if err != nil {
		zerolog.Ctx(r.Context()).Warn().Err(err).Msg("Sign-in at an OpenID provider")
		return o.fail(w, r, http.StatusBadGateway, "provider")
	}
	user, err := p.user(r.Context(), subject, claims)
	if text, refused := account.Refused(err); refused {
		return o.fail(w, r, http.StatusForbidden, text)
	}
	if pe, ok := errors.AsType[problem](err); ok {
		return o.fail(w, r, http.StatusForbidden, pe.Code)
	}
	if err != nil {
		return err
	}
	return o.goOn(w, r, s.Request, user)
}

// exchange turns a code into proven claims.
func (p *provider) exchange(ctx context.Context, code string, s state) (subject string, claims map[string]any, err error) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", nil, err
	}
	ctx = oidc.ClientContext(ctx, p.o.http)
	token, err := p.oauth(found).Exchange(ctx, code, oauth2.VerifierOption(s.Verifier))
	if err != nil {
		return "", nil, errors.New("the provider refused the code") // its answer may hold secrets
	}
	raw, _ := token.Extra("id_token").(string)
	idToken, err := found.VerifierContext(ctx, &oidc.Config{ClientID: p.cfg.ClientID, Now: p.o.now}).Verify(ctx, raw)
	if err != nil {
		return "", nil, fmt.Errorf("ID token: %w", err)
	}
	if idToken.Nonce != s.Nonce {
		return "", nil, errors.New("ID token: the nonce is another")
	}
	if err := idToken.Claims(&claims); err != nil {
		return "", nil, fmt.Errorf("ID token: %w", err)
	}
	if found.UserInfoEndpoint() == "" {
		return idToken.Subject, claims, nil
	}
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return "", nil, fmt.Errorf("userinfo: %w", err)
	}
	if info.Subject != idToken.Subject {
		return "", nil, errors.New("userinfo: of somebody else")
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return "", nil, fmt.Errorf("userinfo: %w", err)
	}
	for k, v := range more {
		if _, ok := claims[k]; !ok {
			claims[k] = v
		}
	}
	return idToken.Subject, claims, nil
}

// user finds the account of a subject, or makes it.
func (p *provider) user(ctx context.Context, subject string, claims map[string]any) (id.UserID, error) {
	known, err := p.o.one(ctx, getSubject, p.cfg.ID, subject)
	if err != nil {
		return "", err
	}
	if known != "" {
		u, err := p.o.accounts.GetUser(ctx, id.UserID(known))
		if err == nil && (u.Deactivated || u.Locked) {
			return "", problem{Code: "noAccount"}
		}
		return u.ID, err
	}
	localpart := localpartOf(claim(claims, p.cfg.LocalpartClaim, "preferred_username", "email"))
	if localpart == "" {
		return "", problem{Code: "noAccount"}
	}
	user := p.o.accounts.UserID(localpart)
	exists, err := p.o.accounts.Exists(ctx, user)
	switch {
	case err != nil:
		return "", err
	case exists && !p.cfg.LinkExisting:
		return "", problem{Code: "taken"}
	case exists:
		if active, err := p.o.accounts.Active(ctx, user); err != nil || !active {
			return "", orProblem(err, problem{Code: "noAccount"})
		}
	case !p.cfg.Register:
		return "", problem{Code: "noAccount"}
	default:
		name := claim(claims, p.cfg.DisplayNameClaim, "name")
		if _, err := p.o.accounts.Register(ctx, account.NewUser{Localpart: localpart, NoSession: true, DisplayName: cleanName(name)}); err != nil {
			return "", err
		}
	}
	if _, err := p.o.db.Exec(ctx, putSubject, p.cfg.ID, subject, user); err != nil {
		return "", doing("linking an account", err)
	}
	return user, p.bindAddress(ctx, user, claims)
}

// bindAddress takes over an e-mail address that the provider has verified, unless somebody else has it.
func (p *provider) bindAddress(ctx context.Context, user id.UserID, claims map[string]any) error {
	address := claim(claims, p.cfg.EmailClaim, "email")
	verified, _ := claims["email_verified"].(bool)
	if address == "" || !verified && !p.cfg.TrustEmail {
		return nil
	}
	owner, err := p.o.accounts.ThreepidOwner(ctx, "email", address)
	if err != nil || owner != "" {
		return err
	}
	return p.o.accounts.SetThreepid(ctx, user, "email", address)
}

// claim gives the first of some claims that is a text.
func claim(claims map[string]any, names ...string) string {
	for _, n := range names {
		if n == "" {
			continue
		}
		if s, ok := claims[n].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// localpartOf makes a localpart of a name or an address.
func localpartOf(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(s), "@")
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', strings.ContainsRune("._=-/+", r):
			return r
		case r == ' ':
			return '.'
		}
		return -1
	}, s), "._")
}
