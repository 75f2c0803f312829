package timeline

import (
	"context"
	"errors"
	"net/http"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// Visible keeps the events that the user may see, in the order given. Events of several rooms may be mixed.
//
// spec: cs#server-behaviour-5
func (t *Timelines) Visible(ctx context.Context, user id.UserID, evs []*room.Stored) ([]*room.Stored, error) {
	seen, err := t.See(ctx, user, evs)
	if err != nil {
		return nil, err
	}
	out := make([]*room.Stored, len(seen))
	for i, s := range seen {
		out[i] = s.Stored
	}
	return out, nil
}

// See is Visible, and tells the user's membership at each event.
func (t *Timelines) See(ctx context.Context, user id.UserID, evs []*room.Stored) ([]Seen, error) {
	out := make([]Seen, 0, len(evs))
	ignored, err := t.accounts.IgnoredUsers(ctx, user)
	if err != nil {
		return nil, err
	}
	viewers := map[id.RoomID]*Viewer{}
	var v *Viewer
	for _, ev := range evs {
		if v == nil || v.room != ev.RoomID() {
			if v = viewers[ev.RoomID()]; v == nil {
				if v, err = t.viewer(ctx, user, ev.RoomID(), ignored); err != nil {
					return nil, err
				}
				viewers[ev.RoomID()] = v
			}
		}
		m, ok, err := v.see(ctx, ev)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, Seen{ev, m})
		}
	}
	return out, nil
}

// fillMembership sets the reader's membership on events that are shown anyway.
func (t *Timelines) fillMembership(ctx context.Context, user id.UserID, evs []Seen) error {
	var v *Viewer
	for i, s := range evs {
		if v == nil || v.room != s.RoomID() {
			var err error
			if v, err = t.viewer(ctx, user, s.RoomID(), nil); err != nil {
				return err
			}
		}
		if _, m, err := v.memberships(ctx, s.Stored); err != nil {
			return err
		} else {
			evs[i].Membership = m
		}
	}
	return nil
}

// Viewer answers for one user and one room; it lives as long as one request and is used by one goroutine.
type Viewer struct {
	t       *Timelines
	user    id.UserID
	room    id.RoomID
	member  room.Member
	key     event.Key
	ignored map[id.UserID]struct{}
	snaps   map[int64]snapshot
	until   room.Order // end of the last time the user was joined; meaning only when untilKnown
	wasIn   bool
	known   bool
}

// snapshot is what matters here of a state: the rule for history, and the reader's membership.
type snapshot struct {
	visibility visibility
	membership membership
}

func (t *Timelines) viewer(ctx context.Context, user id.UserID, roomID id.RoomID, ignored map[id.UserID]struct{}) (*Viewer, error) {
	m, _, err := t.rooms.Member(ctx, roomID, user)
	if err != nil {
		return nil, err
	}
	return &Viewer{t: t, user: user, room: roomID, member: m, ignored: ignored,
		key: memberKey(user)}, nil
}

// Viewer makes a Viewer for somebody whose membership is already known.
func (t *Timelines) Viewer(m room.Member, ignored map[id.UserID]struct{}) *Viewer {
	return &Viewer{t: t, user: m.UserID, room: m.RoomID, member: m, ignored: ignored, key: memberKey(m.UserID)}
}

// See decides about one event, and tells the user's membership at it.
func (v *Viewer) See(ctx context.Context, ev *room.Stored) (Seen, bool, error) {
	m, ok, err := v.see(ctx, ev)
	return Seen{ev, m}, ok, err
}

// WasJoined says whether the user was ever joined as far as their memberships can be followed back, and where the last time ended.
func (v *Viewer) WasJoined(ctx context.Context) (bool, room.Order, error) {
	if !v.known {
		if err := v.findUntil(ctx); err != nil {
			return false, 0, err
		}
	}
	return v.wasIn, v.until, nil
}

// see decides about one event.
func (v *Viewer) see(ctx context.Context, ev *room.Stored) (membership, bool, error) {
	if len(v.ignored) > 0 && !ev.IsState() {
		if _, out := v.ignored[ev.Sender()]; out {
			return "", false, nil
		}
	}
	if v.afterJoin(ev) {
		return memberJoin, true, nil
	}
	before, after, err := v.memberships(ctx, ev)
	if err != nil {
		return "", false, err
	}
	if before != after || before == memberJoin || after == memberJoin || v.own(ev) {
		return after, true, nil // joined at it, or one's own membership
	}
	rule, err := v.rule(ctx, ev)
	if err != nil {
		return "", false, err
	}
	switch rule {
	case visibleWorld:
		return after, true, nil
	case visibleShared:
		ok, err := v.joinedLater(ctx, ev)
		return after, ok, err
	case visibleInvited:
		if before != memberInvite {
			return after, false, nil
		}
		// An invite opens what follows it only to somebody who then joined.
		ok, err := v.joinedLater(ctx, ev)
		return after, ok, err
	}
	return after, false, nil
}

// afterJoin is the common case: the event came after the membership event that makes the user a member now.
func (v *Viewer) afterJoin(ev *room.Stored) bool {
	return v.member.Membership == memberJoin && v.member.Pos > 0 && ev.Pos > v.member.Pos
}

func (v *Viewer) own(ev *room.Stored) bool {
	return ev.Type() == typeMember && ev.IsState() && *ev.StateKey() == string(v.user)
}

