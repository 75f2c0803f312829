package auth

import (
	"maunium.net/go/mautrix/id"
)

// checkMember: rule 4 or 5. The rule about the signature of the authorising server is checked with the signatures.
func (c *check) checkMember() *Error {
	key, wanted := c.ev.StateKey(), c.ev.Membership()
	if key == nil || wanted == "" {
		return reject(c.text.member+".1", "there is no state key or no membership")
	}
	switch wanted {
	case memberJoin:
		return c.checkJoin(*key)
	case memberInvite:
		return c.checkInvite(*key)
	case memberLeave:
		return c.checkLeave(*key)
	case memberBan:
		return c.checkBan(*key)
	case memberKnock:
		if c.ev.Version().Knock() {
			return c.checkKnock(*key)
		}
	}
	return reject(c.text.unknown, "the membership is unknown")
}

func (c *check) checkJoin(target string) *Error {
	if prev := c.ev.PrevEvents(); len(prev) == 1 && prev[0] == c.create.ID() && c.isFirstCreator(target) {
		return nil
	}
	current := membership(c.state, target)
	switch {
	case target != string(c.ev.Sender()):
		return reject(c.text.join+".2", "nobody joins for somebody else")
	case current == memberBan:
		return reject(c.text.join+".3", "the sender is banned")
	}
	v, known := c.ev.Version(), current == memberInvite || current == memberJoin
	switch rule := JoinRule(c.state); {
	case rule == "public":
		return nil
	case rule == "invite" && known, rule == "knock" && v.Knock() && known:
		return nil
	case rule == "restricted" && v.Restricted(), rule == "knock_restricted" && v.KnockRestricted():
		if known || c.authorised() {
			return nil
		}
		return reject(c.text.join+".5.2", "no member who may invite has authorised the join")
	}
	return reject(c.text.joinElse, "the join rule does not allow it")
}

// isFirstCreator tells whether the user is the one whom the text lets join an empty room: the creator in the content up to
// version 10, the sender of the create event later. Additional creators need an invitation like everybody else.
func (c *check) isFirstCreator(user string) bool {
	return len(c.room.creators) > 0 && string(c.room.creators[0]) == user
}

// authorised: the member named by join_authorised_via_users_server is in the room and may invite.
func (c *check) authorised() bool {
	via := c.ev.Authoriser()
	if via == "" || membership(c.state, string(via)) != memberJoin {
		return false
	}
	levels := PowerLevels(c.state)
	return levels.User(via) >= levels.Invite
}

func (c *check) checkInvite(target string) *Error {
	if tpi := c.ev.Field("third_party_invite"); tpi != nil {
		return c.checkThirdPartyInvite(target, tpi)
	}
	sender := c.ev.Sender()
	if membership(c.state, string(sender)) != memberJoin {
		return reject(c.text.invite+".2", "the sender is not in the room")
	}
	if current := membership(c.state, target); current == memberJoin || current == memberBan {
		return reject(c.text.invite+".3", "the user is in the room or banned")
	}
	if levels := PowerLevels(c.state); levels.User(sender) < levels.Invite {
		return reject(c.text.invite+".5", "the sender may not invite")
	}
	return nil
}

func (c *check) checkLeave(target string) *Error {
	sender := c.ev.Sender()
	current := membership(c.state, target)
	if target == string(sender) {
		if current == memberInvite || current == memberJoin || current == memberKnock && c.ev.Version().Knock() {
			return nil
		}
		return reject(c.text.leave+".1", "the sender is not in the room")
	}
	if membership(c.state, string(sender)) != memberJoin {
		return reject(c.text.leave+".2", "the sender is not in the room")
	}
	levels := PowerLevels(c.state)
	level := levels.User(sender)
	if current == memberBan && level < levels.Ban {
		return reject(c.text.leave+".3", "the sender may not lift a ban")
	}
	if level < levels.Kick || levels.User(id.UserID(target)) >= level {
		return reject(c.text.leave+".5", "the sender may not remove this user")
	}
	return nil
}

func (c *check) checkBan(target string) *Error {
	sender := c.ev.Sender()
	if membership(c.state, string(sender)) != memberJoin {
		return reject(c.text.ban+".1", "the sender is not in the room")
	}
	levels := PowerLevels(c.state)
	if level := levels.User(sender); level < levels.Ban || levels.User(id.UserID(target)) >= level {
		return reject(c.text.ban+".3", "the sender may not ban this user")
	}
	return nil
}

func (c *check) checkKnock(target string) *Error {
	rule := JoinRule(c.state)
	if rule != "knock" && (rule != "knock_restricted" || !c.ev.Version().KnockRestricted()) {
		return reject(c.text.knock+".1", "the join rule does not allow knocking")
	}
	if target != string(c.ev.Sender()) {
		return reject(c.text.knock+".2", "nobody knocks for somebody else")
	}
	switch membership(c.state, target) {
	case memberBan, memberInvite, memberJoin:
		return reject(c.text.knock+".4", "the sender is banned, invited or in the room")
	}
	return nil
}
