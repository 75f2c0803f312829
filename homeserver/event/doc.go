// Package event is the only place that knows how a persistent data unit is spelled: room versions, canonical JSON,
// hashes, signatures, redaction, identifiers, request signatures and key documents.
//
// Specification: rooms/v1 … rooms/v12, appendices (canonical JSON, signing JSON, identifier grammar), server-server API
// (request authentication, retrieving server keys, PDUs, signing events).
//
// Invariants
//
//   - An Event never changes. Its JSON is canonical, has no unsigned member, and belongs to the Event.
//   - Nothing that comes from outside reaches another package before ParseUntrusted has checked its shape: no accessor of
//     an Event panics, whatever was sent.
//   - ParseStored trusts its input: it is for bytes which this package wrote.
//   - Errors which a person may see are mautrix response errors: M_NOT_JSON, M_BAD_JSON, M_TOO_LARGE.
//
// Locks: none. All exported types are safe for concurrent reading.
//
// Numbers: room versions 6 and later allow only integers within ±(2^53-1). Earlier versions tolerate any number: integers
// keep their digits, numbers with an exponent whose value is an integer are written as that integer (as the test vectors of
// the specification ask), other floats in the shortest form that most servers write (1.5, 1.0, 1e-07).
//
// Deliberately absent: authorisation rules (event/auth), state resolution (event/stateres), fetching of keys (federation),
// pseudo identities, room versions that never became stable. gomatrixserverlib may be imported here only: it has a second
// opinion on key documents, and the tests compare everything else with it (docs/decisions/0006).
package event
