// Package room is all rooms: their creation, state, members, aliases and replacement, and the only writer of events.
//
// Specification: cs#rooms-1, cs#room-membership, cs#redactions, cs#room-aliases, cs#room-upgrades; ss#pdus, ss#joining-rooms,
// ss#inviting-to-a-room; room versions.
//
// # How an event is written
//
// A room has a head: its newest state, the events nothing follows yet, and a version, an opaque number kept in the room's row.
// Whoever writes takes the room's queue (roomEntry.write), decides in memory on the newest head (batch: build, check, rows as
// values), hands the unit to the committer of package stream and lets the next one decide on the head that will be (commit.go).
// The committer checks that the row still has the version that was decided on. If a unit fails, all decided on top of it fail
// with it: their chain is dead, and they are decided again. So a message costs no statement of its own, and replicas need no
// owner for a room.
//
// batch.add is the only way into the table of events. Local sends, what other servers send, history and invitations end there
// with their fate decided: placed says where the event stands and whether it counts.
//
// # Other servers
//
// What others send (receive.go) is checked, and what it rests on fetched (receive_fetch.go, receive_state.go), before the room's
// queue is taken; then the rules are applied to it where it stands and now (receive_place.go), many events as one unit. An event
// that was pushed must come with a history that its sender can show; only for events that we asked for ourselves another
// server's word is taken for the state before them. Rooms elsewhere are entered and left through servers that are inside
// (remote_member.go, remote_join.go): nothing of a room is stored before the whole answer has passed the rules. In turn we
// offer templates and take memberships (template.go, accept.go), and show other servers what they may see (serve.go,
// serve_visible.go, acl.go). History is fetched when somebody scrolls back to a gap (backfill.go).
//
// # Invariants
//
//   - Every event of a room's history has an order, every live one a position; among live ones both grow together.
//   - events rows never change, but for an outlier that finds its place. What a redaction does stands in redactions.
//   - members equals the current state; for rooms nobody of this server is inside it says what invitations said.
//   - All authorising events of a stored event are stored, but for memberships that were told from outside. What was rejected or
//     soft-failed stays so.
//   - Nobody waits for another server while holding the room's queue.
//   - extremities are the live events that no live event names; each knows the state behind it.
//   - What memory says of a room (roomEntry.current) is what the database said at some position, plus all own commits since.
//     A change by another replica, or a lost race, drops it.
//
// # State
//
// A State is an immutable tree (tree.go): a change copies O(log n) nodes, and the difference of two states is found by comparing
// pointers. Stored as a chain of changes with full rows from time to time (table_state_snapshots.go).
//
// # Locks
//
// roomEntry.write, then roomEntry.mu; Rooms.entriesMu, then roomEntry.mu; caches have their own and take no other. Callbacks of the
// stream take roomEntry.mu and the caches' only, which are never held while waiting.
//
// # What is not here
//
// What people may see of the past, rendering, relations (package timeline). The rules of authorisation and state resolution
// (packages event/auth, event/stateres). Public rooms (package directory). Talking to other servers (Remote).
package room
