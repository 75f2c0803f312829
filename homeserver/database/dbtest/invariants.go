package dbtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/viaduc/viaduc/homeserver/database"
)

// An invariant is a query that must find nothing.
type invariant struct{ what, query string }

// invariants must hold after whatever happened.
var invariants = []invariant{
	{"a change lies beyond the head of the log", `SELECT pos FROM changes WHERE pos > (SELECT pos FROM stream_head) OR pos < 1`},
	{"two changes have one position", `SELECT pos FROM changes GROUP BY pos HAVING count(*) > 1`},
	{"a kind that keeps only the newest has an older row", `SELECT min(pos) FROM changes WHERE kind > 2 GROUP BY kind, room_id, user_id, ref HAVING count(*) > 1`},
	{"the log has not exactly one head", `SELECT count(*) FROM stream_head HAVING count(*) <> 1`},
	{"a cursor lies beyond the head of the log", `SELECT name FROM cursors WHERE pos > (SELECT pos FROM stream_head)`},
	{"a lease has no owner", `SELECT name FROM leases WHERE owner NOT IN (SELECT owner FROM replicas)`},
}

// Invariants checks what must be true of every database at any time.
func Invariants(ctx context.Context, db *database.DB) error {
	var errs []error
	for _, i := range invariants {
		found, err := database.Rows(ctx, db, database.Scan1[string], i.query)
		if err != nil {
			errs = append(errs, err)
		}
		if len(found) > 0 {
			errs = append(errs, fmt.Errorf("%s: %.10q", i.what, found))
		}
	}
	return errors.Join(errs...)
}
