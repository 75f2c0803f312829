package clientsync

import (
	"context"
	"net/http"
	"sync"
	"time"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// SyncIn is the request of GetSync.
type SyncIn struct {
	Filter             string `query:"filter"`
	Since              string `query:"since"`
	FullState          bool   `query:"full_state"`
	SetPresence        string `query:"set_presence"`
	Timeout            int64  `query:"timeout"`
	UseStateAfter      bool   `query:"use_state_after"`
	UnstableStateAfter bool   `query:"org.matrix.msc4222.use_state_after"`
}

// maxTimeout bounds how long a request waits, whatever it asks for.
const maxTimeout = 5 * time.Minute

// GetSync answers /sync.
//
// spec: cs#get_matrixclientv3sync
func (s *Syncs) GetSync(ctx context.Context, who web.Requester, in SyncIn) (*Answer, error) {
	req := request{user: who.UserID, device: who.DeviceID, full: in.FullState, initial: in.Since == "",
		stateAfter: in.UseStateAfter, unstableAfter: in.UnstableStateAfter && !in.UseStateAfter}
	if !req.initial {
		var err error
		if req.since, err = stream.ParseToken(in.Since); err != nil || req.since < 0 {
			return nil, mautrix.MInvalidParam.WithMessage("Malformed since token")
		}
		req.initial = req.since == 0
	}
	switch in.SetPresence {
	case "", "online", "offline", "unavailable", "org.matrix.msc3026.busy":
	default:
		return nil, mautrix.MInvalidParam.WithMessage("Unknown presence")
	}
	if in.Timeout < 0 {
		return nil, mautrix.MInvalidParam.WithMessage("timeout must not be negative")
	}
	var err error
	if req.filter, err = s.filter(ctx, who.UserID, in.Filter); err != nil {
		return nil, err
	}
	if err := s.present(ctx, who, in.SetPresence); err != nil {
		return nil, err
	}
	if in.Timeout == 0 {
		return s.Sync(ctx, nil, req)
	}
	wait, cancel := web.LongPoll(ctx, time.Duration(min(in.Timeout, maxTimeout.Milliseconds()))*time.Millisecond)
	defer cancel()
	a, err := s.Sync(ctx, wait, req)
	web.AfterSends(ctx, who)
	return a, err
}

// present tells that the user has a client running.
func (s *Syncs) present(ctx context.Context, who web.Requester, state string) error {
	if s.Presence == nil || state == "offline" {
		return nil
	}
	if state == "" {
		state = "online"
	}
	return s.Presence.Syncing(ctx, who.UserID, state)
}

// Answer is a finished answer; its bytes go back to a pool once written.
type Answer struct{ buf []byte }

// WriteTo implements web.Responder.
func (a *Answer) WriteTo(w http.ResponseWriter) error {
	err := web.Bytes(a.buf).WriteTo(w)
	a.release()
	return err
}

// MarshalJSON gives the bytes, for tests and wrappers.
func (a *Answer) MarshalJSON() ([]byte, error) { return a.buf, nil }

const pooledAnswer = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

func (a *Answer) release() {
	if b := a.buf; b != nil && cap(b) <= pooledAnswer {
		b = b[:0]
		buffers.Put(&b)
	}
	a.buf = nil
}
