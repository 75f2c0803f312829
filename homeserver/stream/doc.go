// Package stream is the one log of changes and the one giver of positions.
//
// Every change that somebody may wait for is a row of the log: position, kind, room, user, reference. The body stays in the
// table of its owner. Who writes uses Commit: rows as values and a guard, written together with those of everybody else who
// waits at that moment; or, for rare changes, Append inside of an ordinary transaction. Who reads uses Wait, Touched, Changes
// and Follow. The newest part of the log is in memory, so waiting and asking "what changed for these rooms" needs no SQL.
//
// Spec: the sync token of the client-server API (cs#syncing) is a position.
//
// # Invariants
//
//   - Positions are given under the lock of the row stream_head, held until the commit, so commit order is position order.
//   - A unit is written whole or not at all, and is acknowledged only after its commit. A unit that fails (guard, bad row)
//     does not hurt the others of its group.
//   - What a process learns, from itself or from another replica, it publishes in the order of positions: Unit.After, then
//     observers, then the tail and the waiters. When Commit or the Tx of an Append returns, Head includes it.
//   - Of kinds other than events only the newest row of (room, user, ref) stays in the log; positions may have holes.
//   - A follower sees every change of its kinds at least once, in order, on one replica at a time.
//
// # Locks
//
// order (who publishes now; held while After and observers run) → mu (tail, topics, waiters; never held while calling
// anybody). own guards the list of positions that are being committed. Callbacks must not block and must not call Commit.
//
// Deliberately absent: bodies of changes, order inside a room's history, deleting old rows of the log.
package stream
