package auth

import (
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// State is what a check may look at. Get returns nil where there is no such event. Callers leave rejected events out.
type State interface {
	Get(key event.Key) *event.Event
}

// Map is a State for tests and small rooms.
type Map map[event.Key]*event.Event

func (m Map) Get(key event.Key) *event.Event { return m[key] }

// Events is a State made of a handful of events, such as an event's auth events. The first one with a key counts.
type Events []*event.Event

func (l Events) Get(key event.Key) *event.Event {
	for _, ev := range l {
		if ev != nil && ev.IsState() && ev.Key() == key {
			return ev
		}
	}
	return nil
}

const (
	typeCreate      = "m.room.create"
	typeMember      = "m.room.member"
	typePowerLevels = "m.room.power_levels"
	typeJoinRules   = "m.room.join_rules"
	typeThirdParty  = "m.room.third_party_invite"
	typeAliases     = "m.room.aliases"
	typeRedaction   = "m.room.redaction"

	memberJoin   = "join"
	memberInvite = "invite"
	memberLeave  = "leave"
	memberBan    = "ban"
	memberKnock  = "knock"
)

var (
	keyCreate      = event.Key{Type: typeCreate}
	keyPowerLevels = event.Key{Type: typePowerLevels}
	keyJoinRules   = event.Key{Type: typeJoinRules}
)

func keyMember(user string) event.Key { return event.Key{Type: typeMember, StateKey: user} }

// membership is the user's current membership, "leave" where the room never heard of him.
func membership(state State, user string) string {
	ev := state.Get(keyMember(user))
	if ev == nil {
		return memberLeave
	}
	return ev.Membership()
}

// domain is what follows the first colon of an identifier, "" where there is none.
func domain[T ~string](identifier T) string {
	_, after, _ := strings.Cut(string(identifier), ":")
	return after
}

// JoinRule is the room's join rule: "invite" where none is set, "" where it is not a string.
func JoinRule(state State) string {
	ev := state.Get(keyJoinRules)
	if ev == nil {
		return memberInvite
	}
	return joinRuleOf(ev)
}

// Creators lists who created the room of this create event, in order: version 12 may name several.
func Creators(create *event.Event) []id.UserID {
	return append([]id.UserID(nil), creationOf(create).creators...)
}
