// Package homeserver is the client-server API: routes.go lists it, New builds the slices behind it, floor by floor.
//
// Four flows, each with the places it passes:
//
// A client sends a message. web matches the row, finds the requester and decodes the body; room/send.go takes the
// room's head from memory, builds, signs and authorises the event and asks the projections (relations, counts) for
// their rows; the unit goes to the committer of package stream, which writes all units that wait at that moment in one
// transaction, checks each room's version there and gives positions; then the answer goes out. Waiting syncs of the
// members wake and copy rendered bytes; federation and appservices follow the log with their own cursors.
//
// A transaction arrives from another server. federation/auth.go checks the signature; federation/inbound.go checks the
// form of each event, stages them in one unit and answers; a worker hands each room's events to room.Receive, which
// fetches what is missing, applies the rules and resolves state, and writes through the same batch as a local send.
//
// A client waits in /sync. The token is one position. clientsync asks package stream which kinds changed for the
// user's rooms behind it, waits if none did, and then asks each slice, in one call for all rooms, what is new up to the
// head.
//
// A bridge answers a command. appservices follows the log, matches namespaces and delivers a transaction; the bridge
// acts through the client-server API like everybody else.
//
// Deliberately absent: federation and appservices, which stand beside this package and are plugged in by cmd/assemble.
package homeserver
