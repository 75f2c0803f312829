// Package database opens the one SQL database of a homeserver, PostgreSQL or SQLite, and hides which of the two it is.
//
// Everyone above writes one SQL text with $1, $2 … parameters. Two spellings are rewritten for the engine:
//
//	x IN LIST($3), x NOT IN LIST($3)     a list as one parameter, given as database.List(slice)
//	FROM TEXTS($1) r, INTS($2) k         a list as rows with one column: r.value, k.value
//	SELECT … FOR UPDATE                  dropped on SQLite, whose one writer has locked everything
//
// Values: times are milliseconds in BIGINT, booleans are 0 and 1 in BIGINT, events and other JSON are TEXT. A Go bool,
// time.Time, json.RawMessage or named string may be given as argument; plain []byte means BYTEA.
//
// # Transactions
//
// Tx carries the transaction in the context. Everything called with that context takes part in it; a nested Tx joins, and
// when it fails the whole transaction fails, even if the error is swallowed. After any failed statement the transaction can
// only be rolled back, on both engines. The function given to Tx may run again after a deadlock or a serialisation failure,
// so it must not change anything outside of the database except through AfterCommit. Reads outside of a transaction go to
// read-only connections and see the newest committed data. Snapshot gives several reads one view.
//
// Statements are not cancelled when their context ends, they only do not begin any more; reads that may take long ask for it
// with Interruptible.
//
// # Invariants
//
//   - SQLite: one process per file (lock file), one writing connection, synchronous=FULL, WAL. foreign_keys is off.
//   - What was acknowledged by Tx survives the end of the process and of the machine.
//   - NextID never gives a number twice to transactions that commit. Numbers have holes.
//   - A Lease is held by at most one process at a time, as far as clocks run at the same pace; its context ends before
//     another process can take it.
//
// # Lock order
//
// lease → room (by ID) → rows of slices → stream head, always last. Sequences and leases use connections of their own.
//
// Deliberately absent: query builders, mapping of structs, savepoints, several databases in one process sharing a context.
package database
