package push

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

var followed = stream.Kinds(stream.Event, stream.Membership, stream.Receipt)

// followEvents judges what is new for users with pushers, and queues what their gateways are to be told. What it writes is written
// exactly once.
//
// spec: cs#receiving-notifications
func (p *Push) followEvents(ctx context.Context, changes []stream.Change) error {
	if err := p.settleTargets(ctx); err != nil {
		return err
	}
	if p.targets.none() {
		return nil
	}
	n := notes{p: p, ctx: ctx, now: p.now().UnixMilli()}
	for i := range changes {
		c := &changes[i]
		var err error
		if c.Kind == stream.Receipt {
			n.counts(c)
		} else {
			err = n.event(c)
		}
		if err != nil {
			return err
		}
	}
	if len(n.rows) == 0 {
		return nil
	}
	err := p.db.Tx(ctx, func(ctx context.Context) error {
		if err := p.db.Insert(ctx, queueTable, n.rows...); err != nil {
			return fmt.Errorf("queueing notifications: %w", err)
		}
		return stream.SaveCursor(ctx)
	})
	if err == nil {
		metricQueued.Add(float64(len(n.rows)))
		p.kickDelivery()
	}
	return err
}

// notes gathers rows of push_queue.
type notes struct {
	p    *Push
	ctx  context.Context
	now  int64
	rows [][]any
}

func (n *notes) add(user id.UserID, pos stream.Pos, event id.EventID, tweaks string) {
	for _, pusher := range n.p.targets.of(user) {
		n.rows = append(n.rows, []any{pusher.NID, int64(pos), string(event), tweaks, n.now})
	}
}

// counts: whoever reads has fewer unread events.
func (n *notes) counts(c *stream.Change) { n.add(c.UserID, c.Pos, "", "") }

func (n *notes) event(c *stream.Change) error {
	p := n.p
	ev, err := p.rooms.Event(n.ctx, id.EventID(c.Ref))
	if err != nil {
		return fmt.Errorf("event to judge: %w", err)
	}
	if ev == nil || ev.Rejected || ev.SoftFailed || ev.RedactedBy != "" {
		return nil
	}
	m := &moment{p: p, ctx: n.ctx, room: ev.RoomID()}
	s := newSubject(ev.Event, m.at(ev))
	if c.Kind == stream.Membership && ev.Membership() == invited && len(p.targets.of(c.UserID)) > 0 {
		if err := n.judge(s, c.UserID, c.Pos); err != nil {
			return err
		}
	}
	if ev.Outlier {
		return nil
	}
	members, err := p.rooms.LocalJoined(n.ctx, ev.RoomID())
	if err != nil {
		return fmt.Errorf("members to notify: %w", err)
	}
	for _, user := range p.targets.in(ev.RoomID(), members) {
		ok, err := n.wasThere(m, ev, user)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := n.judge(s, user, c.Pos); err != nil {
			return err
		}
	}
	return nil
}

// wasThere says whether a member of today was one when the event came.
func (n *notes) wasThere(m *moment, ev *room.Stored, user id.UserID) (bool, error) {
	member, ok, err := n.p.rooms.Member(n.ctx, ev.RoomID(), user)
	if err != nil || !ok || member.Membership != joined {
		return false, err
	}
	if member.Pos < ev.Pos {
		return true, nil
	}
	return m.wasJoined(user)
}

func (n *notes) judge(s *subject, user id.UserID, pos stream.Pos) error {
	if s.ev.Sender() == user {
		return nil
	}
	j, err := n.p.judgeOf(n.ctx, user)
	if err != nil {
		return err
	}
	if _, ignored := j.ignored[s.ev.Sender()]; ignored {
		return nil
	}
	rule, err := s.judge(j)
	if err != nil || rule == nil || !rule.Notify {
		return err
	}
	n.add(user, pos, s.ev.ID(), string(rule.Tweaks))
	return nil
}

// followUpgrades gives a room that replaces another one the rule that a member has for the old one, once they join.
//
// spec: cs#room-upgrades
func (p *Push) followUpgrades(ctx context.Context, changes []stream.Change) error {
	for i := range changes {
		c := &changes[i]
		if !p.accounts.Local(c.UserID) {
			continue
		}
		fresh, err := p.joins(ctx, id.EventID(c.Ref), c.UserID)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		old, err := p.predecessor(ctx, c.RoomID)
		if err != nil {
			return err
		}
		if old == "" || old == c.RoomID {
			continue
		}
		if err := p.CopyRoomRule(ctx, c.UserID, old, c.RoomID); err != nil {
			return err
		}
	}
	return nil
}

// joins says whether somebody becomes a member with this event, and still is one.
func (p *Push) joins(ctx context.Context, eventID id.EventID, user id.UserID) (bool, error) {
	ev, err := p.rooms.Event(ctx, eventID)
	if err != nil || ev == nil || ev.Rejected || ev.Outlier || ev.Membership() != joined {
		return false, err
	}
	m, ok, err := p.rooms.Member(ctx, ev.RoomID(), user)
	if err != nil || !ok || m.Membership != joined {
		return false, err
	}
	was, err := (&moment{p: p, ctx: ctx, room: ev.RoomID()}).at(ev).wasJoined(user)
	return !was, err
}

// followEnds forgets users who are erased, and the pushers of all who are no more.
//
// spec: cs#account-deactivation
func (p *Push) followEnds(ctx context.Context, changes []stream.Change) error {
	for i := range changes {
		user := changes[i].UserID
		u, err := p.accounts.GetUser(ctx, user)
		if err != nil && !errors.Is(err, mautrix.MNotFound) {
			return fmt.Errorf("user who ended: %w", err)
		}
		doomed := []string{deleteUsers}
		if u.Erased {
			doomed = append(doomed, deleteRules, deleteCells)
		}
		for _, query := range doomed {
			if _, err := p.db.Exec(ctx, query, string(user)); err != nil {
				return fmt.Errorf("forgetting a user: %w", err)
			}
		}
		p.targets.changed(user)
		p.outdated(user)
	}
	return nil
}