// memberships gives the user's membership just before and just after the event.
func (v *Viewer) memberships(ctx context.Context, ev *room.Stored) (before, after membership, err error) {
	if v.own(ev) {
		after = ev.Membership()
		s, err := v.at(ctx, ev)
		return s.membership, after, err
	}
	if v.afterJoin(ev) {
		return memberJoin, memberJoin, nil
	}
	s, err := v.at(ctx, ev)
	return s.membership, s.membership, err
}

// rule is the history visibility that governs the event: for a change of the rule itself, the more open of the two.
func (v *Viewer) rule(ctx context.Context, ev *room.Stored) (visibility, error) {
	s, err := v.at(ctx, ev)
	if err != nil {
		return "", err
	}
	if ev.Type() == typeVisibility && ev.IsState() && *ev.StateKey() == "" {
		if next := visibilityOf(ev.Event); openness(next) > openness(s.visibility) {
			return next, nil
		}
	}
	return s.visibility, nil
}

// at reads the state before the event; events in a row share it.
func (v *Viewer) at(ctx context.Context, ev *room.Stored) (snapshot, error) {
	if s, ok := v.snaps[ev.StateID]; ok {
		return s, nil
	}
	var st *room.State
	var err error
	if ev.StateID != 0 {
		st, err = v.t.rooms.StateBefore(ctx, ev)
	} else if ev.Type() != typeCreate {
		// History fetched without its state: the rule of today is the best known, and nothing says the user was in the room.
		st, err = v.t.rooms.State(ctx, v.room)
	}
	if err := ignoreNotFound(err); err != nil {
		return snapshot{}, err
	}
	s := snapshot{visibility: visibleShared, membership: memberLeave}
	if st != nil {
		if s.visibility, err = v.t.visibilityIn(ctx, st); err != nil {
			return s, err
		}
		if ev.StateID != 0 {
			if s.membership, err = v.t.membershipIn(ctx, st, v.key); err != nil {
				return s, err
			}
		}
	}
	if v.snaps == nil {
		v.snaps = map[int64]snapshot{}
	}
	v.snaps[ev.StateID] = s
	return s, nil
}

// joinedLater says whether the user became a member at some point after the event.
func (v *Viewer) joinedLater(ctx context.Context, ev *room.Stored) (bool, error) {
	if v.member.Membership == memberJoin {
		return true, nil
	}
	if !v.known {
		if err := v.findUntil(ctx); err != nil {
			return false, err
		}
	}
	return v.wasIn && ev.Order < v.until, nil
}

// findUntil walks back from the user's current membership to the event that ended the last time they were joined.
func (v *Viewer) findUntil(ctx context.Context) error {
	v.known = true
	next := v.member.EventID
	for range 16 {
		if next == "" {
			return nil
		}
		ev, err := v.t.rooms.Event(ctx, next)
		if err != nil || ev == nil {
			return ignoreNotFound(err)
		}
		if ev.StateID == 0 {
			return nil
		}
		st, err := v.t.rooms.StateBefore(ctx, ev)
		if err != nil || st == nil {
			return ignoreNotFound(err)
		}
		m, err := v.t.membershipIn(ctx, st, v.key)
		if err != nil {
			return err
		}
		if m == memberJoin {
			v.wasIn, v.until = true, ev.Order
			return nil
		}
		ref, ok := st.Get(v.key)
		if !ok {
			return nil
		}
		next = ref.EventID
	}
	return nil
}

// visibilityIn reads the history visibility of a state.
func (t *Timelines) visibilityIn(ctx context.Context, st *room.State) (visibility, error) {
	ref, ok := st.Get(event.Key{Type: typeVisibility})
	if !ok {
		return visibleShared, nil
	}
	if v, ok := t.visOf.Get(ref.NID); ok {
		return v, nil
	}
	ev, err := t.rooms.Event(ctx, ref.EventID)
	if err != nil || ev == nil {
		return visibleShared, ignoreNotFound(err)
	}
	v := visibilityOf(ev.Event)
	t.visOf.Put(ref.NID, v, 1)
	return v, nil
}

// MembershipIn reads somebody's membership in a state; "leave" if there is none.
func (t *Timelines) MembershipIn(ctx context.Context, st *room.State, user id.UserID) (string, error) {
	return t.membershipIn(ctx, st, event.Key{Type: typeMember, StateKey: string(user)})
}

func (t *Timelines) membershipIn(ctx context.Context, st *room.State, key event.Key) (membership, error) {
	ref, ok := st.Get(key)
	if !ok {
		return memberLeave, nil
	}
	if m, ok := t.memberOf.Get(ref.NID); ok {
		return m, nil
	}
	ev, err := t.rooms.Event(ctx, ref.EventID)
	if err != nil || ev == nil {
		return memberLeave, ignoreNotFound(err)
	}
	m := ev.Membership()
	if m == "" {
		m = memberLeave
	}
	t.memberOf.Put(ref.NID, m, 1)
	return m, nil
}

func visibilityOf(ev *event.Event) visibility {
	switch v := gjson.GetBytes(ev.Content(), "history_visibility").Str; v {
	case visibleWorld, visibleInvited, visibleJoined:
		return v
	}
	return visibleShared
}

func openness(v visibility) int {
	switch v {
	case visibleWorld:
		return 3
	case visibleShared:
		return 2
	case visibleInvited:
		return 1
	}
	return 0
}

// ignoreNotFound drops the error that says "there is no such thing".
func ignoreNotFound(err error) error {
	var resp mautrix.RespError
	if errors.As(err, &resp) && (resp.StatusCode == http.StatusNotFound || resp.ErrCode == mautrix.MNotFound.ErrCode) {
		return nil
	}
	return err
}
