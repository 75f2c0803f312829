package room

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// AcceptedJoin is what the server of somebody who joined is told.
type AcceptedJoin struct {
	State, AuthChain []*Stored
	Event            *event.Event // with our signature, if we let the user in
	Servers          []string     // in the room before
	MembersOmitted   bool
}

// AcceptJoin takes the join of a user of another server into a room of ours.
// spec: ss#put_matrixfederationv2send_joinroomideventid
func (r *Rooms) AcceptJoin(ctx context.Context, origin string, roomID id.RoomID, ev *event.Event, omitMembers bool) (*AcceptedJoin, error) {
	e, h, err := r.resident(ctx, roomID, origin)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	if err := r.allow(ctx, Action{Kind: ActionJoin, User: ev.Sender(), RoomID: roomID}); err != nil {
		return nil, err
	}
	if ev, err = r.letIn(ctx, e, h, ev); err != nil {
		return nil, err
	}
	servers, err := r.JoinedServers(ctx, roomID)
	if err != nil {
		return nil, err
	}
	s, err := r.accept(ctx, e, origin, ev, Joined)
	if err != nil {
		return nil, err
	}
	before, err := r.StateBefore(ctx, s)
	if err != nil {
		return nil, err
	}
	out := &AcceptedJoin{Event: s.Event, Servers: servers, MembersOmitted: omitMembers}
	out.State, out.AuthChain, err = r.told(ctx, before, s, omitMembers)
	return out, err
}

// letIn signs a join into a restricted room that names a user of this server, if the conditions are met.
// spec: ss#restricted-rooms
func (r *Rooms) letIn(ctx context.Context, e *roomEntry, h *head, ev *event.Event) (*event.Event, error) {
	by := ev.Authoriser()
	if by == "" || !e.version.Restricted() || !r.local(by) {
		return ev, nil
	}
	needed, err := r.grant(ctx, e, h, ev.Sender())
	if err != nil {
		return nil, err
	}
	if needed == "" { // invited or joined meanwhile, or the room is open: nothing has to be granted
		return ev.Sign(r.Signer)
	}
	may, err := r.MaySend(ctx, e.id, by, "", false)
	if err != nil {
		return nil, err
	}
	if !may {
		return nil, errUnableToGrant.WithMessage("The user who is to let the new member in is not in the room")
	}
	return ev.Sign(r.Signer)
}

// accept takes a membership that a user of another server changed for themself: what the rules do not allow now is refused.
func (r *Rooms) accept(ctx context.Context, e *roomEntry, origin string, ev *event.Event, membership string) (*Stored, error) {
	key := ev.StateKey()
	switch {
	case ev.RoomID() != e.id || ev.Version() != e.version || ev.WasRedacted():
		return nil, mautrix.MInvalidParam.WithMessage("Not an event of this room")
	case ev.Type() != typeMember || key == nil || ev.Membership() != membership:
		return nil, mautrix.MInvalidParam.WithMessage("The event is not the membership %q", membership)
	case string(ev.Sender()) != *key:
		return nil, mautrix.MInvalidParam.WithMessage("The sender is not the member")
	case ev.SenderServer() != origin:
		return nil, mautrix.MForbidden.WithMessage("The sender is not of your server")
	}
	if err := r.verify(ctx, []*event.Event{ev})[0]; err != nil {
		return nil, mautrix.MInvalidParam.WithMessage("The event is not properly signed")
	}
	in := r.newIntake(e, origin)
	ready, err := in.ready(ctx, ev, nil)
	if err == nil && !ready {
		err = in.fetchBefore(ctx, ev)
	}
	if err != nil {
		return nil, asInvalid(err)
	}
	a := &arrival{ev: ev, strict: true}
	err = r.write(ctx, e, func(ctx context.Context, b *batch) error {
		if !b.now.inside() && (membership != Left || !b.now.deserted()) {
			return errNobodyHere
		}
		return b.arrive(ctx, a)
	})
	if err != nil {
		return nil, asInvalid(err)
	}
	if s := a.stored; !s.Rejected && !s.SoftFailed {
		return s, nil
	}
	return nil, mautrix.MForbidden.WithMessage("The event was refused before")
}

