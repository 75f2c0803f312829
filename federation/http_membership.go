package federation

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// MakeIn asks for a template.
type MakeIn struct {
	RoomID   id.RoomID `path:"roomId"`
	UserID   id.UserID `path:"userId"`
	Versions []string  `query:"ver"`
}

// MakeOut is a template.
type MakeOut struct {
	Event       json.RawMessage `json:"event"`
	RoomVersion string          `json:"room_version"`
}

func (f *Federation) template(ctx context.Context, who web.Requester, in MakeIn, membership string) (MakeOut, error) {
	if in.UserID.Homeserver() != who.Server {
		return MakeOut{}, mautrix.MForbidden.WithMessage("The user is not of your server")
	}
	if in.Versions == nil && membership != "leave" {
		in.Versions = []string{"1"}
	}
	proto, version, err := f.Rooms.Template(ctx, room.TemplateInput{Server: who.Server, RoomID: in.RoomID, User: in.UserID, Membership: membership, Versions: in.Versions})
	if err != nil {
		return MakeOut{}, err
	}
	return MakeOut{Event: proto, RoomVersion: version.ID()}, nil
}

// GetMakeJoin gives a template of a join. spec: ss#get_matrixfederationv1make_joinroomiduserid
func (f *Federation) GetMakeJoin(ctx context.Context, who web.Requester, in MakeIn) (MakeOut, error) {
	return f.template(ctx, who, in, "join")
}

// GetMakeLeave gives a template of a leave. spec: ss#get_matrixfederationv1make_leaveroomiduserid
func (f *Federation) GetMakeLeave(ctx context.Context, who web.Requester, in MakeIn) (MakeOut, error) {
	return f.template(ctx, who, in, "leave")
}

// GetMakeKnock gives a template of a knock. spec: ss#get_matrixfederationv1make_knockroomiduserid
func (f *Federation) GetMakeKnock(ctx context.Context, who web.Requester, in MakeIn) (MakeOut, error) {
	return f.template(ctx, who, in, "knock")
}

// SendMembershipIn is a signed membership event.
type SendMembershipIn struct {
	RoomID      id.RoomID       `path:"roomId"`
	EventID     id.EventID      `path:"eventId"`
	OmitMembers bool            `query:"omit_members"`
	Body        json.RawMessage `body:"raw"`
}

// membershipEvent checks what all send_ calls have in common: the event is what path and caller say.
func (f *Federation) membershipEvent(ctx context.Context, who web.Requester, in SendMembershipIn, membership string) (*event.Event, error) {
	info, err := f.Rooms.Info(ctx, in.RoomID)
	if err != nil {
		return nil, err
	}
	ev, err := event.ParseUntrusted(info.Version, in.Body)
	if err != nil {
		return nil, asBadJSON(err)
	}
	switch {
	case ev.RoomID() != in.RoomID:
		return nil, mautrix.MInvalidParam.WithMessage("The room ID in the event is not the one in the path")
	case ev.ID() != in.EventID:
		return nil, mautrix.MInvalidParam.WithMessage("The event ID in the path is not that of the event")
	case ev.Type() != "m.room.member" || ev.StateKey() == nil:
		return nil, mautrix.MInvalidParam.WithMessage("Not a membership event")
	case ev.Membership() != membership:
		return nil, mautrix.MInvalidParam.WithMessage("The membership is not " + membership)
	case *ev.StateKey() != string(ev.Sender()):
		return nil, mautrix.MInvalidParam.WithMessage("The sender is not the member")
	case ev.SenderServer() != who.Server:
		return nil, mautrix.MForbidden.WithMessage("The sender is not of your server")
	case ev.WasRedacted():
		return nil, mautrix.MBadJSON.WithMessage("The content hash is wrong")
	}
	return ev, nil
}

func asBadJSON(err error) error {
	var respErr mautrix.RespError
	if errors.As(err, &respErr) {
		return err
	}
	return mautrix.MBadJSON.WithMessage(err.Error())
}

