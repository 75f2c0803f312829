package dbtest

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/viaduc/viaduc/homeserver/database"
)

// ErrFault is the failure that CrashPoints causes.
var ErrFault = errors.New("a fault of the test")

// CrashPoints calls run(k) for k = 1, 2 …; in the k-th run the k-th moment of writing fails: a statement, a commit that does
// not happen, or one whose success nobody hears of. After each run check(k) is called, without faults, and the invariants of
// the database are checked. It ends with the first run that meets no fault.
func CrashPoints(t testing.TB, db *database.DB, run, check func(k int)) {
	t.Helper()
	for k := 1; ; k++ {
		var n atomic.Int64
		db.SetFault(func(database.Point, string) error {
			if n.Add(1) == int64(k) {
				return ErrFault
			}
			return nil
		})
		run(k)
		db.SetFault(nil)
		check(k)
		if err := Invariants(t.Context(), db); err != nil {
			t.Fatalf("after fault %d: %v", k, err)
		}
		if n.Load() < int64(k) {
			return
		}
	}
}
