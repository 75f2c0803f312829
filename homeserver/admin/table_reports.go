package admin

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	upsertReport = `INSERT INTO reports (id, kind, reporter, room_id, event_id, user_id, reason, score, ts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (kind, reporter, room_id, event_id, user_id) DO UPDATE SET reason = excluded.reason, score = excluded.score, ts = excluded.ts`
	reportColumns = `SELECT id, kind, reporter, room_id, event_id, user_id, reason, score, ts FROM reports`
	fromReports   = ` WHERE kind = $1 AND ($2 = '' OR reporter LIKE $2 ESCAPE '!') AND ($3 = '' OR room_id LIKE $3 ESCAPE '!')
		AND ($4 = '' OR user_id LIKE $4 ESCAPE '!')`
	countReports = `SELECT COUNT(*) FROM reports` + fromReports
	selectReport = reportColumns + ` WHERE kind = $1 AND id = $2`
	deleteReport = `DELETE FROM reports WHERE kind = $1 AND id = $2`
	oldestFirst  = ` ORDER BY ts, id LIMIT $5 OFFSET $6`
	newestFirst  = ` ORDER BY ts DESC, id DESC LIMIT $5 OFFSET $6`
)

func scanReport(row database.Scanner) (r Report, err error) {
	err = row.Scan(&r.ID, &r.Kind, &r.Reporter, &r.RoomID, &r.EventID, &r.UserID, &r.Reason, &r.Score, &r.Time)
	return r, err
}

func (a *Admin) writeReport(ctx context.Context, r Report) error {
	n, err := a.db.NextID(ctx, "reports")
	if err != nil {
		return doing("numbering a report", err)
	}
	_, err = a.db.Exec(ctx, upsertReport, n, r.Kind, r.Reporter, r.RoomID, r.EventID, r.UserID, r.Reason, r.Score, a.now())
	return doing("writing a report", err)
}

// ReportQuery says which reports a moderator wants to see. Texts are parts of identifiers.
type ReportQuery struct {
	Kind                 ReportKind
	Reporter, Room, User string
	From, Limit          int64
	OldestFirst          bool
}

// Reports gives a page of reports and their number in all.
func (a *Admin) Reports(ctx context.Context, q ReportQuery) (page []Report, total int64, err error) {
	args := []any{q.Kind, like(q.Reporter), like(q.Room), like(q.User)}
	if err := a.db.QueryRow(ctx, countReports, args...).Scan(&total); err != nil {
		return nil, 0, doing("counting reports", err)
	}
	order := newestFirst
	if q.OldestFirst {
		order = oldestFirst
	}
	page, err = database.Rows(ctx, a.db, scanReport, reportColumns+fromReports+order, append(args, q.Limit, q.From)...)
	return page, total, doing("listing reports", err)
}

// GetReport gives one report; M_NOT_FOUND if there is none.
func (a *Admin) GetReport(ctx context.Context, kind ReportKind, n int64) (Report, error) {
	r, err := scanReport(a.db.QueryRow(ctx, selectReport, kind, n))
	if errors.Is(err, sql.ErrNoRows) {
		return r, mautrix.MNotFound.WithMessage("Report not found")
	}
	return r, doing("reading a report", err)
}

// DeleteReport removes a report; M_NOT_FOUND if there is none.
func (a *Admin) DeleteReport(ctx context.Context, kind ReportKind, n int64) error {
	done, err := a.db.Exec(ctx, deleteReport, kind, n)
	if err != nil {
		return doing("deleting a report", err)
	}
	if gone, err := done.RowsAffected(); err != nil || gone == 0 {
		return errors.Join(err, mautrix.MNotFound.WithMessage("Report not found"))
	}
	return nil
}

// Report is what a user told moderators.
type Report struct {
	ID       int64
	Kind     ReportKind
	Reporter id.UserID
	RoomID   id.RoomID
	EventID  id.EventID
	UserID   id.UserID
	Reason   *string
	Score    *int64
	Time     int64 // ms
}

// ReportKind says what was reported.
type ReportKind string

// Kinds of reports.
const (
	ReportedEvent ReportKind = "event"
	ReportedRoom  ReportKind = "room"
	ReportedUser  ReportKind = "user"
)
