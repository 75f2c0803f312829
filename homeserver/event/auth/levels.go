package auth

import (
	"math"

	"maunium.net/go/mautrix/id"
)

// Infinite is the level of a room's creators from version 12: no level in an event reaches it.
const Infinite = math.MaxInt64

// Levels are the power levels of a room. The maps behind them belong to the event: a Levels is cheap to copy.
type Levels struct {
	UsersDefault, EventsDefault, StateDefault int64
	Ban, Kick, Redact, Invite                 int64

	powers *powers // nil where the room has no power levels event
	room   *creation
}

// PowerLevels reads the levels that count in the state.
func PowerLevels(state State) Levels {
	l := Levels{}
	if ev := state.Get(keyCreate); ev != nil {
		l.room = creationOf(ev)
	}
	named := defaults
	if ev := state.Get(keyPowerLevels); ev != nil {
		l.powers = powersOf(ev)
		named = l.powers.levels
	}
	l.UsersDefault, l.EventsDefault, l.StateDefault = named[usersDefault], named[eventsDefault], named[stateDefault]
	l.Ban, l.Redact, l.Kick, l.Invite = named[ban], named[redact], named[kick], named[invite]
	return l
}

// User is the level of the user. spec: cs#mroompower_levels, rooms/v12#authorisation-rules
func (l Levels) User(user id.UserID) int64 {
	if l.room != nil && (l.room.infinite || l.powers == nil) && l.room.created(user) {
		if l.room.infinite {
			return Infinite
		}
		return 100
	}
	if l.powers == nil {
		return 0
	}
	if level, ok := l.powers.users.entries[string(user)]; ok {
		return level
	}
	return l.UsersDefault
}

// Event is the level needed to send an event of this type. spec: ss#definitions
func (l Levels) Event(eventType string, isState bool) int64 {
	if l.powers != nil {
		if level, ok := l.powers.events.entries[eventType]; ok {
			return level
		}
	}
	if isState {
		return l.StateDefault
	}
	return l.EventsDefault
}

// Notification is the level needed to notify in this way ("room"), 50 where nothing is said.
func (l Levels) Notification(name string) int64 {
	if l.powers != nil {
		if level, ok := l.powers.notifications.entries[name]; ok {
			return level
		}
	}
	return 50
}

// Exist tells whether the room has a power levels event.
func (l Levels) Exist() bool { return l.powers != nil }
