package ephemeral

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

var presenceTable = database.NewTable("presence", `ON CONFLICT (user_id) DO UPDATE
	SET state = excluded.state, status_msg = excluded.status_msg, last_active_ts = excluded.last_active_ts, pos = excluded.pos`,
	database.Text("user_id"), database.Text("state"), database.Text("status_msg"), database.Int("last_active_ts"), database.Int("pos"))

const (
	presenceColumns = `user_id, state, status_msg, last_active_ts, pos`
	presenceFind    = `SELECT ` + presenceColumns + ` FROM presence WHERE user_id = $1`
	presenceList    = `SELECT ` + presenceColumns + ` FROM presence WHERE user_id IN LIST($1)`
	presenceChanged = `SELECT ` + presenceColumns + ` FROM presence WHERE pos > $1 AND pos <= $2 ORDER BY pos`
)

func scanPresence(s database.Scanner) (p Presence, err error) {
	return p, s.Scan(&p.UserID, &p.State, &p.Status, &p.LastActive, &p.Pos)
}

func (e *Ephemeral) findPresence(ctx context.Context, user id.UserID) (Presence, error) {
	p, err := scanPresence(e.db.QueryRow(ctx, presenceFind, string(user)))
	if errors.Is(err, sql.ErrNoRows) {
		return Presence{UserID: user, State: Offline}, nil
	}
	if err != nil {
		return Presence{}, fmt.Errorf("find presence: %w", err)
	}
	return p, nil
}

// listPresence reads what changed in the window and keeps the users asked for. Windows are short but for a first
// sync, where one pass over the table beats a list of thousands of users.
func (e *Ephemeral) listPresence(ctx context.Context, users []id.UserID, since, upTo stream.Pos) ([]Presence, error) {
	all, err := database.Rows(ctx, e.db, scanPresence, presenceChanged, int64(since), int64(upTo))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	want := make(map[id.UserID]struct{}, len(users))
	for _, u := range users {
		want[u] = struct{}{}
	}
	kept := all[:0]
	for _, p := range all {
		if _, ok := want[p.UserID]; ok {
			kept = append(kept, p)
		}
	}
	return kept, nil
}

func (e *Ephemeral) presenceOf(ctx context.Context, users []id.UserID) ([]Presence, error) {
	return database.Rows(ctx, e.db, scanPresence, presenceList, database.List(users))
}
