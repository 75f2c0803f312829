// Package stateres resolves states of a room that differ into one: version 1, version 2 and version 2.1.
//
// Specification: rooms/v1 "State resolution", rooms/v2 "State resolution" (versions 2 to 11), rooms/v12 "State resolution".
//
// Invariants
//
//   - The outcome depends on the set of states and on the events they name: not on the order of the states, of the entries
//     or of the answers of the Source, and not on anything resolved before.
//   - What is done follows the conflict. The entries on which all states agree are compared once and otherwise read only
//     where a rule asks for them; auth chains are walked as identifiers, and only as far as the difference asks.
//   - No walk recurses, every walk remembers where it was: loops (event IDs of versions 1 and 2 may make them) end. More
//     than MaxWalk events end with ErrTooLarge; a context that ends, ends the resolution.
//   - An auth event that is not known counts as not there. A conflicted state event that is not known is an error.
//
// Where the text leaves a choice, the reading is the one on which servers agree in practice
//
//   - The auth chain of a state includes the events of the state themselves.
//   - Version 2 and 2.1: the create event is a power event, and only events with an empty state key are power levels, join
//     rules and create event. The auth chain of a power event is followed inside the full conflicted set.
//   - Version 1: members are resolved each against the state before the members. Of other events, if none is allowed, the
//     one of the least depth stands.
//   - A rejected event is not used as the auth event of another, but is tried like the others where it conflicts.
//
// Locks: none.
//
// Deliberately absent: the state before an event (room), storing of outcomes (room), an index of auth chains (a Source may
// bring one: see DifferenceSource).
package stateres
