// Package timeline is the reading side of rooms: what a user may see of the past, and in which form.
//
// Render turns stored events into what clients get (client or federation format), Visible applies the history visibility
// rules, and the endpoints built on them are messages, context, event, state, members, joined_members, relations, threads,
// search, timestamp_to_event and the older initialSync.
//
// Spec: cs#syncing (event formats), cs#server-behaviour-5 (history visibility), cs#forming-relationships-between-events,
// cs#threading, cs#server-side-search, cs#lazy-loading-room-members.
//
// Invariants
//   - The base bytes of an event never change for a given (event, redacted or not); they are rendered once and kept in a cache
//     with a byte budget. What differs by reader or moment (age, transaction_id, membership, previous content, bundled relations)
//     is appended to a copy.
//   - A pagination token "t<order>" is a place between events: everything with an order up to it is before the token. Live orders
//     only grow and are given in commit order, so walking with tokens neither skips nor repeats events, whoever writes meanwhile.
//     A sync token stands for the place that the room's history had then.
//   - Table relations is written only by the projection (relations.go), in the same unit as the event.
//
// Locks: caches have their own mutex and call nothing while holding it.
//
// Deliberately absent: aggregation of annotations by the server (removed from the specification), and a full-text index: search
// reads history newest first within a fixed budget.
package timeline
