package clientsync

import (
	"context"
	"errors"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// slide is an answer of simplified sliding sync in the making. It shares the window of the log, the timeline and the rendering
// with /sync; which rooms are in it, and how much of them, the lists and subscriptions say.
//
// msc: 4186
type slide struct {
	*answer
	in       *SlidingIn
	key      connKey
	conn     *connection
	personal *personal
	sel      *selection
	changes  map[id.RoomID]*sentRoom
	counted  map[id.RoomID]bool                    // unread counts changed by something else than events and receipts
	fresh    map[id.RoomID]map[id.EventID]struct{} // rooms sent from the beginning, with the events of their timeline
}

// slidingRequest is a checked request.
type slidingRequest struct {
	request
	in   *SlidingIn
	conn *connection
	key  connKey
}

// Slide answers at once if there is something to say, or the connection is new, else as soon as there is, at the latest when wait
// ends (nil: at once).
func (s *Syncs) Slide(ctx, wait context.Context, req slidingRequest) (*Answer, error) {
	if err := s.catchUp(ctx, &req.request); err != nil {
		return nil, err
	}
	for {
		upTo := max(s.Stream.Head(), req.since)
		v, err := s.view(ctx, req.user)
		if err != nil {
			return nil, err
		}
		if v.newest > upTo { // a membership of a moment ago: its event is about to be seen
			if err := s.Stream.Reach(ctx, v.newest); err != nil {
				return nil, err
			}
			upTo = s.Stream.Head()
		}
		var touched map[stream.Topic]stream.KindSet
		if !req.initial {
			if touched, err = s.Stream.Touched(ctx, req.since, upTo, v.topics); err != nil {
				return nil, err
			}
		}
		ans, something, err := s.buildSlide(ctx, &req, v, upTo, touched, wait == nil)
		if err != nil || something || req.initial || wait == nil {
			return ans, err
		}
		ans.release()
		if _, err := s.Stream.Wait(wait, upTo, v.topics...); err != nil {
			if wait.Err() == nil || ctx.Err() != nil {
				return nil, err
			}
			wait = nil // one last look
		}
	}
}

// buildSlide answers for the window; what it changes about the connection is stored only if the answer is going to be sent.
func (s *Syncs) buildSlide(ctx context.Context, req *slidingRequest, v *view, upTo stream.Pos, touched map[stream.Topic]stream.KindSet, last bool) (*Answer, bool, error) {
	a := &slide{answer: s.answer(ctx, &req.request, v, upTo, touched), in: req.in, key: req.key, conn: req.conn,
		changes: map[id.RoomID]*sentRoom{}, fresh: map[id.RoomID]map[id.EventID]struct{}{}}
	var err error
	if a.ignored, err = s.Accounts.IgnoredUsers(ctx, req.user); err != nil {
		return nil, false, err
	}
	a.dev = s.device(&request{user: req.user, device: req.device + "\x00" + id.DeviceID(req.key.conn)})
	a.dev.arrived(&req.request)
	a.buf = append(a.buf, '{')
	for _, part := range []func() error{a.slideLists, a.slideRooms, a.slideExtensions} {
		if err := part(); err != nil {
			return nil, false, err
		}
	}
	conn := a.conn
	if a.some || req.initial || last {
		if conn, err = s.advance(ctx, a.key, a.conn, a.changes); err != nil {
			return nil, false, err
		}
	}
	if a.in.TxnID != "" {
		a.buf = timeline.AppendString(append(a.buf, `,"txn_id":`...), a.in.TxnID)
	}
	a.buf = append(append(append(a.buf, `,"pos":"`...), connectionPos(conn.version, a.upTo)...), '"')
	a.rememberSlide()
	return a.finish(), a.some, nil
}

// slideLists chooses the rooms and writes `lists`.
func (a *slide) slideLists() error {
	a.sel = &selection{}
	a.buf = append(a.buf, `"lists":{`...)
	if len(a.in.Lists)+len(a.in.Subscriptions) > 0 {
		var err error
		if a.personal, err = a.s.personal(a.ctx, a.req.user, a.upTo); err != nil {
			return err
		}
		if a.sel, err = a.choose(); err != nil {
			return err
		}
	}
	first := true
	for name := range a.in.Lists {
		if !first {
			a.buf = append(a.buf, ',')
		}
		first = false
		a.buf = append(timeline.AppendString(a.buf, name), `:{"count":`...)
		a.buf = strconv.AppendInt(a.buf, int64(a.sel.counts[name]), 10)
		a.buf = append(a.buf, '}')
	}
	a.buf = append(a.buf, '}')
	return nil
}

// slideRooms writes `rooms` and notes what the connection has been sent.
func (a *slide) slideRooms() error {
	var err error
	if a.counted, err = a.countedRooms(); err != nil {
		return err
	}
	a.buf = append(a.buf, `,"rooms":{`...)
	open := len(a.buf)
	write := func(roomID id.RoomID, fn func() error) error {
		mark := len(a.buf)
		if mark > open {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(timeline.AppendString(a.buf, string(roomID)), ':')
		body := len(a.buf)
		err := fn()
		if errors.Is(err, mautrix.MNotFound) { // the room was removed from this server meanwhile
			a.buf, err = a.buf[:body], nil
		}
		if len(a.buf) == body {
			a.buf = a.buf[:mark]
		}
		return err
	}
	for _, sel := range a.sel.order {
		if a.untouched(sel) {
			continue
		}
		if err := write(sel.member.RoomID, func() error { return a.slideRoom(sel) }); err != nil {
			return err
		}
	}
	for roomID, sent := range a.conn.rooms {
		m, ok := a.view.members[roomID]
		switch {
		case !ok || m.Membership == memberLeave || m.Membership == memberBan:
			if err := write(roomID, func() error { return a.slideLeft(roomID, sent) }); err != nil {
				return err
			}
		case a.sel.rooms[roomID] == nil && sent.UpTo == 0 && a.touched[stream.RoomTopic(roomID)] != 0:
			// Out of sight while something happens there: from here on it will have to be caught up with.
			sent.UpTo = a.req.since
			a.changes[roomID] = &sent
		}
	}
	if len(a.buf) > open {
		a.some = true
	}
	a.buf = append(a.buf, '}')
	return nil
}

// rememberSlide notes the members sent, as rememberMembers does for /sync.
func (a *slide) rememberSlide() {
	for roomID := range a.fresh {
		a.answer.fresh = append(a.answer.fresh, roomID)
	}
	if len(a.sent)+len(a.answer.fresh) == 0 {
		return
	}
	a.dev.mu.Lock()
	a.dev.pending = &pendingMembers{a.upTo, a.sent, a.answer.fresh}
	n := int64(a.dev.count + len(a.sent))
	a.dev.mu.Unlock()
	a.s.devices.Put(deviceKey{a.req.user, a.req.device + "\x00" + id.DeviceID(a.key.conn)}, a.dev, 8+n)
}
