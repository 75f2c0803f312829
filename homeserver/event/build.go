package event

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// Proto is what a new event is made from.
type Proto struct {
	RoomID     id.RoomID // ignored for the create event of a domainless version
	Type       string
	StateKey   *string
	Sender     id.UserID
	Content    json.RawMessage // nil is {}
	PrevEvents []id.EventID
	AuthEvents []id.EventID
	Depth      int64 // clamped to what the version allows
	Timestamp  int64 // ms
	// Redacts is the target of an m.room.redaction. Build puts it where the version wants it.
	Redacts id.EventID
	// EventID is for versions 1 and 2 only.
	EventID id.EventID
	// Hashes are reference hashes of PrevEvents and AuthEvents in unpadded base64, for versions 1 and 2 only; they may miss.
	Hashes map[id.EventID]string
	// Extra are further top-level members. Those which Build writes itself are refused.
	Extra map[string]json.RawMessage
}

// Build makes an event: canonical JSON, content hash, signature, ID. A content that is not allowed in the room version
// is M_BAD_JSON, an event that is too big M_TOO_LARGE. spec: ss#adding-hashes-and-signatures-to-outgoing-events
func Build(v Version, p Proto, s Signer) (*Event, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := p.prepare(v); err != nil {
		return nil, err
	}
	b := builder{buf: make([]byte, 0, 640+len(p.Content)+64*(len(p.PrevEvents)+len(p.AuthEvents)))}
	if err := b.unsigned(v, &p); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b.buf)
	raw := b.insert(`"hashes":{"sha256":"`, base64.RawStdEncoding.AppendEncode(make([]byte, 0, 43), sum[:]), `"},`, b.hashesAt)
	b.signaturesAt += len(raw) - len(b.buf)
	signing := appendRedacted(make([]byte, 0, len(raw)), v, raw, p.Type, false)
	refs := appendSignatures(make([]byte, 0, 128+len(s.Server)+len(s.KeyID)), s, ed25519.Sign(s.Key, signing))
	b.buf = raw
	raw = b.insert(`"signatures":`, refs, `,`, b.signaturesAt)
	if len(raw) > MaxEventBytes {
		return nil, mautrix.MTooLarge.WithMessage("Event is longer than %d bytes", MaxEventBytes)
	}
	e := &Event{version: v, id: p.EventID, json: raw}
	if err := e.readHeader(); err != nil {
		return nil, fmt.Errorf("building an event: %w", err)
	}
	if !v.IDInside() {
		e.id = hashID(v, sha256.Sum256(signing))
	}
	if e.roomID == "" {
		e.roomID = RoomIDOf(e.id)
	}
	return e, nil
}

// prepare checks the input and brings the content into its canonical form.
func (p *Proto) prepare(v Version) error {
	if !v.Valid() {
		return bad("unknown room version")
	}
	if len(p.Type) > MaxFieldBytes || p.StateKey != nil && len(*p.StateKey) > MaxFieldBytes || len(p.Sender) > MaxFieldBytes {
		return mautrix.MTooLarge.WithMessage("Type, state key and sender have at most %d bytes", MaxFieldBytes)
	}
	create := p.Type == "m.room.create" && p.StateKey != nil && *p.StateKey == ""
	if v.DomainlessRoomID() && create {
		p.RoomID = ""
	} else if !v.ValidRoomID(string(p.RoomID)) {
		return bad("room_id has no valid form")
	}
	if p.Type == "" || !ValidUserID(string(p.Sender)) {
		return bad("no type or no sender")
	}
	if len(p.PrevEvents) > MaxPrevEvents || len(p.AuthEvents) > MaxAuthEvents {
		return bad("too many references")
	}
	if v.IDInside() != (p.EventID != "") {
		return bad("event_id belongs to room versions 1 and 2 only")
	}
	if p.Content == nil {
		p.Content = json.RawMessage("{}")
	}
	content, err := v.CanonicalJSON(p.Content)
	if err != nil {
		return err
	}
	if content[0] != '{' {
		return mautrix.MBadJSON.WithMessage("Content must be an object")
	}
	if p.Redacts != "" && v.RedactsInContent() {
		if content, err = withRedacts(content, p.Redacts); err != nil {
			return err
		}
	}
	p.Content = content
	p.Depth = max(0, min(p.Depth, v.MaxDepth()))
	return nil
}

