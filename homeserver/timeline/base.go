package timeline

import (
	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

// base is what an event looks like to every client: an open JSON object without room_id and unsigned, so that both can be
// appended.
type base struct {
	body []byte // `{"content":…,…,"type":"…"`
	room []byte // `,"room_id":"…"`
}

type baseKey struct {
	event    id.EventID
	redacted bool
}

// baseOf returns the base of an event, from the cache if it was rendered before.
func (t *Timelines) baseOf(ev *room.Stored) *base {
	key := baseKey{ev.ID(), ev.RedactedBy != ""}
	if b, ok := t.bases.Get(key); ok {
		return b
	}
	b := renderBase(ev)
	t.bases.Put(key, b, int64(len(b.body)+len(b.room)+len(key.event)+160))
	return b
}

// renderBase writes the client format of an event.
//
// spec: cs#room-event-format
func renderBase(ev *room.Stored) *base {
	pdu := ev.Event
	if ev.RedactedBy != "" {
		pdu = pdu.Redacted()
	}
	raw := pdu.JSON()
	body := make([]byte, 0, len(raw)+64)
	body = append(body, '{')
	redaction := pdu.Type() == typeRedaction
	gjson.ParseBytes(raw).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "auth_events", "prev_events", "hashes", "signatures", "depth", "origin", "prev_state", "unsigned",
			"event_id", "room_id", "age_ts", "membership":
			return true
		case "redacts":
			return true
		case "content":
			body = appendKey(body, "content")
			if redaction && pdu.Redacts() != "" && !value.Get("redacts").Exists() {
				// Newer clients look for it in the content, whatever the room version.
				body = appendRedacts(append(body, '{'), pdu.Redacts())
				if inner := trimObject(value.Raw); inner != "" {
					body = append(append(body, ','), inner...)
				}
				body = append(body, '}')
				return true
			}
			body = append(body, value.Raw...)
			return true
		}
		if n := len(body); body[n-1] != '{' {
			body = append(body, ',')
		}
		body = append(append(append(body, key.Raw...), ':'), value.Raw...)
		return true
	})
	body = AppendString(appendKey(body, "event_id"), string(ev.ID()))
	if redaction && pdu.Redacts() != "" {
		body = appendRedacts(append(body, ','), pdu.Redacts())
	}
	roomID := AppendString([]byte(`,"room_id":`), string(ev.RoomID()))
	return &base{body: body, room: roomID}
}

func appendRedacts(dst []byte, target id.EventID) []byte {
	return AppendString(append(dst, `"redacts":`...), string(target))
}

// trimObject returns the inside of a JSON object.
func trimObject(raw string) string {
	i, j := 0, len(raw)
	for i < j && raw[i] != '{' {
		i++
	}
	for j > i && raw[j-1] != '}' {
		j--
	}
	if j-i < 2 {
		return ""
	}
	inner := raw[i+1 : j-1]
	for len(inner) > 0 && (inner[0] == ' ' || inner[0] == '\n' || inner[0] == '\t' || inner[0] == '\r') {
		inner = inner[1:]
	}
	return inner
}
