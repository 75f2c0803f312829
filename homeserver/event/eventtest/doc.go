// Package eventtest makes rooms for the tests of rules, resolution and of whoever needs a graph of real, signed events: it
// builds, chooses auth events and keeps everything in memory.
//
// Invariants: everything is determined by the calls (keys come from server names, time is counted), so a failing test fails
// again. Nothing is checked unless asked for: tests need wrong events too.
//
// Locks: none; one goroutine uses a Room.
//
// Deliberately absent: state resolution (a Branch follows one line of events; Merge takes a state that was resolved).
package eventtest
