package federation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// outbound_events has what a destination has not acknowledged yet. When a destination stays away, outbound_rooms has the
// newest event of each room instead, from which the destination finds the rest itself.
var (
	outboundEvents = database.NewTable("outbound_events", "ON CONFLICT (server, pos, event_id) DO NOTHING",
		database.Text("server"), database.Int("pos"), database.Text("room_id"), database.Text("event_id"))
	outboundRooms = database.NewTable("outbound_rooms", "ON CONFLICT (server, room_id) DO UPDATE SET pos = excluded.pos, event_id = excluded.event_id",
		database.Text("server"), database.Text("room_id"), database.Int("pos"), database.Text("event_id"))
	// Whoever is to hear of a whole list (after_pos 0) still is when the list changes before that.
	outboundDevices = database.NewTable("outbound_devices", `ON CONFLICT (server, user_id) DO UPDATE SET pos = excluded.pos,
		after_pos = CASE WHEN excluded.after_pos < outbound_devices.after_pos THEN excluded.after_pos ELSE outbound_devices.after_pos END`,
		database.Text("server"), database.Text("user_id"), database.Int("after_pos"), database.Int("pos"))
)

const (
	outNext = `SELECT pos, event_id FROM (SELECT pos, event_id FROM outbound_events WHERE server = $1 ORDER BY pos LIMIT $2) AS e
		UNION SELECT pos, event_id FROM (SELECT pos, event_id FROM outbound_rooms WHERE server = $1 ORDER BY pos LIMIT $2) AS r ORDER BY 1 LIMIT $2`
	outDelete      = `DELETE FROM outbound_events WHERE server = $1 AND pos IN LIST($2) AND event_id IN LIST($3)`
	outDeleteRooms = `DELETE FROM outbound_rooms WHERE server = $1 AND event_id IN LIST($2)`
	outHasRooms    = `SELECT 1 FROM outbound_rooms WHERE server = $1 LIMIT 1`
	outThin        = `INSERT INTO outbound_rooms (server, room_id, pos, event_id)
		SELECT e.server, e.room_id, e.pos, e.event_id FROM outbound_events e
		JOIN (SELECT room_id, MAX(pos) AS newest FROM outbound_events WHERE server = $1 GROUP BY room_id) m ON m.room_id = e.room_id AND m.newest = e.pos
		WHERE e.server = $1
		ON CONFLICT (server, room_id) DO UPDATE SET pos = excluded.pos, event_id = excluded.event_id WHERE outbound_rooms.pos < excluded.pos`
	outThinned    = `DELETE FROM outbound_events WHERE server = $1`
	outCount      = `SELECT COUNT(*) FROM (SELECT 1 FROM outbound_events WHERE server = $1 LIMIT $2) AS few`
	outDevices    = `SELECT user_id, after_pos, pos FROM outbound_devices WHERE server = $1 ORDER BY pos LIMIT $2`
	outDeviceMore = `UPDATE outbound_devices SET after_pos = $3 WHERE server = $1 AND user_id = $2 AND after_pos = $4`
	outDeviceDone = `DELETE FROM outbound_devices WHERE server = $1 AND user_id = $2 AND pos <= $3 AND after_pos = $4`
	outWaiting    = `SELECT server FROM outbound_events UNION SELECT server FROM outbound_rooms UNION SELECT server FROM outbound_devices`
	destPaused    = `SELECT server FROM destinations WHERE retry_ts > $1`
	destAway      = `SELECT server FROM destinations WHERE failures >= $1`
	destState     = `SELECT failures, retry_ts FROM destinations WHERE server = $1`
	destFailed    = `INSERT INTO destinations (server, failures, failing_since_ts, retry_ts, success_ts) VALUES ($1, $2, $3, $4, 0)
		ON CONFLICT (server) DO UPDATE SET failures = excluded.failures, retry_ts = excluded.retry_ts,
		failing_since_ts = CASE WHEN destinations.failures = 0 THEN excluded.failing_since_ts ELSE destinations.failing_since_ts END`
	destSucceeded = `UPDATE destinations SET failures = 0, retry_ts = 0, success_ts = $2 WHERE server = $1 AND failures > 0`
)

const (
	// thinAbove is how many events wait for a destination that fails before only the newest of each room are kept, awayAfter
	// how many failures in a row let a destination count as being away: then only those are noted at all.
	thinAbove = 200
	awayAfter = 6
	// backoff doubles from the first to the last.
	backoffFirst = 2 * time.Second
	backoffLast  = time.Hour
)

type outboundEvent struct {
	pos     int64
	eventID id.EventID
}

// outboundDevice is a user whose device list changed behind after; the last change known is at pos. What a transaction has of
// it goes up to upTo.
type outboundDevice struct {
	user             id.UserID
	after, pos, upTo int64
}

