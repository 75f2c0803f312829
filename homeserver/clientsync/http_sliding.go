package clientsync

import (
	"context"
	"time"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/web"
)

// PostSlidingSync answers simplified sliding sync.
//
// msc: 4186
func (s *Syncs) PostSlidingSync(ctx context.Context, who web.Requester, in SlidingIn) (*Answer, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.Timeout < 0 {
		return nil, mautrix.MInvalidParam.WithMessage("timeout must not be negative")
	}
	req := slidingRequest{in: &in, key: connKey{who.UserID, who.DeviceID, in.ConnID}, conn: &connection{},
		request: request{user: who.UserID, device: who.DeviceID, initial: in.Pos == "", filter: noFilter}}
	if in.Pos != "" {
		version, at, err := parseConnectionPos(in.Pos)
		if err != nil {
			return nil, err
		}
		if at > s.Stream.Head() {
			short, cancel := context.WithTimeout(ctx, lagging)
			defer cancel()
			if err := s.Stream.Reach(short, at); err != nil {
				return nil, errUnknownPos
			}
		}
		req.since = at
		if req.conn, err = s.connection(ctx, req.key, version); err != nil {
			return nil, err
		}
	}
	if err := s.present(ctx, who, in.SetPresence); err != nil {
		return nil, err
	}
	if in.Timeout == 0 {
		return s.Slide(ctx, nil, req)
	}
	wait, cancel := web.LongPoll(ctx, time.Duration(min(in.Timeout, maxTimeout.Milliseconds()))*time.Millisecond)
	defer cancel()
	a, err := s.Slide(ctx, wait, req)
	web.AfterSends(ctx, who)
	return a, err
}
