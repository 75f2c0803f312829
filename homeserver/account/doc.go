// Package account knows who is who: users, their sessions and devices, the ways to prove who one is, and what a
// user keeps on the server for themselves (profile, account data, tags, filters).
//
// # Specification
//
// Client-server API: client authentication (legacy API, user-interactive authentication, refreshing, soft logout),
// account moderation, capabilities, filtering, profiles, client config, room tagging, OpenID, device management.
// The shared secret registration of /_synapse/admin/v1/register is served in the form existing tools speak.
//
// # Invariants
//
//   - A token is known to the server by its SHA-256 only. Access, refresh, login, OpenID and registration session
//     secrets are random, never derived.
//   - A deactivated user has no password, no token, no device and no third-party identifier.
//   - A refresh token stays usable until a token that came out of it is used; then it is spent.
//   - Whatever changes what a token is worth (logout, expiry by refresh, lock, suspension, admin flag, deactivation)
//     appends a change of kind Session in the same transaction; each process forgets its cached sessions by it.
//   - A user-interactive session is signed and bound to one operation and one user; a row exists only once a stage of
//     a longer flow has been passed, so strangers cannot fill the table.
//   - Empty account data ("{}") means deleted: it travels once to clients that sync on, and is absent otherwise.
//
// # Locks
//
// In the database: own rows first (of a user: the users row before all others), then the head of the stream. In
// memory: the token cache has one mutex a shard and is never held over a statement. Password hashing is bounded by a
// fixed number of slots with a bounded queue.
//
// # Deliberately absent
//
// Mail and SMS validation of third-party identifiers and identity servers (addresses are provisioned by the
// operator), SSO and the OAuth 2.0 API (package oauth, through AddStage, AddLoginFlow and StartSession), masquerading of
// application services (package appservices, through Gate), leaving rooms after deactivation and member events after
// a profile change (package room follows the stream).
package account
