package room

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// TemplateInput asks for the frame of a member event of a user of another server.
type TemplateInput struct {
	Server     string
	RoomID     id.RoomID
	User       id.UserID
	Membership string   // Joined, Left or Knocked
	Versions   []string // that the other server supports; does not matter for Left
}

// Template gives the frame of a member event, if the user may send it now. spec: ss#get_matrixfederationv1make_joinroomiduserid,
// ss#get_matrixfederationv1make_leaveroomiduserid, ss#get_matrixfederationv1make_knockroomiduserid
func (r *Rooms) Template(ctx context.Context, in TemplateInput) (json.RawMessage, event.Version, error) {
	var none event.Version
	if !event.ValidUserID(string(in.User)) || event.ServerOf(string(in.User)) != in.Server {
		return nil, none, mautrix.MForbidden.WithMessage("The user is not of your server")
	}
	e, h, err := r.resident(ctx, in.RoomID, in.Server)
	if err != nil {
		return nil, none, err
	}
	defer r.release(e)
	if in.Membership != Left && !slices.Contains(in.Versions, e.version.ID()) {
		return nil, none, mautrix.RespError{ErrCode: "M_INCOMPATIBLE_ROOM_VERSION", StatusCode: 400,
			Err: "Your server does not support the version of this room", ExtraData: map[string]any{"room_version": e.version.ID()}}
	}
	if in.Membership != Left && !h.inside() {
		return nil, none, errNobodyHere
	}
	content := map[string]any{"membership": in.Membership}
	switch in.Membership {
	case Joined:
		if err := r.allow(ctx, Action{Kind: ActionJoin, User: in.User, RoomID: in.RoomID}); err != nil {
			return nil, none, err
		}
		by, err := r.grant(ctx, e, h, in.User)
		if err != nil {
			return nil, none, err
		}
		if by != "" {
			content["join_authorised_via_users_server"] = by
		}
	case Knocked:
		if !e.version.Knock() {
			return nil, none, mautrix.MForbidden.WithMessage("This room's version has no knocking")
		}
		if err := r.allow(ctx, Action{Kind: ActionKnock, User: in.User, RoomID: in.RoomID}); err != nil {
			return nil, none, err
		}
	}
	raw, err := r.frameOf(ctx, e, h, in.User, content)
	return raw, e.version, err
}

// frameOf builds a member event and takes from it what its sender's server has to add.
func (r *Rooms) frameOf(ctx context.Context, e *roomEntry, h *head, user id.UserID, content map[string]any) (json.RawMessage, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	ev, err := r.newBatch(e, h).build(ctx, event.Proto{Type: typeMember, StateKey: (*string)(&user), Sender: user, Content: raw})
	if err != nil {
		return nil, err
	}
	if err := check(ctx, ev, h.state); err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(ev.JSON(), &members); err != nil {
		return nil, err
	}
	delete(members, "hashes")
	delete(members, "signatures")
	delete(members, "event_id")
	members["origin"] = text(r.server)
	return json.Marshal(members)
}

// resident opens a room that this server is inside, or that nobody is inside any more, and another one may take part in.
func (r *Rooms) resident(ctx context.Context, roomID id.RoomID, server string) (*roomEntry, *head, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, nil, err
	}
	h, err := e.committed(ctx)
	if err == nil && !h.inside() && !h.deserted() {
		err = errNobodyHere
	}
	if err == nil {
		var ok bool
		if ok, err = r.allowedBy(ctx, h.state, server); err == nil && !ok {
			err = mautrix.MForbidden.WithMessage("Your server is not allowed in this room")
		}
	}
	if err != nil {
		r.release(e)
		return nil, nil, err
	}
	return e, h, nil
}

// grant names a local user who lets somebody of another server into a restricted room, "" if nobody has to.
// spec: ss#restricted-rooms
func (r *Rooms) grant(ctx context.Context, e *roomEntry, h *head, user id.UserID) (id.UserID, error) {
	by, err := r.authoriserFor(ctx, e, h, user)
	if err == nil {
		return by, nil
	}
	if errors.Is(err, errUnableToAuth) {
		return "", errUnableToGrant.WithMessage("Nobody of this server may let users into the room")
	}
	v := &view{ctx: ctx, s: h.state}
	if rule := auth.JoinRule(v); v.err != nil || rule != "restricted" && rule != "knock_restricted" {
		return "", errors.Join(err, v.err)
	}
	if m, memberErr := h.state.Event(ctx, typeMember, string(user)); memberErr != nil || m != nil && m.Membership() == Banned {
		return "", errors.Join(err, memberErr)
	}
	rooms, roomsErr := r.allowRooms(ctx, h.state)
	if roomsErr != nil {
		return "", roomsErr
	}
	for _, roomID := range rooms {
		info, infoErr := r.Info(ctx, roomID)
		if infoErr == nil && info.Inside {
			return "", err // this server can tell: the user is in none of the rooms
		}
	}
	if len(rooms) > 0 {
		return "", errUnableToAuth.WithMessage("This server is in none of the rooms whose members may join")
	}
	return "", err
}