// asInvalid says of what is wrong with an event that it is the sender's fault.
func asInvalid(err error) error {
	for _, bad := range []error{errNoPrev, errPrevMissing, errAuthMissing, errPrevElsewhere, errTooManyAtOnce} {
		if errors.Is(err, bad) {
			return mautrix.MInvalidParam.WithMessage("The event cannot be taken: %v", bad)
		}
	}
	return err
}

// AcceptLeave takes the leave of a user of another server. spec: ss#put_matrixfederationv2send_leaveroomideventid
func (r *Rooms) AcceptLeave(ctx context.Context, origin string, roomID id.RoomID, ev *event.Event) error {
	e, _, err := r.resident(ctx, roomID, origin)
	if err != nil {
		return err
	}
	defer r.release(e)
	_, err = r.accept(ctx, e, origin, ev, Left)
	return err
}

// AcceptKnock takes the knock of a user of another server, and tells what may be known of the room.
// spec: ss#put_matrixfederationv1send_knockroomideventid
func (r *Rooms) AcceptKnock(ctx context.Context, origin string, roomID id.RoomID, ev *event.Event) ([]json.RawMessage, error) {
	e, _, err := r.resident(ctx, roomID, origin)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	if err := r.allow(ctx, Action{Kind: ActionKnock, User: ev.Sender(), RoomID: roomID}); err != nil {
		return nil, err
	}
	s, err := r.accept(ctx, e, origin, ev, Knocked)
	if err != nil {
		return nil, err
	}
	before, err := r.StateBefore(ctx, s)
	if err != nil {
		return nil, err
	}
	return r.StrippedPDUs(ctx, before, "")
}

// AcceptInvite takes an invitation of a user of this server, and gives it back with our signature. In a room that we are
// inside the invitation is only signed: it comes again with the room's other events.
// spec: ss#put_matrixfederationv2inviteroomideventid
func (r *Rooms) AcceptInvite(ctx context.Context, origin string, roomID id.RoomID, v event.Version, ev *event.Event, told []json.RawMessage,
) (*event.Event, error) {
	if err := r.checkInvite(ctx, origin, roomID, v, ev); err != nil {
		return nil, err
	}
	if err := r.notBlocked(ctx, roomID); err != nil {
		return nil, err
	}
	target := id.UserID(*ev.StateKey())
	inside, err := r.invitable(ctx, origin, roomID, target)
	if err != nil {
		return nil, err
	}
	stripped, err := r.toldState(ctx, v, roomID, told, v.DomainlessRoomID())
	if err != nil {
		return nil, err
	}
	err = r.allow(ctx, Action{Kind: ActionInvite, User: ev.Sender(), RoomID: roomID, Target: target, Content: ev.Content()})
	if err != nil {
		return nil, err
	}
	signed, err := ev.Sign(r.Signer)
	if err != nil || inside {
		return signed, err
	}
	if _, err = r.recordOutside(ctx, roomID, v, signed, stripped); errors.Is(err, errBadState) { // somebody came in meanwhile
		err = nil
	}
	return signed, err
}

// checkInvite makes sure that nothing but an invitation gets signed.
func (r *Rooms) checkInvite(ctx context.Context, origin string, roomID id.RoomID, v event.Version, ev *event.Event) error {
	key := ev.StateKey()
	switch {
	case ev.RoomID() != roomID || ev.Version() != v || ev.WasRedacted():
		return mautrix.MInvalidParam.WithMessage("Not an event of this room")
	case ev.Type() != typeMember || key == nil || ev.Membership() != Invited:
		return mautrix.MInvalidParam.WithMessage("Not an invitation")
	case ev.SenderServer() != origin:
		return mautrix.MInvalidParam.WithMessage("The sender is not of your server")
	case !event.ValidUserID(*key) || !r.local(id.UserID(*key)):
		return mautrix.MInvalidParam.WithMessage("The invited user is not of this server")
	}
	if err := r.verify(ctx, []*event.Event{ev})[0]; err != nil {
		return mautrix.MInvalidParam.WithMessage("The invitation is not properly signed")
	}
	return nil
}

