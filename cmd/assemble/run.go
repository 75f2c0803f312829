package assemble

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/viaduc/viaduc/homeserver/web"
)

// Run listens and serves until ctx ends, then closes everything.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.db.Close()) }()
	listeners, err := s.listen()
	if err != nil {
		return err
	}
	// Requests end first; what they use ends after them.
	inner, stop := context.WithCancel(s.log.WithContext(context.WithoutCancel(ctx)))
	defer stop()
	work, inner := errgroup.WithContext(inner)
	work.Go(func() error { return s.stream.Run(inner) })
	work.Go(func() error { return s.core.Run(inner) })
	if s.fed != nil {
		work.Go(func() error { return s.fed.Run(inner) })
	}
	serving, outer := errgroup.WithContext(ctx)
	serving.Go(func() error {
		select {
		case <-outer.Done():
			return nil
		case <-inner.Done(): // something below failed: stop serving
			return errors.New("a worker has ended")
		}
	})
	for _, l := range listeners {
		serving.Go(func() error { return s.web.Serve(outer, l.Listener, l.tls) })
	}
	err = serving.Wait()
	stop()
	if werr := work.Wait(); werr != nil && !errors.Is(werr, context.Canceled) {
		err = werr
	}
	return err
}

type listener struct {
	net.Listener
	tls *tls.Config
}

func (s *Server) listen() (ls []listener, err error) {
	var secure *tls.Config
	if s.cfg.TLS.CertFile != "" {
		if secure, err = web.CertFiles(s.cfg.TLS.CertFile, s.cfg.TLS.KeyFile); err != nil {
			return nil, err
		}
	}
	add := func(what, addr string, t *tls.Config) {
		if addr == "" || err != nil {
			return
		}
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err != nil {
			err = fmt.Errorf("%s listener: %w", what, err)
			return
		}
		ls = append(ls, listener{l, t})
	}
	clients := secure
	if !s.cfg.TLS.Clients {
		clients = nil
	}
	if s.fed != nil && secure != nil {
		add("federation", s.cfg.Listen.Federation, secure)
	}
	add("client", s.cfg.Listen.Client, clients)
	if err != nil {
		for _, l := range ls {
			l.Close()
		}
	}
	return ls, err
}

// Health says why the server is not well.
func (s *Server) Health(ctx context.Context) error {
	var one int
	if err := s.db.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// Close releases what New opened, for a server that never ran.
func (s *Server) Close() error { return s.db.Close() }
