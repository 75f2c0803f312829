package room

import (
	"context"
	"database/sql"
	"encoding/binary"
	"hash/fnv"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const sqlEventColumns = `
	SELECT e.nid, e.room_nid, r.room_version, e.event_id, e.pos, e.ord, e.state_id, e.current_id, e.flags, e.device_id, e.txn_id, e.json,
		(SELECT MIN(x.redacted_by) FROM redactions x WHERE x.event_id = e.event_id AND x.applied = 1)
	FROM events e JOIN rooms r ON r.room_nid = e.room_nid`

const (
	sqlEventsByID   = sqlEventColumns + ` WHERE e.event_id IN LIST($1)`
	sqlEventsByNID  = sqlEventColumns + ` WHERE e.nid IN LIST($1)`
	sqlBackwards    = `SELECT nid FROM events WHERE room_nid = $1 AND ord <= $2 AND ord > $3 ORDER BY ord DESC LIMIT $4`
	sqlForwards     = `SELECT nid FROM events WHERE room_nid = $1 AND ord > $2 ORDER BY ord LIMIT $3`
	sqlLiveBetween  = `SELECT nid FROM events WHERE room_nid = $1 AND ord <= $2 AND ord > $3 AND pos IS NOT NULL ORDER BY ord DESC LIMIT $4`
	sqlTransactions = `SELECT nid, type, txn_id, event_id FROM events WHERE txn_key = $1 AND sender = $2 AND device_id = $3 ORDER BY nid DESC LIMIT $4`
	sqlNewestLive   = `SELECT current_id FROM events WHERE room_nid = $1 AND ord <= $2 AND pos IS NOT NULL ORDER BY ord DESC LIMIT 1`
	sqlSince        = `SELECT nid FROM events WHERE room_nid = $1 AND ord IS NOT NULL AND ts >= $2 ORDER BY ts, ord LIMIT 1`
	sqlUntil        = `SELECT nid FROM events WHERE room_nid = $1 AND ord IS NOT NULL AND ts <= $2 ORDER BY ts DESC, ord DESC LIMIT 1`
)

// An outlier that becomes part of the history gets its place and state; nothing else of an event ever changes.
func newEventTable() *database.Table {
	return database.NewTable("events",
		`ON CONFLICT (nid) DO UPDATE SET pos = excluded.pos, ord = excluded.ord, state_id = excluded.state_id, current_id = excluded.current_id, flags = excluded.flags`,
		database.Int("nid"), database.Int("room_nid"), database.Text("event_id"), database.Text("type"), database.NullText("state_key"),
		database.Text("sender"), database.Int("depth"), database.Int("ts"), database.NullInt("pos"), database.NullInt("ord"),
		database.Int("state_id"), database.Int("current_id"), database.Int("flags"), database.NullText("device_id"), database.NullText("txn_id"),
		database.NullInt("txn_key"), database.Text("json"))
}

// eventRow is the row of an event; pos and ord may be values that the committer fills in.
func eventRow(s *Stored, pos, ord any) []any {
	var key, device, txn, txnKeyValue any
	if k := s.StateKey(); k != nil {
		key = *k
	}
	if s.TxnID != "" {
		device, txn, txnKeyValue = string(s.DeviceID), s.TxnID, txnKey(s.RoomNID, s.Sender(), s.DeviceID)
	}
	return []any{s.NID, s.RoomNID, string(s.ID()), s.Type(), key, string(s.Sender()), s.Depth(), s.Timestamp(), pos, ord,
		s.StateID, s.CurrentID, s.flags(), device, txn, txnKeyValue, string(s.JSON())}
}

func scanEvent(sc database.Scanner) (*Stored, error) {
	var (
		s               Stored
		version         string
		eventID         id.EventID
		pos, ord, flags sql.NullInt64
		device, txn, by sql.NullString
		raw             []byte
	)
	if err := sc.Scan(&s.NID, &s.RoomNID, &version, &eventID, &pos, &ord, &s.StateID, &s.CurrentID, &flags, &device, &txn, &raw, &by); err != nil {
		return nil, err
	}
	v, err := event.Lookup(version)
	if err != nil {
		return nil, err
	}
	if s.Event, err = event.ParseStored(v, eventID, raw); err != nil {
		return nil, err
	}
	s.Pos, s.Order = stream.Pos(pos.Int64), Order(ord.Int64)
	s.setFlags(flags.Int64)
	s.DeviceID, s.TxnID, s.RedactedBy = id.DeviceID(device.String), txn.String, id.EventID(by.String)
	return &s, nil
}

const loadBatch = 1000

func (r *Rooms) loadEventsByID(ctx context.Context, ids []id.EventID) ([]*Stored, error) {
	return loadEvents(ctx, r, sqlEventsByID, ids)
}

func (r *Rooms) loadEventsByNID(ctx context.Context, nids []int64) ([]*Stored, error) {
	return loadEvents(ctx, r, sqlEventsByNID, nids)
}

func loadEvents[T ~string | ~int64](ctx context.Context, r *Rooms, query string, keys []T) ([]*Stored, error) {
	ctx = r.fresh(ctx) // what is kept must not be older than memory thinks
	out := make([]*Stored, 0, len(keys))
	for len(keys) > 0 {
		part := keys[:min(len(keys), loadBatch)]
		keys = keys[len(part):]
		seen := r.redactionsSeen()
		list, err := database.Rows(ctx, r.db, scanEvent, query, database.List(part))
		if err != nil {
			return nil, err
		}
		r.remember(list, seen)
		out = append(out, list...)
	}
	return out, nil
}

func scanInt(s database.Scanner) (n int64, err error) { return n, s.Scan(&n) }

// txnKey is what the transactions of one device in one room are found by.
func txnKey(roomNID int64, user id.UserID, device id.DeviceID) int64 {
	h := fnv.New64a()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(roomNID))
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(user))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(device))
	return int64(h.Sum64())
}
