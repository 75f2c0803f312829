package push

import (
	"context"
	"encoding/json"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Whoever sets a pusher again keeps its number, and what waits for it.
var pushersTable = database.NewTable("pushers",
	`ON CONFLICT (user_id, app_id, pushkey) DO UPDATE SET device_id = excluded.device_id, kind = excluded.kind,
	app_display_name = excluded.app_display_name, device_display_name = excluded.device_display_name, profile_tag = excluded.profile_tag,
	lang = excluded.lang, data = excluded.data, enabled = excluded.enabled, updated_ts = excluded.updated_ts`,
	database.Int("nid"), database.Text("user_id"), database.Text("device_id"), database.Text("app_id"), database.Text("pushkey"), database.Text("kind"),
	database.Text("app_display_name"), database.Text("device_display_name"), database.Text("profile_tag"), database.Text("lang"),
	database.Text("data"), database.Int("enabled"), database.Int("updated_ts"))

// queueTable holds what is to be told to gateways. event_id ”: only that counts have changed.
var queueTable = database.NewTable("push_queue", `ON CONFLICT (pusher_nid, pos) DO NOTHING`,
	database.Int("pusher_nid"), database.Int("pos"), database.Text("event_id"), database.Text("tweaks"), database.Int("queued_ts"))

const (
	pusherColumns = `SELECT nid, user_id, device_id, app_id, pushkey, kind, app_display_name, device_display_name, profile_tag, lang, data, enabled, updated_ts FROM pushers `
	allPushers    = pusherColumns + `ORDER BY nid`
	usersPushers  = pusherColumns + `WHERE user_id IN LIST($1) ORDER BY nid`
	onePusher     = pusherColumns + `WHERE nid = $1`
	countPushers  = `SELECT COUNT(*) FROM pushers WHERE user_id = $1`
	// Rows of push_queue whose pusher is gone are dropped when their turn comes.
	deleteSame   = `DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3`
	selectOthers = `SELECT DISTINCT user_id FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3`
	deleteOthers = `DELETE FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3`
	deleteDevice = `DELETE FROM pushers WHERE user_id = $1 AND device_id = $2`
	deleteNID    = `DELETE FROM pushers WHERE nid = $1`
	deleteUsers  = `DELETE FROM pushers WHERE user_id = $1`

	waitingPushers = `SELECT DISTINCT pusher_nid FROM push_queue`
	firstQueued    = `SELECT pos, event_id, tweaks, queued_ts FROM push_queue WHERE pusher_nid = $1 ORDER BY pos LIMIT $2`
	deleteQueued   = `DELETE FROM push_queue WHERE pusher_nid = $1 AND pos = $2`
	deleteQueue    = `DELETE FROM push_queue WHERE pusher_nid = $1`
	shortenQueue   = `DELETE FROM push_queue WHERE pusher_nid = $1 AND pos <= (SELECT pos FROM push_queue WHERE pusher_nid = $1 ORDER BY pos DESC LIMIT 1 OFFSET $2)`
)

func scanPusher(s database.Scanner) (*Pusher, error) {
	p := &Pusher{}
	var data string
	var enabled int64
	err := s.Scan(&p.NID, &p.User, &p.Device, &p.AppID, &p.Pushkey, &p.Kind, &p.AppDisplayName, &p.DeviceDisplayName, &p.ProfileTag, &p.Lang,
		&data, &enabled, &p.Updated)
	p.Data, p.Enabled = json.RawMessage(data), enabled != 0
	return p, err
}

// Pushers lists the pushers of a user.
func (p *Push) Pushers(ctx context.Context, user id.UserID) ([]*Pusher, error) {
	return p.listPushers(ctx, usersPushers, database.List([]id.UserID{user}))
}

func (p *Push) listPushers(ctx context.Context, query string, args ...any) ([]*Pusher, error) {
	list, err := database.Rows(ctx, p.db, scanPusher, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading pushers: %w", err)
	}
	return list, nil
}

func (p *Push) writePusher(ctx context.Context, n *Pusher) error {
	enabled := int64(0)
	if n.Enabled {
		enabled = 1
	}
	if err := p.db.Insert(ctx, pushersTable, []any{n.NID, string(n.User), string(n.Device), n.AppID, n.Pushkey, n.Kind, n.AppDisplayName,
		n.DeviceDisplayName, n.ProfileTag, n.Lang, string(n.Data), enabled, n.Updated}); err != nil {
		return fmt.Errorf("writing a pusher: %w", err)
	}
	var count int
	if err := p.db.QueryRow(ctx, countPushers, string(n.User)).Scan(&count); err != nil {
		return fmt.Errorf("counting pushers: %w", err)
	}
	if count > maxPushers {
		return mautrix.MInvalidParam.WithMessage("One may have at most %d pushers", maxPushers)
	}
	return nil
}

func (p *Push) deletePusher(ctx context.Context, user id.UserID, appID, pushkey string) (int64, error) {
	return p.deleting(ctx, deleteSame, string(user), appID, pushkey)
}

func (p *Push) deleteDevicePushers(ctx context.Context, user id.UserID, device id.DeviceID) (int64, error) {
	return p.deleting(ctx, deleteDevice, string(user), string(device))
}

func (p *Push) deleting(ctx context.Context, query string, args ...any) (int64, error) {
	done, err := p.db.Exec(ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("deleting pushers: %w", err)
	}
	return done.RowsAffected()
}

// deleteOthersPushers removes those of other users with the same app and key, and lists whose they were.
func (p *Push) deleteOthersPushers(ctx context.Context, user id.UserID, appID, pushkey string) ([]id.UserID, error) {
	others, err := database.Rows(ctx, p.db, func(s database.Scanner) (u id.UserID, err error) { return u, s.Scan(&u) },
		selectOthers, appID, pushkey, string(user))
	if err != nil {
		return nil, fmt.Errorf("reading pushers: %w", err)
	}
	if len(others) > 0 {
		_, err = p.deleting(ctx, deleteOthers, appID, pushkey, string(user))
	}
	return others, err
}

// queued is a row of push_queue.
type queued struct {
	pos    stream.Pos
	event  id.EventID
	tweaks string
	ts     int64
}

func (p *Push) readQueue(ctx context.Context, pusher int64, limit int) ([]queued, error) {
	rows, err := database.Rows(ctx, p.db, func(s database.Scanner) (q queued, err error) {
		return q, s.Scan(&q.pos, &q.event, &q.tweaks, &q.ts)
	}, firstQueued, pusher, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the queue of a pusher: %w", err)
	}
	return rows, nil
}

func (p *Push) readWaiting(ctx context.Context) ([]int64, error) {
	list, err := database.Rows(ctx, p.db, func(s database.Scanner) (n int64, err error) { return n, s.Scan(&n) }, waitingPushers)
	if err != nil {
		return nil, fmt.Errorf("reading the queues of pushers: %w", err)
	}
	return list, nil
}
