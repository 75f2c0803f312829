package push

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// ruleset is a user's enabled rules, ready to judge. Immutable.
type ruleset struct {
	override, content, underride []*compiled
	rooms                        map[id.RoomID]*compiled
	senders                      map[id.UserID]*compiled
}

// compiled is a rule and what it does.
type compiled struct {
	id         string
	conditions []condition
	never      bool // has a condition that nothing can hold
	legacy     bool
	Verdict
}

// Verdict is what the rules say about an event.
type Verdict struct {
	Notify    bool
	Highlight bool
	Actions   json.RawMessage // without the historical ones
	Tweaks    json.RawMessage // an object; nil if there are none
}

type op uint8

// The conditions, those that cost least first.
const (
	opMatch op = iota
	opIs
	opContains
	opName
	opMembers
	opPermission
)

type condition struct {
	op    op
	path  path
	glob  *glob  // opMatch
	value []byte // opIs, opContains: canonical JSON
	whose uint8  // the pattern or value is the user's ID or localpart
	less  bool   // opMembers: fewer, more, equal than n match
	more  bool
	equal bool
	n     int64
	key   string // opPermission
}

const (
	whoseUser = iota + 1
	whoseLocalpart
)

// path is a dot-separated path of a property. spec: appendices#dot-separated-property-paths
type path struct {
	known known
	body  bool // content.body
	parts []string
}

// known are the properties that predefined rules look at; each is read once for an event.
type known uint8

const (
	unknown known = iota
	contentBody
	contentMsgType
	contentMembership
	contentMentionsUsers
	contentMentionsRoom
	contentRelType
	topType
	topStateKey
	topSender
	topRoom
	topEvent
	knowns
)

func parsePath(key string) path {
	p := path{body: key == "content.body"}
	switch key {
	case "type":
		p.known = topType
	case "state_key":
		p.known = topStateKey
	case "sender":
		p.known = topSender
	case "room_id":
		p.known = topRoom
	case "event_id":
		p.known = topEvent
	case "content.body":
		p.known = contentBody
	case "content.msgtype":
		p.known = contentMsgType
	case "content.membership":
		p.known = contentMembership
	case `content.m\.mentions.user_ids`:
		p.known = contentMentionsUsers
	case `content.m\.mentions.room`:
		p.known = contentMentionsRoom
	case `content.m\.relates_to.rel_type`:
		p.known = contentRelType
	}
	var part strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '.':
			p.parts = append(p.parts, part.String())
			part.Reset()
		case c == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			part.WriteByte(key[i])
		default:
			part.WriteByte(c)
		}
	}
	p.parts = append(p.parts, part.String())
	return p
}

// sharedRules are the predefined rules in compiled form, the same for all users: where they name the user, a condition says so.
type sharedRules struct {
	byID map[string]*compiled
	set  *ruleset
}

func newSharedRules() *sharedRules {
	s := &sharedRules{byID: map[string]*compiled{}}
	for _, p := range predefinedRules {
		c := compile(p.kind, Rule{RuleID: p.id, Conditions: json.RawMessage("[" + p.conditions + "]"), Pattern: &p.pattern, Actions: json.RawMessage(p.actions)}, true)
		c.legacy = p.legacy
		s.byID[p.id] = c
	}
	s.set = s.rules(&document{})
	return s
}

// rules compiles a user's rules.
func (s *sharedRules) rules(d *document) *ruleset {
	if len(d.Own) == 0 && len(d.Predefined) == 0 && s.set != nil {
		return s.set
	}
	rs := &ruleset{}
	for _, kind := range kinds() {
		for _, r := range d.rules(kind, "") {
			if !r.Enabled {
				continue
			}
			var c *compiled
			if !r.Default {
				c = compile(kind, r, false)
			} else if c = s.byID[r.RuleID]; d.Predefined[r.RuleID] != nil {
				changed := *c
				changed.Verdict = verdictOf(r.Actions)
				c = &changed
			}
			if !c.never {
				rs.add(kind, c)
			}
		}
	}
	return rs
}

func (rs *ruleset) add(kind Kind, c *compiled) {
	switch kind {
	case Override:
		rs.override = append(rs.override, c)
	case Content:
		rs.content = append(rs.content, c)
	case Underride:
		rs.underride = append(rs.underride, c)
	case Room:
		if rs.rooms == nil {
			rs.rooms = map[id.RoomID]*compiled{}
		}
		rs.rooms[id.RoomID(c.id)] = c
	case Sender:
		if rs.senders == nil {
			rs.senders = map[id.UserID]*compiled{}
		}
		rs.senders[id.UserID(c.id)] = c
	}
}

