package account_test

import (
	"context"
	"sync"
	"testing"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// newStream makes a stream that start runs until the test ends.
func newStream(db *database.DB) *stream.Stream { return stream.New(db) }

func start(t testing.TB, ctx context.Context, s *stream.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("stream: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}
