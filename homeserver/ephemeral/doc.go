// Package ephemeral keeps what is true for the moment: who is typing, who has read how far, who is present.
//
// Specification: client-server API, "Typing Notifications", "Receipts", "Read and unread markers", "Presence"
// (cs#typing-notifications, cs#receipts, cs#fully-read-markers, cs#presence); the EDUs m.typing, m.receipt and
// m.presence of the server-server API.
//
// Invariants: each fact has one row whose position is that of its last change, so a sync asks for rows newer than its
// token; a receipt never moves to an older event; typing and presence that nobody renews end by themselves.
//
// Reads by many waiting syncs of one room share one look-up: what the newest changes of a room say is kept in memory
// and dropped when the stream publishes a newer change of that room, whichever replica made it.
//
// Deliberately absent: sending to other servers, which package federation does by following the stream.
package ephemeral
