package event

import (
	"encoding/json"
	"strings"
	"sync/atomic"

	"maunium.net/go/mautrix/id"
)

// Event is one persistent data unit. It never changes; its methods are safe for concurrent use.
type Event struct {
	version  Version
	redacted bool
	id       id.EventID
	roomID   id.RoomID
	kind     string
	stateKey *string
	sender   id.UserID
	depth    int64
	ts       int64
	json     []byte
	content  []byte
	unsigned []byte
	edges    atomic.Pointer[edges]
	memo     atomic.Pointer[any]
}

type edges struct{ prev, auth []id.EventID }

// Key names a piece of room state.
type Key struct{ Type, StateKey string }

func (e *Event) ID() id.EventID           { return e.id }
func (e *Event) RoomID() id.RoomID        { return e.roomID }
func (e *Event) Version() Version         { return e.version }
func (e *Event) Type() string             { return e.kind }
func (e *Event) StateKey() *string        { return e.stateKey }
func (e *Event) IsState() bool            { return e.stateKey != nil }
func (e *Event) Sender() id.UserID        { return e.sender }
func (e *Event) SenderServer() string     { return ServerOf(string(e.sender)) }
func (e *Event) Depth() int64             { return e.depth }
func (e *Event) Timestamp() int64         { return e.ts }
func (e *Event) Content() json.RawMessage { return e.content }

// JSON is the event as stored and as sent to other servers: canonical, without unsigned. Nobody may write into it.
func (e *Event) JSON() []byte { return e.json }

// Unsigned is what may be kept of the unsigned member of an untrusted event, nil if nothing: age, and the state that
// comes with invites and knocks.
func (e *Event) Unsigned() json.RawMessage { return e.unsigned }

// WasRedacted tells that the event is in its redacted form: its content did not match its hash, or Redacted made it.
func (e *Event) WasRedacted() bool { return e.redacted }

// Key is the place of a state event in the state; other events have the type only.
func (e *Event) Key() Key {
	if e.stateKey == nil {
		return Key{Type: e.kind}
	}
	return Key{e.kind, *e.stateKey}
}

// Is tells whether the event is a state event with this type and key.
func (e *Event) Is(kind, stateKey string) bool {
	return e.stateKey != nil && e.kind == kind && *e.stateKey == stateKey
}

// PrevEvents and AuthEvents give the references exactly as they stand in the event. Nobody may write into them.
func (e *Event) PrevEvents() []id.EventID { return e.links().prev }
func (e *Event) AuthEvents() []id.EventID { return e.links().auth }

func (e *Event) links() *edges {
	if l := e.edges.Load(); l != nil {
		return l
	}
	l := &edges{}
	for w := walk(e.json); ; {
		k, v, ok := w.next()
		if !ok || string(k) == "room_id" {
			break
		}
		switch string(k) {
		case "auth_events":
			l.auth = references(v)
		case "prev_events":
			l.prev = references(v)
		}
	}
	e.edges.Store(l)
	return l
}

// references reads both spellings: "id" and ["id",{…}].
func references(arr []byte) []id.EventID {
	n := 0
	for it := eachOf(arr); ; n++ {
		if _, ok := it.next(); !ok {
			break
		}
	}
	if n == 0 {
		return nil
	}
	ids := make([]id.EventID, 0, n)
	for it := eachOf(arr); ; {
		v, ok := it.next()
		if !ok {
			return ids
		}
		if len(v) > 0 && v[0] == '[' {
			pair := eachOf(v)
			v, _ = pair.next()
		}
		if s, ok := textOf(v); ok {
			ids = append(ids, id.EventID(s))
		}
	}
}

// Membership is content.membership of a member event, "" for others and for values that are not strings.
func (e *Event) Membership() string {
	if e.kind != "m.room.member" {
		return ""
	}
	v := find(e.content, "membership")
	switch string(v) {
	case `"join"`:
		return "join"
	case `"leave"`:
		return "leave"
	case `"invite"`:
		return "invite"
	case `"ban"`:
		return "ban"
	case `"knock"`:
		return "knock"
	}
	s, _ := textOf(v)
	return s
}

// Redacts is the target of a redaction, wherever the version keeps it. spec: rooms/v11#event-format
func (e *Event) Redacts() id.EventID {
	if e.kind != "m.room.redaction" {
		return ""
	}
	obj := e.json
	if e.version.RedactsInContent() {
		obj = e.content
	}
	s, _ := findString(obj, "redacts")
	return id.EventID(s)
}

// Signatures of the event: server, key ID, signature as written. Entries that are not strings are left out.
func (e *Event) Signatures() map[string]map[string]string { return signaturesOf(e.json) }

// Field is a member of the content, nil if there is none; FieldString one that is a string.
func (e *Event) Field(key string) json.RawMessage      { return Field(e.content, key) }
func (e *Event) FieldString(key string) (string, bool) { return FieldString(e.content, key) }

// ThirdPartyInvite tells that this is an invite which redeems an m.room.third_party_invite: it needs no signature of the
// server of its sender. If third_party_invite is no object the event is not meant: it needs the signature, and the
// authorisation rules reject it. spec: ss#validating-hashes-and-signatures-on-received-events
func (e *Event) ThirdPartyInvite() bool {
	if e.Membership() != "invite" {
		return false
	}
	v := find(e.content, "third_party_invite")
	return len(v) > 0 && v[0] == '{'
}

// Authoriser is the user who let a restricted join happen, "" if none is named. spec: rooms/v8#authorisation-rules
func (e *Event) Authoriser() id.UserID {
	if !e.version.Restricted() || e.kind != "m.room.member" {
		return ""
	}
	s, _ := findString(e.content, "join_authorised_via_users_server")
	return id.UserID(s)
}

// internType saves memory: almost all events have one of these types.
func internType(b []byte) string {
	switch string(b) {
	case "m.room.message":
		return "m.room.message"
	case "m.room.encrypted":
		return "m.room.encrypted"
	case "m.reaction":
		return "m.reaction"
	case "m.room.redaction":
		return "m.room.redaction"
	case "m.room.member":
		return "m.room.member"
	case "m.room.create":
		return "m.room.create"
	case "m.room.power_levels":
		return "m.room.power_levels"
	case "m.room.join_rules":
		return "m.room.join_rules"
	case "m.room.history_visibility":
		return "m.room.history_visibility"
	case "m.room.guest_access":
		return "m.room.guest_access"
	case "m.room.name":
		return "m.room.name"
	case "m.room.topic":
		return "m.room.topic"
	case "m.room.avatar":
		return "m.room.avatar"
	case "m.room.canonical_alias":
		return "m.room.canonical_alias"
	case "m.room.aliases":
		return "m.room.aliases"
	case "m.room.encryption":
		return "m.room.encryption"
	case "m.room.third_party_invite":
		return "m.room.third_party_invite"
	case "m.room.tombstone":
		return "m.room.tombstone"
	case "m.room.server_acl":
		return "m.room.server_acl"
	case "m.room.pinned_events":
		return "m.room.pinned_events"
	case "m.sticker":
		return "m.sticker"
	case "m.space.child":
		return "m.space.child"
	}
	return string(b)
}

var emptyStateKey = ""

// ServerOf is the part of an identifier behind its first colon, "" if there is none.
func ServerOf(identifier string) string {
	_, server, _ := strings.Cut(identifier, ":")
	return server
}
