package appservices

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Pending keeps, for each service, the transaction sent last: word for word until the service has taken it, because what
// was sent under an ID must not change. spec: as#pushing-events
type Pending struct{ db *database.DB }

// NewPending returns the table.
func NewPending(db *database.DB) *Pending { return &Pending{db} }

const (
	pendingSelect = `SELECT seq, last_pos, body, taken FROM appservice_transactions WHERE service = $1`
	pendingUpsert = `INSERT INTO appservice_transactions (service, seq, last_pos, body, taken) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (service) DO UPDATE SET seq = excluded.seq, last_pos = excluded.last_pos, body = excluded.body, taken = excluded.taken`
	pendingDone = `UPDATE appservice_transactions SET body = '', taken = '' WHERE service = $1`
)

// sent is the transaction sent last. Body is empty once the service has taken it.
type sent struct {
	seq   int64
	last  stream.Pos
	body  []byte
	taken []takenMessages
}

// txnID never comes again.
func (t *sent) txnID() string { return fmt.Sprintf("%d-%d", t.last, t.seq) }

// takenMessages are the to-device messages of a transaction: once it was taken, they leave the inbox of the device.
type takenMessages struct {
	User   id.UserID   `json:"user"`
	Device id.DeviceID `json:"device"`
	UpTo   stream.Pos  `json:"up_to"`
}

func (p *Pending) get(ctx context.Context, service string) (*sent, error) {
	t := &sent{}
	var body, taken string
	err := p.db.QueryRow(ctx, pendingSelect, service).Scan(&t.seq, &t.last, &body, &taken)
	if errors.Is(err, sql.ErrNoRows) {
		return t, nil
	}
	if err == nil && taken != "" {
		err = json.Unmarshal([]byte(taken), &t.taken)
	}
	if err != nil {
		return nil, fmt.Errorf("read pending transaction: %w", err)
	}
	t.body = []byte(body)
	return t, nil
}

func (p *Pending) set(ctx context.Context, service string, t *sent) error {
	taken := ""
	if len(t.taken) > 0 {
		raw, err := json.Marshal(t.taken)
		if err != nil {
			return fmt.Errorf("note pending transaction: %w", err)
		}
		taken = string(raw)
	}
	if _, err := p.db.Exec(ctx, pendingUpsert, service, t.seq, int64(t.last), string(t.body), taken); err != nil {
		return fmt.Errorf("note pending transaction: %w", err)
	}
	return nil
}

func (p *Pending) done(ctx context.Context, service string) error {
	if _, err := p.db.Exec(ctx, pendingDone, service); err != nil {
		return fmt.Errorf("note taken transaction: %w", err)
	}
	return nil
}
