package clientsync

import (
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/timeline"
)

// appendEvents writes {"events":[…]}.
func appendEvents(dst []byte, evs []json.RawMessage) []byte {
	dst = append(dst, `{"events":[`...)
	for i, ev := range evs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, ev...)
	}
	return append(dst, ']', '}')
}

// appendDatum writes an account data event.
func appendDatum(dst []byte, kind string, content json.RawMessage) []byte {
	dst = append(append(dst, `{"content":`...), content...)
	return append(timeline.AppendString(append(dst, `,"type":`...), kind), '}')
}

func appendUsers(dst []byte, users []id.UserID) []byte {
	dst = append(dst, '[')
	for i, u := range users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = timeline.AppendString(dst, string(u))
	}
	return append(dst, ']')
}
