package web

import (
	"context"
	"net/http"
	"strings"
)

// BearerToken returns the access token of the request: from the Authorization
// header, or from the address if the configuration allows that.
// spec: cs#using-access-tokens
func BearerToken(r *http.Request) (string, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if token = strings.TrimSpace(token); token != "" && strings.EqualFold(scheme, "Bearer") {
			return token, nil
		}
		return "", errMissingToken
	}
	if c := callOf(r.Context()); c.srv == nil || c.srv.cfg.TokenInQuery {
		if token, ok := Query(r.URL.RawQuery, "access_token"); ok && token != "" {
			return token, nil
		}
	}
	return "", errMissingToken
}

func hasToken(r *http.Request) bool {
	_, err := BearerToken(r)
	return err == nil
}

// TokenAuthenticator makes an Authenticator of a function that knows tokens.
func TokenAuthenticator(fn func(ctx context.Context, r *http.Request, token string) (Requester, error)) Authenticator {
	return AuthenticatorFunc(func(ctx context.Context, r *http.Request, _ Auth) (Requester, error) {
		token, err := BearerToken(r)
		if err != nil {
			return Requester{}, err
		}
		return fn(ctx, r, token)
	})
}
