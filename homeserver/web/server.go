package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/config"
)

// Deps is what the server needs besides its configuration.
type Deps struct {
	// Users authenticates tokens of users and application services.
	Users Authenticator
	// Servers authenticates the requests of other servers.
	Servers Authenticator
	Log     zerolog.Logger
}

// Server answers requests by its table of routes.
type Server struct {
	cfg      config.Listen
	requests bool
	deps     Deps
	tree     tree
	routes   []Route
	limiters map[Limit]*limiter
	ids      requestIDs
	draining context.Context // ends at shutdown
	drain    context.CancelFunc
	echoes   echoes
}

// route is a row made ready.
type route struct {
	Route
	serve   serveFunc
	params  []string
	limiter *limiter
	maxBody int64
	metrics routeMetrics
}

// New makes a server without routes.
func New(cfg *config.Config, deps Deps) *Server {
	draining, drain := context.WithCancel(context.Background())
	return &Server{
		cfg:      cfg.Listen,
		requests: cfg.Log.Requests,
		deps:     deps,
		limiters: newLimiters(cfg.Limits),
		ids:      newRequestIDs(),
		draining: draining,
		drain:    drain,
	}
}

// unboundedBody stands for MaxBody below zero: the handler bounds.
const unboundedBody = 1 << 62

// Handle adds routes. It panics on mistakes in them, which are ours.
func (s *Server) Handle(rows ...Route) {
	for i := range rows {
		row := rows[i]
		if row.Handler.plan == nil {
			panic(fmt.Sprintf("web: no handler for %s %s", row.Method, row.Path))
		}
		l, known := s.limiters[row.Limit]
		if !known && row.Limit != NoLimit {
			panic(fmt.Sprintf("web: unknown limit %q of %s %s", row.Limit, row.Method, row.Path))
		}
		rt := &route{Route: row, serve: row.Handler.plan(&row), limiter: l, maxBody: row.MaxBody}
		switch {
		case rt.maxBody < 0:
			rt.maxBody = unboundedBody
		case rt.maxBody == 0:
			rt.maxBody = int64(s.cfg.MaxBody)
		}
		rt.metrics.route = row.Path
		s.tree.addRoute(rt)
		s.routes = append(s.routes, row)
	}
}

// Routes returns the table, for printing.
func (s *Server) Routes() []Route { return slices.Clone(s.routes) }

// Handler returns the server as http.Handler.
func (s *Server) Handler() http.Handler { return s }

// call is the context of one request.
type call struct {
	context.Context
	srv     *Server
	w       *responseWriter
	route   *route
	who     Requester
	id      string
	addr    netip.Addr
	start   time.Time
	errcode string
	vals    []string
	store   [4]string

	answered func() // tells syncs of the same device; nil: nothing to tell
}

type callKey struct{}

// Value finds the call itself, or asks the context below.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// callOf returns the call of a context, or an empty one.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{Context: ctx}
}

func (c *call) requestID() string {
	if c.id == "" && c.srv != nil {
		c.id = c.srv.ids.next()
	}
	return c.id
}

func (c *call) pattern() string {
	if c.route == nil {
		return ""
	}
	return c.route.Path
}

func (c *call) fail(code string) { c.errcode = code }

// ServeHTTP is what happens to every request, in order.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &responseWriter{ResponseWriter: rw, ctl: http.NewResponseController(rw)}
	c := &call{Context: r.Context(), srv: s, w: w, start: time.Now(), addr: s.clientAddr(r)}
	c.id = s.ids.next()
	w.gzipOK = s.cfg.Gzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	setCORS(w.Header(), c.id)
	c.Context = s.deps.Log.With().Str("request_id", c.id).Logger().WithContext(c.Context)
	r = r.WithContext(c)
	defer s.done(c, r)
	defer c.settle()
	defer s.recover(w, r)
	if err := s.answer(w, r, c); err != nil {
		WriteError(w, r, err)
	}
}

func (s *Server) answer(w *responseWriter, r *http.Request, c *call) error {
	l, err := s.find(r, c)
	if err != nil {
		return err
	}
	if r.Method == http.MethodOptions && (l == nil || l.methods[http.MethodOptions] == nil) {
		preflight(w)
		return nil
	}
	if l == nil {
		return errNotFound
	}
	c.route = l.methods[r.Method]
	if c.route == nil && r.Method == http.MethodHead {
		c.route = l.methods[http.MethodGet]
	}
	if c.route == nil {
		w.Header().Set("Allow", l.allow)
		return errWrongMethod
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &boundedBody{src: r.Body, w: w, left: c.route.maxBody}
	}
	if err := s.authenticate(r, c); err != nil {
		return err
	}
	if err := c.takeLimit(); err != nil {
		return err
	}
	if c.route.Limit == LimitSend && c.who.DeviceID != "" {
		c.answered = s.echoes.begin(&c.who)
	}
	return c.route.serve(w, r, c)
}

// find looks the path up, and then its current name if it is an old one.
func (s *Server) find(r *http.Request, c *call) (*leaf, error) {
	escaped := r.URL.EscapedPath()
	l, vals, err := s.tree.match(escaped, c.store[:0])
	if l == nil && err == nil {
		if current, ok := currentPath(escaped); ok {
			l, vals, err = s.tree.match(current, c.store[:0])
		}
	}
	c.vals = vals
	return l, err
}

// currentPath names an old path as today's: r0 became v3, and for media v1 too.
func currentPath(path string) (string, bool) {
	for _, old := range [...]string{"/_matrix/client/r0/", "/_matrix/media/r0/", "/_matrix/media/v1/"} {
		if rest, ok := strings.CutPrefix(path, old); ok {
			return old[:len(old)-3] + "v3/" + rest, true
		}
	}
	return "", false
}

func (s *Server) authenticate(r *http.Request, c *call) (err error) {
	a := c.route.Auth
	by := s.deps.Users
	switch a {
	case None:
		return nil
	case Optional:
		if !hasToken(r) {
			return nil
		}
	case ServerOnly:
		by = s.deps.Servers
	}
	if by == nil {
		return errors.New("no authenticator for " + a.String())
	}
	if c.who, err = by.Authenticate(r.Context(), r, a); err != nil {
		return err
	}
	return authorise(a, &c.who)
}

// recover turns a panic into 500; the process goes on.
func (s *Server) recover(w *responseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	metricPanics.Inc()
	c := callOf(r.Context())
	zerolog.Ctx(r.Context()).Error().Str("route", c.pattern()).Str("panic", fmt.Sprint(v)).
		Bytes("stack", debug.Stack()).Msg("Panic in a handler")
	if w.started {
		panic(http.ErrAbortHandler)
	}
	c.fail("M_UNKNOWN")
	writeRespError(w, respError("M_UNKNOWN", http.StatusInternalServerError).
		WithMessage("Internal error, request %s", c.requestID()))
}
