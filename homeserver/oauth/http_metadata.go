package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/web"
)

type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Registration  string   `json:"registration_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	ResponseTypes []string `json:"response_types_supported"`
	ResponseModes []string `json:"response_modes_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	Prompts       []string `json:"prompt_values_supported"`
	Scopes        []string `json:"scopes_supported"`
	Iss           bool     `json:"authorization_response_iss_parameter_supported"`
	Account       string   `json:"account_management_uri"`
	Actions       []string `json:"account_management_actions_supported"`
}

// GetMetadata tells clients where to go.
//
// spec: cs#get_matrixclientv1auth_metadata
func (o *OAuth) GetMetadata(context.Context, web.Requester, struct{}) (metadata, error) {
	if !o.cfg.OAuth.Enabled {
		return metadata{}, mautrix.MUnrecognized.WithMessage("This server does not use OAuth 2.0").WithStatus(http.StatusNotFound)
	}
	prompts := []string{}
	if o.mayRegister() {
		prompts = append(prompts, "create")
	}
	return metadata{
		Issuer: o.issuer(), Authorization: o.at("/oauth2/authorize"), Token: o.at("/oauth2/token"), Revocation: o.at("/oauth2/revoke"),
		Registration: o.at("/oauth2/registration"), Device: o.at("/oauth2/device"),
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query", "fragment"},
		GrantTypes: []string{grantCode, grantRefresh, grantDevice}, Challenges: []string{"S256"}, AuthMethods: []string{"none"},
		Prompts: prompts, Scopes: []string{scopeAPI, unstableScopeAPI}, Iss: true, Account: o.at("/account/"), Actions: actionsSupported(),
	}, nil
}

type issuerOut struct {
	Issuer string `json:"issuer"`
}

// GetIssuer is the older form of it. msc: 2965
func (o *OAuth) GetIssuer(ctx context.Context, who web.Requester, in struct{}) (issuerOut, error) {
	m, err := o.GetMetadata(ctx, who, in)
	return issuerOut{m.Issuer}, err
}

// problem is an error of RFC 6749, section 5.2.
type problem struct {
	Code string `json:"error"`
	Text string `json:"error_description,omitempty"`

	status int
}

func (p problem) Error() string { return p.Code + ": " + p.Text }

func invalid(code, text string) problem { return problem{code, text, http.StatusBadRequest} }

// answer writes JSON that is kept nowhere.
func answer(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return doing("writing an answer", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, err = w.Write(raw)
	return err
}

// Endpoint makes a handler whose refusals are those of OAuth.
func (o *OAuth) Endpoint(fn func(w http.ResponseWriter, r *http.Request) error) func(http.ResponseWriter, *http.Request, web.Requester) error {
	return func(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
		err := fn(w, r)
		if p, ok := err.(problem); ok {
			return answer(w, p.status, p)
		}
		return err
	}
}

// form reads a POST form of bounded size.
func form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, invalid("invalid_request", "The body is not a form")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return nil, invalid("invalid_request", "A parameter comes twice: "+cut(name, 40))
		}
	}
	return r.PostForm, nil
}

const maxForm = 32 << 10

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
