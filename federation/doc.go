// Package federation speaks with other servers, both ways.
//
// Specification: server-server API.
//
// Outgoing calls are Client: server discovery, signed requests, bounded answers; it implements the sockets named Remote
// that the slices declare. Every connection goes through the outbound dialer, which refuses private addresses at
// connect time.
//
// Incoming requests are authenticated in auth.go by their X-Matrix signature, over keys that keys.go holds. A
// transaction is checked, staged and answered (inbound.go); its events go to package room afterwards, room by room, so
// that a slow room holds up nobody and a crash loses nothing.
//
// Sending (outbound.go) follows the stream: events, device lists and to-device messages become rows for each
// destination, typing, receipts and presence stay in memory. One worker a destination, under a lease, sends at most 50
// events and 100 EDUs at a time, in order, and backs off when the destination fails.
//
// Locks: each type's own mutex, held for memory only, never over a network call or a statement.
package federation
