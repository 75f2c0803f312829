package auth

import (
	"encoding/json"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// creation is what the rules need of an m.room.create event.
type creation struct {
	federate bool
	infinite bool // creators stand above all levels
	creators []id.UserID
}

func (c *creation) created(user id.UserID) bool { return c != nil && slices.Contains(c.creators, user) }

// parse reads the content once in the event's life. An event has one type, hence one parsed form.
func parse(ev *event.Event) any {
	return ev.Memo(func(ev *event.Event) any {
		switch ev.Type() {
		case typeCreate:
			return readCreation(ev)
		case typePowerLevels:
			return readPowers(ev)
		case typeJoinRules:
			return readJoinRule(ev)
		}
		return struct{}{}
	})
}

func creationOf(ev *event.Event) *creation {
	if c, ok := parse(ev).(*creation); ok {
		return c
	}
	return &creation{federate: true}
}

func readCreation(ev *event.Event) *creation {
	v := ev.Version()
	c := &creation{federate: string(ev.Field("m.federate")) != "false", infinite: v.PrivilegedCreators()}
	if v.CreatorInContent() {
		if creator, ok := ev.FieldString("creator"); ok {
			c.creators = []id.UserID{id.UserID(creator)}
		}
		return c
	}
	c.creators = []id.UserID{ev.Sender()}
	if more := ev.Field("additional_creators"); v.PrivilegedCreators() && isArray(more) {
		event.Items(more, func(item json.RawMessage) bool {
			if user, ok := text(item); ok && !slices.Contains(c.creators, id.UserID(user)) {
				c.creators = append(c.creators, id.UserID(user))
			}
			return true
		})
	}
	return c
}

// joinRule is boxed once so that looking it up allocates nothing.
type joinRule struct{ rule string }

func joinRuleOf(ev *event.Event) string {
	if r, ok := parse(ev).(*joinRule); ok {
		return r.rule
	}
	return memberInvite
}

func readJoinRule(ev *event.Event) *joinRule {
	if ev.Field("join_rule") == nil {
		return &joinRule{memberInvite}
	}
	rule, _ := ev.FieldString("join_rule")
	return &joinRule{rule}
}

func isObject(value json.RawMessage) bool { return len(value) > 0 && value[0] == '{' }
func isArray(value json.RawMessage) bool  { return len(value) > 0 && value[0] == '[' }
func isNull(value json.RawMessage) bool   { return len(value) == 0 || value[0] == 'n' }

// text is the value if it is a string.
func text(value json.RawMessage) (s string, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(value, &s) == nil
}
