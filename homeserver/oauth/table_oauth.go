package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/id"
)

// Kinds of oauth_tickets: short-lived facts found by the hash of a secret.
const (
	kindPending = "pending" // what a browser has come for
	kindBrowser = "browser" // a signed-in browser
	kindCode    = "code"    // an authorization code
	kindSpent   = "spent"   // a code that was exchanged, to notice that it comes again
	kindDevice  = "device"  // a device that waits for its user, by device code
	kindWord    = "word"    // the same, by the code that the user types: the hash of the device code
	kindState   = "state"   // a sign-in at a provider
	kindProof   = "proof"   // an operation that was confirmed in a browser
)

const (
	putTicket = `INSERT INTO oauth_tickets (kind, hash, data, expires) VALUES ($1, $2, $3, $4)
		ON CONFLICT (kind, hash) DO UPDATE SET data = excluded.data, expires = excluded.expires`
	newTicket    = `INSERT INTO oauth_tickets (kind, hash, data, expires) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, hash) DO NOTHING`
	getTicket    = `SELECT data, expires FROM oauth_tickets WHERE kind = $1 AND hash = $2`
	takeTicket   = `DELETE FROM oauth_tickets WHERE kind = $1 AND hash = $2 RETURNING data, expires`
	sweepTickets = `DELETE FROM oauth_tickets WHERE expires < $1`
	putClient    = `INSERT INTO oauth_clients (client_id, metadata, created) VALUES ($1, $2, $3) ON CONFLICT (client_id) DO NOTHING`
	getClient    = `SELECT metadata FROM oauth_clients WHERE client_id = $1`
	putSession   = `INSERT INTO oauth_sessions (user_id, device_id, client_id) VALUES ($1, $2, $3)
		ON CONFLICT (user_id, device_id) DO UPDATE SET client_id = excluded.client_id`
	getSession    = `SELECT client_id FROM oauth_sessions WHERE user_id = $1 AND device_id = $2`
	deleteSession = `DELETE FROM oauth_sessions WHERE user_id = $1 AND device_id = $2`
	putSubject    = `INSERT INTO oauth_subjects (provider, subject, user_id) VALUES ($1, $2, $3) ON CONFLICT (provider, subject) DO NOTHING`
	getSubject    = `SELECT user_id FROM oauth_subjects WHERE provider = $1 AND subject = $2`
	hasSubject    = `SELECT provider FROM oauth_subjects WHERE user_id = $1 ORDER BY provider LIMIT 1`
)

func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("oauth: %s: %w", what, err)
}

// secret is 256 random bits for a browser or a client to hold.
func secret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// keep writes a ticket for a secret.
func (o *OAuth) keep(ctx context.Context, kind, secret string, v any, lifetime time.Duration) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return doing("writing a ticket", err)
	}
	_, err = o.db.Exec(ctx, putTicket, kind, hashOf(secret), string(raw), o.now().Add(lifetime).UnixMilli())
	return doing("writing a ticket", err)
}

// give writes a ticket and makes its secret.
func (o *OAuth) give(ctx context.Context, kind string, v any, lifetime time.Duration) (string, error) {
	s := secret()
	return s, o.keep(ctx, kind, s, v, lifetime)
}

// look reads a ticket, take reads and removes it. One that has expired is not found.
func (o *OAuth) look(ctx context.Context, kind, secret string, v any) (bool, error) {
	return o.read(ctx, getTicket, kind, secret, v)
}

func (o *OAuth) take(ctx context.Context, kind, secret string, v any) (bool, error) {
	return o.read(ctx, takeTicket, kind, secret, v)
}

func (o *OAuth) read(ctx context.Context, query, kind, secret string, v any) (bool, error) {
	if len(secret) == 0 || len(secret) > 200 {
		return false, nil
	}
	var data string
	var expires int64
	err := o.db.QueryRow(ctx, query, kind, hashOf(secret)).Scan(&data, &expires)
	if errors.Is(err, sql.ErrNoRows) || err == nil && expires <= o.now().UnixMilli() {
		return false, nil
	}
	if err == nil && v != nil {
		err = json.Unmarshal([]byte(data), v)
	}
	return err == nil, doing("reading a ticket", err)
}

// one reads a single text; empty if there is no row.
func (o *OAuth) one(ctx context.Context, query string, args ...any) (s string, err error) {
	err = o.db.QueryRow(ctx, query, args...).Scan(&s)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return s, doing("reading", err)
}

// clientOf says to which client a device's tokens were given; empty if it did not sign in here.
func (o *OAuth) clientOf(ctx context.Context, user id.UserID, device id.DeviceID) (string, error) {
	return o.one(ctx, getSession, user, device)
}