// nextEvents lists the oldest events that wait.
func (o *outbound) nextEvents(ctx context.Context, server string, limit int) ([]outboundEvent, error) {
	return database.Rows(ctx, o.f.DB, func(s database.Scanner) (e outboundEvent, err error) {
		return e, s.Scan(&e.pos, &e.eventID)
	}, outNext, server, limit)
}

func (o *outbound) nextDevices(ctx context.Context, server string, limit int) ([]outboundDevice, error) {
	return database.Rows(ctx, o.f.DB, func(s database.Scanner) (d outboundDevice, err error) {
		return d, s.Scan(&d.user, &d.after, &d.pos)
	}, outDevices, server, limit)
}

// dropSent forgets what a destination has taken. Rows that came meanwhile stay.
func (o *outbound) dropSent(ctx context.Context, server string, b *outgoing) error {
	if len(b.events) == 0 && len(b.devices) == 0 {
		return nil
	}
	err := o.f.DB.Tx(ctx, func(ctx context.Context) error {
		if err := o.dropEvents(ctx, server, b.events); err != nil {
			return err
		}
		for _, d := range b.devices {
			if d.upTo >= d.pos {
				if _, err := o.f.DB.Exec(ctx, outDeviceDone, server, string(d.user), d.pos, d.after); err != nil {
					return err
				}
			}
			if _, err := o.f.DB.Exec(ctx, outDeviceMore, server, string(d.user), d.upTo, d.after); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop what was sent: %w", err)
	}
	return nil
}

func (o *outbound) dropEvents(ctx context.Context, server string, events []outboundEvent) error {
	if len(events) == 0 {
		return nil
	}
	pos, ids := make([]int64, len(events)), make([]id.EventID, len(events))
	for i, e := range events {
		pos[i], ids[i] = e.pos, e.eventID
	}
	if _, err := o.f.DB.Exec(ctx, outDelete, server, database.List(pos), database.List(ids)); err != nil {
		return err
	}
	var one int
	err := o.f.DB.QueryRow(ctx, outHasRooms, server).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = o.f.DB.Exec(ctx, outDeleteRooms, server, database.List(ids))
	}
	return err
}

// waitingServers lists the servers for which something waits and that may be tried before the next sweep: workers wait out short
// pauses themselves.
func (o *outbound) waitingServers(ctx context.Context) ([]string, error) {
	name := func(s database.Scanner) (server string, err error) { return server, s.Scan(&server) }
	paused, err := database.Rows(ctx, o.f.DB, name, destPaused, time.Now().Add(sweepRows).UnixMilli())
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(paused))
	for _, s := range paused {
		seen[s] = true
	}
	waiting, err := database.Rows(ctx, o.f.DB, name, outWaiting)
	if err != nil {
		return nil, err
	}
	messages, err := o.f.E2EE.WaitingDestinations(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range append(waiting, messages...) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out, nil
}

// awayServers lists the servers that have been failing for long.
func (o *outbound) awayServers(ctx context.Context) (map[string]bool, error) {
	list, err := database.Rows(ctx, o.f.DB, func(s database.Scanner) (server string, err error) { return server, s.Scan(&server) }, destAway, awayAfter)
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out, err
}

// destination reads how a server is doing.
func (o *outbound) destination(ctx context.Context, server string) (failures int, retry time.Time, err error) {
	var ms int64
	err = o.f.DB.QueryRow(ctx, destState, server).Scan(&failures, &ms)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read destination: %w", err)
	}
	if ms > 0 {
		retry = time.UnixMilli(ms)
	}
	return failures, retry, nil
}

// backoff is the pause after a number of failures, with jitter; at least after.
func (o *outbound) backoff(failures int, after time.Duration) time.Duration {
	wait := min(backoffFirst<<min(failures-1, 20), o.f.MaxBackoff)
	return max(wait-rand.N(wait/2+1), after)
}

// noteFailure sets the next try and thins the queue.
func (o *outbound) noteFailure(ctx context.Context, server string, failures int, retry time.Time) error {
	return o.f.DB.Tx(ctx, func(ctx context.Context) error {
		if _, err := o.f.DB.Exec(ctx, destFailed, server, failures, time.Now().UnixMilli(), retry.UnixMilli()); err != nil {
			return err
		}
		var waiting int
		if err := o.f.DB.QueryRow(ctx, outCount, server, thinAbove+1).Scan(&waiting); err != nil || waiting <= thinAbove {
			return err
		}
		if _, err := o.f.DB.Exec(ctx, outThin, server); err != nil {
			return err
		}
		_, err := o.f.DB.Exec(ctx, outThinned, server)
		return err
	})
}

// noteSuccess ends the back-off of a server.
func (o *outbound) noteSuccess(ctx context.Context, server string) error {
	_, err := o.f.DB.Exec(ctx, destSucceeded, server, time.Now().UnixMilli())
	return err
}
