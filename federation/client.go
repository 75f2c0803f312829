package federation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/web"
)

// Bounds of answers, in bytes. A room of many members answers send_join with tens of megabytes.
const (
	answerBytes = 8 << 20
	joinBytes   = 256 << 20
	errorBytes  = 64 << 10
)

// ClientOptions are what a Client is built from.
type ClientOptions struct {
	ServerName string
	Signer     event.Signer
	Outbound   *web.Outbound
	// Timeout bounds one request (default 60 s), JoinTimeout one for a room's state (default 5 min).
	Timeout, JoinTimeout time.Duration
	// Allowed says whether a server may be talked to; nil allows all.
	Allowed func(ctx context.Context, server string) error
}

// Client speaks to other servers. It implements the sockets named Remote of the slices.
type Client struct {
	o        ClientOptions
	resolver *resolver
	http     *http.Client
	plain    *http.Client // for addresses that are no Matrix servers
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewClient returns a client. Every connection goes through the outbound dialer, .well-known look-ups included.
func NewClient(o ClientOptions) *Client {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.JoinTimeout <= 0 {
		o.JoinTimeout = joinTimeout
	}
	c := &Client{o: o, dial: o.Outbound.Dialer().DialContext}
	c.resolver = newResolver(c.client(func(addr string) []string { return []string{addr} }))
	c.http = c.client(func(key string) []string { return c.resolver.addresses(key) })
	c.plain = c.client(func(addr string) []string { return []string{addr} })
	return c
}

// client makes an HTTP client that follows no redirect. Each request is bounded by its context.
func (c *Client) client(addresses func(addr string) []string) *http.Client {
	t := c.o.Outbound.Transport()
	t.ResponseHeaderTimeout = 0 // the answer to a join takes longer than others
	t.DialContext = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		for _, a := range addresses(addr) {
			if conn, err = c.dial(ctx, network, a); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Error is a refusal by another server.
type Error struct {
	Server string
	Status int
	mautrix.RespError
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s answered %d %s: %s", e.Server, e.Status, clipped(e.ErrCode, 100), clipped(e.Err, 500))
}

// Unwrap gives the Matrix error that a client of ours may be told, for errors.As.
func (e *Error) Unwrap() error { return tellable(e.RespError) }

// errNoHelp is what clients are told when another server is of no help: it cannot be reached, or answers nonsense.
var errNoHelp = mautrix.MUnknown.WithStatus(http.StatusBadGateway).WithMessage("The other server cannot be reached or answers nonsense")

// told lists the refusals of other servers that concern our client, with the status each has. All others are between the
// servers: passed on, a 401 M_UNKNOWN_TOKEN would sign our user out.
var told = map[string]int{
	"M_FORBIDDEN": http.StatusForbidden, "M_NOT_FOUND": http.StatusNotFound, "M_BAD_JSON": http.StatusBadRequest,
	"M_INVALID_PARAM": http.StatusBadRequest, "M_MISSING_PARAM": http.StatusBadRequest, "M_BAD_STATE": http.StatusBadRequest,
	"M_INCOMPATIBLE_ROOM_VERSION": http.StatusBadRequest, "M_UNSUPPORTED_ROOM_VERSION": http.StatusBadRequest,
	"M_UNABLE_TO_AUTHORISE_JOIN": http.StatusBadRequest, "M_UNABLE_TO_GRANT_JOIN": http.StatusBadRequest,
	"M_INVITE_BLOCKED": http.StatusForbidden, "M_UNRECOGNIZED": http.StatusNotFound, "M_NOT_YET_UPLOADED": http.StatusGatewayTimeout,
	"M_TOO_LARGE": http.StatusRequestEntityTooLarge,
}

func tellable(e mautrix.RespError) mautrix.RespError {
	status, ok := told[e.ErrCode]
	if !ok || e.StatusCode < 400 || e.StatusCode > 504 {
		return errNoHelp
	}
	out := mautrix.RespError{ErrCode: e.ErrCode, Err: clipped(e.Err, 512), StatusCode: status}
	if v, ok := e.ExtraData["room_version"].(string); ok && e.ErrCode == "M_INCOMPATIBLE_ROOM_VERSION" {
		out.ExtraData = map[string]any{"room_version": clipped(v, 64)}
	}
	return out
}

// noHelp is a failure to reach a server or to read its answer.
type noHelp struct{ err error }

func (n noHelp) Error() string   { return n.err.Error() }
func (n noHelp) Unwrap() []error { return []error{n.err, errNoHelp} }

// ErrSelf is returned when this server would call itself.
var ErrSelf = errors.New("a server does not call itself over federation")

// encoded is a body that is JSON already.
type encoded []byte

// request is one signed call. Body nil sends none; Out nil reads none.
type request struct {
	Method, Server, Path string // Path escaped
	Query                url.Values
	Body                 any
	Out                  any
	Limit                int64
	Timeout              time.Duration
	Unsigned             bool
}

// do sends a request and decodes the answer, whose size is bounded.
func (c *Client) do(ctx context.Context, q request) error {
	if q.Timeout <= 0 {
		q.Timeout = c.o.Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	res, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if q.Out == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, errorBytes))
		return nil
	}
	return q.decode(res.Body)
}

// decode reads an answer, whose size is bounded.
func (q *request) decode(r io.Reader) error {
	limit := q.Limit
	if limit == 0 {
		limit = answerBytes
	}
	body := &io.LimitedReader{R: r, N: limit + 1}
	var err error
	if s, ok := q.Out.(streamed); ok {
		err = s.readFrom(body)
	} else {
		err = json.NewDecoder(body).Decode(q.Out)
	}
	if body.N <= 0 {
		return noHelp{fmt.Errorf("%s: answer of %s is larger than %d bytes", q.Server, q.Path, limit)}
	}
	if err != nil {
		return noHelp{fmt.Errorf("%s: decode answer of %s: %w", q.Server, q.Path, err)}
	}
	return nil
}

// send makes the call and turns an answer other than 200 into an *Error. The caller closes the body.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	if q.Server == c.o.ServerName {
		return nil, ErrSelf
	}
	if c.o.Allowed != nil {
		if err := c.o.Allowed(ctx, q.Server); err != nil {
			return nil, err
		}
	}
	t, err := c.resolver.resolve(ctx, q.Server)
	if errors.Is(err, errServerName) {
		return nil, err
	}
	if err != nil {
		return nil, noHelp{fmt.Errorf("resolve %s: %w", q.Server, err)}
	}
	req, err := c.newRequest(ctx, q, t)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, noHelp{fmt.Errorf("call %s: %w", q.Server, err)}
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, errorBytes)) // what there is of it
	return nil, newError(q.Server, res.StatusCode, body)
}

