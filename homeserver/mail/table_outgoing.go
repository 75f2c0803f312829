package mail

import (
	"context"
	"fmt"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	insertMail = `INSERT INTO outgoing_mails (nid, recipient, subject, body, html, unsubscribe, created, due, tries)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`
	selectDue    = `SELECT nid, recipient, subject, body, html, unsubscribe, created, tries FROM outgoing_mails WHERE due <= $1 ORDER BY due, nid LIMIT $2`
	deleteMail   = `DELETE FROM outgoing_mails WHERE nid = $1`
	postponeMail = `UPDATE outgoing_mails SET tries = tries + 1, due = $2 WHERE nid = $1`
)

type queued struct {
	Message
	nid, created int64
	tries        int
}

func (m *Mailer) due(ctx context.Context) ([]queued, error) {
	return database.Rows(ctx, m.db, func(s database.Scanner) (q queued, err error) {
		return q, s.Scan(&q.nid, &q.To, &q.Subject, &q.Text, &q.HTML, &q.Unsubscribe, &q.created, &q.tries)
	}, selectDue, m.now().UnixMilli(), batch)
}

func (m *Mailer) drop(ctx context.Context, nid int64) error {
	_, err := m.db.Exec(ctx, deleteMail, nid)
	if err != nil {
		return fmt.Errorf("remove a mail: %w", err)
	}
	return nil
}

func (m *Mailer) postpone(ctx context.Context, nid int64, until time.Time) error {
	_, err := m.db.Exec(ctx, postponeMail, nid, until.UnixMilli())
	if err != nil {
		return fmt.Errorf("postpone a mail: %w", err)
	}
	return nil
}
