package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lib/pq"
	sqlitedriver "modernc.org/sqlite"
)

// ErrNoRows is what Scan of a Row returns when there is none.
var ErrNoRows = sql.ErrNoRows

// ErrReadOnly says that something wanted to write inside of a Snapshot.
var ErrReadOnly = errors.New("database: a snapshot is read-only")

// ErrNewerSchema says that a newer version of the program has changed the schema.
var ErrNewerSchema = errors.New("the database was changed by a newer version of this program")

// CommitError says that a commit failed. The transaction may or may not have happened.
type CommitError struct{ Err error }

func (e *CommitError) Error() string { return "commit: " + e.Err.Error() }
func (e *CommitError) Unwrap() error { return e.Err }

// SQLite's primary result codes.
const (
	liteError      = 1
	liteBusy       = 5
	liteLocked     = 6
	liteTooBig     = 18
	liteConstraint = 19
	liteMismatch   = 20
	liteRange      = 25

	liteUnique     = 2067
	litePrimaryKey = 1555
	liteRowID      = 2579
)

// IsUnique says whether a statement failed because the row exists already.
func IsUnique(err error) bool {
	var p *pq.Error
	if errors.As(err, &p) {
		return p.Code == "23505"
	}
	var l *sqlitedriver.Error
	if errors.As(err, &l) {
		return l.Code() == liteUnique || l.Code() == litePrimaryKey || l.Code() == liteRowID
	}
	return false
}

// BlamesRows says whether the values given caused the failure, so that the same transaction without them may succeed.
func BlamesRows(err error) bool {
	if err == nil || errors.As(err, new(*CommitError)) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var p *pq.Error
	if errors.As(err, &p) {
		switch p.Code.Class() {
		case "21", "22", "23", "42", "54":
			return true
		}
		return false
	}
	var l *sqlitedriver.Error
	if errors.As(err, &l) {
		switch l.Code() & 0xff {
		case liteError, liteTooBig, liteConstraint, liteMismatch, liteRange:
			return true
		}
		return false
	}
	var v *ValueError
	return errors.As(err, &v)
}

// ValueError says that a value of a row does not fit its column.
type ValueError struct {
	Table, Column string
	Err           error
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("table %s, column %s: %s", e.Table, e.Column, e.Err)
}
func (e *ValueError) Unwrap() error { return e.Err }

// again says whether the transaction lost against others and should run again.
func again(err error) bool {
	var p *pq.Error
	if errors.As(err, &p) {
		return p.Code == "40001" || p.Code == "40P01" || p.Code == "55P03"
	}
	if errors.As(err, new(*CommitError)) {
		return false
	}
	var l *sqlitedriver.Error
	if errors.As(err, &l) {
		return l.Code()&0xff == liteBusy || l.Code()&0xff == liteLocked
	}
	return false
}

// answered says whether PostgreSQL itself reported the error and keeps the connection.
func answered(err error) bool {
	var p *pq.Error
	if errors.As(err, &p) {
		switch p.Code.Class() {
		case "08", "57", "58", "XX":
			return p.Code == "57014" // a cancelled statement
		}
		return true
	}
	// Wrong number or kind of arguments: found before anything was sent.
	s := err.Error()
	return strings.HasPrefix(s, "sql: ") && !errors.Is(err, sql.ErrConnDone) && !errors.Is(err, sql.ErrTxDone)
}

// describe adds the beginning of a statement to an error.
func describe(err error, q string) error {
	if err == nil {
		return nil
	}
	q = strings.Join(strings.Fields(q), " ")
	if len(q) > 120 {
		q = q[:120] + "…"
	}
	return fmt.Errorf("%w in %s", err, strconv.Quote(q))
}
