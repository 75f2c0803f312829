// Package hostile attacks the built binary with what other servers and clients may send by mistake or on purpose.
//
// One real server (`viaduc testserver`) meets fake servers made here: with keys of their own, certificates, HTTPS on
// loopback addresses, rooms that they host or join, and answers that can be wrong in one chosen way. The builder of
// events is an implementation of its own (canonical JSON, hashes, redaction, signatures), so that a mistake in the
// server is not repeated by its judge. It can break one rule at a time and keep all others.
//
// The corpus (corpus/NNN.yaml) has one file for each input: what it is, where it goes, what is required and by whom
// (basis S: the specification, I: what implementations agree on or an advisory says, P: our own choice, which the file
// states). It says also how it is tried:
//
//	pdu      events in a transaction, made by changing a good one
//	http     requests of a client or of a server, with the answers that are allowed
//	tests    tests of other packages that prove the row, where a real server cannot be brought into the situation
//
// and what needs a script is a function in case_*_test.go under the row's number.
//
// After each row it is checked that the server runs, wrote no panic and no failure into its log, answered nothing with
// 500, holds no more memory, connections and goroutines than it may, and that people can still join, write and sync in
// the attacked room and in another one, and that a third server gets their messages at once. At the end the server must
// stop well, and the database must be whole.
//
// `go test` tries each row in the newest room version that it names; `make hostile` tries all versions and prints the
// table of verdicts.
//
// Environment:
//
//	VIADUC_BIN              the binary under test; otherwise it is built once
//	VIADUC_HOSTILE=full     all room versions
//	VIADUC_HOSTILE_REPORT   file for the table of verdicts
//	VIADUC_HOSTILE_DB       URL of a PostgreSQL server for the server under test; otherwise it is on SQLite
//
// Deliberately absent: floods (rows that need a rate), and the comparison with other implementations.
package hostile
