// Package auth holds the authorisation rules of room versions 1 to 12: may this event stand on this state?
//
// Specification: rooms/v1 … rooms/v12 "Authorisation rules", server-server API "Auth events selection" and "Definitions",
// rooms/v3 "Handling redactions", m.room.power_levels and m.room.third_party_invite of the client-server API.
//
// Invariants
//
//   - A check reads the event and the state it is given, nothing else, and leaves nothing behind. What is parsed out of a
//     state event is kept with that immutable event, never with a check or a room.
//   - Nothing panics and nothing takes long, whatever stands in a content: signatures of third-party invites are tried a
//     bounded number of times.
//   - An error is always an *Error. Its Rule is the number in the text of the room version, e.g. "5.3.3".
//
// Where the text leaves a choice
//
//   - Values of power levels in versions before 10 may be strings, before 6 also floats (cut at the point). What cannot be
//     read as a number counts as not given in a current event, and makes a new event fail where it is compared.
//   - Numbers beyond ±2^62 count as ±2^62. From version 10 anything beyond ±(2^53-1) is not an integer.
//   - A create event must be a state event with an empty state key and no auth events, and must not name another version
//     than the one it is read in.
//   - Without power levels the creator has level 100 (Infinite from version 12), everybody else 0, and the levels needed
//     are the defaults of a power levels event that says nothing.
//
// Locks: none.
//
// Deliberately absent: signatures of events, also that of the server named by join_authorised_via_users_server
// (event.VerifySignatures, rule 5.2 of version 12), the format of events (event.ParseUntrusted), soft failure, server ACLs
// and policy servers (room).
package auth
