package event

// Redacted gives the event without everything that redaction removes, under the same ID. spec: rooms/v11#redactions
func (e *Event) Redacted() *Event {
	if e.redacted {
		return e
	}
	raw := appendRedacted(make([]byte, 0, len(e.json)), e.version, e.json, e.kind, true)
	r := &Event{version: e.version, id: e.id, json: raw, redacted: true, roomID: e.roomID}
	if err := r.readHeader(); err != nil {
		return e // cannot happen: the parts of a good event are good
	}
	return r
}

// RedactContent gives what redaction leaves of the content of an event of that type.
func RedactContent(v Version, kind string, content []byte) []byte {
	return appendRedactedContent(nil, v, kind, content)
}

// keptMember tells which members of an event redaction keeps. spec: rooms/v1#redactions, rooms/v11#redactions
func keptMember(v Version, key []byte) bool {
	switch string(key) {
	case "event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth",
		"prev_events", "auth_events", "origin_server_ts":
		return true
	case "prev_state", "origin", "membership":
		return v.RedactionRules() < 11
	}
	return false
}

// appendRedacted appends the redacted form of a canonical event; without its signatures it is what gets signed, and what
// the reference hash covers. spec: ss#calculating-the-reference-hash-for-an-event
func appendRedacted(dst []byte, v Version, obj []byte, kind string, signatures bool) []byte {
	dst = append(dst, '{')
	for w := walk(obj); ; {
		key, value, ok := w.next()
		if !ok {
			break
		}
		if !keptMember(v, key) || !signatures && string(key) == "signatures" {
			continue
		}
		if string(key) == "content" {
			dst = append(appendKey(dst, "content"), ':')
			dst = appendRedactedContent(dst, v, kind, value)
			continue
		}
		dst = append(appendKey(dst, key), ':')
		dst = append(dst, value...)
	}
	return append(dst, '}')
}

// appendKey appends a key that is escaped already, and the comma before it.
func appendKey[T ~string | ~[]byte](dst []byte, key T) []byte {
	if len(dst) > 0 && dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"')
}

func appendRedactedContent(dst []byte, v Version, kind string, content []byte) []byte {
	kept := keptContent(v, kind)
	if kept == nil {
		return append(dst, "{}"...)
	}
	if kept[0] == "*" {
		return append(dst, content...)
	}
	dst = append(dst, '{')
	for w := walk(content); ; {
		key, value, ok := w.next()
		if !ok {
			break
		}
		for _, k := range kept {
			if string(key) == k {
				dst = append(appendKey(dst, key), ':')
				dst = append(dst, value...)
			}
		}
		if kind == "m.room.member" && v.RedactionRules() >= 11 && string(key) == "third_party_invite" {
			if signed := find(value, "signed"); signed != nil {
				dst = append(appendKey(dst, key), `:{"signed":`...)
				dst = append(append(dst, signed...), '}')
			}
		}
	}
	return append(dst, '}')
}

var (
	keepMember      = []string{"membership"}
	keepMember9     = []string{"membership", "join_authorised_via_users_server"}
	keepCreate      = []string{"creator"}
	keepAll         = []string{"*"}
	keepJoinRules   = []string{"join_rule"}
	keepJoinRules8  = []string{"join_rule", "allow"}
	keepLevels      = []string{"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
	keepLevels11    = append([]string{"invite"}, keepLevels...)
	keepAliases     = []string{"aliases"}
	keepVisibility  = []string{"history_visibility"}
	keepRedaction11 = []string{"redacts"}
)

// keptContent lists the members of the content that stay; nil for none, "*" for all.
func keptContent(v Version, kind string) []string {
	rules := v.RedactionRules()
	pick := func(since int, then, before []string) []string {
		if rules >= since {
			return then
		}
		return before
	}
	switch kind {
	case "m.room.member":
		return pick(9, keepMember9, keepMember)
	case "m.room.create":
		return pick(11, keepAll, keepCreate)
	case "m.room.join_rules":
		return pick(8, keepJoinRules8, keepJoinRules)
	case "m.room.power_levels":
		return pick(11, keepLevels11, keepLevels)
	case "m.room.aliases":
		return pick(6, nil, keepAliases)
	case "m.room.history_visibility":
		return keepVisibility
	case "m.room.redaction":
		return pick(11, keepRedaction11, nil)
	}
	return nil
}
