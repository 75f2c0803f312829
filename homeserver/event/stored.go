package event

import (
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"
)

var errStored = errors.New("stored event is damaged")

// ParseStored reads the stored form of an event, quickly and with trust: raw comes from Event.JSON and becomes property of
// the event. An empty eventID is taken from the event or calculated.
func ParseStored(v Version, eventID id.EventID, raw []byte) (*Event, error) {
	e := &Event{version: v, id: eventID, json: raw}
	if err := e.readHeader(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, eventID)
	}
	if e.id == "" {
		e.id = e.referenceID()
	}
	if v.DomainlessRoomID() && e.roomID == "" {
		e.roomID = RoomIDOf(e.id)
	}
	return e, nil
}

// ParseStoredRedacted is ParseStored for an event that was stored in its redacted form.
func ParseStoredRedacted(v Version, eventID id.EventID, raw []byte) (*Event, error) {
	e, err := ParseStored(v, eventID, raw)
	if e != nil {
		e.redacted = true
	}
	return e, err
}

func (e *Event) readHeader() error {
	w := walk(e.json)
	for {
		k, v, ok := w.next()
		if !ok {
			break
		}
		switch string(k) {
		case "content":
			e.content = v
		case "depth":
			e.depth, ok = parseInt(v)
		case "event_id":
			if e.version.IDInside() && e.id == "" {
				e.id, ok = text[id.EventID](v)
			}
		case "origin_server_ts":
			e.ts, ok = parseInt(v)
		case "room_id":
			e.roomID, ok = text[id.RoomID](v)
		case "sender":
			e.sender, ok = text[id.UserID](v)
		case "state_key":
			if len(v) == 2 && v[0] == '"' {
				e.stateKey = &emptyStateKey
				break
			}
			var s string
			s, ok = textOf(v)
			e.stateKey = &s
		case "type":
			if ok = len(v) >= 2 && v[0] == '"'; ok {
				e.kind = internType(v[1 : len(v)-1])
				if indexEscape(e.kind) >= 0 {
					e.kind, _ = textOf(v)
				}
			}
		}
		if !ok {
			return errStored
		}
	}
	if !w.complete() || e.content == nil || e.sender == "" {
		return errStored
	}
	return nil
}

func text[T ~string](v []byte) (T, bool) {
	s, ok := textOf(v)
	return T(s), ok
}

func indexEscape(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			return i
		}
	}
	return -1
}
