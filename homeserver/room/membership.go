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

// MemberInput is a membership that a local user wants to change: their own or somebody else's.
type MemberInput struct {
	RoomID    id.RoomID
	Sender    id.UserID
	Target    id.UserID // "": Sender
	Reason    string
	Content   json.RawMessage // further content of the member event
	DeviceID  id.DeviceID
	TxnID     string
	Timestamp int64
	IsDirect  bool
	// SkipPolicy is for what the server itself does on behalf of someone.
	SkipPolicy bool
}

// content is the member event's content: what the caller gave, membership, reason and, where it is shown, the profile.
func (r *Rooms) memberContent(ctx context.Context, in *MemberInput, membership string) (json.RawMessage, error) {
	c := map[string]any{}
	if len(in.Content) > 0 {
		var given map[string]json.RawMessage
		if err := json.Unmarshal(in.Content, &given); err != nil {
			return nil, mautrix.MBadJSON.WithMessage("The content must be an object")
		}
		for k, v := range given {
			c[k] = v
		}
	}
	delete(c, "join_authorised_via_users_server")
	c["membership"] = membership
	if in.Reason != "" {
		c["reason"] = in.Reason
	}
	if in.IsDirect && membership == Invited {
		c["is_direct"] = true
	}
	if r.local(in.Target) && (membership == Joined || membership == Invited || membership == Knocked) {
		if err := r.addProfile(ctx, in.Target, c); err != nil {
			return nil, err
		}
	}
	return json.Marshal(c)
}

// addProfile shows who the member is, unless the content says so already.
func (r *Rooms) addProfile(ctx context.Context, user id.UserID, c map[string]any) error {
	if r.Profile == nil {
		return nil
	}
	name, avatar, err := r.Profile(ctx, user)
	if err != nil && !isNotFound(err) {
		return err
	}
	if _, ok := c["displayname"]; !ok && name != "" {
		c["displayname"] = name
	}
	if _, ok := c["avatar_url"]; !ok && avatar != "" {
		c["avatar_url"] = avatar
	}
	return nil
}

// memberRule looks at the membership there is before another one is decided; errSame: there is nothing to do.
type memberRule func(ctx context.Context, b *batch, now string, ev *Stored) error

var errSame = errors.New("the membership is already so")

// setMembership decides and commits a member event of ours in a room that we are inside.
func (r *Rooms) setMembership(ctx context.Context, e *roomEntry, in *MemberInput, content json.RawMessage, rule memberRule) (id.EventID, error) {
	send := &SendInput{RoomID: in.RoomID, Sender: in.Sender, DeviceID: in.DeviceID, TxnID: in.TxnID, Type: typeMember,
		StateKey: (*string)(&in.Target), Content: content, Timestamp: in.Timestamp, SkipPolicy: true}
	return r.sendOn(ctx, e, func(ctx context.Context, b *batch) (id.EventID, *flight, error) {
		if !b.now.inside() && !b.now.deserted() {
			return "", nil, errNotInRoom
		}
		old, err := b.now.state.Event(ctx, typeMember, string(in.Target))
		if err != nil {
			return "", nil, err
		}
		now := ""
		if old != nil {
			now = old.Membership()
		}
		if rule != nil {
			if err := rule(ctx, b, now, old); errors.Is(err, errSame) {
				return old.ID(), nil, nil
			} else if err != nil {
				return "", nil, err
			}
		}
		return b.send(ctx, send)
	})
}

// sendMember serves member events sent as any other state.
func (r *Rooms) sendMember(ctx context.Context, in SendInput) (id.EventID, error) {
	var c struct {
		Membership string `json:"membership"`
	}
	if err := json.Unmarshal(in.Content, &c); err != nil {
		return "", mautrix.MBadJSON.WithMessage("membership must be a string")
	}
	m := &MemberInput{RoomID: in.RoomID, Sender: in.Sender, Target: id.UserID(*in.StateKey), Content: in.Content,
		DeviceID: in.DeviceID, TxnID: in.TxnID, Timestamp: in.Timestamp, SkipPolicy: in.SkipPolicy}
	if !event.ValidUserID(string(m.Target)) {
		return "", mautrix.MInvalidParam.WithMessage("The state key of a membership must be a user ID")
	}
	switch c.Membership {
	case Joined:
		if m.Target != m.Sender {
			return "", mautrix.MForbidden.WithMessage("Nobody can join for somebody else")
		}
		return r.join(ctx, m, nil, false)
	case Invited:
		return r.invite(ctx, m)
	case Banned:
		return r.ban(ctx, m)
	case Knocked:
		return r.knock(ctx, m, nil)
	case Left:
		if m.Target == m.Sender {
			return r.leave(ctx, m)
		}
		return r.kick(ctx, m, false)
	}
	return "", mautrix.MBadJSON.WithMessage("Unknown membership")
}

