package database

// Point is a moment at which a Fault may strike.
type Point uint8

// The moments of a writing transaction.
const (
	BeforeStatement Point = iota + 1
	BeforeCommit          // the transaction is rolled back
	CommitUnheard         // it is committed, but who asked for it hears of a failure
)

// Fault lets crash tests fail a statement or a commit: a non-nil error takes the place of the real outcome.
type Fault func(at Point, statement string) error

// SetFault installs a fault; nil removes it.
func (db *DB) SetFault(f Fault) {
	if f == nil {
		db.fault.Store(nil)
		return
	}
	db.fault.Store(&f)
}

func (db *DB) strike(at Point, statement string) error {
	f := db.fault.Load()
	if f == nil {
		return nil
	}
	return (*f)(at, statement)
}
