package appservices

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Options are what AppServices are built from.
type Options struct {
	Services  *Services
	Client    *http.Client
	Stream    *stream.Stream
	Rooms     *room.Rooms
	E2EE      *e2ee.Keys
	Ephemeral *ephemeral.Ephemeral
	Pending   *Pending
	// Render gives events in the form of the client-server API, each with its room_id.
	Render func(ctx context.Context, evs []*room.Stored) ([]json.RawMessage, error)
	// UserExists says whether an account exists; nil: services are not asked to make users who are invited.
	UserExists func(ctx context.Context, user id.UserID) (bool, error)
	// Local calls services in this process: by ID.
	Local   map[string]http.Handler
	Timeout time.Duration // of one transaction
	Log     zerolog.Logger
}

// AppServices delivers to services and asks them.
type AppServices struct {
	o Options
}

// New returns the slice and registers a follower for each service that has an address.
func New(o Options) *AppServices {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	a := &AppServices{o: o}
	for _, s := range o.Services.all {
		s.call = caller{base: s.URLText(), token: s.HSToken, client: o.Client}
		if h, ok := o.Local[s.ID]; ok {
			s.call.base, s.call.client = "http://loopback", Loopback{h}
		}
		if s.connected() {
			a.follow(s)
		}
	}
	return a
}

func (s *Service) connected() bool {
	_, local := s.call.client.(Loopback)
	return local || s.URLText() != ""
}

// QueryAlias asks the services for an alias that nobody made yet; true: it exists now
// (spec: as#get_matrixappv1roomsroomalias).
func (a *AppServices) QueryAlias(ctx context.Context, alias id.RoomAlias) bool {
	return a.query(ctx, func(s *Service) bool { return s.OwnsAlias(alias) }, "/rooms/"+url.PathEscape(string(alias)))
}

// QueryUser asks the services for a user that does not exist yet (spec: as#get_matrixappv1usersuserid).
func (a *AppServices) QueryUser(ctx context.Context, user id.UserID) bool {
	return a.query(ctx, func(s *Service) bool { return s.OwnsUser(user) }, "/users/"+url.PathEscape(string(user)))
}

func (a *AppServices) query(ctx context.Context, owns func(*Service) bool, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, s := range a.o.Services.all {
		if s.connected() && owns(s) && s.call.do(ctx, http.MethodGet, path, nil, nil, nil) == nil {
			return true
		}
	}
	return false
}

// Ping calls a service, for it to see that the connection works (spec: as#post_matrixclientv1appserviceappserviceidping).
// The result is the time that it took.
func (a *AppServices) Ping(ctx context.Context, who web.Requester, serviceID, txnID string) (time.Duration, error) {
	if who.AppService == nil || who.AppService.ID != serviceID {
		return 0, mautrix.MForbidden.WithMessage("A service can only ask for a ping of itself")
	}
	for _, s := range a.o.Services.all {
		if s.ID != serviceID {
			continue
		}
		if !s.connected() {
			return 0, mautrix.RespError{ErrCode: "M_URL_NOT_SET", Err: "The registration has no url", StatusCode: http.StatusBadRequest}
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		start := time.Now()
		body, err := json.Marshal(pingBody{txnID})
		if err == nil {
			err = s.call.do(ctx, http.MethodPost, "/ping", nil, body, nil)
		}
		return time.Since(start), pingError(err)
	}
	return 0, mautrix.MForbidden.WithMessage("No such service")
}

type pingBody struct {
	TxnID string `json:"transaction_id,omitempty"`
}

func pingError(err error) error {
	var ce *callError
	var slow net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ce):
		return mautrix.RespError{ErrCode: "M_BAD_STATUS", Err: "The service did not answer with 200", StatusCode: http.StatusBadGateway,
			ExtraData: map[string]any{"status": ce.Status, "body": ce.Body}}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return mautrix.RespError{ErrCode: "M_CONNECTION_TIMEOUT", Err: "The service did not answer in time", StatusCode: http.StatusGatewayTimeout}
	default:
		return mautrix.RespError{ErrCode: "M_CONNECTION_FAILED", Err: "The service could not be reached", StatusCode: http.StatusBadGateway}
	}
}
