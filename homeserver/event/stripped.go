package event

import (
	"encoding/json"
)

// StrippedState is the form in which state goes to clients that are not in the room. It is canonical.
// spec: cs#stripped-state
func StrippedState(e *Event) json.RawMessage {
	b := append(make([]byte, 0, 64+len(e.content)+len(e.sender)+len(e.kind)), `{"content":`...)
	b = append(b, e.content...)
	b = appendString(append(b, `,"sender":`...), e.sender)
	if e.stateKey != nil {
		b = appendString(append(b, `,"state_key":`...), *e.stateKey)
	}
	b = appendString(append(b, `,"type":`...), e.kind)
	return append(b, '}')
}

// Stripped is stripped state as another server sent it: four members, or a whole PDU (which has those members too).
type Stripped struct {
	Type     string
	StateKey string
	Sender   string
	Content  json.RawMessage // canonical
}

// ParseStripped reads an element of invite_room_state or knock_room_state; false if it is nonsense. The sender is "" if
// it has no valid form.
func ParseStripped(raw []byte) (Stripped, bool) {
	var s Stripped
	if len(raw) > maxRawBytes {
		return s, false
	}
	obj, err := canonicalObject(raw)
	if err != nil {
		return s, false
	}
	var hasType, hasKey bool
	s.Type, hasType = findString(obj, "type")
	s.StateKey, hasKey = findString(obj, "state_key")
	if s.Sender, _ = findString(obj, "sender"); !ValidUserID(s.Sender) {
		s.Sender = ""
	}
	s.Content = find(obj, "content")
	ok := hasType && hasKey && len(s.Type) <= MaxFieldBytes && len(s.StateKey) <= MaxFieldBytes &&
		len(s.Content) > 0 && s.Content[0] == '{'
	return s, ok
}

// JSON writes the four members.
func (s Stripped) JSON() json.RawMessage {
	b := append(append([]byte{}, `{"content":`...), s.Content...)
	b = appendString(append(b, `,"sender":`...), s.Sender)
	b = appendString(append(b, `,"state_key":`...), s.StateKey)
	b = appendString(append(b, `,"type":`...), s.Type)
	return append(b, '}')
}

// SplitStripped reads a list of stripped state. What is no list, and what is nonsense in it, is left out. At most as many
// elements as given are read.
func SplitStripped(list json.RawMessage, most int) []Stripped {
	arr, err := LenientCanonicalJSON(list)
	if err != nil {
		return nil
	}
	var all []Stripped
	Items(arr, func(value json.RawMessage) bool {
		if s, ok := ParseStripped(value); ok {
			all = append(all, s)
		}
		most--
		return most > 0
	})
	return all
}
