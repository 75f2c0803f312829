package main

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/event"
)

type serveCmd struct{}

// Run serves until it is told to stop.
func (serveCmd) Run(e *env) error {
	first, err := e.firstRun()
	if err != nil {
		return err
	}
	cfg, err := e.load()
	if err != nil {
		return err
	}
	log := newLog(cfg.Log, os.Stderr)
	return serve(e.ctx, cfg, log, func(ctx context.Context, s server) error {
		if first {
			return welcome(ctx, e.out, cfg, s)
		}
		return nil
	})
}

// serve assembles and runs the server and its admin listener until ctx ends.
func serve(ctx context.Context, cfg *config.Config, log zerolog.Logger, ready func(context.Context, server) error) error {
	tuneMemory(cfg)
	if _, err := event.LoadOrCreateSigners(cfg.ServerName, cfg.SigningKeyFile); err != nil {
		return err
	}
	s, err := assembled(cfg, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	if cfg.Listen.Admin != "" {
		g.Go(func() error { return serveAdmin(ctx, cfg, log, s) })
	}
	if ready != nil {
		g.Go(func() error { return ready(ctx, s) })
	}
	start := time.Now()
	log.Info().Str("server", cfg.ServerName).Str("client", cfg.Listen.Client).Str("federation", cfg.Listen.Federation).
		Str("version", version()).Msg("Viaduc is starting")
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	log.Info().Err(err).Dur("after", time.Since(start)).Msg("Viaduc has stopped")
	return err
}

// tuneMemory lets the collector run less often than by default, since most of
// the memory is caches that stay, and more often near the configured budget.
func tuneMemory(cfg *config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(cfg.MemoryMB)*3<<20 + 256<<20)
	}
}
