package auth

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/viaduc/viaduc/homeserver/event"
)

// The levels that stand directly in the content, in the order of the rules.
const (
	usersDefault = iota
	eventsDefault
	stateDefault
	ban
	redact
	kick
	invite
	namedLevels
)

var namedKeys = [namedLevels]string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}

// defaults count where there are no power levels, or where they do not name the level.
// spec: ss#definitions, cs#mroompower_levels
var defaults = [namedLevels]int64{stateDefault: 50, ban: 50, redact: 50, kick: 50}

// powers is the content of an m.room.power_levels event.
type powers struct {
	named  [namedLevels]given
	levels [namedLevels]int64 // with defaults

	users, events, notifications table
}

// given is a level as an event names it: neither when it says nothing.
type given struct {
	value    int64
	has, bad bool
}

// table is one of the objects with levels in it. Entries that cannot be read are left out and make it bad.
type table struct {
	entries map[string]int64
	bad     bool
}

func powersOf(ev *event.Event) *powers {
	if p, ok := parse(ev).(*powers); ok {
		return p
	}
	return &powers{levels: defaults}
}

func readPowers(ev *event.Event) *powers {
	p, n := &powers{levels: defaults}, numbersOf(ev.Version())
	eachObject(json.RawMessage(ev.Content()), func(key string, value json.RawMessage) bool {
		switch key {
		case "users":
			p.users = n.table(value)
			p.users.bad = p.users.bad || !isObject(value)
		case "events":
			p.events = n.table(value)
		case "notifications":
			p.notifications = n.table(value)
		default:
			p.readNamed(key, n.level(value))
		}
		return true
	})
	return p
}

func (p *powers) readNamed(key string, g given) {
	for i, name := range namedKeys {
		if key == name {
			p.named[i] = g
			p.levels[i] = defaults[i]
			if g.has {
				p.levels[i] = g.value
			}
		}
	}
}

// numbers is how a room version spells levels.
type numbers uint8

const (
	looseNumbers  numbers = iota // 1–5: integers, strings, floats. spec: rooms/v1#event-format
	textNumbers                  // 6–9: integers, strings
	strictNumbers                // 10 and later: integers
)

// The largest magnitude that is kept, and the largest that is an integer in canonical JSON.
const (
	saturated = 1 << 62
	maxSafe   = 1<<53 - 1
)

func numbersOf(v event.Version) numbers {
	switch {
	case v.PowerLevelsMustBeInts():
		return strictNumbers
	case v.StrictCanonicalJSON():
		return textNumbers
	}
	return looseNumbers
}

func (n numbers) table(value json.RawMessage) table {
	if !isObject(value) {
		return table{bad: n == strictNumbers || !isNull(value)}
	}
	t := table{entries: map[string]int64{}}
	event.Fields(value, func(key string, v json.RawMessage) bool {
		if g := n.level(v); g.has {
			t.entries[key] = g.value
		} else {
			t.bad = true
		}
		return true
	})
	return t
}

func (n numbers) level(value json.RawMessage) given {
	if isNull(value) {
		return given{bad: n == strictNumbers}
	}
	if value[0] == '"' {
		s, ok := text(value)
		if ok && n != strictNumbers {
			return textLevel(s)
		}
		return given{bad: true}
	}
	return n.number(string(value))
}

func (n numbers) number(raw string) given {
	i, err := strconv.ParseInt(raw, 10, 64)
	if err == nil && (n != strictNumbers || i >= -maxSafe && i <= maxSafe) {
		return given{value: saturate(i), has: true}
	}
	if n != looseNumbers {
		return given{bad: true}
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return given{bad: true}
	}
	if math.Abs(f) >= saturated {
		return given{value: int64(math.Copysign(saturated, f)), has: true}
	}
	return given{value: int64(f), has: true}
}

// textLevel reads an integer in a string: spaces around, one sign, leading zeroes. spec: rooms/v1#event-format
func textLevel(s string) given {
	s = strings.TrimSpace(s)
	digits := strings.TrimPrefix(s, "-")
	if digits == s {
		digits = strings.TrimPrefix(s, "+")
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return given{bad: true}
	}
	i, _ := strconv.ParseInt(s, 10, 64) // out of range gives the nearest
	return given{value: saturate(i), has: true}
}

func saturate(i int64) int64 { return min(max(i, -saturated), saturated) }
