package timeline

import (
	"context"
	"strconv"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/room"
)

// relationsTable: one row for each event that points at another one through m.relates_to. What is written once stays.
var relationsTable = database.NewTable("relations", "ON CONFLICT (event_id) DO NOTHING", relationColumns()...)

// redactedTable writes the same rows when the event is redacted.
var redactedTable = database.NewTable("relations", "ON CONFLICT (event_id) DO UPDATE SET redacted = excluded.redacted", relationColumns()...)

func relationColumns() []database.Col {
	return []database.Col{database.Text("event_id"), database.Text("parent_id"), database.Text("room_id"), database.Text("rel_type"),
		database.Text("event_type"), database.Text("sender"), database.Text("parent_sender"), database.Int("ts"), database.Int("ord"),
		database.Int("redacted")}
}

type relationRow struct {
	Event, Parent id.EventID
	Type          string
	Sender        id.UserID
	TS            int64
	Order         room.Order
}

const selectEditsAndReferences = `SELECT event_id, parent_id, rel_type, sender, ts, ord FROM relations
WHERE parent_id IN LIST($1) AND rel_type IN ('m.replace', 'm.reference') AND redacted = 0 ORDER BY ord`

func (t *Timelines) editsAndReferences(ctx context.Context, parents []id.EventID) ([]relationRow, error) {
	return database.Rows(ctx, t.db, func(s database.Scanner) (r relationRow, err error) {
		return r, s.Scan(&r.Event, &r.Parent, &r.Type, &r.Sender, &r.TS, &r.Order)
	}, selectEditsAndReferences, database.List(parents))
}

type threadRow struct {
	Parent, Latest id.EventID
	Count          int
	Mine           bool
	Order          room.Order
}

const selectThreadSummaries = `SELECT c.parent_id, r.event_id, c.n, c.mine, c.last FROM (
  SELECT parent_id, COUNT(*) AS n, MAX(ord) AS last, MAX(CASE WHEN sender = $2 OR parent_sender = $2 THEN 1 ELSE 0 END) AS mine
  FROM relations WHERE parent_id IN LIST($1) AND rel_type = 'm.thread' AND redacted = 0 AND NOT (sender IN LIST($3)) GROUP BY parent_id
) c JOIN relations r ON r.parent_id = c.parent_id AND r.rel_type = 'm.thread' AND r.ord = c.last`

func (t *Timelines) threadSummaries(ctx context.Context, parents []id.EventID, user id.UserID, ignored []id.UserID) ([]threadRow, error) {
	return database.Rows(ctx, t.db, func(s database.Scanner) (r threadRow, err error) {
		var mine int64
		err = s.Scan(&r.Parent, &r.Latest, &r.Count, &mine, &r.Order)
		r.Mine = mine != 0
		return r, err
	}, selectThreadSummaries, database.List(parents), string(user), database.List(ignored))
}

const selectRelatedParents = `SELECT DISTINCT parent_id FROM relations WHERE parent_id IN LIST($1) AND redacted = 0`

func (t *Timelines) relatedParents(ctx context.Context, events []id.EventID) ([]id.EventID, error) {
	return database.Rows(ctx, t.db, func(s database.Scanner) (e id.EventID, err error) { return e, s.Scan(&e) },
		selectRelatedParents, database.List(events))
}

const selectChildIDs = `SELECT event_id FROM relations WHERE parent_id IN LIST($1) AND redacted = 0 ORDER BY ord LIMIT $2`

func (t *Timelines) childIDs(ctx context.Context, parents []id.EventID, limit int) ([]id.EventID, error) {
	return database.Rows(ctx, t.db, func(s database.Scanner) (e id.EventID, err error) { return e, s.Scan(&e) },
		selectChildIDs, database.List(parents), limit)
}

// relationQuery asks for a page of children.
type relationQuery struct {
	parents         []id.EventID
	relType, evType string
	after, upTo     room.Order // after < ord <= upTo
	backwards       bool
	limit           int
}

func (t *Timelines) children(ctx context.Context, q relationQuery) ([]relationRow, error) {
	sql := `SELECT event_id, parent_id, rel_type, sender, ts, ord FROM relations
WHERE parent_id IN LIST($1) AND redacted = 0 AND ord > $2 AND ord <= $3`
	args := []any{database.List(q.parents), int64(q.after), int64(q.upTo)}
	if q.relType != "" {
		args = append(args, q.relType)
		sql += " AND rel_type = $" + strconv.Itoa(len(args))
	}
	if q.evType != "" {
		args = append(args, q.evType)
		sql += " AND event_type = $" + strconv.Itoa(len(args))
	}
	if sql += " ORDER BY ord"; q.backwards {
		sql += " DESC"
	}
	args = append(args, q.limit)
	sql += " LIMIT $" + strconv.Itoa(len(args))
	return database.Rows(ctx, t.db, func(s database.Scanner) (r relationRow, err error) {
		return r, s.Scan(&r.Event, &r.Parent, &r.Type, &r.Sender, &r.TS, &r.Order)
	}, sql, args...)
}

const selectThreadRoots = `SELECT parent_id, MAX(ord) AS last FROM relations
WHERE room_id = $1 AND rel_type = 'm.thread' AND redacted = 0
  AND ($2 = '' OR parent_sender = $2 OR parent_id IN (SELECT m.parent_id FROM relations m WHERE m.room_id = $1 AND m.rel_type = 'm.thread' AND m.redacted = 0 AND m.sender = $2))
GROUP BY parent_id HAVING MAX(ord) <= $3 ORDER BY last DESC LIMIT $4`

// threadRoots lists the threads of a room, the one with the newest reply first; participant "" means all.
func (t *Timelines) threadRoots(ctx context.Context, roomID id.RoomID, participant id.UserID, upTo room.Order, limit int) ([]threadRow, error) {
	return database.Rows(ctx, t.db, func(s database.Scanner) (r threadRow, err error) {
		return r, s.Scan(&r.Parent, &r.Order)
	}, selectThreadRoots, string(roomID), string(participant), int64(upTo), limit)
}

const deleteRoomRelations = `DELETE FROM relations WHERE room_id = $1`

// forgetRoom drops what is kept of a room that is removed from this server.
func (t *Timelines) forgetRoom(ctx context.Context, roomID id.RoomID) error {
	t.relationsIn.Delete(roomID)
	_, err := t.db.Exec(ctx, deleteRoomRelations, string(roomID))
	return err
}

const selectAnnotationsOf = `SELECT event_id FROM relations WHERE parent_id = $1 AND rel_type = 'm.annotation' AND sender = $2
AND event_type = $3 AND redacted = 0 LIMIT $4`

// annotationsOf lists the reactions of a user to an event.
func (t *Timelines) annotationsOf(ctx context.Context, parent id.EventID, user id.UserID, eventType string) ([]id.EventID, error) {
	return database.Rows(ctx, t.db, func(s database.Scanner) (e id.EventID, err error) { return e, s.Scan(&e) },
		selectAnnotationsOf, string(parent), string(user), eventType, maxAnnotations)
}
