package e2ee

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

var tableInbox = database.NewTable("to_device_inbox", "",
	database.Text("user_id"), database.Text("device_id"), database.Int("pos"), database.Text("event"))

var tableOutbox = database.NewTable("to_device_outbox", "",
	database.Text("destination"), database.Int("pos"), database.Int("seq"), database.Text("content"))

const (
	selectInbox = `SELECT pos, event FROM to_device_inbox WHERE user_id = $1 AND device_id = $2 AND pos > $3 AND pos <= $4
		ORDER BY pos LIMIT $5`
	deleteInboxUpTo = `DELETE FROM to_device_inbox WHERE user_id = $1 AND device_id = $2 AND pos <= $3`
	deleteInbox     = `DELETE FROM to_device_inbox WHERE user_id = $1 AND device_id = $2`

	selectOutbox = `SELECT pos, seq, content FROM to_device_outbox
		WHERE destination = $1 AND (pos > $2 OR (pos = $2 AND seq > $3)) ORDER BY pos, seq LIMIT $4`
	deleteOutbox       = `DELETE FROM to_device_outbox WHERE destination = $1 AND (pos < $2 OR (pos = $2 AND seq <= $3))`
	selectDestinations = `SELECT DISTINCT destination FROM to_device_outbox`

	selectSeen    = `SELECT 1 FROM to_device_seen WHERE id = $1`
	deleteOldSeen = `DELETE FROM to_device_seen WHERE received_ts < $1`
)

type inboxRow struct {
	Pos   stream.Pos
	Event json.RawMessage
}

func (k *Keys) inbox(ctx context.Context, user id.UserID, device id.DeviceID, since, upTo stream.Pos, limit int) ([]inboxRow, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r inboxRow, err error) {
		var ev string
		err = s.Scan(&r.Pos, &ev)
		r.Event = json.RawMessage(ev)
		return r, err
	}, selectInbox, user, device, since, upTo, limit)
}

// OutboxID is the place of an EDU among those for one destination.
type OutboxID struct {
	Pos stream.Pos
	Seq int64
}

// OutboxItem is an m.direct_to_device EDU that waits for its destination.
type OutboxItem struct {
	ID      OutboxID
	Content json.RawMessage
}

// Outbox returns what waits for a destination behind a place, in order.
func (k *Keys) Outbox(ctx context.Context, destination string, after OutboxID, limit int) ([]OutboxItem, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r OutboxItem, err error) {
		var content string
		err = s.Scan(&r.ID.Pos, &r.ID.Seq, &content)
		r.Content = json.RawMessage(content)
		return r, err
	}, selectOutbox, destination, after.Pos, after.Seq, limit)
}

// Sent forgets what a destination has acknowledged.
func (k *Keys) Sent(ctx context.Context, destination string, upTo OutboxID) error {
	_, err := k.db.Exec(ctx, deleteOutbox, destination, upTo.Pos, upTo.Seq)
	return err
}

// WaitingDestinations lists the servers for which something waits.
func (k *Keys) WaitingDestinations(ctx context.Context) ([]string, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (d string, err error) {
		err = s.Scan(&d)
		return d, err
	}, selectDestinations)
}
