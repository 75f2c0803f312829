package clientsync

import (
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// leftRoom writes a room in `leave`: what happened up to the leave, or only the leave for somebody who was never in.
func (a *answer) leftRoom(j *job) error {
	leave, err := a.s.Rooms.Event(a.ctx, j.member.EventID)
	if err != nil || leave == nil {
		return err
	}
	inside, err := a.wasInside(j)
	if err != nil {
		return err
	}
	var w window
	var state []*room.Stored
	switch {
	case inside:
		if w, err = a.collect(j, j.since, j.member.Pos, a.req.filter.timeline, a.req.filter.limit()); err != nil {
			return err
		}
		if state, err = a.state(j, &w, j.member.Pos, nil); err != nil {
			return err
		}
	case a.req.filter.limit() > 0 && a.req.filter.timeline.Event(leave):
		w.events = []timeline.Seen{{Stored: leave, Membership: leave.Membership()}}
		w.prev = leave.Order - 1
	}
	a.buf = append(a.buf, '{')
	if err := a.writeTimeline(&w, j); err != nil {
		return err
	}
	a.writeState(state)
	a.writeRoomData(j, a.roomAccountData(j))
	a.buf = append(a.buf, '}')
	return nil
}

// wasInside: the client is told about the room itself if the user was in it at the start of the window, or joined within it;
// for an initial sync, if they ever were.
func (a *answer) wasInside(j *job) (bool, error) {
	if j.before == memberJoin {
		return true, nil
	}
	if j.member.Pos == 0 {
		return false, nil
	}
	was, until, err := j.viewer.WasJoined(a.ctx)
	if err != nil || !was {
		return false, err
	}
	return a.req.initial || a.req.full || until > room.OrderAt(stream.Pos(a.req.since)), nil
}
