package push

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// Notification is an event that the user was notified of. spec: cs#get_matrixclientv3notifications
type Notification struct {
	Actions json.RawMessage `json:"actions"`
	Event   json.RawMessage `json:"event"`
	Read    bool            `json:"read"`
	RoomID  id.RoomID       `json:"room_id"`
	TS      int64           `json:"ts"`
}

const (
	notificationBudget = 5000 // events judged for one answer
	notificationPage   = 30
)

// Notifications lists what notified the user, newest first, from a position backwards. next is where to go on, 0 at the end. What is
// looked at for one answer is bounded, so an answer may be short or empty and still have more behind it.
func (p *Push) Notifications(ctx context.Context, user id.UserID, from stream.Pos, limit int, onlyHighlights bool) (list []Notification, next stream.Pos, err error) {
	j, err := p.judgeOf(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	members, err := p.rooms.Memberships(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	w := &walk{p: p, ctx: ctx, judge: j, budget: notificationBudget}
	for _, m := range members {
		if m.Membership == joined {
			if err := w.enter(m, from); err != nil {
				return nil, 0, err
			}
		}
	}
	var evs []*room.Stored
	var rules []*compiled
	for len(evs) < limit {
		ev, rule, err := w.next()
		if err != nil {
			return nil, 0, err
		}
		if ev == nil {
			break
		}
		if rule != nil && rule.Notify && (rule.Highlight || !onlyHighlights) {
			evs, rules = append(evs, ev), append(rules, rule)
		}
	}
	if w.left() {
		next = w.at - 1
	}
	list, err = p.renderNotifications(ctx, user, evs, rules)
	return list, next, err
}

func (p *Push) renderNotifications(ctx context.Context, user id.UserID, evs []*room.Stored, rules []*compiled) ([]Notification, error) {
	unread, err := p.unread(ctx, user, evs)
	if err != nil {
		return nil, err
	}
	rendered, err := p.timelines.Render(ctx, evs, timeline.RenderOptions{ForUser: user, NoRoomID: true})
	if err != nil {
		return nil, fmt.Errorf("rendering notifications: %w", err)
	}
	out := make([]Notification, len(evs))
	for i, ev := range evs {
		out[i] = Notification{Actions: rules[i].Actions, Event: rendered[i], Read: !unread[ev.ID()], RoomID: ev.RoomID(), TS: ev.Timestamp()}
	}
	return out, nil
}

// walk goes back through the events of several rooms at once.
type walk struct {
	p      *Push
	ctx    context.Context
	judge  *judge
	rooms  []*trail
	budget int
	at     stream.Pos // of the last event given
}

// trail is the way back in one room.
type trail struct {
	moment  moment
	joined  room.Order
	page    []*room.Stored // oldest first
	through stream.Pos     // where the page before this one ends
	more    bool
}

func (w *walk) enter(m room.Member, from stream.Pos) error {
	s := scan{p: w.p, ctx: w.ctx, judge: w.judge, room: m.RoomID, member: m}
	at, err := s.joinedAt()
	if err != nil {
		return err
	}
	t := &trail{joined: at, through: from, more: true, moment: moment{p: w.p, ctx: w.ctx, room: m.RoomID}}
	if err := w.fill(t); err != nil {
		return err
	}
	if len(t.page) > 0 {
		w.rooms = append(w.rooms, t)
	}
	return nil
}

// fill reads the page before.
func (w *walk) fill(t *trail) error {
	if len(t.page) > 0 || !t.more {
		return nil
	}
	since := max(stream.Pos(t.joined>>stream.OrderShift), 0)
	page, more, err := w.p.rooms.Live(w.ctx, t.moment.room, since, t.through, notificationPage)
	if err != nil {
		return fmt.Errorf("events that notified: %w", err)
	}
	t.page, t.more = page, more && len(page) > 0
	if len(page) > 0 {
		t.through = page[0].Pos - 1
	}
	return nil
}

func (w *walk) left() bool {
	return slices.ContainsFunc(w.rooms, func(t *trail) bool { return len(t.page) > 0 })
}

// next gives the newest event that was not looked at yet, with the rule that matches it; nil at the end.
func (w *walk) next() (*room.Stored, *compiled, error) {
	var t *trail
	for _, other := range w.rooms {
		if len(other.page) > 0 && (t == nil || other.page[len(other.page)-1].Pos > t.page[len(t.page)-1].Pos) {
			t = other
		}
	}
	if t == nil || w.budget == 0 {
		return nil, nil, nil
	}
	w.budget--
	ev := t.page[len(t.page)-1]
	t.page, w.at = t.page[:len(t.page)-1], ev.Pos
	if err := w.fill(t); err != nil {
		return nil, nil, err
	}
	if _, ignored := w.judge.ignored[ev.Sender()]; ignored || ev.Sender() == w.judge.user || ev.RedactedBy != "" || ev.Order <= t.joined {
		return ev, nil, nil
	}
	rule, err := newSubject(ev.Event, t.moment.at(ev)).judge(w.judge)
	return ev, rule, err
}
