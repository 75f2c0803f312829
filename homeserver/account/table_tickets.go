package account

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"maunium.net/go/mautrix/id"
)

// A ticket is something short-lived that a client holds a secret for: the row is found by the hash of that secret.
const (
	ticketUIA    = "uia"    // a user-interactive session with completed stages
	ticketLogin  = "login"  // a login token, good for one login
	ticketOpenID = "openid" // an OpenID token
	ticketNonce  = "nonce"  // a registration nonce that has been used
	ticketSecret = "secret" // the secret of this server, which never expires
)

const (
	insertTicketOnce = `INSERT INTO tickets (kind, hash, user_id, data, expires) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kind, hash) DO NOTHING`
	upsertTicket     = `INSERT INTO tickets (kind, hash, user_id, data, expires) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (kind, hash) DO UPDATE SET data = excluded.data`
	selectTicket         = `SELECT user_id, data, expires FROM tickets WHERE kind = $1 AND hash = $2`
	takeTicket           = `DELETE FROM tickets WHERE kind = $1 AND hash = $2 RETURNING user_id, data, expires`
	deleteUserTickets    = `DELETE FROM tickets WHERE user_id = $1`
	deleteExpiredTickets = `DELETE FROM tickets WHERE expires > 0 AND expires < $1`
)

type ticket struct {
	user    id.UserID
	data    string
	expires int64
}

// findTicket reads a ticket that has not expired.
func (a *Accounts) findTicket(ctx context.Context, query, kind, hash string) (t ticket, found bool, err error) {
	err = a.db.QueryRow(ctx, query, kind, hash).Scan(&t.user, &t.data, &t.expires)
	if errors.Is(err, sql.ErrNoRows) {
		return ticket{}, false, nil
	}
	if err != nil {
		return ticket{}, false, doing("reading a ticket", err)
	}
	return t, t.expires == 0 || t.expires > a.now().UnixMilli(), nil
}

// giveTicket makes a token of a kind for a user.
func (a *Accounts) giveTicket(ctx context.Context, kind, prefix string, user id.UserID, data string, lifetime time.Duration) (string, error) {
	token, hash := newToken(prefix)
	_, err := a.db.Exec(ctx, insertTicketOnce, kind, hash, user, data, a.now().Add(lifetime).UnixMilli())
	return token, doing("writing a ticket", err)
}
