package admin

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type reportEventIn struct {
	RoomID  id.RoomID  `path:"roomId"`
	EventID id.EventID `path:"eventId"`
	Reason  *string    `json:"reason"`
	Score   *int64     `json:"score"` // of older clients: -100 (most offensive) to 0
}

// PostReportEvent takes a user's report of an event.
//
// spec: cs#post_matrixclientv3roomsroomidreporteventid
func (a *Admin) PostReportEvent(ctx context.Context, who web.Requester, in reportEventIn) (struct{}, error) {
	return struct{}{}, a.ReportEvent(ctx, Report{Reporter: who.UserID, RoomID: in.RoomID, EventID: in.EventID, Reason: in.Reason, Score: in.Score})
}

type reportRoomIn struct {
	RoomID id.RoomID `path:"roomId"`
	Reason *string   `json:"reason"`
}

// PostReportRoom takes a user's report of a room.
//
// spec: cs#post_matrixclientv3roomsroomidreport
func (a *Admin) PostReportRoom(ctx context.Context, who web.Requester, in reportRoomIn) (struct{}, error) {
	if in.Reason == nil {
		return struct{}{}, errNoReason
	}
	return struct{}{}, a.ReportRoom(ctx, Report{Reporter: who.UserID, RoomID: in.RoomID, Reason: in.Reason})
}

type reportUserIn struct {
	UserID id.UserID `path:"userId"`
	Reason *string   `json:"reason"`
}

// PostReportUser takes a user's report of another user.
//
// spec: cs#post_matrixclientv3usersuseridreport
func (a *Admin) PostReportUser(ctx context.Context, who web.Requester, in reportUserIn) (struct{}, error) {
	if in.Reason == nil {
		return struct{}{}, errNoReason
	}
	return struct{}{}, a.ReportUser(ctx, Report{Reporter: who.UserID, UserID: in.UserID, Reason: in.Reason})
}

var errNoReason = web.MMissingParam.WithMessage("reason is missing")
