package auth

import "github.com/viaduc/viaduc/homeserver/event"

// sections are the numbers under which the text of a room version has a rule.
type sections struct {
	list                                    string // "considering the event's auth_events"
	federate, aliases                       string
	member                                  string
	join, joinElse                          string
	invite, leave, ban, knock, unknown      string
	joined, thirdParty, required, mention   string
	levels                                  string
	levelsNamed, levelsMaps                 string // integers only, from version 10
	levelsUsers, levelsCreators             string
	changeNamed, changeMapsOld, changeMaps  string
	changeUsersOld, changeUsers, redactions string
}

// textOf returns the numbering of the version.
func textOf(v event.Version) *sections {
	switch {
	case v.PrivilegedCreators():
		return &textV12
	case v.PowerLevelsMustBeInts():
		return &textV10
	case v.Restricted():
		return &textV8
	case v.Knock():
		return &textV7
	case v.NotificationLevelsChecked():
		return &textV6
	}
	return &textV1
}

// spec: rooms/v1#authorisation-rules, rooms/v3#authorisation-rules
var textV1 = sections{
	list: "2", federate: "3", aliases: "4",
	member: "5", join: "5.2", joinElse: "5.2.6", invite: "5.3", leave: "5.4", ban: "5.5", unknown: "5.6",
	joined: "6", thirdParty: "7", required: "8", mention: "9",
	levels: "10", levelsUsers: "10.1", changeNamed: "10.3", changeMapsOld: "10.4", changeMaps: "10.5",
	changeUsersOld: "10.6", changeUsers: "10.7", redactions: "11",
}

// spec: rooms/v6#authorisation-rules
var textV6 = sections{
	list: "2", federate: "3",
	member: "4", join: "4.2", joinElse: "4.2.6", invite: "4.3", leave: "4.4", ban: "4.5", unknown: "4.6",
	joined: "5", thirdParty: "6", required: "7", mention: "8",
	levels: "9", levelsUsers: "9.1", changeNamed: "9.3", changeMapsOld: "9.4", changeMaps: "9.5",
	changeUsersOld: "9.6", changeUsers: "9.7",
}

// spec: rooms/v7#authorisation-rules
var textV7 = sections{
	list: "2", federate: "3",
	member: "4", join: "4.2", joinElse: "4.2.6", invite: "4.3", leave: "4.4", ban: "4.5", knock: "4.6", unknown: "4.7",
	joined: "5", thirdParty: "6", required: "7", mention: "8",
	levels: "9", levelsUsers: "9.1", changeNamed: "9.3", changeMapsOld: "9.4", changeMaps: "9.5",
	changeUsersOld: "9.6", changeUsers: "9.7",
}

// spec: rooms/v8#authorisation-rules
var textV8 = sections{
	list: "2", federate: "3",
	member: "4", join: "4.3", joinElse: "4.3.7", invite: "4.4", leave: "4.5", ban: "4.6", knock: "4.7", unknown: "4.8",
	joined: "5", thirdParty: "6", required: "7", mention: "8",
	levels: "9", levelsUsers: "9.1", changeNamed: "9.3", changeMapsOld: "9.4", changeMaps: "9.5",
	changeUsersOld: "9.6", changeUsers: "9.7",
}

// spec: rooms/v10#authorisation-rules, rooms/v11#authorisation-rules
var textV10 = sections{
	list: "2", federate: "3",
	member: "4", join: "4.3", joinElse: "4.3.7", invite: "4.4", leave: "4.5", ban: "4.6", knock: "4.7", unknown: "4.8",
	joined: "5", thirdParty: "6", required: "7", mention: "8",
	levels: "9", levelsNamed: "9.1", levelsMaps: "9.2", levelsUsers: "9.3",
	changeNamed: "9.5", changeMapsOld: "9.6", changeMaps: "9.7", changeUsersOld: "9.8", changeUsers: "9.9",
}

// spec: rooms/v12#authorisation-rules
var textV12 = sections{
	list: "3", federate: "4",
	member: "5", join: "5.3", joinElse: "5.3.7", invite: "5.4", leave: "5.5", ban: "5.6", knock: "5.7", unknown: "5.8",
	joined: "6", thirdParty: "7", required: "8", mention: "9",
	levels: "10", levelsNamed: "10.1", levelsMaps: "10.2", levelsUsers: "10.3", levelsCreators: "10.4",
	changeNamed: "10.6", changeMapsOld: "10.7", changeMaps: "10.8", changeUsersOld: "10.9", changeUsers: "10.10",
}
