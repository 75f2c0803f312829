// Package calls helps clients to call each other: credentials for relays (TURN).
//
// Specification: client-server API, "Voice over IP" (cs#voice-over-ip). Credentials are those of the TURN REST scheme that
// relays share a secret for: the user name holds the end of its life, the password is its HMAC-SHA1.
//
// Nothing is stored. Deliberately absent: relaying, which is the matter of a TURN server.
package calls
