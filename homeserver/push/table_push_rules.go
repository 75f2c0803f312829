package push

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	selectRules     = `SELECT rules FROM push_rules WHERE user_id = $1`
	lockRules       = `SELECT rules FROM push_rules WHERE user_id = $1 FOR UPDATE`
	insertRulesOnce = `INSERT INTO push_rules (user_id, rules) VALUES ($1, '') ON CONFLICT (user_id) DO NOTHING`
	updateRules     = `UPDATE push_rules SET rules = $2 WHERE user_id = $1`
	deleteRules     = `DELETE FROM push_rules WHERE user_id = $1`
)

// readRules gives the stored document of a user, "" if there is none.
func (p *Push) readRules(ctx context.Context, user id.UserID) (raw string, err error) {
	err = p.db.QueryRow(ctx, selectRules, string(user)).Scan(&raw)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading push rules: %w", err)
	}
	return raw, nil
}

// change changes a user's rules and announces it. Two changes never lose each other. fn says whether it changed anything.
func (p *Push) change(ctx context.Context, user id.UserID, fn func(d *document) (bool, error)) error {
	return p.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := p.db.Exec(ctx, insertRulesOnce, string(user)); err != nil {
			return fmt.Errorf("locking push rules: %w", err)
		}
		var raw string
		if err := p.db.QueryRow(ctx, lockRules, string(user)).Scan(&raw); err != nil {
			return fmt.Errorf("locking push rules: %w", err)
		}
		d, err := parseDocument(raw)
		if err != nil {
			return fmt.Errorf("stored push rules: %w", err)
		}
		changed, err := fn(d)
		if err != nil || !changed {
			return err
		}
		next, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("writing push rules: %w", err)
		}
		if _, err := p.db.Exec(ctx, updateRules, string(user), string(next)); err != nil {
			return fmt.Errorf("writing push rules: %w", err)
		}
		if _, err := p.stream.Append(ctx, stream.Change{Kind: stream.PushRules, UserID: user}); err != nil {
			return fmt.Errorf("announcing push rules: %w", err)
		}
		return nil
	})
}