func newError(server string, status int, body []byte) *Error {
	e := &Error{Server: server, Status: status}
	if json.Unmarshal(body, &e.RespError) != nil {
		e.RespError = mautrix.RespError{}
	}
	e.RespError.StatusCode = status
	return e
}

func (c *Client) newRequest(ctx context.Context, q request, t *target) (*http.Request, error) {
	uri := q.Path
	if len(q.Query) > 0 {
		uri += "?" + q.Query.Encode()
	}
	var raw json.RawMessage
	var body io.Reader
	if q.Body != nil {
		var err error
		if pre, ok := q.Body.(encoded); ok {
			raw = json.RawMessage(pre)
		} else if raw, err = json.Marshal(q.Body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, "https://"+t.key()+uri, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Host = t.Host
	req.Header.Set("User-Agent", "Viaduc")
	if raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !q.Unsigned {
		header, err := event.SignRequest(q.Method, uri, c.o.ServerName, q.Server, raw, c.o.Signer)
		if err != nil {
			return nil, fmt.Errorf("sign request: %w", err)
		}
		req.Header.Set("Authorization", header)
	}
	return req, nil
}

// unsupported tells whether another server does not know an endpoint at all.
func unsupported(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.ErrCode == "M_UNRECOGNIZED" || e.Status == http.StatusMethodNotAllowed ||
		(e.Status == http.StatusNotFound && e.ErrCode == "") || e.Status == http.StatusNotImplemented)
}
