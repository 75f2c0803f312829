package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

var stagedTable = database.NewTable("staged_events", "", database.Int("nid"), database.Text("room_id"), database.Text("origin"),
	database.Text("event_id"), database.Text("json"), database.Int("received_ts"), database.Int("due_ts"), database.Int("tries"))

const (
	stagedTake   = `SELECT nid, origin, json, received_ts, tries FROM staged_events WHERE room_id = $1 AND (tries = 0 OR due_ts <= $2) ORDER BY nid LIMIT $3`
	stagedRooms  = `SELECT DISTINCT room_id FROM staged_events WHERE due_ts <= $1 LIMIT 1000`
	stagedDelete = `DELETE FROM staged_events WHERE nid IN LIST($1)`
	stagedLater  = `UPDATE staged_events SET tries = $2, due_ts = $3 WHERE nid IN LIST($1)`
)

type stagedEvent struct {
	nid      int64
	origin   string
	raw      json.RawMessage
	received int64
	tries    int
	ev       *event.Event
}

// takeStaged lists the events of a room that are new or due, oldest first.
func (in *inbound) takeStaged(ctx context.Context, r id.RoomID, now time.Time) ([]*stagedEvent, error) {
	return database.Rows(ctx, in.f.DB, func(s database.Scanner) (*stagedEvent, error) {
		e := &stagedEvent{}
		var raw string
		err := s.Scan(&e.nid, &e.origin, &raw, &e.received, &e.tries)
		e.raw = json.RawMessage(raw)
		return e, err
	}, stagedTake, string(r), now.UnixMilli(), roomBatch)
}

// stagedRooms lists rooms whose events nobody works on.
func (in *inbound) stagedRooms(ctx context.Context, due int64) ([]id.RoomID, error) {
	return database.Rows(ctx, in.f.DB, func(s database.Scanner) (r id.RoomID, err error) { return r, s.Scan(&r) }, stagedRooms, due)
}

func (in *inbound) dropStaged(ctx context.Context, nids []int64) error {
	if len(nids) == 0 {
		return nil
	}
	if _, err := in.f.DB.Exec(ctx, stagedDelete, database.List(nids)); err != nil {
		return fmt.Errorf("drop staged events: %w", err)
	}
	return nil
}

// postpone sets when events are tried again.
func (in *inbound) postpone(ctx context.Context, later []*stagedEvent) error {
	metricPostponed.Add(float64(len(later)))
	byTries := map[int][]int64{}
	for _, s := range later {
		byTries[s.tries] = append(byTries[s.tries], s.nid)
	}
	for tries, nids := range byTries {
		due := time.Now().Add(min(retryFirst<<min(tries, 10), retryLast))
		if _, err := in.f.DB.Exec(ctx, stagedLater, database.List(nids), tries+1, due.UnixMilli()); err != nil {
			return fmt.Errorf("postpone staged events: %w", err)
		}
	}
	return nil
}
