package room

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Invite asks someone into a room. spec: cs#post_matrixclientv3roomsroomidinvite
func (r *Rooms) Invite(ctx context.Context, in MemberInput) error {
	_, err := r.invite(ctx, &in)
	return err
}

func (r *Rooms) invite(ctx context.Context, in *MemberInput) (id.EventID, error) {
	if !event.ValidUserID(string(in.Target)) {
		return "", errInvalidUserID
	}
	if err := r.mayInvite(ctx, in); err != nil {
		return "", err
	}
	e, err := r.acquire(ctx, in.RoomID)
	if err != nil {
		return "", noRoomForbidden(err)
	}
	defer r.release(e)
	content, err := r.memberContent(ctx, in, Invited)
	if err != nil {
		return "", err
	}
	if !r.local(in.Target) {
		return r.inviteRemote(ctx, e, in, content)
	}
	return r.setMembership(ctx, e, in, content, notJoined)
}

func notJoined(_ context.Context, _ *batch, now string, _ *Stored) error {
	switch now {
	case Joined:
		return mautrix.MForbidden.WithMessage("The user is in the room already")
	case Banned:
		return mautrix.MForbidden.WithMessage("The user is banned from the room")
	}
	return nil
}

// mayInvite asks the policy, and refuses invitations to nobody.
func (r *Rooms) mayInvite(ctx context.Context, in *MemberInput) error {
	if in.SkipPolicy {
		return nil
	}
	return r.allow(ctx, Action{Kind: ActionInvite, User: in.Sender, RoomID: in.RoomID, Target: in.Target, Content: in.Content})
}

// inviteRemote has the invitation signed by the other server before it is committed. Meanwhile the room goes on: then the
// invitation stands beside what happened. spec: ss#inviting-to-a-room
func (r *Rooms) inviteRemote(ctx context.Context, e *roomEntry, in *MemberInput, content json.RawMessage) (id.EventID, error) {
	if r.Remote == nil {
		return "", errNoFederation
	}
	h, err := e.newestForReading(ctx)
	if err != nil {
		return "", err
	}
	old, err := h.state.Event(ctx, typeMember, string(in.Target))
	if err != nil {
		return "", err
	}
	if old != nil {
		if err := notJoined(ctx, nil, old.Membership(), old); err != nil {
			return "", err
		}
	}
	ev, err := r.newBatch(e, h).build(ctx, event.Proto{Type: typeMember, StateKey: (*string)(&in.Target), Sender: in.Sender,
		Content: content, Timestamp: in.Timestamp, Extra: map[string]json.RawMessage{"origin": text(r.server)}}) // origin: the answer must have it
	if err != nil {
		return "", err
	}
	if err := check(ctx, ev, h.state); err != nil {
		return "", err
	}
	if err := federates(ctx, h.state); err != nil {
		return "", err
	}
	signed, err := r.signedInvite(ctx, h.state, ev, in.Target)
	if err != nil {
		return "", err
	}
	err = r.write(ctx, e, func(ctx context.Context, b *batch) error {
		if !b.now.inside() {
			return errNotInRoom
		}
		if b.old.version == h.version {
			_, err := b.addNext(ctx, signed, in.DeviceID, in.TxnID)
			return err
		}
		_, err := b.addBeside(ctx, signed, h.state)
		return err
	})
	return ev.ID(), err
}

// federates refuses to tell other servers of a room that is not for them: nobody of theirs could join. The rules alone
// would let the invitation pass. spec: cs#mroomcreate
func federates(ctx context.Context, s *State) error {
	create, err := s.Event(ctx, typeCreate, "")
	if err == nil && create != nil && string(create.Field("m.federate")) == "false" {
		err = mautrix.MForbidden.WithMessage("The room is not open to users of other servers")
	}
	return err
}

// signedInvite is the invitation with the signature of the invited user's server.
func (r *Rooms) signedInvite(ctx context.Context, s *State, ev *event.Event, target id.UserID) (*event.Event, error) {
	stripped, err := r.StrippedPDUs(ctx, s, ev.Sender())
	if err != nil {
		return nil, err
	}
	server := event.ServerOf(string(target))
	raw, err := r.Remote.SendInvite(ctx, server, ev, stripped)
	if err != nil {
		return nil, err
	}
	signed, err := event.ParseUntrusted(ev.Version(), raw)
	if err != nil || signed.ID() != ev.ID() || signed.WasRedacted() {
		return nil, mautrix.MUnknown.WithStatus(502).WithMessage("%s answered the invitation with something else", server)
	}
	if r.Keys != nil {
		if err := event.VerifySignatures(ctx, r.Keys, []*event.Event{signed})[0]; err != nil {
			return nil, mautrix.MUnknown.WithStatus(502).WithMessage("The signature of %s on the invitation is not good", server)
		}
	}
	if len(signed.Signatures()[server]) == 0 {
		return nil, mautrix.MUnknown.WithStatus(502).WithMessage("%s did not sign the invitation", server)
	}
	return signed, nil
}

// KnockInput is a room that a local user asks to be let into.
type KnockInput struct {
	User          id.UserID
	RoomIDOrAlias string
	Via           []string
	Reason        string
	DeviceID      id.DeviceID
}

// Knock asks to be let in. spec: cs#post_matrixclientv3knockroomidoralias
func (r *Rooms) Knock(ctx context.Context, in KnockInput) (id.RoomID, error) {
	roomID, via, err := r.find(ctx, in.RoomIDOrAlias, in.Via)
	if err != nil {
		return "", err
	}
	_, err = r.knock(ctx, &MemberInput{RoomID: roomID, Sender: in.User, Target: in.User, Reason: in.Reason, DeviceID: in.DeviceID}, via)
	return roomID, err
}

func (r *Rooms) knock(ctx context.Context, in *MemberInput, via []string) (id.EventID, error) {
	if in.Target != in.Sender {
		return "", mautrix.MForbidden.WithMessage("Nobody can knock for somebody else")
	}
	if !in.SkipPolicy {
		if err := r.allow(ctx, Action{Kind: ActionKnock, User: in.Sender, RoomID: in.RoomID}); err != nil {
			return "", err
		}
	}
	content, err := r.memberContent(ctx, in, Knocked)
	if err != nil {
		return "", err
	}
	e, err := r.acquire(ctx, in.RoomID)
	if isNotFound(err) {
		return r.knockElsewhere(ctx, in, via, content)
	}
	if err != nil {
		return "", err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return "", err
	}
	if !h.inside() {
		return r.knockElsewhere(ctx, in, via, content)
	}
	if !e.version.Knock() {
		return "", mautrix.MForbidden.WithMessage("This room's version has no knocking")
	}
	return r.setMembership(ctx, e, in, content, func(_ context.Context, _ *batch, now string, _ *Stored) error {
		switch now {
		case Joined, Invited:
			return mautrix.MForbidden.WithMessage("You are in the room already, or invited")
		case Banned:
			return mautrix.MForbidden.WithMessage("You are banned from this room")
		}
		return nil
	})
}

func (r *Rooms) knockElsewhere(ctx context.Context, in *MemberInput, via []string, content json.RawMessage) (id.EventID, error) {
	via = r.viaOrRoom(r.viaOf(via), in.RoomID)
	if r.elsewhere == nil || len(via) == 0 {
		return "", errNoServers
	}
	return r.elsewhere.knock(ctx, outsideMember{in.RoomID, in.Target, via, content})
}