// invitable refuses invitations of nobody, and of those who are in the room; inside says that this server is.
func (r *Rooms) invitable(ctx context.Context, origin string, roomID id.RoomID, target id.UserID) (inside bool, err error) {
	if r.KnownUser != nil {
		known, err := r.KnownUser(ctx, target)
		if err != nil {
			return false, err
		}
		if !known {
			return false, mautrix.MForbidden.WithMessage("The user cannot be invited")
		}
	}
	info, err := r.Info(ctx, roomID)
	if err != nil || !info.Inside {
		return false, ignoreNotFound(err)
	}
	allowed, err := r.AllowedByACL(ctx, roomID, origin)
	if err != nil {
		return false, err
	}
	m, _, err := r.Member(ctx, roomID, target)
	switch {
	case err != nil:
		return false, err
	case !allowed:
		return false, mautrix.MForbidden.WithMessage("Your server is not allowed in this room")
	case m.Membership == Joined:
		return false, mautrix.MForbidden.WithMessage("The user is in the room already")
	case m.Membership == Banned:
		return false, mautrix.MForbidden.WithMessage("The user is banned from the room")
	}
	return true, nil
}

// told lists the state before a join with its auth chain, for the server of the new member.
func (r *Rooms) told(ctx context.Context, before *State, join *Stored, omitMembers bool) (state, chain []*Stored, err error) {
	var heroes map[string]bool
	if omitMembers {
		if heroes, err = r.heroes(ctx, before, id.UserID(*join.StateKey())); err != nil {
			return nil, nil, err
		}
	}
	state, err = before.Events(ctx, func(k event.Key) bool {
		return !omitMembers || k.Type != typeMember || heroes[k.StateKey]
	})
	if err != nil {
		return nil, nil, err
	}
	chain, err = r.authChain(ctx, append(slices.Clone(state), join))
	if err != nil {
		return nil, nil, err
	}
	if omitMembers {
		listed := make(map[int64]bool, len(state))
		for _, s := range state {
			listed[s.NID] = true
		}
		chain = slices.DeleteFunc(chain, func(s *Stored) bool { return listed[s.NID] })
	}
	return pruned(state), pruned(chain), nil
}

// heroes are the members that name a room without a name. spec: cs#get_matrixclientv3sync
func (r *Rooms) heroes(ctx context.Context, s *State, except id.UserID) (map[string]bool, error) {
	for _, t := range []string{typeName, typeCanonical} {
		if ref, ok := s.Get(event.Key{Type: t}); ok {
			ev, err := r.eventByNID(ctx, ref.NID)
			if err != nil {
				return nil, err
			}
			if name, _ := ev.FieldString(map[string]string{typeName: "name", typeCanonical: "alias"}[t]); name != "" {
				return nil, nil
			}
		}
	}
	out := map[string]bool{}
	var nids []int64
	s.RangeType(typeMember, func(_ string, ref Ref) bool {
		nids = append(nids, ref.NID)
		return len(nids) < 200 // whoever is found first
	})
	evs, err := r.eventsInOrder(ctx, nids)
	if err != nil {
		return nil, err
	}
	const most = 5
	for _, memberships := range [][]string{{Joined, Invited}, {Left, Banned}} {
		for _, ev := range evs {
			if *ev.StateKey() != string(except) && len(out) < most && slices.Contains(memberships, ev.Membership()) {
				out[*ev.StateKey()] = true
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out, nil
}

// pruned shows redacted events as others may see them.
func pruned(list []*Stored) []*Stored {
	for i, s := range list {
		list[i] = s.Pruned()
	}
	return list
}