func compile(kind Kind, r Rule, shared bool) *compiled {
	c := &compiled{id: r.RuleID, Verdict: verdictOf(r.Actions)}
	switch {
	case kind == Content:
		cond := condition{op: opMatch, path: parsePath("content.body")}
		if shared && *r.Pattern == forLocalpart {
			cond.whose = whoseLocalpart
		} else {
			cond.glob = newGlob(*r.Pattern)
		}
		c.conditions = []condition{cond}
	case kind.conditional():
		var list []rawCondition
		if json.Unmarshal(r.Conditions, &list) != nil {
			c.never = true
			return c
		}
		for i := range list {
			cond, ok := list[i].compile(shared)
			if !ok {
				c.never = true
				return c
			}
			c.conditions = append(c.conditions, cond)
		}
		slices.SortStableFunc(c.conditions, func(a, b condition) int { return int(a.op) - int(b.op) })
	}
	return c
}

// rawCondition is a condition as clients write it; members of a wrong type make it unknown.
type rawCondition struct {
	Kind    any             `json:"kind"`
	Key     any             `json:"key"`
	Pattern any             `json:"pattern"`
	Is      any             `json:"is"`
	Value   json.RawMessage `json:"value"`
}

// compile gives false for what can never match: conditions that are not known or lack what they need. spec: cs#conditions-1
func (r *rawCondition) compile(shared bool) (c condition, ok bool) {
	kind, _ := r.Kind.(string)
	key, hasKey := r.Key.(string)
	c.path = parsePath(key)
	switch kind {
	case "event_match":
		pattern, ok := r.Pattern.(string)
		if shared && pattern == forUser {
			c.whose = whoseUser
		} else {
			c.glob = newGlob(pattern)
		}
		return c, ok && hasKey
	case "event_property_is", "event_property_contains":
		if c.op = opIs; kind == "event_property_contains" {
			c.op = opContains
		}
		if shared && string(r.Value) == `"`+forUser+`"` {
			c.whose = whoseUser
			return c, true
		}
		c.value = simpleValue(r.Value)
		return c, c.value != nil && hasKey
	case "contains_display_name":
		c.op = opName
		return c, true
	case "room_member_count":
		c.op = opMembers
		is, _ := r.Is.(string)
		return c, c.parseCount(is)
	case "sender_notification_permission":
		c.op, c.key = opPermission, key
		return c, hasKey
	}
	return c, false
}

// simpleValue brings a value into canonical form; nil if it is none that can be compared with.
func simpleValue(raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return nil
	}
	wrapped, err := event.CanonicalJSON([]byte(`{"v":` + string(raw) + `}`))
	if err != nil {
		return nil
	}
	v := bytes.Clone(event.Field(wrapped, "v"))
	if len(v) == 0 || v[0] == '{' || v[0] == '[' {
		return nil
	}
	return v
}

// parseCount reads a number with an optional comparison.
func (c *condition) parseCount(is string) bool {
	switch {
	case strings.HasPrefix(is, "=="):
		is, c.equal = is[2:], true
	case strings.HasPrefix(is, "<="):
		is, c.less, c.equal = is[2:], true, true
	case strings.HasPrefix(is, ">="):
		is, c.more, c.equal = is[2:], true, true
	case strings.HasPrefix(is, "<"):
		is, c.less = is[1:], true
	case strings.HasPrefix(is, ">"):
		is, c.more = is[1:], true
	default:
		c.equal = true
	}
	n, err := strconv.ParseUint(is, 10, 53)
	c.n = int64(n)
	return err == nil && is[0] != '+'
}

func (c *condition) counts(n int64) bool {
	return c.less && n < c.n || c.more && n > c.n || c.equal && n == c.n
}

// verdictOf reads actions. What is not known is passed on to the gateway if it is a tweak, and ignored otherwise. spec: cs#actions
func verdictOf(actions json.RawMessage) (v Verdict) {
	var list []json.RawMessage
	_ = json.Unmarshal(actions, &list) // checked when it was set
	kept := []json.RawMessage{}
	tweaks := map[string]json.RawMessage{}
	for _, a := range list {
		var name string
		var tweak struct {
			Name  *string         `json:"set_tweak"`
			Value json.RawMessage `json:"value"`
		}
		if json.Unmarshal(a, &name) == nil {
			if name == "notify" {
				v.Notify = true
				kept = append(kept, a)
			}
			continue
		}
		if json.Unmarshal(a, &tweak) != nil || tweak.Name == nil {
			continue
		}
		kept = append(kept, a)
		if *tweak.Name == "highlight" {
			if tweak.Value == nil {
				tweak.Value = json.RawMessage("true")
			}
			v.Highlight = string(tweak.Value) != "false"
			if !v.Highlight {
				delete(tweaks, "highlight")
				continue
			}
		}
		if tweak.Value != nil {
			tweaks[*tweak.Name] = tweak.Value
		}
	}
	v.Actions, _ = json.Marshal(kept) // valid JSON always encodes
	if len(tweaks) > 0 {
		v.Tweaks, _ = json.Marshal(tweaks)
	}
	return v
}
