// Package policy decides who may do what with whom, beyond the rules of the protocol: one function, Policy.Decide, takes what
// is about to happen and gives a verdict with the rule and the reason behind it.
//
// Rules, the first that speaks counts:
//
//   - servers: the operator's lists of allowed and denied servers. They hold for everything that another server takes part in.
//   - invites: what the invited user of this server wants: m.invite_permission_config (cs#invite-permission) and, by server
//     and user with wildcards, the account data of MSC4155.
//
// A refused invitation is answered with M_INVITE_BLOCKED; an ignored one succeeds for its sender and is not shown to the
// invited user. Whoever shows invitations asks again, so those received before, or in other ways, are hidden too.
//
// Invariants: a refusal always names its rule. What a user wrote that makes no sense is no rule. Cached rules of a user are
// dropped when their account data changes, before anyone who waits for the change wakes. The lock guards the cache only and is
// not held while the database is asked.
//
// Deliberately absent: power levels and other rules of rooms (package event/auth), ignored users (package account), writing
// account data.
package policy
