package database

import (
	"context"
	"time"

	"github.com/lib/pq"
)

// Notify sends a short message to all processes that Listen to the channel, itself included, now and not with a transaction.
// On SQLite there is nobody.
func (db *DB) Notify(ctx context.Context, channel, message string) error {
	if db.engine != postgres {
		return nil
	}
	return db.aside(ctx, func(c *conn) error {
		_, err := c.exec(ctx, `SELECT pg_notify($1, $2)`, []any{channel, message})
		return err
	})
}

// Listen gives the messages of a channel to fn until ctx ends. Messages may be lost: after a lost connection fn is called
// with "". ready, if not nil, is called once messages can come.
func (db *DB) Listen(ctx context.Context, channel string, ready func(), fn func(message string)) error {
	if db.engine != postgres {
		if ready != nil {
			ready()
		}
		<-ctx.Done()
		return nil
	}
	dsn, err := db.postgresURL(false)
	if err != nil {
		return err
	}
	l := pq.NewListener(dsn, 200*time.Millisecond, 10*time.Second, nil)
	defer l.Close()
	failed := make(chan error, 1)
	go func() { failed <- l.Listen(channel) }() // ends at the latest when l is closed
	alive := time.NewTicker(time.Minute)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if err != nil {
				return err
			}
			failed = nil
			if ready != nil {
				ready()
			}
		case n := <-l.Notify:
			if n == nil {
				fn("")
			} else {
				fn(n.Extra)
			}
		case <-alive.C:
			_ = l.Ping() // finds a connection that died silently; the listener makes a new one
		}
	}
}
