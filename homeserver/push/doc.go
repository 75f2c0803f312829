// Package push decides what a user is to be notified of: push rules, unread counts, and pushers that tell push gateways.
//
// Specification: cs#push-notifications, cs#predefined-rules, cs#receiving-notifications, cs#listing-notifications, push#overview.
//
// # Rules
//
// The predefined rules are code (predefined.go), shared by all users in compiled form. A user's own rules and what they changed of
// the predefined ones are one document in table push_rules. Rules are compiled once for each version of that document (compile.go);
// judging an event then reads only the members that some condition names, each once (subject.go). Conditions on the room (number of
// members, display name, power levels) are about the state the event was sent into, so a verdict depends on nothing that changes.
//
// # Unread counts
//
// Sending a message costs nothing here. Counts are made when somebody reads them: for each user and room a cell in memory holds the
// notifying events since some place in the history and how far it has looked; reading judges only what came since. The count is then
// the notifying events behind the receipts. A cell is a function of what the database holds: the room's live events, the user's rules
// and ignored users, redactions. So replicas agree, and a cell can be dropped at any time. Table unread_counts keeps cells that
// were much work, written now and then.
//
// An event counts if it notifies, came after the user joined and after what is read in its thread, was not sent by the user or
// somebody they ignore, and is not redacted. Sending a message marks its thread as read up to there. At most scanBack events
// are looked at in a room.
//
// # Pushers
//
// A follower (follow_events.go) judges new events for users that have pushers and puts what notifies into table push_queue,
// exactly once. One replica delivers (deliver.go): each pusher on its own, in order, with growing pauses after failures.
//
// # Invariants
//
//   - A cell never counts an event twice, and none with a position behind cell.upTo.
//   - mark.newest is at least the position of the newest event of the room that this process has observed.
//   - What is in push_queue was decided by rules at the time of the event; whether it is still unread is asked before sending.
//
// # Locks
//
// person.mu (held while a user's cells are brought up to date, which reads the database), then marks.mu or a mark's mu, or
// person.signals (for moments). Observers of the stream take only the latter.
//
// # Deliberately absent
//
// E-mail pushers. The condition event_match on values that are not text. Rules for devices (profile tags are only handed back).
// The predefined rules that looked for names in the text are kept although v1.17 removed them, since most clients rely on
// them; they rest for events with m.mentions.
package push
