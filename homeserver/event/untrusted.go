package event

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	// MaxEventBytes bounds the canonical form of an event with its signatures. spec: cs#size-limits
	MaxEventBytes = 65536
	// MaxFieldBytes bounds type, state key and identifiers. spec: cs#size-limits
	MaxFieldBytes = 255
	// MaxPrevEvents and MaxAuthEvents bound the references. spec: rooms/v4#event-format
	MaxPrevEvents = 20
	MaxAuthEvents = 10

	// maxRawBytes bounds what is looked at: escapes and unsigned may make an event longer than its canonical form.
	maxRawBytes = 4 << 20
	maxMembers  = 16384
)

func bad(format string, args ...any) error {
	return mautrix.MBadJSON.WithMessage("Invalid event: " + fmt.Sprintf(format, args...))
}

// ParseUntrusted reads an event from outside: it checks the form which the room version demands, puts the event into
// canonical form and finds its ID. If the content hash does not match, the result is the redacted event. Signatures are
// not checked, see VerifySignatures. The error is a mautrix response error; the caller drops the event.
// spec: ss#checks-performed-on-receipt-of-a-pdu 1, 3
func ParseUntrusted(v Version, raw []byte) (*Event, error) {
	if !v.Valid() {
		return nil, bad("unknown room version")
	}
	obj, unsigned, err := canonicalEvent(v, raw)
	if err != nil {
		return nil, err
	}
	if len(obj) > MaxEventBytes {
		return nil, mautrix.MTooLarge.WithMessage("Event is longer than %d bytes", MaxEventBytes)
	}
	e := &Event{version: v, json: obj}
	sum, err := e.checkShape()
	if err != nil {
		return nil, err
	}
	want := contentHash(obj)
	if subtle.ConstantTimeCompare(want[:], sum) != 1 {
		e = &Event{version: v, redacted: true, json: appendRedacted(make([]byte, 0, len(obj)), v, obj, e.kind, true)}
		if err = e.readHeader(); err != nil {
			return nil, bad("damaged")
		}
	}
	if e.id == "" {
		e.id = e.referenceID()
	}
	if e.roomID == "" {
		e.roomID = RoomIDOf(e.id)
	}
	if slices.Contains(e.PrevEvents(), e.id) || slices.Contains(e.AuthEvents(), e.id) {
		return nil, bad("refers to itself")
	}
	e.unsigned = keptUnsigned(e.kind, unsigned)
	return e, nil
}

