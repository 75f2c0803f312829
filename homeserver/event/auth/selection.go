package auth

import (
	"encoding/json"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Needed lists the state that gives the sender permission for an event, each key once: the event's auth_events are those of
// them that exist. It is also all that Check looks at, but for the create event, which version 12 does not list.
// spec: ss#auth-events-selection
//
// The content may be spelled in any way.
func Needed(v event.Version, eventType string, stateKey *string, sender id.UserID, content json.RawMessage) []event.Key {
	if eventType == typeMember {
		content, _ = event.LenientCanonicalJSON(content)
	}
	return needed(v, eventType, stateKey, sender, content)
}

// NeededBy is Needed for an event that exists.
func NeededBy(ev *event.Event) []event.Key {
	return needed(ev.Version(), ev.Type(), ev.StateKey(), ev.Sender(), ev.Content())
}

func needed(v event.Version, eventType string, stateKey *string, sender id.UserID, content json.RawMessage) []event.Key {
	if eventType == typeCreate {
		return nil
	}
	keys := make([]event.Key, 0, 6)
	if v.CreateInAuthEvents() {
		keys = append(keys, keyCreate)
	}
	keys = append(keys, keyPowerLevels, keyMember(string(sender)))
	if eventType == typeMember && stateKey != nil {
		keys = appendMemberKeys(keys, v, *stateKey, content)
	}
	return keys
}

func appendMemberKeys(keys []event.Key, v event.Version, target string, content json.RawMessage) []event.Key {
	keys = appendNew(keys, keyMember(target))
	wanted, _ := fieldString(content, "membership")
	switch wanted {
	case memberJoin, memberInvite, memberKnock:
		keys = append(keys, keyJoinRules)
	}
	if wanted == memberInvite {
		if token, ok := inviteToken(content); ok {
			keys = append(keys, event.Key{Type: typeThirdParty, StateKey: token})
		}
	}
	if wanted == memberJoin && v.Restricted() {
		if via, ok := fieldString(content, "join_authorised_via_users_server"); ok {
			keys = appendNew(keys, keyMember(via))
		}
	}
	return keys
}

// inviteToken is content.third_party_invite.signed.token.
func inviteToken(content json.RawMessage) (string, bool) {
	tpi := event.Field(content, "third_party_invite")
	if !isObject(tpi) {
		return "", false
	}
	return fieldString(event.Field(tpi, "signed"), "token")
}

func appendNew(keys []event.Key, key event.Key) []event.Key {
	if slices.Contains(keys, key) {
		return keys
	}
	return append(keys, key)
}

// CheckAuthEventList checks the list of auth events of an event: rule 3 of version 12, rule 2 of the others. authEvents are
// the events that the list names, in any order; one that is missing breaks the rule as well. rejected tells which of them
// were rejected when they came (not those that only fail now); nil means none.
func CheckAuthEventList(ev *event.Event, authEvents []*event.Event, rejected func(id.EventID) bool) error {
	text, ids := textOf(ev.Version()), ev.AuthEvents()
	if ev.Type() == typeCreate {
		if len(ids) != 0 {
			return reject(text.list+".2", "the create event has auth events")
		}
		return nil
	}
	needed, seen := NeededBy(ev), make([]event.Key, 0, 8)
	for _, authID := range ids {
		auth := byID(authEvents, authID)
		if auth == nil {
			return reject(text.list, "an auth event is not known")
		}
		if !auth.IsState() || !slices.Contains(needed, auth.Key()) {
			return reject(text.list+".2", "an auth event is not needed")
		}
		if slices.Contains(seen, auth.Key()) {
			return reject(text.list+".1", "two auth events are of the same type and state key")
		}
		seen = append(seen, auth.Key())
		if rejected != nil && rejected(authID) {
			return reject(text.list+".3", "an auth event was rejected")
		}
		if auth.RoomID() != ev.RoomID() {
			return reject(text.list+".5", "an auth event is of another room")
		}
	}
	if ev.Version().CreateInAuthEvents() && !slices.Contains(seen, keyCreate) {
		return reject(text.list+".4", "the create event is not among the auth events")
	}
	return nil
}

func byID(events []*event.Event, wanted id.EventID) *event.Event {
	for _, ev := range events {
		if ev != nil && ev.ID() == wanted {
			return ev
		}
	}
	return nil
}
