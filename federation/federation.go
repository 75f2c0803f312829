package federation

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/directory"
	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Options are what a Federation is built from.
type Options struct {
	ServerName string
	Version    string // of this software, told at /version
	Signer     event.Signer
	DB         *database.DB
	Stream     *stream.Stream
	Client     *Client
	Keys       *KeyRing
	Accounts   *account.Accounts
	Rooms      *room.Rooms
	E2EE       *e2ee.Keys
	Ephemeral  *ephemeral.Ephemeral
	Media      *media.Media
	Directory  *directory.Directory
	// MaxBackoff is the longest pause before a destination that fails is tried again; 0: one hour.
	MaxBackoff time.Duration
	// HideProfiles and HideDeviceNames keep those from other servers; NoPresence neither tells presence nor hears of it.
	HideProfiles, HideDeviceNames, NoPresence bool
	Log                                       zerolog.Logger
}

// Federation is the server-server API with its inbound and outbound workers.
type Federation struct {
	Options
	in  *inbound
	out *outbound
}

// New returns the slice and registers its followers.
func New(o Options) *Federation {
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = backoffLast
	}
	f := &Federation{Options: o}
	f.in = newInbound(f)
	f.out = newOutbound(f)
	f.out.follow()
	return f
}

// Run runs the workers until ctx ends.
func (f *Federation) Run(ctx context.Context) error {
	ctx = f.Log.WithContext(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f.in.run(ctx) })
	wg.Go(func() { f.out.run(ctx) })
	wg.Wait()
	return nil
}
