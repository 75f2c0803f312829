package event

import (
	"net/http"
	"unicode/utf8"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// Default is the version of rooms that are created without naming one.
const Default = "12"

// Format says how an event refers to itself and to others.
type Format uint8

const (
	FormatIDInside Format = 1 // versions 1, 2: event_id inside, references as [id, {hash}]
	FormatHashID   Format = 2 // version 3 and later: the ID is the reference hash, references are IDs
)

// Version is a room version. It is a small comparable value; the zero value is no version.
type Version struct {
	n     uint8
	owned bool // with the rule of MSC3757 about owners of state
}

const lastVersion = 12

var versionIDs = [lastVersion + 1]string{"", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}

// ownedPrefix comes before the number in versions with owned state, which exist upon 10 and 11.
const ownedPrefix = "org.matrix.msc3757."

var ownedIDs = [lastVersion + 1]string{10: ownedPrefix + "10", 11: ownedPrefix + "11"}

// Lookup returns the version of that name, or M_UNSUPPORTED_ROOM_VERSION. Unstable versions are found too.
func Lookup(name string) (Version, error) {
	for n := 10; n <= 11; n++ {
		if ownedIDs[n] == name {
			return Version{uint8(n), true}, nil
		}
	}
	for n := 1; n <= lastVersion; n++ {
		if versionIDs[n] == name {
			return Version{n: uint8(n)}, nil
		}
	}
	return Version{}, mautrix.MUnsupportedRoomVersion.WithStatus(http.StatusBadRequest).WithMessage("Room version %q is not supported", clip(name, 40))
}

// MustLookup is Lookup for names known to be good.
func MustLookup(name string) Version {
	v, err := Lookup(name)
	if err != nil {
		panic(err)
	}
	return v
}

// Versions lists the names of the stable ones, oldest first.
func Versions() []string { return append([]string(nil), versionIDs[1:]...) }

// Unstable lists the names of versions that no text of the specification has.
func Unstable() []string { return append([]string(nil), ownedIDs[10:12]...) }

// ID is the name.
func (v Version) ID() string {
	if v.owned {
		return ownedIDs[v.n]
	}
	return versionIDs[v.n]
}

func (v Version) String() string { return v.ID() }

// Stable: a text of the specification has it.
func (v Version) Stable() bool { return !v.owned }
func (v Version) Valid() bool  { return v.n != 0 }

func (v Version) MarshalText() ([]byte, error) { return []byte(v.ID()), nil }
func (v *Version) UnmarshalText(b []byte) (err error) {
	*v, err = Lookup(string(b))
	return err
}

// EventFormat tells where event IDs stand. spec: rooms/v3#event-format
func (v Version) EventFormat() Format {
	if v.n <= 2 {
		return FormatIDInside
	}
	return FormatHashID
}

// IDInside: versions 1 and 2, the event_id is a member chosen by the sender.
func (v Version) IDInside() bool { return v.n <= 2 }

// URLSafeEventIDs: from version 4 event IDs use the URL-safe alphabet. spec: rooms/v4#event-ids
func (v Version) URLSafeEventIDs() bool { return v.n >= 4 }

// StateRes is the state resolution algorithm: 1, 2 or 21 (for 2.1).
func (v Version) StateRes() int {
	switch {
	case v.n <= 1:
		return 1
	case v.n <= 11:
		return 2
	}
	return 21
}

// fits bounds type and state key. Rooms of version 10 and older have events whose fields were measured in code points by
// many servers; refusing them would cut such rooms in two. spec: cs#size-limits
func (v Version) fits(field string) bool {
	return len(field) <= MaxFieldBytes || v.n <= 10 && utf8.RuneCountInString(field) <= MaxFieldBytes
}

// StrictCanonicalJSON: only integers within ±(2^53-1). spec: rooms/v6#canonical-json
func (v Version) StrictCanonicalJSON() bool { return v.n >= 6 }

// EnforceKeyValidity: valid_until_ts counts. spec: rooms/v5#signing-key-validity-period
func (v Version) EnforceKeyValidity() bool { return v.n >= 5 }

// AliasesAuthorised: m.room.aliases has its own authorisation rule and survives redaction (versions 1 to 5).
func (v Version) AliasesAuthorised() bool { return v.n <= 5 }

// RedactionsAuthorised: redactions are checked by the authorisation rules (versions 1 and 2); later versions accept the
// event and decide about applying it. spec: rooms/v3#handling-redactions
func (v Version) RedactionsAuthorised() bool { return v.n <= 2 }

// NotificationLevelsChecked: changes of notifications in power levels are authorised. spec: rooms/v6#authorisation-rules
func (v Version) NotificationLevelsChecked() bool { return v.n >= 6 }

// Knock: the join rule and membership exist. spec: rooms/v7
func (v Version) Knock() bool { return v.n >= 7 }

// Restricted: the join rule exists. spec: rooms/v8
func (v Version) Restricted() bool { return v.n >= 8 }

// KnockRestricted: the join rule exists. spec: rooms/v10
func (v Version) KnockRestricted() bool { return v.n >= 10 }

// PowerLevelsMustBeInts: no strings, no floats. spec: rooms/v10#values-in-mroompower_levels-events-must-be-integers
func (v Version) PowerLevelsMustBeInts() bool { return v.n >= 10 }

// RedactionRules names the redaction algorithm by the version that introduced it: 1, 6, 8, 9 or 11.
func (v Version) RedactionRules() int {
	switch {
	case v.n >= 11:
		return 11
	case v.n >= 9:
		return 9
	case v.n >= 8:
		return 8
	case v.n >= 6:
		return 6
	}
	return 1
}

// CreatorInContent: m.room.create names its creator in the content (versions 1 to 10). spec: rooms/v11#event-format
func (v Version) CreatorInContent() bool { return v.n <= 10 }

// RedactsInContent: m.room.redaction names its target in the content. spec: rooms/v11#event-format
func (v Version) RedactsInContent() bool { return v.n >= 11 }

// DomainlessRoomID: the room ID is the ID of the create event with another sigil, and the create event has no room_id.
// spec: rooms/v12#event-format
func (v Version) DomainlessRoomID() bool { return v.n >= 12 }

// PrivilegedCreators: creators stand above all power levels, and additional_creators exists. spec: rooms/v12
func (v Version) PrivilegedCreators() bool { return v.n >= 12 }

// CreateInAuthEvents: auth_events names the create event (versions 1 to 11).
func (v Version) CreateInAuthEvents() bool { return v.n <= 11 }

// OwnedState: a state key that begins with a user ID, alone or with _ and more behind it, belongs to that user; whoever has
// more power may write it too. msc: 3757
func (v Version) OwnedState() bool { return v.owned }

// MaxDepth is the greatest depth of an event. spec: rooms/v6#event-format
func (v Version) MaxDepth() int64 {
	if v.n <= 5 {
		return 1<<63 - 1
	}
	return 1<<53 - 1
}

// CanonicalJSON is the canonical form of raw, as strict as the version is.
func (v Version) CanonicalJSON(raw []byte) ([]byte, error) {
	return canonical(raw, v.StrictCanonicalJSON())
}

// RoomIDOf is the room ID that a create event of a domainless version makes.
func RoomIDOf(create id.EventID) id.RoomID {
	if len(create) < 2 {
		return ""
	}
	return id.RoomID("!" + create[1:])
}

// CreateIDOf is the ID of the create event of a domainless room.
func CreateIDOf(room id.RoomID) id.EventID {
	if len(room) < 2 {
		return ""
	}
	return id.EventID("$" + room[1:])
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
