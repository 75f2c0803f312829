package clientsync

import (
	"strconv"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// joinedRoom writes a room in `join`, or nothing if nothing in it concerns this client.
func (a *answer) joinedRoom(j *job) error {
	all := j.since == 0 || a.req.full
	var tl window
	var err error
	if all || j.kinds.Has(stream.Event) || j.kinds.Has(stream.Membership) {
		if tl, err = a.collect(j, j.since, a.upTo, a.req.filter.timeline, a.req.filter.limit()); err != nil {
			return err
		}
	}
	sum, err := a.summary(j, &tl, all)
	if err != nil {
		return err
	}
	state, err := a.state(j, &tl, a.upTo, sum)
	if err != nil {
		return err
	}
	a.meetings(j, &tl, state)
	typing, err := a.typing(j, all)
	if err != nil {
		return err
	}
	own := j.counted
	if !own && j.receipt == nil && j.kinds.Has(stream.Receipt) {
		if own, err = a.ownReceipt(j); err != nil {
			return err
		}
	}
	data := a.roomAccountData(j)
	if !all && len(tl.events) == 0 && !tl.limited && len(state) == 0 && j.receipt == nil && typing == nil && !data && sum == nil && !own {
		return nil
	}
	a.buf = append(a.buf, '{')
	if err := a.writeTimeline(&tl, j); err != nil {
		return err
	}
	a.writeState(state)
	a.writeSummary(sum)
	a.writeEphemeral(j.receipt, typing)
	a.writeRoomData(j, data || a.req.initial) // a first answer has the section even when it is empty
	a.writeCounts(j.counts)
	a.buf = append(a.buf, '}')
	return nil
}

// window is the timeline of a room in an answer.
type window struct {
	events  []timeline.Seen // oldest first
	limited bool
	prev    room.Order // the place just before it
	state   bool       // state events happened in the part of the log looked at
}

const scanBudget = 4000

// collect reads the newest events, at most limit, with positions in (since, upTo] that the user may see and the filter takes.
func (a *answer) collect(j *job, since, upTo stream.Pos, f *timeline.Filter, limit int) (window, error) {
	w := window{prev: room.OrderAt(upTo)}
	var newestFirst []timeline.Seen
	page := limit + 1
	if !f.All() {
		page = max(page, 50)
	}
	hi, first := upTo, (*room.Stored)(nil)
	for scanned := 0; scanned < scanBudget && !w.limited; {
		evs, more, err := a.s.Rooms.Live(a.ctx, j.room, since, hi, page)
		if err != nil {
			return w, err
		}
		scanned += len(evs)
		for i := len(evs) - 1; i >= 0 && !w.limited; i-- {
			ev := evs[i]
			first = ev
			w.state = w.state || ev.IsState()
			seen, ok, hole, err := a.look(j, ev, f)
			if err != nil {
				return w, err
			}
			if hole {
				w.limited = true
				break
			}
			if ok && len(newestFirst) == limit {
				w.limited = true
				break
			}
			if ok {
				newestFirst = append(newestFirst, seen)
			}
			w.limited = ev.Gap
		}
		if len(evs) > 0 {
			hi = evs[0].Pos - 1
		}
		if !more || len(evs) == 0 {
			break
		}
		w.limited = w.limited || scanned >= scanBudget
	}
	w.events = newestFirst
	for i, k := 0, len(w.events)-1; i < k; i, k = i+1, k-1 {
		w.events[i], w.events[k] = w.events[k], w.events[i]
	}
	if len(w.events) > 0 {
		w.prev = w.events[0].Order - 1
	}
	if since == 0 && !w.limited && first != nil {
		// What a client begins with is complete only if it goes back to the beginning, and that was in the window.
		w.limited = !first.Is(typeCreate, "") || !a.req.initial && first.Pos <= a.req.since
	}
	return w, nil
}

// look says whether an event belongs in the timeline. A state event that the user may not see (it happened while they were out)
// is a hole: events from before it would make the client believe in an older state.
func (a *answer) look(j *job, ev *room.Stored, f *timeline.Filter) (seen timeline.Seen, ok, hole bool, err error) {
	if !f.Event(ev) {
		return seen, false, false, nil
	}
	seen, ok, err = j.viewer.See(a.ctx, ev)
	return seen, ok, !ok && ev.IsState(), err
}

func (a *answer) writeTimeline(w *window, j *job) error {
	a.buf = append(a.buf, `"timeline":{"events":[`...)
	o := a.options()
	o.NoBundles = j.since != 0 && !w.limited && a.req.filter.timeline.All() && !relatedInside(w.events)
	var err error
	if a.buf, err = a.s.Timelines.AppendEvents(a.ctx, a.buf, w.events, o); err != nil {
		return err
	}
	a.buf = strconv.AppendBool(append(a.buf, `],"limited":`...), w.limited)
	a.buf = append(timeline.AppendTokenAt(append(a.buf, `,"prev_batch":"`...), w.prev, a.upTo), '"', '}')
	return nil
}

// relatedInside says whether an event in the list relates to another one in it. New events can have no other children than
// those that came after them, which are in the same list.
func relatedInside(evs []timeline.Seen) bool {
	for i, ev := range evs {
		rel, ok := timeline.RelationOf(ev.Event)
		if !ok {
			continue
		}
		for _, other := range evs[:i] {
			if other.ID() == rel.Parent {
				return true
			}
		}
	}
	return false
}

// meetings notes people who joined the room, or all of it if the user did.
func (a *answer) meetings(j *job, w *window, state []*room.Stored) {
	if a.req.initial || a.s.Presence == nil {
		return
	}
	if j.since == 0 {
		members, err := a.s.Rooms.JoinedMembers(a.ctx, j.room)
		if err != nil {
			return
		}
		for _, u := range members {
			a.met(u)
		}
		return
	}
	for _, ev := range w.events {
		if ev.Type() == typeMember && ev.IsState() && ev.Stored.Membership() == memberJoin {
			a.met(id.UserID(*ev.StateKey()))
		}
	}
	for _, ev := range state {
		if ev.Type() == typeMember && ev.Membership() == memberJoin && ev.Pos > a.req.since {
			a.met(id.UserID(*ev.StateKey()))
		}
	}
}

// typing gives the m.typing event if it changed, or if there is somebody to show to a client new to the room.
func (a *answer) typing(j *job, all bool) ([]byte, error) {
	if a.s.Typing == nil || !a.req.filter.ephemeral.Type("m.typing") || !a.req.filter.ephemeral.Room(j.room) {
		return nil, nil
	}
	if !j.kinds.Has(stream.Typing) {
		if !all {
			return nil, nil
		}
		users, err := a.s.Typing.TypingIn(a.ctx, j.room)
		if err != nil || len(users) == 0 {
			return nil, err
		}
	}
	return a.s.Typing.TypingEvent(a.ctx, j.room)
}

// ownReceipt says whether the user read something in the window; others' private receipts are nobody's business.
func (a *answer) ownReceipt(j *job) (bool, error) {
	changes, err := a.s.Stream.Changes(a.ctx, a.req.since, a.upTo, stream.Kinds(stream.Receipt), []stream.Topic{stream.RoomTopic(j.room)})
	if err != nil {
		return false, err
	}
	for _, c := range changes {
		if c.UserID == a.req.user {
			return true, nil
		}
	}
	return false, nil
}

func (a *answer) writeEphemeral(receipt, typing []byte) {
	if receipt == nil && typing == nil && !a.req.initial { // a first answer has the section even when it is empty
		return
	}
	a.buf = append(a.buf, `,"ephemeral":{"events":[`...)
	a.buf = append(a.buf, receipt...)
	if receipt != nil && typing != nil {
		a.buf = append(a.buf, ',')
	}
	a.buf = append(append(a.buf, typing...), ']', '}')
}

func (a *answer) roomAccountData(j *job) bool {
	f := a.req.filter.roomAccountData
	for _, d := range j.data {
		if f.Type(d.Type) && f.Room(j.room) {
			return true
		}
	}
	return false
}

func (a *answer) writeRoomData(j *job, some bool) {
	if !some {
		return
	}
	f := a.req.filter.roomAccountData
	a.buf = append(a.buf, `,"account_data":{"events":[`...)
	first := true
	for _, d := range j.data {
		if !f.Type(d.Type) {
			continue
		}
		if !first {
			a.buf = append(a.buf, ',')
		}
		first = false
		a.buf = appendDatum(a.buf, d.Type, d.Content)
	}
	a.buf = append(a.buf, ']', '}')
}

// writeCounts writes unread counts; threads are counted in unless the client asked for them apart.
//
// spec: cs#receiving-notifications
func (a *answer) writeCounts(c Counts) {
	apart := a.req.filter.timeline != nil && a.req.filter.timeline.ThreadCounts
	n, h := c.Notifications, c.Highlights
	if !apart {
		for _, t := range c.Threads {
			n, h = n+t.Notifications, h+t.Highlights
		}
	}
	a.buf = appendCounts(append(a.buf, `,"unread_notifications":`...), n, h)
	if !apart || len(c.Threads) == 0 {
		return
	}
	a.buf = append(a.buf, `,"unread_thread_notifications":{`...)
	first := true
	for root, t := range c.Threads {
		if !first {
			a.buf = append(a.buf, ',')
		}
		first = false
		a.buf = append(timeline.AppendString(a.buf, string(root)), ':')
		a.buf = appendCounts(a.buf, t.Notifications, t.Highlights)
	}
	a.buf = append(a.buf, '}')
}

func appendCounts(dst []byte, notifications, highlights int) []byte {
	dst = strconv.AppendInt(append(dst, `{"notification_count":`...), int64(notifications), 10)
	return append(strconv.AppendInt(append(dst, `,"highlight_count":`...), int64(highlights), 10), '}')
}
