package auth

import (
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// check is one event on one state. It lives as long as the call.
type check struct {
	ev     *event.Event
	state  State
	text   *sections
	create *event.Event
	room   *creation
}

// Check tells whether the event may stand on the state: nil, or an *Error. It covers all rules but those about the list of
// auth events (CheckAuthEventList) and about signatures (event.VerifySignatures).
// spec: rooms/v12#authorisation-rules and those of the earlier versions
func Check(ev *event.Event, state State) error {
	c := check{ev: ev, state: state, text: textOf(ev.Version())}
	if ev.Type() == typeCreate {
		return asError(c.checkCreate())
	}
	if e := c.enterRoom(); e != nil {
		return e
	}
	return asError(c.checkEvent())
}

// checkCreate: rule 1.
func (c *check) checkCreate() *Error {
	v := c.ev.Version()
	switch {
	case c.ev.StateKey() == nil || *c.ev.StateKey() != "":
		return reject("1", "the create event is not the state of the room")
	case len(c.ev.PrevEvents()) != 0:
		return reject("1.1", "the create event has previous events")
	case v.DomainlessRoomID() && event.Field(c.ev.JSON(), "room_id") != nil:
		return reject("1.2", "the create event has a room_id")
	case !v.DomainlessRoomID() && !sameDomain(c.ev.RoomID(), c.ev.Sender()):
		return reject("1.2", "the room ID is of another server than the sender")
	}
	if named, ok := c.ev.FieldString("room_version"); c.ev.Field("room_version") != nil && (!ok || named != v.ID()) {
		return reject("1.3", "the room version is not the one of the room")
	}
	if v.CreatorInContent() && c.ev.Field("creator") == nil {
		return reject("1.4", "there is no creator")
	}
	if v.PrivilegedCreators() && !validCreators(c.ev.Field("additional_creators")) {
		return reject("1.4", "additional_creators is not a list of user IDs")
	}
	return nil
}

// validCreators: the list may be absent.
func validCreators(list json.RawMessage) bool {
	if list == nil {
		return true
	}
	valid := isArray(list)
	if valid {
		event.Items(list, func(item json.RawMessage) bool {
			user, ok := text(item)
			valid = ok && event.ValidUserID(user)
			return valid
		})
	}
	return valid
}

// enterRoom finds the create event of the room: rule 2 of version 12, rules 2.4 and 2.5 of the others; then m.federate.
func (c *check) enterRoom() *Error {
	c.create = c.state.Get(keyCreate)
	if c.ev.Version().DomainlessRoomID() {
		if c.create == nil || c.ev.RoomID() != event.RoomIDOf(c.create.ID()) {
			return reject("2", "the room ID is not that of an accepted create event")
		}
	} else if c.create == nil {
		return reject(c.text.list+".4", "there is no create event")
	} else if c.create.RoomID() != c.ev.RoomID() {
		return reject(c.text.list+".5", "the create event is of another room")
	}
	c.room = creationOf(c.create)
	if !c.room.federate && !sameDomain(c.create.Sender(), c.ev.Sender()) {
		return reject(c.text.federate, "the room does not federate")
	}
	return nil
}

// checkEvent: the rules after the room's, in their order.
func (c *check) checkEvent() *Error {
	v, typ := c.ev.Version(), c.ev.Type()
	if typ == typeAliases && v.AliasesAuthorised() {
		return c.checkAliases()
	}
	if typ == typeMember {
		return c.checkMember()
	}
	sender := c.ev.Sender()
	if membership(c.state, string(sender)) != memberJoin {
		return reject(c.text.joined, "the sender is not in the room")
	}
	levels := PowerLevels(c.state)
	level := levels.User(sender)
	if typ == typeThirdParty {
		if level < levels.Invite {
			return reject(c.text.thirdParty+".1", "the sender may not invite")
		}
		return nil
	}
	if level < levels.Event(typ, c.ev.IsState()) {
		return reject(c.text.required, "the sender may not send events of this type")
	}
	if key := c.ev.StateKey(); key != nil && strings.HasPrefix(*key, "@") && *key != string(sender) {
		if e := c.checkOwner(*key, levels); e != nil {
			return e
		}
	}
	switch {
	case typ == typePowerLevels:
		return c.checkPowerLevels(level)
	case typ == typeRedaction && v.RedactionsAuthorised():
		return c.checkRedaction(level, levels.Redact)
	}
	return nil
}

// checkOwner: state that begins with a user ID is of that user alone, or, with owned state, of those with more power too.
// msc: 3757
func (c *check) checkOwner(key string, levels Levels) *Error {
	if !c.ev.Version().OwnedState() {
		return reject(c.text.mention, "the state belongs to another user")
	}
	owner, ok := event.StateOwner(key)
	switch sender := c.ev.Sender(); {
	case !ok:
		return reject(c.text.mention, "the state belongs to no user")
	case owner != string(sender) && levels.User(sender) <= levels.User(id.UserID(owner)):
		return reject(c.text.mention, "the state belongs to another user")
	}
	return nil
}

// checkAliases: rule 4 of versions 1 to 5.
func (c *check) checkAliases() *Error {
	switch key := c.ev.StateKey(); {
	case key == nil:
		return reject(c.text.aliases+".1", "there is no state key")
	case *key != domain(c.ev.Sender()):
		return reject(c.text.aliases+".2", "the aliases belong to another server")
	}
	return nil
}

// checkRedaction: rule 11 of versions 1 and 2.
func (c *check) checkRedaction(level, needed int64) *Error {
	if level >= needed || sameDomain(c.ev.Redacts(), c.ev.ID()) {
		return nil
	}
	return reject(c.text.redactions+".3", "the sender may not redact this event")
}

// sameDomain is false where there is no domain.
func sameDomain[A, B ~string](a A, b B) bool {
	d := domain(a)
	return d != "" && d == domain(b)
}
