package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// Kinds of jobs.
const (
	jobDeleteRoom   = "delete_room"
	jobPurgeHistory = "purge_history"
	jobRedactUser   = "redact_user"
)

const (
	statusComplete = "complete"
	statusFailed   = "failed"
	statusActive   = "active"
)

// start queues a job and gives its ID.
func (a *Admin) start(ctx context.Context, kind, subject string, operator id.UserID, input any) (string, error) {
	raw, err := json.Marshal(input)
	if err != nil {
		return "", err
	}
	j := &job{ID: rand.Text(), Kind: kind, Subject: subject, Operator: operator, Input: raw}
	if err := a.writeJob(ctx, j); err != nil {
		return "", err
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return j.ID, nil
}

// jobPoll is how often jobs are looked for that another process has queued.
const jobPoll = 10 * time.Second

// Run does the jobs, one at a time, in one process at a time, until ctx ends. A job that a process leaves unfinished is done
// again from its beginning; each of them may be.
func (a *Admin) Run(ctx context.Context) error {
	t := time.NewTicker(jobPoll)
	defer t.Stop()
	for {
		if err := a.workAlone(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Jobs of operators could not be done")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-t.C:
		}
	}
}

// workAlone does all jobs that wait, unless another process does.
func (a *Admin) workAlone(ctx context.Context) error {
	if j, err := a.openJob(ctx); err != nil || j == nil {
		return err
	}
	ctx, ok, err := a.jobs.TryAcquire(ctx)
	if !ok {
		return err
	}
	defer a.jobs.Release()
	if err := a.sweepJobs(ctx); err != nil {
		return err
	}
	for {
		j, err := a.openJob(ctx)
		if err != nil || j == nil {
			return err
		}
		if err := a.do(ctx, j); err != nil {
			return err
		}
	}
}

// do does one job. Its own failure is noted with it; the error is that of noting.
func (a *Admin) do(ctx context.Context, j *job) error {
	var result any
	var err error
	switch j.Kind {
	case jobDeleteRoom:
		result, err = a.doDelete(ctx, j)
	case jobPurgeHistory:
		err = a.doPurgeHistory(ctx, j)
	case jobRedactUser:
		result, err = a.doRedact(ctx, j)
	}
	if ctx.Err() != nil {
		return ctx.Err() // it is done again
	}
	j.Status, j.Error = statusComplete, ""
	if result != nil {
		if j.Result, _ = json.Marshal(result); j.Result == nil {
			j.Result = json.RawMessage(`{}`)
		}
	}
	if err != nil {
		j.Status, j.Error = statusFailed, "Internal error"
		if e, ok := web.AsRespError(err); ok {
			j.Error = e.Err
		}
		zerolog.Ctx(ctx).Warn().Err(err).Str("kind", j.Kind).Str("subject", j.Subject).Msg("A job of an operator failed")
	}
	return a.saveJob(ctx, j)
}

// at notes where a job is.
func (a *Admin) at(ctx context.Context, j *job, status string, result any) error {
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	j.Status, j.Result = status, raw
	return a.saveJob(ctx, j)
}