// SendJoinOut answers send_join.
type SendJoinOut struct {
	Origin         string            `json:"origin"`
	State          []json.RawMessage `json:"state"`
	AuthChain      []json.RawMessage `json:"auth_chain"`
	Event          json.RawMessage   `json:"event,omitempty"`
	MembersOmitted bool              `json:"members_omitted"`
	Servers        []string          `json:"servers_in_room,omitempty"`
}

// PutSendJoin takes a signed join. spec: ss#put_matrixfederationv2send_joinroomideventid
func (f *Federation) PutSendJoin(ctx context.Context, who web.Requester, in SendMembershipIn) (SendJoinOut, error) {
	ev, err := f.membershipEvent(ctx, who, in, "join")
	if err != nil {
		return SendJoinOut{}, err
	}
	joined, err := f.Rooms.AcceptJoin(ctx, who.Server, in.RoomID, ev, in.OmitMembers)
	if err != nil {
		return SendJoinOut{}, err
	}
	if err := f.forwardAccepted(ctx, joined.Event.ID(), who.Server); err != nil {
		return SendJoinOut{}, err
	}
	out := SendJoinOut{Origin: f.ServerName, State: pdus(joined.State), AuthChain: pdus(joined.AuthChain), Event: joined.Event.JSON(), MembersOmitted: joined.MembersOmitted}
	if joined.MembersOmitted {
		out.Servers = joined.Servers
	}
	return out, nil
}

// PutSendJoinV1 is the older form. spec: ss#put_matrixfederationv1send_joinroomideventid
func (f *Federation) PutSendJoinV1(ctx context.Context, who web.Requester, in SendMembershipIn) ([2]any, error) {
	in.OmitMembers = false
	out, err := f.PutSendJoin(ctx, who, in)
	return [2]any{200, out}, err
}

// PutSendLeave takes a signed leave. spec: ss#put_matrixfederationv2send_leaveroomideventid
func (f *Federation) PutSendLeave(ctx context.Context, who web.Requester, in SendMembershipIn) (struct{}, error) {
	ev, err := f.membershipEvent(ctx, who, in, "leave")
	if err != nil {
		return struct{}{}, err
	}
	if err := f.Rooms.AcceptLeave(ctx, who.Server, in.RoomID, ev); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, f.forwardAccepted(ctx, ev.ID(), who.Server)
}

// PutSendLeaveV1 is the older form. spec: ss#put_matrixfederationv1send_leaveroomideventid
func (f *Federation) PutSendLeaveV1(ctx context.Context, who web.Requester, in SendMembershipIn) ([2]any, error) {
	out, err := f.PutSendLeave(ctx, who, in)
	return [2]any{200, out}, err
}

// SendKnockOut answers send_knock.
type SendKnockOut struct {
	State []json.RawMessage `json:"knock_room_state"`
}

// PutSendKnock takes a signed knock. spec: ss#put_matrixfederationv1send_knockroomideventid
func (f *Federation) PutSendKnock(ctx context.Context, who web.Requester, in SendMembershipIn) (SendKnockOut, error) {
	ev, err := f.membershipEvent(ctx, who, in, "knock")
	if err != nil {
		return SendKnockOut{}, err
	}
	state, err := f.Rooms.AcceptKnock(ctx, who.Server, in.RoomID, ev)
	if err != nil {
		return SendKnockOut{}, err
	}
	return SendKnockOut{State: notNil(state)}, f.forwardAccepted(ctx, ev.ID(), who.Server)
}

// InviteIn is an invite in the form of version 2.
type InviteIn struct {
	RoomID      id.RoomID       `path:"roomId"`
	EventID     id.EventID      `path:"eventId"`
	RoomVersion string          `json:"room_version"`
	Event       json.RawMessage `json:"event"`
	State       json.RawMessage `json:"invite_room_state"`
}

// InviteOut is the invite with our signature.
type InviteOut struct {
	Event json.RawMessage `json:"event"`
}

