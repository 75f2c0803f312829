// Package clientsync is what clients wait on: /sync, and simplified sliding sync.
//
// A request has a window (since, upTo] of the one log. It asks the stream which of its topics (the user's own, and those of the
// rooms joined) were touched in the window; only what was touched is looked at further. Nothing touched: it waits in
// stream.Wait, or answers an empty window. next_batch is always the end of the window, so tokens never go back.
//
// Sliding sync (sliding*.go, MSC4186) shares window, timeline, state and rendering; lists and subscriptions choose the rooms, and
// what a connection has been sent is table sliding_connections: immutable states, of which a position names one. A long poll that
// only brings news of rooms already sent makes no new state and writes nothing.
//
// Spec: cs#syncing, cs#filtering, cs#lazy-loading-room-members, cs#extensions-to-sync, cs#e2e-extensions-to-sync,
// cs#unread-notifications (receipts), v1.16 use_state_after.
//
// Invariants
//   - For a client that adds up increments, the state it holds equals the room's current state at the end of the window, as far
//     as the format can say it: a key that changed in the window without its event being in the timeline sent is in `state`.
//   - Membership of the user at both ends of the window is taken from the room's state at those positions, not from "now".
//   - The process remembers nothing that an answer depends on: the order of rooms, the memory of members already sent (lazy loading), of rendered
//     events and of a user's topics may be lost at any time, and any replica can answer the next request.
//   - Answers are written by appending bytes (write.go); no encoding/json on the way.
//
// Locks: caches only, nothing is called while one is held.
//
// Deliberately absent: rooms that the user left by themselves in `leave` of an initial sync, unless
// include_leave asks for them; `rooms.peek`.
package clientsync
