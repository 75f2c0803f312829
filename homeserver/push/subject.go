package push

import (
	"bytes"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// judge is what is needed to judge events for one user. Immutable.
type judge struct {
	user      id.UserID
	quoted    []byte // as a JSON string
	lower     string // the ID in lower case
	localpart string // in lower case
	rules     *ruleset
	ignored   map[id.UserID]struct{}
	key       string // changes whenever a verdict may
}

func newJudge(user id.UserID) *judge {
	quoted, err := event.CanonicalJSON([]byte(quoted(string(user))))
	if err != nil {
		quoted = []byte(`""`)
	}
	return &judge{user: user, quoted: quoted, lower: strings.ToLower(string(user)), localpart: strings.ToLower(user.Localpart())}
}

// facts are what conditions ask about the room, as it was when the event was sent.
type facts interface {
	members() (int64, error)
	displayName(user id.UserID) (string, error)
	mayNotify(sender id.UserID, key string) (bool, error)
}

// subject is an event that is judged, for one user after another. What was read of it stays read.
type subject struct {
	ev    *event.Event
	facts facts
	err   error // from facts

	values   [knowns][]byte
	read     [knowns]bool
	texts    [knowns]lowered
	mentions int8 // 1: m.mentions is there, -1: it is not
	name     string
	nameOf   id.UserID // whose display name is in name, in lower case
}

// lowered is a text in lower case.
type lowered struct {
	text     string
	ok, read bool
}

func newSubject(ev *event.Event, f facts) *subject { return &subject{ev: ev, facts: f} }

// judge finds the rule that decides; nil if none matches.
func (s *subject) judge(j *judge) (*compiled, error) {
	rs := j.rules
	c := s.first(rs.override, j)
	if c == nil {
		c = s.first(rs.content, j)
	}
	if c == nil {
		c = rs.rooms[s.ev.RoomID()]
	}
	if c == nil {
		c = rs.senders[s.ev.Sender()]
	}
	if c == nil {
		c = s.first(rs.underride, j)
	}
	err := s.err
	s.err = nil
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *subject) first(rules []*compiled, j *judge) *compiled {
next:
	for _, c := range rules {
		if c.legacy && s.hasMentions() {
			continue
		}
		for i := range c.conditions {
			if !s.holds(&c.conditions[i], j) {
				continue next
			}
		}
		return c
	}
	return nil
}

func (s *subject) holds(c *condition, j *judge) bool {
	switch c.op {
	case opMatch:
		return s.matches(c, j)
	case opIs:
		v := s.value(&c.path)
		if c.whose == whoseUser {
			return bytes.Equal(v, j.quoted)
		}
		return bytes.Equal(v, c.value)
	case opContains:
		want := c.value
		if c.whose == whoseUser {
			want = j.quoted
		}
		list := s.value(&c.path)
		if !bytes.Contains(list, want) {
			return false
		}
		found := false
		event.Items(list, func(v json.RawMessage) bool {
			found = bytes.Equal(v, want)
			return !found
		})
		return found
	case opName:
		return s.containsName(j)
	case opMembers:
		n, err := s.facts.members()
		return s.noted(err) && c.counts(n)
	case opPermission:
		may, err := s.facts.mayNotify(s.ev.Sender(), c.key)
		return s.noted(err) && may
	}
	return false
}

func (s *subject) noted(err error) bool {
	if err != nil {
		s.err = err
	}
	return err == nil
}

func (s *subject) matches(c *condition, j *judge) bool {
	if c.path.body {
		body, ok := s.text()
		if !ok {
			return false
		}
		if c.whose == whoseLocalpart {
			return hasWords(body, j.localpart)
		}
		return c.glob.words(body)
	}
	text, ok := s.property(&c.path)
	if !ok {
		return false
	}
	if c.whose == whoseUser {
		return text == j.lower
	}
	return c.glob.all(text)
}

// property is the value of a path in lower case, if it is text.
func (s *subject) property(p *path) (string, bool) {
	if p.known == unknown {
		return s.readProperty(p)
	}
	t := &s.texts[p.known]
	if !t.read {
		t.read = true
		t.text, t.ok = s.readProperty(p)
	}
	return t.text, t.ok
}

func (s *subject) readProperty(p *path) (text string, ok bool) {
	switch p.known {
	case topType:
		text = s.ev.Type()
	case topSender:
		text = string(s.ev.Sender())
	case topRoom:
		text = string(s.ev.RoomID())
	case topEvent:
		text = string(s.ev.ID())
	case topStateKey:
		if s.ev.StateKey() == nil {
			return "", false
		}
		text = *s.ev.StateKey()
	default:
		raw := s.value(p)
		if len(raw) < 2 || raw[0] != '"' {
			return "", false
		}
		text = string(raw[1 : len(raw)-1])
		if bytes.IndexByte(raw, '\\') >= 0 {
			if text, ok = decodeText(raw); !ok {
				return "", false
			}
		}
	}
	return strings.ToLower(text), true
}

// value is the value of a path in canonical JSON, nil if there is none.
func (s *subject) value(p *path) []byte {
	if p.known == unknown {
		return s.find(p)
	}
	if !s.read[p.known] {
		s.read[p.known], s.values[p.known] = true, s.find(p)
	}
	return s.values[p.known]
}

func (s *subject) find(p *path) []byte {
	at := s.ev.JSON()
	parts := p.parts
	switch {
	case parts[0] == "content":
		at, parts = s.ev.Content(), parts[1:]
	case parts[0] == "event_id":
		return []byte(quoted(string(s.ev.ID())))
	case parts[0] == "room_id":
		return []byte(quoted(string(s.ev.RoomID())))
	}
	for _, name := range parts {
		if at = event.Field(at, name); at == nil {
			return nil
		}
	}
	return at
}

// text is the body in lower case.
func (s *subject) text() (string, bool) {
	t := &s.texts[contentBody]
	if !t.read {
		t.read = true
		if t.text, t.ok = event.FieldString(s.ev.Content(), "body"); t.ok {
			t.text = strings.ToLower(t.text)
		}
	}
	return t.text, t.ok
}

func (s *subject) hasMentions() bool {
	if s.mentions == 0 {
		s.mentions = -1
		if event.Field(s.ev.Content(), "m.mentions") != nil {
			s.mentions = 1
		}
	}
	return s.mentions > 0
}

func (s *subject) containsName(j *judge) bool {
	body, ok := s.text()
	if !ok {
		return false
	}
	if s.nameOf != j.user {
		name, err := s.facts.displayName(j.user)
		if !s.noted(err) {
			return false
		}
		s.name, s.nameOf = strings.ToLower(name), j.user
	}
	return s.name != "" && hasWords(body, s.name)
}

func decodeText(raw []byte) (string, bool) {
	return event.FieldString([]byte(`{"v":`+string(raw)+`}`), "v")
}
