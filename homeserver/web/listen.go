package web

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	stdlog "log"
)

// Drain ends all long polls, now and later. Serve calls it at shutdown.
func (s *Server) Drain() { s.drain() }

// LongPoll returns a context for waiting: it ends after the timeout, when the
// client goes away, or when the server shuts down. The request's own context
// goes on, so that the answer can still be made.
func LongPoll(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	wait, cancel := context.WithTimeout(ctx, timeout)
	c := callOf(ctx)
	if c.srv == nil {
		return wait, cancel
	}
	stop := context.AfterFunc(c.srv.draining, cancel)
	return wait, func() {
		stop()
		cancel()
	}
}

// Serve answers on a listener until ctx ends, then lets polls return and
// requests finish, for as long as the configuration grants.
func (s *Server) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config) error {
	hs := HTTPServer(s, func(line string) { s.deps.Log.Debug().Str("text", line).Msg("Connection") })
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		s.Drain()
		stopped <- shutdown(hs, s.cfg.ShutdownTimeout.D())
	})
	var err error
	if tlsConfig != nil {
		hs.TLSConfig = tlsConfig
		err = hs.ServeTLS(l, "", "")
	} else {
		err = hs.Serve(l)
	}
	if stop() {
		return err // it failed by itself
	}
	return <-stopped
}

type logWriter struct{ write func(string) }

func (w logWriter) Write(p []byte) (int, error) {
	w.write(string(p))
	return len(p), nil
}

// HTTPServer returns a server with the time limits that every listener needs.
func HTTPServer(h http.Handler, debug func(string)) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          stdlog.New(logWriter{debug}, "", 0),
	}
}

func shutdown(hs *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), max(grace, time.Second))
	defer cancel()
	err := hs.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return hs.Close()
	}
	return err
}
