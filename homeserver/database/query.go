package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// Scanner is a row that can be read: *sql.Rows or Row.
type Scanner interface{ Scan(dest ...any) error }

// Row is the first row of a query. Scan must be called; it returns sql.ErrNoRows if there is none.
type Row struct {
	rows *sql.Rows
	err  error
	tx   *tx // the transaction that Scan ends, when the statement is one of its own
}

// Scan reads the row and ends the query.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	err := r.scan(dest)
	if r.tx == nil {
		return err
	}
	if err == nil {
		return r.tx.commit(context.Background())
	}
	r.tx.rollback()
	return err
}

func (r Row) scan(dest []any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.rows.Close()
}

// Exec runs a statement that returns no rows: in the transaction of ctx, or alone.
func (db *DB) Exec(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if t := db.tx(ctx); t != nil {
		if t.readOnly {
			return nil, ErrReadOnly
		}
		return t.exec(ctx, q, args)
	}
	if err := db.strict.check(db); err != nil {
		return nil, err
	}
	if db.seqs.unsaved() {
		return db.execTx(ctx, q, args)
	}
	for n := 1; ; n++ {
		r, err := db.alone(ctx, q, args)
		if err == nil {
			return r, nil
		}
		if errors.Is(err, driver.ErrBadConn) { // nothing was sent
			db.write.dropIdle()
		} else if !again(err) {
			return nil, describe(err, q)
		}
		if n == attempts || ctx.Err() != nil {
			return nil, describe(err, q)
		}
	}
}

func (db *DB) execTx(ctx context.Context, q string, args []any) (r sql.Result, err error) {
	err = db.Tx(ctx, func(ctx context.Context) (err error) {
		r, err = db.tx(ctx).exec(ctx, q, args)
		return err
	})
	return r, err
}

// alone runs one statement without BEGIN and COMMIT around it.
func (db *DB) alone(ctx context.Context, q string, args []any) (sql.Result, error) {
	c, err := db.write.get(ctx)
	if err != nil {
		return nil, err
	}
	defer db.write.put(c)
	if err = db.strike(BeforeStatement, q); err != nil {
		return nil, err
	}
	r, err := c.exec(ctx, q, args)
	if err != nil {
		return nil, err
	}
	return r, db.strike(CommitUnheard, q)
}

// Query runs a query: in the transaction or snapshot of ctx, or on a read-only connection. The rows must be closed, and
// inside of a transaction before the next statement.
func (db *DB) Query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if t := db.tx(ctx); t != nil {
		return t.query(ctx, q, args)
	}
	if err := db.strict.check(db); err != nil {
		return nil, err
	}
	rows, err := db.read.query(ctx, q, args)
	return rows, describe(err, q)
}

// QueryRow runs a query of one row. A statement that changes something and returns a row is a transaction of its own when
// ctx carries none.
func (db *DB) QueryRow(ctx context.Context, q string, args ...any) Row {
	if db.tx(ctx) == nil && writes(q) {
		return db.writeRow(ctx, q, args)
	}
	rows, err := db.Query(ctx, q, args...)
	return Row{rows: rows, err: err}
}

// writeRow runs INSERT … RETURNING and the like alone; Scan commits.
func (db *DB) writeRow(ctx context.Context, q string, args []any) Row {
	if err := db.strict.check(db); err != nil {
		return Row{err: err}
	}
	t, err := db.begin(ctx, db.write)
	if err != nil {
		return Row{err: err}
	}
	rows, err := t.query(ctx, q, args)
	if err != nil {
		t.rollback()
		return Row{err: err}
	}
	return Row{rows: rows, tx: t}
}

// Rows runs a query and scans all its rows.
func Rows[T any](ctx context.Context, db *DB, scan func(Scanner) (T, error), q string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, describe(err, q)
		}
		out = append(out, v)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, describe(err, q)
	}
	return out, nil
}

// Scan1 scans rows of one column, for use with Rows.
func Scan1[T any](s Scanner) (v T, err error) {
	err = s.Scan(&v)
	return v, err
}
