package database

import (
	"database/sql"
	"net/url"
	"time"

	_ "github.com/lib/pq" // the driver "postgres"
)

func (db *DB) openPostgres() error {
	conns := db.opts.MaxConns
	if conns <= 0 {
		conns = 24
	}
	writers, snapshots := max(conns/3, 1), max(conns/4, 1)
	readers := max(conns-writers-snapshots-1, 1)
	open := func(readOnly bool) (*sql.DB, error) {
		dsn, err := db.postgresURL(readOnly)
		if err != nil {
			return nil, err
		}
		return sql.Open("postgres", dsn)
	}
	w, err := open(false)
	if err != nil {
		return err
	}
	db.write = newPool(db, w, writers)
	side, err := open(false)
	if err != nil {
		return err
	}
	db.side = newPool(db, side, 1)
	s, err := open(true)
	if err != nil {
		return err
	}
	db.snap = newPool(db, s, snapshots)
	r, err := open(true)
	if err != nil {
		return err
	}
	r.SetMaxOpenConns(readers)
	r.SetMaxIdleConns(readers)
	r.SetConnMaxIdleTime(5 * time.Minute)
	db.read = newReads(db, r)
	return nil
}

func (db *DB) postgresURL(readOnly bool) (string, error) {
	u, err := url.Parse(db.opts.URL)
	if err != nil {
		return "", err
	}
	q := u.Query()
	if !q.Has("application_name") {
		q.Set("application_name", "viaduc")
	}
	// What the caller no longer waits for ends by itself; a replica that hangs inside of a transaction must not block the others.
	for name, value := range map[string]string{"statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s"} {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	q.Set("timezone", "UTC")
	if readOnly {
		q.Set("default_transaction_read_only", "on")
	}
	if db.opts.NoSync {
		q.Set("synchronous_commit", "off")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