// RoomIDOfUntrusted finds the room of an event whose version is not known yet: needed to look the version up. For a create
// event without room_id it is "". The answer is a valid room ID or "".
func RoomIDOfUntrusted(raw []byte) (room id.RoomID, kind string, err error) {
	if len(raw) > maxRawBytes {
		return "", "", errLong
	}
	s := scanner{b: raw}
	err = s.members(func(key []byte, start int) error {
		if err := s.value(); err != nil {
			return err
		}
		if k := string(key); k == "room_id" || k == "type" {
			text, ok := textOf(raw[start:s.i])
			if !ok {
				return bad("%s is not a string", k)
			}
			if k == "type" {
				kind = text
			} else {
				room = id.RoomID(text)
			}
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	if room != "" && !ValidRoomID(string(room)) {
		return "", "", bad("room_id has no valid form")
	}
	return room, kind, nil
}

// members scans a whole document that is an object; fn stands before each value and must scan it.
func (s *scanner) members(fn func(key []byte, start int) error) error {
	s.space()
	if s.peek() != '{' {
		if err := s.document(); err != nil {
			return err
		}
		return errObject
	}
	s.i++
	s.depth++
	s.space()
	for n := 0; s.peek() != '}'; n++ {
		if n > 0 {
			if s.peek() != ',' {
				return errSyntax
			}
			s.i++
			s.space()
		}
		if n > maxMembers {
			return errLong
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		if err = fn(key, s.i); err != nil {
			return err
		}
		s.space()
	}
	s.i++
	s.space()
	if s.i != len(s.b) {
		return errSyntax
	}
	return nil
}

type rawMember struct {
	key, value []byte
	canon      bool
}

// canonicalEvent gives the canonical event without unsigned, in bytes of its own, and the unsigned member. Members that
// servers are known to leave in by accident are dropped like unsigned.
func canonicalEvent(v Version, raw []byte) (obj, unsigned []byte, err error) {
	if len(raw) > maxRawBytes {
		return nil, nil, errLong
	}
	var few [24]rawMember
	all := few[:0]
	strict := v.StrictCanonicalJSON()
	s := scanner{b: raw}
	size := 2
	err = s.members(func(key []byte, start int) error {
		dropped := false
		switch string(key) {
		case "unsigned", "age_ts", "outlier", "destinations":
			dropped = true
		}
		s.strict, s.canon = strict && !dropped, true
		if err := s.value(); err != nil {
			return err
		}
		if string(key) == "unsigned" {
			unsigned = raw[start:s.i]
		}
		if dropped {
			key = nil
		}
		all = append(all, rawMember{key, raw[start:s.i], s.canon})
		size += len(key) + s.i - start + 8
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	byKey := func(a, b rawMember) int { return bytes.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(all, byKey) {
		slices.SortFunc(all, byKey)
	}
	obj = append(make([]byte, 0, min(size, MaxEventBytes+1024)), '{')
	for i, m := range all {
		if m.key == nil {
			continue
		}
		if i > 0 && bytes.Equal(all[i-1].key, m.key) {
			return nil, nil, errDuplicate
		}
		if len(obj) > 1 {
			obj = append(obj, ',')
		}
		obj = append(appendString(obj, m.key), ':')
		if m.canon {
			obj = append(obj, m.value...)
		} else if obj, err = recode(obj, m.value); err != nil {
			return nil, nil, err
		}
		if len(obj) > MaxEventBytes {
			return nil, nil, mautrix.MTooLarge.WithMessage("Event is longer than %d bytes", MaxEventBytes)
		}
	}
	return append(obj, '}'), unsigned, nil
}

// checkShape checks every member that a PDU must have, and gives the content hash that the event claims.
// spec: rooms/v1#event-format … rooms/v12#event-format
func (e *Event) checkShape() (sum []byte, err error) {
	var auth, prev, hashes, signatures, depth, ts, eventID, roomID []byte
	for w := walk(e.json); ; {
		k, value, ok := w.next()
		if !ok {
			break
		}
		switch string(k) {
		case "auth_events":
			auth = value
		case "content":
			if value[0] != '{' {
				return nil, bad("content is not an object")
			}
			e.content = value
		case "depth":
			depth = value
		case "event_id":
			eventID = value
		case "hashes":
			hashes = value
		case "origin_server_ts":
			ts = value
		case "prev_events":
			prev = value
		case "room_id":
			roomID = value
		case "sender":
			s, _ := textOf(value)
			e.sender = id.UserID(s)
		case "signatures":
			signatures = value
		case "state_key":
			s, ok := textOf(value)
			if !ok || !e.version.fits(s) {
				return nil, bad("state_key is no string of at most %d bytes", MaxFieldBytes)
			}
			e.stateKey = &s
		case "type":
			s, ok := textOf(value)
			if !ok || !e.version.fits(s) {
				return nil, bad("type is no string of at most %d bytes", MaxFieldBytes)
			}
			e.kind = internType([]byte(s))
		}
	}
	if e.content == nil {
		return nil, bad("no content")
	}
	if e.kind == "" {
		return nil, bad("no type")
	}
	if !ValidUserID(string(e.sender)) {
		return nil, bad("sender is no user ID")
	}
	var ok bool
	if e.ts, ok = parseInt(ts); !ok {
		return nil, bad("origin_server_ts is no integer")
	}
	if e.depth, ok = parseInt(depth); !ok || e.depth < 0 || e.depth > e.version.MaxDepth() {
		return nil, bad("depth is out of range")
	}
	if err = e.checkPlace(roomID, eventID); err != nil {
		return nil, err
	}
	if err = e.checkReferences(prev, auth); err != nil {
		return nil, err
	}
	return checkHashes(hashes, signatures)
}

func (e *Event) checkPlace(roomID, eventID []byte) error {
	v := e.version
	s, isText := textOf(roomID)
	switch {
	case v.DomainlessRoomID() && e.Is("m.room.create", ""):
		if roomID != nil {
			return bad("a create event of this room version has no room_id") // rooms/v12#authorisation-rules 1.2
		}
	case !isText || !v.ValidRoomID(s):
		return bad("room_id has no valid form")
	}
	e.roomID = id.RoomID(s)
	if v.IDInside() {
		s, _ = textOf(eventID)
		if !v.ValidEventID(s) {
			return bad("event_id has no valid form")
		}
		e.id = id.EventID(s)
	}
	return nil
}

func (e *Event) checkReferences(prev, auth []byte) error {
	l := &edges{}
	var err error
	if l.prev, err = e.version.checkedReferences(prev, MaxPrevEvents); err != nil {
		return bad("prev_events: %v", err)
	}
	if l.auth, err = e.version.checkedReferences(auth, MaxAuthEvents); err != nil {
		return bad("auth_events: %v", err)
	}
	if len(l.prev) == 0 && !e.Is("m.room.create", "") {
		return bad("no prev_events")
	}
	e.edges.Store(l)
	return nil
}

func (v Version) checkedReferences(arr []byte, most int) ([]id.EventID, error) {
	if len(arr) == 0 || arr[0] != '[' {
		return nil, fmt.Errorf("not a list")
	}
	ids := make([]id.EventID, 0, 4)
	for it := eachOf(arr); ; {
		value, ok := it.next()
		if !ok {
			return ids, nil
		}
		if len(ids) == most {
			return nil, fmt.Errorf("more than %d", most)
		}
		if v.IDInside() {
			pair := eachOf(value)
			first, _ := pair.next()
			hashes, _ := pair.next()
			if _, more := pair.next(); more || len(hashes) == 0 || hashes[0] != '{' {
				return nil, fmt.Errorf("not a pair of ID and hashes")
			}
			value = first
		}
		s, ok := textOf(value)
		if !ok || !v.ValidEventID(s) {
			return nil, fmt.Errorf("not an event ID")
		}
		ids = append(ids, id.EventID(s))
	}
}

func checkHashes(hashes, signatures []byte) ([]byte, error) {
	if len(hashes) == 0 || hashes[0] != '{' {
		return nil, bad("no hashes")
	}
	s, ok := findString(hashes, "sha256")
	if !ok {
		return nil, bad("no sha256 hash")
	}
	sum, ok := decode64(s)
	if !ok || len(sum) != 32 {
		return nil, bad("sha256 hash has no valid form")
	}
	if len(signatures) == 0 || signatures[0] != '{' {
		return nil, bad("no signatures")
	}
	for w := walk(signatures); ; {
		_, value, ok := w.next()
		if !ok {
			return sum, nil
		}
		if value[0] != '{' {
			return nil, bad("signatures have no valid form")
		}
	}
}

// maxAge bounds unsigned.age: nobody has older events.
const maxAge = 100 * 365 * 24 * 3600 * 1000

// keptUnsigned keeps what other servers may tell us outside of signatures: the age, and on member events the state that
// comes with an invite or a knock. Everything else could be forged to mislead clients.
func keptUnsigned(kind string, raw []byte) []byte {
	if len(raw) < 4 || raw[0] != '{' {
		return nil
	}
	obj, err := LenientCanonicalJSON(raw)
	if err != nil {
		return nil
	}
	dst := append(make([]byte, 0, 64), '{')
	if age, ok := parseInt(find(obj, "age")); ok && age >= 0 && age <= maxAge {
		dst = append(appendKey(dst, "age"), ':')
		dst = append(dst, find(obj, "age")...)
	}
	if kind == "m.room.member" {
		for _, key := range [...]string{"invite_room_state", "knock_room_state"} {
			if value := find(obj, key); len(value) > 0 && value[0] == '[' {
				dst = append(appendKey(dst, key), ':')
				dst = append(dst, value...)
			}
		}
	}
	if len(dst) == 1 {
		return nil
	}
	return append(dst, '}')
}
