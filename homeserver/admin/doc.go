// Package admin is what operators and moderators do: users, rooms, media, reports, messages to users.
//
// Paths: /_synapse/admin as existing tools call it (user, room, media, report and federation pages of administration
// tools, moderation bots), /_matrix/client/v1/admin and /_matrix/client/v3/admin, and the reports that users send.
//
// Specification: client-server API, "Server administration" (cs#server-administration), "Reporting content"
// (cs#reporting-content), "Server notices" (cs#server-notices), "Account locking" and "Account suspension".
//
// Invariants: every path under /_synapse/admin asks for an administrator, but the probe for the version; a user has at
// most one room of notices; a room that is blocked is entered by nobody of this server.
//
// Locks: one lock per user while a notice is sent, within this process. Two processes may both make a room of notices
// for a user; the row of the table decides which one stays.
//
// Deliberately absent: calls that only exist for one database engine or one implementation (background updates, rate
// limit overrides of single users, experimental features of single users).
package admin