func withRedacts(content []byte, target id.EventID) ([]byte, error) {
	if find(content, "redacts") != nil {
		return content, nil
	}
	obj := appendString([]byte(`{"redacts":`), target)
	if len(content) > 2 {
		obj = append(append(obj, ','), content[1:]...)
	} else {
		obj = append(obj, '}')
	}
	return CanonicalJSON(obj)
}

// builder writes the event without hashes and signatures, and notes where they belong.
type builder struct {
	buf                    []byte
	hashesAt, signaturesAt int
}

func (b *builder) key(k string) {
	b.buf = append(appendKey(b.buf, k), ':')
}

func (b *builder) unsigned(v Version, p *Proto) error {
	b.buf = append(b.buf, '{')
	b.key("auth_events")
	b.references(v, p.AuthEvents, p.Hashes)
	b.key("content")
	b.buf = append(b.buf, p.Content...)
	b.key("depth")
	b.buf = strconv.AppendInt(b.buf, p.Depth, 10)
	if v.IDInside() {
		b.key("event_id")
		b.buf = appendString(b.buf, p.EventID)
	}
	b.hashesAt = len(b.buf) + 1
	b.key("origin_server_ts")
	b.buf = strconv.AppendInt(b.buf, p.Timestamp, 10)
	b.key("prev_events")
	b.references(v, p.PrevEvents, p.Hashes)
	if p.Redacts != "" && !v.RedactsInContent() {
		b.key("redacts")
		b.buf = appendString(b.buf, p.Redacts)
	}
	if p.RoomID != "" {
		b.key("room_id")
		b.buf = appendString(b.buf, p.RoomID)
	}
	b.key("sender")
	b.buf = appendString(b.buf, p.Sender)
	b.signaturesAt = len(b.buf) + 1
	if p.StateKey != nil {
		b.key("state_key")
		b.buf = appendString(b.buf, *p.StateKey)
	}
	b.key("type")
	b.buf = append(appendString(b.buf, p.Type), '}')
	if len(p.Extra) == 0 {
		return nil
	}
	return b.extra(v, p)
}

func (b *builder) references(v Version, ids []id.EventID, hashes map[id.EventID]string) {
	b.buf = append(b.buf, '[')
	for i, ref := range ids {
		if i > 0 {
			b.buf = append(b.buf, ',')
		}
		if !v.IDInside() {
			b.buf = appendString(b.buf, ref)
			continue
		}
		b.buf = append(appendString(append(b.buf, '['), ref), ',')
		if hash := hashes[ref]; hash != "" {
			b.buf = append(appendString(append(b.buf, `{"sha256":`...), hash), "}]"...)
		} else {
			b.buf = append(b.buf, "{}]"...)
		}
	}
	b.buf = append(b.buf, ']')
}

// extra sorts further members in, and finds the places of hashes and signatures again.
func (b *builder) extra(v Version, p *Proto) error {
	for k, value := range p.Extra {
		if k == "hashes" || k == "signatures" || k == "unsigned" {
			return bad("%s cannot be given", k)
		}
		b.buf = append(appendString(append(b.buf[:len(b.buf)-1], ','), k), ':')
		b.buf = append(append(b.buf, value...), '}')
	}
	obj, err := v.CanonicalJSON(b.buf)
	if err != nil {
		return err
	}
	b.buf, b.hashesAt, b.signaturesAt = obj, -1, -1
	for w := walk(obj); ; {
		start := w.i
		k, _, ok := w.next()
		if !ok {
			return nil
		}
		if i := bytes.IndexByte(k, '\\'); i >= 0 {
			k = appendDecoded(nil, k)
		}
		if b.hashesAt < 0 && string(k) > "hashes" {
			b.hashesAt = start
		}
		if b.signaturesAt < 0 && string(k) > "signatures" {
			b.signaturesAt = start
		}
	}
}

// insert gives the event with a member put in before position at.
func (b *builder) insert(before string, value []byte, after string, at int) []byte {
	out := make([]byte, 0, len(b.buf)+len(before)+len(value)+len(after)+256)
	out = append(append(append(out, b.buf[:at]...), before...), value...)
	return append(append(out, after...), b.buf[at:]...)
}
