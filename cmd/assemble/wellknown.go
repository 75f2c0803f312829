package assemble

import (
	"context"
	"encoding/json"
	"net/http"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

// wellKnownRoutes are the page at / and what others find under /.well-known/matrix.
func wellKnownRoutes(cfg *config.Config) []web.Route {
	rows := []web.Route{{Method: http.MethodGet, Path: "/", Auth: web.None, Handler: web.Landing(cfg), Spec: "cs#"}}
	if !cfg.WellKnown.Enabled {
		return rows
	}
	document := func(doc func() (any, bool)) web.Handler {
		return web.JSON(func(context.Context, web.Requester, struct{}) (any, error) {
			if d, ok := doc(); ok {
				return d, nil
			}
			return nil, mautrix.MNotFound.WithMessage("Nothing is said here")
		})
	}
	return append(rows,
		web.Route{Method: http.MethodGet, Path: "/.well-known/matrix/client", Auth: web.None, Handler: document(func() (any, bool) { return clientDocument(cfg) }), Spec: "cs#getwell-knownmatrixclient"},
		web.Route{Method: http.MethodGet, Path: "/.well-known/matrix/server", Auth: web.None, Handler: document(func() (any, bool) {
			return map[string]string{"m.server": cfg.WellKnown.Server}, cfg.WellKnown.Server != ""
		}), Spec: "ss#getwell-knownmatrixserver"},
		web.Route{Method: http.MethodGet, Path: "/.well-known/matrix/policy_server", Auth: web.None, Handler: document(func() (any, bool) {
			key := cfg.WellKnown.PolicyServerKey
			return map[string]any{"public_keys": map[string]string{"ed25519": key}}, key != ""
		}), Spec: "cs#getwell-knownmatrixpolicy_server"},
		web.Route{Method: http.MethodGet, Path: "/.well-known/matrix/support", Auth: web.None, Handler: document(func() (any, bool) { return supportDocument(cfg.WellKnown.Support) }), Spec: "cs#getwell-knownmatrixsupport"},
	)
}

func clientDocument(cfg *config.Config) (any, bool) {
	doc, err := cfg.WellKnown.ClientWellKnown()
	if err != nil {
		return nil, false
	}
	base, err := json.Marshal(map[string]string{"base_url": cfg.BaseURL()})
	if err != nil {
		return nil, false
	}
	if _, ok := doc["m.homeserver"]; !ok {
		doc["m.homeserver"] = base
	}
	return doc, true
}

func supportDocument(s config.Support) (any, bool) {
	contacts := []map[string]string{}
	for _, c := range s.Contacts {
		entry := map[string]string{"role": c.Role}
		if c.MatrixID != "" {
			entry["matrix_id"] = c.MatrixID
		}
		if c.Email != "" {
			entry["email_address"] = c.Email
		}
		contacts = append(contacts, entry)
	}
	doc := map[string]any{}
	if len(contacts) > 0 {
		doc["contacts"] = contacts
	}
	if s.Page != "" {
		doc["support_page"] = s.Page
	}
	return doc, len(doc) > 0
}
