package clientsync

import (
	"encoding/json"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// untouched says that a selected room has nothing new for the client, at a glance.
func (a *slide) untouched(sel *selected) bool {
	roomID := sel.member.RoomID
	sent, known := a.conn.rooms[roomID]
	return known && sent.UpTo == 0 && sel.member.Pos <= a.req.since && sel.want.limit <= sent.Limit && sel.want.text == sent.State &&
		a.touched[stream.RoomTopic(roomID)] == 0 && !a.counted[roomID]
}

// slideRoom writes a selected room, or nothing if the client has all of it.
func (a *slide) slideRoom(sel *selected) error {
	m, roomID := sel.member, sel.member.RoomID
	sent, known := a.conn.rooms[roomID]
	from := sent.UpTo
	if known && from == 0 {
		from = a.req.since
	}
	if m.Membership != memberJoin {
		if known && m.Pos <= from {
			return nil
		}
		a.changes[roomID] = &sentRoom{}
		return a.slideInvite(roomID, m)
	}
	r := slideJob{job: job{room: roomID, member: m, viewer: a.s.Timelines.Viewer(m, a.ignored)}, want: sel.want, bump: sel.bump, sent: sent, initial: !known}
	if known && m.Pos > from {
		before, err := a.memberAt(m, from)
		if err != nil {
			return err
		}
		r.initial = before.Membership != memberJoin
	}
	if !r.initial {
		if err := a.slideKnown(&r, from); err != nil {
			return err
		}
		if r.kinds == 0 && !r.expand && !r.grown && !a.counted[roomID] {
			return nil
		}
	}
	return a.slideJoined(&r)
}

// slideJob is a joined room of a sliding answer.
type slideJob struct {
	job
	want    *wanted
	sent    sentRoom
	bump    stream.Pos
	old     *wanted // what state was wanted before
	initial bool
	expand  bool // more of the timeline is wanted than was sent
	grown   bool // more state is wanted than was sent
}

// slideKnown finds out what is to be added to a room that the client has.
func (a *slide) slideKnown(r *slideJob, from stream.Pos) error {
	r.since = from
	r.kinds = a.touched[stream.RoomTopic(r.room)]
	if from != a.req.since {
		topic := stream.RoomTopic(r.room)
		touched, err := a.s.Stream.Touched(a.ctx, from, a.upTo, []stream.Topic{topic})
		if err != nil {
			return err
		}
		r.kinds = touched[topic]
	}
	r.expand = r.want.limit > r.sent.Limit
	if r.want.text != r.sent.State {
		r.old = (&wanted{}).with(0, parsePatterns(r.sent.State))
		// What was once wanted is kept up to date, so that asking for it again needs no memory of when it was not.
		r.want = r.want.with(0, r.old.state)
		r.grown = len(r.want.state) > len(r.old.state)
	}
	return nil
}

func parsePatterns(name string) (out []statePattern) {
	for _, p := range strings.Split(name, "\x01") {
		if evType, key, ok := strings.Cut(p, "\x00"); ok {
			out = append(out, statePattern{evType, key})
		}
	}
	return out
}

func (a *slide) slideJoined(r *slideJob) error {
	var w window
	var err error
	switch {
	case r.initial || r.expand:
		w, err = a.collect(&r.job, 0, a.upTo, nil, r.want.limit)
	case r.kinds.Has(stream.Event) || r.kinds.Has(stream.Membership):
		w, err = a.collect(&r.job, r.since, a.upTo, nil, r.want.limit)
	}
	if err != nil {
		return err
	}
	st, err := a.slideState(r, &w)
	if err != nil {
		return err
	}
	news := r.initial || r.expand || len(w.events) > 0 || w.limited || len(st.events) > 0
	if !news && !a.counted[r.room] && r.kinds.Has(stream.Receipt) {
		if news, err = a.ownReceipt(&r.job); err != nil {
			return err
		}
	}
	if !news && !a.counted[r.room] {
		a.noteSent(r, &w)
		return nil
	}
	a.buf = append(a.buf, '{')
	if r.initial {
		a.buf = append(a.buf, `"initial":true,`...)
		a.fresh[r.room] = map[id.EventID]struct{}{}
		for _, ev := range w.events {
			a.fresh[r.room][ev.ID()] = struct{}{}
		}
	} else if r.expand {
		a.buf = append(a.buf, `"expanded_timeline":true,"unstable_expanded_timeline":true,`...)
	}
	a.buf = append(a.buf, `"bump_stamp":`...)
	a.buf = strconv.AppendInt(a.buf, int64(r.bump), 10)
	for _, part := range []func() error{
		func() error { return a.slideNames(r, st) },
		func() error { return a.slideTimeline(r, &w) },
		func() error { return a.slideCounts(r) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	a.buf = append(a.buf, `,"required_state":[`...)
	a.buf = append(a.s.Timelines.AppendState(a.buf, st.events, a.options()), ']', '}')
	a.noteSent(r, &w)
	return nil
}

// noteSent changes the connection's state where it differs from what it was.
func (a *slide) noteSent(r *slideJob, w *window) {
	now := sentRoom{Limit: r.want.limit, State: r.want.text}
	if !r.initial && now.Limit < r.sent.Limit && !w.limited {
		now.Limit = r.sent.Limit
	}
	if r.initial || now != r.sent {
		a.changes[r.room] = &now
	}
}

func (a *slide) slideTimeline(r *slideJob, w *window) error {
	if !r.initial && !r.expand && len(w.events) == 0 && !w.limited {
		return nil
	}
	a.buf = append(a.buf, `,"timeline":[`...)
	o := a.options()
	o.NoBundles = !r.initial && !r.expand && !w.limited && !relatedInside(w.events)
	var err error
	if a.buf, err = a.s.Timelines.AppendEvents(a.ctx, a.buf, w.events, o); err != nil {
		return err
	}
	live := 0
	for _, ev := range w.events {
		if !a.req.initial && ev.Pos > a.req.since {
			live++
		}
	}
	a.buf = strconv.AppendInt(append(a.buf, `],"num_live":`...), int64(live), 10)
	a.buf = strconv.AppendBool(append(a.buf, `,"limited":`...), w.limited)
	a.buf = append(timeline.AppendTokenAt(append(a.buf, `,"prev_batch":"`...), w.prev, a.upTo), '"')
	return nil
}

// slideNames writes what a room list shows: name, avatar, the people, how many there are.
func (a *slide) slideNames(r *slideJob, st *slideState) error {
	if _, dm := a.personal.direct[r.room]; dm && r.initial {
		a.buf = append(a.buf, `,"is_dm":true`...)
	}
	for _, n := range []struct{ evType, field, member string }{{typeName, "name", "name"}, {"m.room.avatar", "url", "avatar"}} {
		if !r.initial && !st.changed[event.Key{Type: n.evType}] {
			continue
		}
		ev, err := st.now.Event(a.ctx, n.evType, "")
		if err != nil {
			return err
		}
		value := ""
		if ev != nil && ev.RedactedBy == "" {
			value, _ = ev.FieldString(n.field)
		}
		a.buf = append(append(append(a.buf, `,"`...), n.member...), `":`...)
		if value == "" {
			a.buf = append(a.buf, "null"...)
		} else {
			a.buf = timeline.AppendString(a.buf, value)
		}
	}
	if !r.initial && !r.kinds.Has(stream.Membership) {
		return nil
	}
	sum, err := a.summary(&r.job, nil, true)
	if err != nil {
		return err
	}
	a.buf = strconv.AppendInt(append(a.buf, `,"joined_count":`...), int64(sum.joined), 10)
	a.buf = strconv.AppendInt(append(a.buf, `,"invited_count":`...), int64(sum.invited), 10)
	if !sum.named {
		return a.slideHeroes(st.now, sum.heroes)
	}
	return nil
}

func (a *slide) slideHeroes(st *room.State, heroes []id.UserID) error {
	a.buf = append(a.buf, `,"heroes":[`...)
	for i, u := range heroes {
		if i > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = timeline.AppendString(append(a.buf, `{"user_id":`...), string(u))
		ev, err := st.Event(a.ctx, typeMember, string(u))
		if err != nil {
			return err
		}
		if ev != nil && ev.RedactedBy == "" {
			for _, field := range []string{"displayname", "avatar_url"} {
				if v, _ := ev.FieldString(field); v != "" {
					a.buf = append(append(append(a.buf, `,"`...), field...), `":`...)
					a.buf = timeline.AppendString(a.buf, v)
				}
			}
		}
		a.buf = append(a.buf, '}')
	}
	a.buf = append(a.buf, ']')
	return nil
}

// slideCounts writes unread counts, threads included.
func (a *slide) slideCounts(r *slideJob) error {
	var c Counts
	if a.s.PushCounts != nil {
		counts, err := a.s.PushCounts.Counts(a.ctx, a.req.user, []id.RoomID{r.room}, a.upTo)
		if err != nil {
			return err
		}
		c = counts[r.room]
	}
	n, h := c.Notifications, c.Highlights
	for _, t := range c.Threads {
		n, h = n+t.Notifications, h+t.Highlights
	}
	a.buf = strconv.AppendInt(append(a.buf, `,"notification_count":`...), int64(n), 10)
	a.buf = strconv.AppendInt(append(a.buf, `,"highlight_count":`...), int64(h), 10)
	return nil
}

// slideInvite writes a room that the user is invited to or knocked on.
func (a *slide) slideInvite(roomID id.RoomID, m room.Member) error {
	stripped, err := a.s.Rooms.InviteState(a.ctx, roomID, a.req.user)
	if err != nil {
		return err
	}
	a.fresh[roomID] = nil
	a.buf = strconv.AppendInt(append(a.buf, `{"initial":true,"bump_stamp":`...), int64(m.Pos), 10)
	if _, dm := a.personal.direct[roomID]; dm {
		a.buf = append(a.buf, `,"is_dm":true`...)
	}
	a.buf = append(a.buf, `,"notification_count":0,"highlight_count":0,"invite_state":[`...)
	for i, ev := range stripped {
		if i > 0 {
			a.buf = append(a.buf, ',')
		}
		a.buf = append(a.buf, ev...)
	}
	a.buf = append(a.buf, ']')
	a.strippedNames(stripped)
	a.buf = append(a.buf, '}')
	return nil
}

// strippedNames takes name and avatar from stripped state.
func (a *slide) strippedNames(stripped []json.RawMessage) {
	for _, n := range []struct{ evType, field, member string }{{typeName, "name", "name"}, {"m.room.avatar", "url", "avatar"}} {
		for _, raw := range stripped {
			var ev struct {
				Type    string         `json:"type"`
				Content map[string]any `json:"content"`
			}
			if json.Unmarshal(raw, &ev) != nil || ev.Type != n.evType {
				continue
			}
			if value, _ := ev.Content[n.field].(string); value != "" {
				a.buf = append(append(append(a.buf, `,"`...), n.member...), `":`...)
				a.buf = timeline.AppendString(a.buf, value)
			}
		}
	}
}

// slideLeft writes the end of a room that the client was sent, and lets the connection forget it.
func (a *slide) slideLeft(roomID id.RoomID, sent sentRoom) error {
	a.changes[roomID] = nil
	m, ok := a.view.members[roomID]
	if !ok {
		return nil
	}
	leave, err := a.s.Rooms.Event(a.ctx, m.EventID)
	if err != nil || leave == nil {
		return err
	}
	from := sent.UpTo
	if from == 0 {
		from = a.req.since
	}
	j := &job{room: roomID, member: m, since: from, before: memberJoin, viewer: a.s.Timelines.Viewer(m, a.ignored)}
	w := window{events: []timeline.Seen{{Stored: leave, Membership: leave.Membership()}}, prev: leave.Order - 1}
	if was, _, err := j.viewer.WasJoined(a.ctx); err != nil {
		return err
	} else if was && m.Pos > from {
		if w, err = a.collect(j, from, m.Pos, nil, max(sent.Limit, 1)); err != nil {
			return err
		}
	}
	a.buf = strconv.AppendInt(append(a.buf, `{"bump_stamp":`...), int64(m.Pos), 10)
	if err := a.slideTimeline(&slideJob{job: *j}, &w); err != nil {
		return err
	}
	a.buf = append(a.buf, `,"notification_count":0,"highlight_count":0,"required_state":[`...)
	a.buf = append(a.s.Timelines.AppendState(a.buf, []*room.Stored{leave}, a.options()), ']', '}')
	return nil
}
