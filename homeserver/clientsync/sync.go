package clientsync

import (
	"context"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// request is a checked /sync request.
type request struct {
	user          id.UserID
	device        id.DeviceID
	since         stream.Pos
	initial       bool
	full          bool
	filter        *Filter
	stateAfter    bool // stable use_state_after
	unstableAfter bool // the same under its older name
}

func (r *request) after() bool { return r.stateAfter || r.unstableAfter }

// lagging is how long a replica that has not yet seen a token's position waits for it.
const lagging = 2 * time.Second

// Sync answers at once if there is something, else as soon as there is, at the latest when wait ends (nil: at once).
func (s *Syncs) Sync(ctx, wait context.Context, req request) (*Answer, error) {
	if err := s.catchUp(ctx, &req); err != nil {
		return nil, err
	}
	if err := s.acknowledge(ctx, &req); err != nil {
		return nil, err
	}
	for {
		upTo := max(s.Stream.Head(), req.since)
		v, err := s.view(ctx, req.user)
		if err != nil {
			return nil, err
		}
		var touched map[stream.Topic]stream.KindSet
		if !req.initial {
			if touched, err = s.Stream.Touched(ctx, req.since, upTo, v.topics); err != nil {
				return nil, err
			}
		}
		if req.initial || req.full || len(touched) > 0 || v.newest > req.since && v.newest <= upTo {
			ans, something, err := s.build(ctx, &req, v, upTo, touched)
			if err != nil || something || req.initial || req.full {
				return ans, err
			}
			ans.release()
		}
		if wait == nil {
			return s.nothing(ctx, &req, upTo)
		}
		if _, err := s.Stream.Wait(wait, upTo, v.topics...); err != nil {
			if wait.Err() == nil || ctx.Err() != nil {
				return nil, err
			}
			wait = nil // one last look, then the answer is empty
		}
	}
}

// catchUp lets a replica that is behind see the position of the token. A token that nobody has given out counts as "now".
func (s *Syncs) catchUp(ctx context.Context, req *request) error {
	if req.since <= s.Stream.Head() {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, lagging)
	defer cancel()
	if err := s.Stream.Reach(short, req.since); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	req.since = min(req.since, s.Stream.Head())
	return nil
}

// nothing is the answer of a window without anything for this client.
func (s *Syncs) nothing(ctx context.Context, req *request, upTo stream.Pos) (*Answer, error) {
	a := s.answer(ctx, req, nil, upTo, nil)
	a.start()
	if err := a.keyCounts(); err != nil {
		return nil, err
	}
	return a.finish(), nil
}
