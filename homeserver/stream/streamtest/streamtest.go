// Package streamtest runs a stream for a test.
//
// Deliberately absent: a fake stream.
package streamtest

import (
	"context"
	"testing"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// New makes the stream of a database and runs it until the test ends. setup, if given, registers audiences, observers and
// followers before it runs.
func New(tb testing.TB, db *database.DB, setup ...func(s *stream.Stream)) *stream.Stream {
	tb.Helper()
	s := stream.New(db)
	for _, f := range setup {
		f(s)
	}
	Run(tb, s)
	return s
}

// Run runs a stream until the test ends or stop is called.
func Run(tb testing.TB, s *stream.Stream) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("running the stream: %v", err)
		}
	}
	tb.Cleanup(stop)
	return stop
}
