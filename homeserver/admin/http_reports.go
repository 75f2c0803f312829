package admin

import (
	"context"
	"encoding/json"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/timeline"
	"github.com/viaduc/viaduc/homeserver/web"
)

type reportsIn struct {
	pageIn
	UserID string `query:"user_id"`
	RoomID string `query:"room_id"`
	Sender string `query:"event_sender_user_id"`
	Target string `query:"target_user_id"`
}

func (a *Admin) reports(ctx context.Context, kind ReportKind, in *reportsIn) (page []Report, total int64, next *int64, err error) {
	limit, err := in.check()
	if err != nil {
		return nil, 0, nil, err
	}
	subject := in.Sender
	if kind == ReportedUser {
		subject = in.Target
	}
	page, total, err = a.Reports(ctx, ReportQuery{Kind: kind, Reporter: in.UserID, Room: in.RoomID, User: subject, From: in.From, Limit: limit, OldestFirst: in.Dir == "f"})
	if end := in.From + int64(len(page)); len(page) > 0 && end < total {
		next = &end
	}
	return page, total, next, err
}

type eventReport struct {
	EventID  id.EventID      `json:"event_id"`
	ID       int64           `json:"id"`
	Reason   *string         `json:"reason"`
	Score    *int64          `json:"score"`
	Received int64           `json:"received_ts"`
	Alias    *string         `json:"canonical_alias"`
	RoomID   id.RoomID       `json:"room_id"`
	Name     *string         `json:"name"`
	Sender   id.UserID       `json:"sender"`
	UserID   id.UserID       `json:"user_id"`
	Event    json.RawMessage `json:"event_json,omitempty"`
}

type eventReportsOut struct {
	Reports []eventReport `json:"event_reports"`
	Next    *int64        `json:"next_token,omitempty"`
	Total   int64         `json:"total"`
}

// GetEventReports lists reports of events, the newest first.
func (a *Admin) GetEventReports(ctx context.Context, _ web.Requester, in reportsIn) (eventReportsOut, error) {
	page, total, next, err := a.reports(ctx, ReportedEvent, &in)
	out := eventReportsOut{Reports: []eventReport{}, Next: next, Total: total}
	for i := range page {
		r, err := a.eventReport(ctx, &page[i])
		if err != nil {
			return out, err
		}
		out.Reports = append(out.Reports, r)
	}
	return out, err
}

func (a *Admin) eventReport(ctx context.Context, r *Report) (eventReport, error) {
	out := eventReport{EventID: r.EventID, ID: r.ID, Reason: r.Reason, Score: r.Score, Received: r.Time, RoomID: r.RoomID, Sender: r.UserID, UserID: r.Reporter}
	l, err := a.rooms.ListRoom(ctx, r.RoomID)
	if notFound(err) { // purged meanwhile
		err = nil
	}
	out.Name, out.Alias = orNull(l.Name), orNull(string(l.CanonicalAlias))
	return out, err
}

type reportIDIn struct {
	ID string `path:"reportId"`
}

func (in *reportIDIn) number() (int64, error) {
	n, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil || n < 0 {
		return 0, mautrix.MInvalidParam.WithMessage("The report_id parameter must be a string representing a positive integer.")
	}
	return n, nil
}

func (a *Admin) report(ctx context.Context, kind ReportKind, in reportIDIn) (Report, error) {
	n, err := in.number()
	if err != nil {
		return Report{}, err
	}
	return a.GetReport(ctx, kind, n)
}

// GetEventReport gives a report with the event.
func (a *Admin) GetEventReport(ctx context.Context, _ web.Requester, in reportIDIn) (out eventReport, err error) {
	r, err := a.report(ctx, ReportedEvent, in)
	if err != nil {
		return out, err
	}
	if out, err = a.eventReport(ctx, &r); err != nil {
		return out, err
	}
	ev, err := a.rooms.Event(ctx, r.EventID)
	if err != nil || ev == nil {
		return out, err
	}
	rendered, err := a.Timeline.Render(ctx, []*room.Stored{ev}, timeline.RenderOptions{})
	if err == nil {
		out.Event = rendered[0]
	}
	return out, err
}

func (a *Admin) deleteReport(ctx context.Context, kind ReportKind, in reportIDIn) (struct{}, error) {
	n, err := in.number()
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.DeleteReport(ctx, kind, n)
}

// DeleteEventReport removes a report of an event.
func (a *Admin) DeleteEventReport(ctx context.Context, _ web.Requester, in reportIDIn) (struct{}, error) {
	return a.deleteReport(ctx, ReportedEvent, in)
}

type userReport struct {
	ID       int64     `json:"id"`
	Received int64     `json:"received_ts"`
	Target   id.UserID `json:"target_user_id"`
	UserID   id.UserID `json:"user_id"`
	Reason   *string   `json:"reason"`
}

func userReportOf(r Report) userReport {
	return userReport{r.ID, r.Time, r.UserID, r.Reporter, r.Reason}
}

type userReportsOut struct {
	Reports []userReport `json:"user_reports"`
	Next    *int64       `json:"next_token,omitempty"`
	Total   int64        `json:"total"`
}

// GetUserReports lists reports of users.
func (a *Admin) GetUserReports(ctx context.Context, _ web.Requester, in reportsIn) (userReportsOut, error) {
	page, total, next, err := a.reports(ctx, ReportedUser, &in)
	out := userReportsOut{[]userReport{}, next, total}
	for _, r := range page {
		out.Reports = append(out.Reports, userReportOf(r))
	}
	return out, err
}

// GetUserReport gives one report of a user.
func (a *Admin) GetUserReport(ctx context.Context, _ web.Requester, in reportIDIn) (userReport, error) {
	r, err := a.report(ctx, ReportedUser, in)
	return userReportOf(r), err
}

// DeleteUserReport removes a report of a user.
func (a *Admin) DeleteUserReport(ctx context.Context, _ web.Requester, in reportIDIn) (struct{}, error) {
	return a.deleteReport(ctx, ReportedUser, in)
}

type roomReport struct {
	ID       int64     `json:"id"`
	Received int64     `json:"received_ts"`
	RoomID   id.RoomID `json:"room_id"`
	UserID   id.UserID `json:"user_id"`
	Reason   *string   `json:"reason"`
}

func roomReportOf(r Report) roomReport {
	return roomReport{r.ID, r.Time, r.RoomID, r.Reporter, r.Reason}
}

type roomReportsOut struct {
	Reports []roomReport `json:"room_reports"`
	Next    *int64       `json:"next_token,omitempty"`
	Total   int64        `json:"total"`
}

// GetRoomReports lists reports of rooms.
func (a *Admin) GetRoomReports(ctx context.Context, _ web.Requester, in reportsIn) (roomReportsOut, error) {
	page, total, next, err := a.reports(ctx, ReportedRoom, &in)
	out := roomReportsOut{[]roomReport{}, next, total}
	for _, r := range page {
		out.Reports = append(out.Reports, roomReportOf(r))
	}
	return out, err
}

// GetRoomReport gives one report of a room.
func (a *Admin) GetRoomReport(ctx context.Context, _ web.Requester, in reportIDIn) (roomReport, error) {
	r, err := a.report(ctx, ReportedRoom, in)
	return roomReportOf(r), err
}

// DeleteRoomReport removes a report of a room.
func (a *Admin) DeleteRoomReport(ctx context.Context, _ web.Requester, in reportIDIn) (struct{}, error) {
	return a.deleteReport(ctx, ReportedRoom, in)
}
