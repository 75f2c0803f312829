package auth

import "github.com/viaduc/viaduc/homeserver/event"

// checkPowerLevels: rule 9 or 10, for a sender of this level.
func (c *check) checkPowerLevels(level int64) *Error {
	next := powersOf(c.ev)
	if e := c.checkPowersShape(next); e != nil {
		return e
	}
	previous := c.state.Get(keyPowerLevels)
	if previous == nil {
		return nil
	}
	current := powersOf(previous)
	if e := c.checkNamedChanges(current, next, level); e != nil {
		return e
	}
	if e := c.checkTableChanges(&current.events, &next.events, level); e != nil {
		return e
	}
	if c.ev.Version().NotificationLevelsChecked() {
		if e := c.checkTableChanges(&current.notifications, &next.notifications, level); e != nil {
			return e
		}
	}
	return c.checkUserChanges(current.users.entries, next.users.entries, level)
}

// checkPowersShape: what can be said of the content alone.
func (c *check) checkPowersShape(next *powers) *Error {
	if c.ev.Version().PowerLevelsMustBeInts() {
		for i := range next.named {
			if next.named[i].bad {
				return reject(c.text.levelsNamed, "a level is not an integer")
			}
		}
		if next.events.bad || next.notifications.bad {
			return reject(c.text.levelsMaps, "events or notifications is not an object of integers")
		}
	}
	if next.users.bad {
		return reject(c.text.levelsUsers, "users is not an object of integers")
	}
	for user := range next.users.entries {
		if !event.ValidUserID(user) {
			return reject(c.text.levelsUsers, "users names something that is not a user ID")
		}
	}
	if c.ev.Version().PrivilegedCreators() {
		for _, creator := range c.room.creators {
			if _, named := next.users.entries[string(creator)]; named {
				return reject(c.text.levelsCreators, "users names a creator")
			}
		}
	}
	return nil
}

func (c *check) checkNamedChanges(current, next *powers, level int64) *Error {
	for i := range next.named {
		before, after := current.named[i], next.named[i]
		if before.has == after.has && before.value == after.value && !after.bad {
			continue
		}
		if before.has && before.value > level {
			return reject(c.text.changeNamed+".1", "a level above the sender's is changed")
		}
		if after.bad || after.has && after.value > level {
			return reject(c.text.changeNamed+".2", "a level is set above the sender's")
		}
	}
	return nil
}

func (c *check) checkTableChanges(current, next *table, level int64) *Error {
	for key, before := range current.entries {
		if after, kept := next.entries[key]; (!kept || after != before) && before > level {
			return reject(c.text.changeMapsOld+".1", "a level above the sender's is changed")
		}
	}
	if next.bad {
		return reject(c.text.changeMaps+".1", "a level is not a number")
	}
	for key, after := range next.entries {
		if before, was := current.entries[key]; (!was || before != after) && after > level {
			return reject(c.text.changeMaps+".1", "a level is set above the sender's")
		}
	}
	return nil
}

func (c *check) checkUserChanges(current, next map[string]int64, level int64) *Error {
	sender := string(c.ev.Sender())
	for user, before := range current {
		if after, kept := next[user]; (!kept || after != before) && before >= level && user != sender {
			return reject(c.text.changeUsersOld+".1", "the level of a user who is not below the sender is changed")
		}
	}
	for user, after := range next {
		if before, was := current[user]; (!was || before != after) && after > level {
			return reject(c.text.changeUsers+".1", "a user is set above the sender")
		}
	}
	return nil
}
