package admin

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	insertJob   = `INSERT INTO admin_jobs (id, kind, subject, operator, status, input, result, error, ts) VALUES ($1, $2, $3, $4, 'scheduled', $5, '', '', $6)`
	jobColumns  = `SELECT id, kind, subject, operator, status, input, result, error FROM admin_jobs`
	selectJob   = jobColumns + ` WHERE id = $1 AND kind = $2`
	jobsOf      = jobColumns + ` WHERE kind = $1 AND subject = $2 ORDER BY ts, id LIMIT 100`
	openJobs    = jobColumns + ` WHERE status NOT IN ('complete', 'failed') ORDER BY ts, id LIMIT 1`
	updateJob   = `UPDATE admin_jobs SET status = $2, result = $3, error = $4 WHERE id = $1`
	forgetJobs  = `DELETE FROM admin_jobs WHERE ts < $1 AND status IN ('complete', 'failed')`
	jobLifetime = 7 * 24 * 3600 * 1000 // ms
)

// job is work that outlives the request for it.
type job struct {
	ID, Kind, Subject string
	Operator          id.UserID
	Status            string // scheduled, a word for where it is, complete, failed
	Input, Result     json.RawMessage
	Error             string
}

func scanJob(row database.Scanner) (*job, error) {
	j := &job{}
	var input, result string
	err := row.Scan(&j.ID, &j.Kind, &j.Subject, &j.Operator, &j.Status, &input, &result, &j.Error)
	j.Input, j.Result = json.RawMessage(input), json.RawMessage(result)
	return j, err
}

func (a *Admin) writeJob(ctx context.Context, j *job) error {
	_, err := a.db.Exec(ctx, insertJob, j.ID, j.Kind, j.Subject, j.Operator, string(j.Input), a.now())
	return doing("writing a job", err)
}

func (a *Admin) saveJob(ctx context.Context, j *job) error {
	_, err := a.db.Exec(ctx, updateJob, j.ID, j.Status, string(j.Result), j.Error)
	return doing("writing a job", err)
}

// readJob gives nil if there is no such job.
func (a *Admin) readJob(ctx context.Context, kind, jobID string) (*job, error) {
	j, err := scanJob(a.db.QueryRow(ctx, selectJob, jobID, kind))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return j, doing("reading a job", err)
}

func (a *Admin) listJobs(ctx context.Context, kind, subject string) ([]*job, error) {
	list, err := database.Rows(ctx, a.db, scanJob, jobsOf, kind, subject)
	return list, doing("listing jobs", err)
}

// openJob gives the oldest job that is not done, nil if there is none.
func (a *Admin) openJob(ctx context.Context) (*job, error) {
	j, err := scanJob(a.db.QueryRow(ctx, openJobs))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return j, doing("reading a job", err)
}

func (a *Admin) sweepJobs(ctx context.Context) error {
	_, err := a.db.Exec(ctx, forgetJobs, a.now()-jobLifetime)
	return doing("forgetting jobs", err)
}