// maxInviteState bounds the stripped state of an invite that is looked at.
const maxInviteState = 100

// strippedState reads what came with an invite. What is no list counts as none: whether there has to be one depends on the
// room version.
func strippedState(raw json.RawMessage) []json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list[:min(len(list), maxInviteState)]
}

// PutInvite takes an invite for a user of this server. spec: ss#put_matrixfederationv2inviteroomideventid
func (f *Federation) PutInvite(ctx context.Context, who web.Requester, in InviteIn) (InviteOut, error) {
	if in.RoomVersion == "" {
		return InviteOut{}, web.MMissingParam.WithMessage("room_version is missing")
	}
	version, err := event.Lookup(in.RoomVersion)
	if err != nil {
		return InviteOut{}, mautrix.RespError{ErrCode: "M_INCOMPATIBLE_ROOM_VERSION", Err: "This room version is not supported", StatusCode: 400,
			ExtraData: map[string]any{"room_version": in.RoomVersion}}
	}
	if len(in.Event) == 0 {
		return InviteOut{}, web.MMissingParam.WithMessage("event is missing")
	}
	ev, err := event.ParseUntrusted(version, in.Event)
	if err != nil {
		return InviteOut{}, asBadJSON(err)
	}
	switch {
	case ev.RoomID() != in.RoomID:
		return InviteOut{}, mautrix.MInvalidParam.WithMessage("The room ID in the event is not the one in the path")
	case ev.ID() != in.EventID:
		return InviteOut{}, mautrix.MInvalidParam.WithMessage("The event ID in the path is not that of the event")
	case ev.Type() != "m.room.member" || ev.StateKey() == nil || ev.Membership() != "invite":
		return InviteOut{}, mautrix.MInvalidParam.WithMessage("Not an invite")
	case ev.SenderServer() != who.Server:
		return InviteOut{}, mautrix.MInvalidParam.WithMessage("The sender is not of your server")
	}
	signed, err := f.Rooms.AcceptInvite(ctx, who.Server, in.RoomID, version, ev, strippedState(in.State))
	if err != nil {
		return InviteOut{}, err
	}
	return InviteOut{Event: signed.JSON()}, nil
}

// InviteV1In is an invite in the form of version 1: the event itself.
type InviteV1In struct {
	RoomID  id.RoomID       `path:"roomId"`
	EventID id.EventID      `path:"eventId"`
	Body    json.RawMessage `body:"raw"`
}

// PutInviteV1 takes an invite of a room of version 1 or 2. spec: ss#put_matrixfederationv1inviteroomideventid
func (f *Federation) PutInviteV1(ctx context.Context, who web.Requester, in InviteV1In) ([2]any, error) {
	version := "1"
	info, err := f.Rooms.Info(ctx, in.RoomID)
	if err == nil && info.Version.ID() == "2" {
		version = "2"
	}
	var told struct {
		Unsigned map[string]json.RawMessage `json:"unsigned"`
	}
	_ = json.Unmarshal(in.Body, &told) // it is an object; of another type, unsigned counts as none
	out, err := f.PutInvite(ctx, who, InviteIn{RoomID: in.RoomID, EventID: in.EventID, RoomVersion: version, Event: in.Body,
		State: told.Unsigned["invite_room_state"]})
	return [2]any{200, out}, err
}

// forwardAccepted tells the room's other servers of a membership that we took for it. Whoever sent it sends it again if that
// cannot be noted.
func (f *Federation) forwardAccepted(ctx context.Context, eventID id.EventID, from string) error {
	ev, err := f.Rooms.Event(ctx, eventID)
	if err != nil || ev == nil {
		return err
	}
	return f.out.forward(ctx, ev, from)
}

func pdus(evs []*room.Stored) []json.RawMessage {
	out := make([]json.RawMessage, len(evs))
	for i, e := range evs {
		out[i] = e.JSON()
	}
	return out
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
