package web

import (
	"context"
	"net/http"

	"maunium.net/go/mautrix/id"
)

// Route is one endpoint, one row in routes.go.
type Route struct {
	Method string
	// Path as in the specification, with {parameters}. A last parameter that is
	// named in braces with three dots, {path...}, takes the rest of the path.
	Path    string
	Auth    Auth
	Limit   Limit
	Handler Handler
	// Spec is the anchor, such as cs#put_matrixclientv3roomsroomidsendeventtypetxnid.
	Spec string
	// MaxBody is the largest body in bytes; 0 means the default.
	MaxBody int64
}

// Row makes a row of a table: method, path, who, limit, handler, anchor.
func Row(method, path string, auth Auth, limit Limit, h Handler, spec string) Route {
	return Route{Method: method, Path: path, Auth: auth, Limit: limit, Handler: h, Spec: spec}
}

// WithBody is the row with another limit for the body; below zero the handler bounds it.
func (r Route) WithBody(n int64) Route {
	r.MaxBody = n
	return r
}

// Auth says who may ask.
type Auth uint8

const (
	// None asks for no token, and looks at none.
	None Auth = iota
	// Optional uses a token if there is one; a wrong one is an error.
	Optional
	// User is a user, no guest. Application services ask as one of their users.
	User
	// UserOrGuest is any account.
	UserOrGuest
	// Admin is a user who administers this server.
	Admin
	// AppService is an application service.
	AppServiceOnly
	// Server is another server, by its signature.
	ServerOnly
)

func (a Auth) String() string {
	return [...]string{"none", "optional", "user", "user or guest", "admin", "application service", "server"}[a]
}

// Requester is who is asking. The zero value is nobody.
type Requester struct {
	UserID   id.UserID
	DeviceID id.DeviceID
	// Token is the hash of the access token, never the token.
	Token string

	Guest, Admin bool
	// Suspended accounts may read, leave and sign out.
	Suspended bool
	// Unlimited requesters are not subject to rate limits.
	Unlimited bool

	// AppService is set if an application service is asking, for itself or for
	// one of its users.
	AppService *AppService
	// Server is the name of the other server, on federation requests.
	Server string
}

// AppService is what handlers need to know of an application service.
type AppService struct {
	ID     string
	Sender id.UserID
	// RateLimited services are subject to limits.
	RateLimited bool
	// Owns says whether the user is in its namespaces; OwnsAlias the same of an alias.
	Owns      func(id.UserID) bool
	OwnsAlias func(id.RoomAlias) bool
	// EphemeralEvents etc. are matters of package appservices.
}

// Authenticator finds out who is asking. For None it is not called; for
// Optional only when a token is there.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request, a Auth) (Requester, error)
}

// AuthenticatorFunc is a function as Authenticator.
type AuthenticatorFunc func(ctx context.Context, r *http.Request, a Auth) (Requester, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, r *http.Request, a Auth) (Requester, error) {
	return f(ctx, r, a)
}

// authorise says whether the requester may use a route of this kind.
func authorise(a Auth, who *Requester) error {
	switch a {
	case User:
		if who.Guest {
			return MGuestAccessForbidden.WithMessage("Guests may not do this")
		}
	case Admin:
		if !who.Admin {
			return errNotAdmin
		}
	case AppServiceOnly:
		if who.AppService == nil {
			return errNotAppService
		}
	}
	return nil
}