// Kick puts someone out of a room. spec: cs#post_matrixclientv3roomsroomidkick
func (r *Rooms) Kick(ctx context.Context, in MemberInput) error {
	_, err := r.kick(ctx, &in, true)
	return err
}

func (r *Rooms) kick(ctx context.Context, in *MemberInput, strict bool) (id.EventID, error) {
	return r.changeOther(ctx, in, Left, func(_ context.Context, _ *batch, now string, _ *Stored) error {
		switch {
		case now == Banned && strict:
			return mautrix.MForbidden.WithMessage("The user is banned, not in the room")
		case now == "" || now == Left:
			return mautrix.MForbidden.WithMessage("The user is not in the room")
		}
		return nil
	})
}

// Ban keeps someone out of a room. spec: cs#post_matrixclientv3roomsroomidban
func (r *Rooms) Ban(ctx context.Context, in MemberInput) error {
	_, err := r.ban(ctx, &in)
	return err
}

func (r *Rooms) ban(ctx context.Context, in *MemberInput) (id.EventID, error) {
	return r.changeOther(ctx, in, Banned, nil)
}

// Unban lets someone come again. spec: cs#post_matrixclientv3roomsroomidunban
func (r *Rooms) Unban(ctx context.Context, in MemberInput) error {
	_, err := r.changeOther(ctx, &in, Left, func(_ context.Context, _ *batch, now string, _ *Stored) error {
		if now != Banned {
			return errBadState.WithMessage("The user is not banned")
		}
		return nil
	})
	return err
}

func (r *Rooms) changeOther(ctx context.Context, in *MemberInput, membership string, rule memberRule) (id.EventID, error) {
	if !event.ValidUserID(string(in.Target)) {
		return "", errInvalidUserID
	}
	e, err := r.acquire(ctx, in.RoomID)
	if err != nil {
		return "", noRoomForbidden(err)
	}
	defer r.release(e)
	content, err := r.memberContent(ctx, in, membership)
	if err != nil {
		return "", err
	}
	return r.setMembership(ctx, e, in, content, rule)
}

// Leave ends the user's membership, or declines an invitation, or takes a knock back.
// spec: cs#post_matrixclientv3roomsroomidleave
func (r *Rooms) Leave(ctx context.Context, in MemberInput) error {
	in.Target = in.Sender
	_, err := r.leave(ctx, &in)
	return err
}

func (r *Rooms) leave(ctx context.Context, in *MemberInput) (id.EventID, error) {
	e, err := r.acquire(ctx, in.RoomID)
	if err != nil {
		return "", err
	}
	defer r.release(e)
	content, err := r.memberContent(ctx, in, Left)
	if err != nil {
		return "", err
	}
	h, err := e.committed(ctx)
	if err != nil {
		return "", err
	}
	if !h.inside() && !h.deserted() {
		return r.leaveOutside(ctx, e, in, content)
	}
	return r.setMembership(ctx, e, in, content, func(ctx context.Context, _ *batch, now string, ev *Stored) error {
		switch now {
		case Left:
			return errSame
		case "":
			return mautrix.MForbidden.WithMessage("You are not in this room")
		case Invited:
			if r.MayDecline != nil && !in.SkipPolicy {
				return r.MayDecline(ctx, in.Sender, in.RoomID, ev.Sender())
			}
		}
		return nil
	})
}

// Forget takes a room that the user has left out of their view. spec: cs#post_matrixclientv3roomsroomidforget
func (r *Rooms) Forget(ctx context.Context, roomID id.RoomID, user id.UserID) error {
	m, ok, err := r.Member(ctx, roomID, user)
	if err != nil {
		return err
	}
	if !ok {
		return mautrix.MNotFound.WithMessage("You have never been in this room")
	}
	switch m.Membership {
	case Left, Banned:
	default:
		return errUnknown.WithMessage("Leave the room before forgetting it")
	}
	if m.Forgotten {
		return nil
	}
	return r.forget(ctx, m)
}

// viaOf lists servers to ask about a room, without doubles and without us.
func (r *Rooms) viaOf(lists ...[]string) []string {
	var out []string
	for _, list := range lists {
		for _, s := range list {
			if s != "" && s != r.server && !slices.Contains(out, s) && len(out) < 30 {
				out = append(out, s)
			}
		}
	}
	return out
}
