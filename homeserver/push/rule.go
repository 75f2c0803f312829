package push

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// Rule is a push rule as clients see it. spec: cs#push-rules
type Rule struct {
	RuleID     string          `json:"rule_id"`
	Default    bool            `json:"default"`
	Enabled    bool            `json:"enabled"`
	Conditions json.RawMessage `json:"conditions,omitempty"`
	Pattern    *string         `json:"pattern,omitempty"`
	Actions    json.RawMessage `json:"actions"`
}

// NewRule is what a client says about a rule of its own.
type NewRule struct {
	Kind       Kind
	RuleID     string
	Conditions json.RawMessage
	Pattern    *string
	Actions    json.RawMessage
	Before     string // the rule that it comes just before
	After      string
}

const (
	maxRules      = 2000 // own rules of a user
	maxRuleID     = 512
	maxPattern    = 1024
	maxConditions = 50
	maxActions    = 50
	maxRuleBytes  = 16 << 10
)

var (
	errNoRule = mautrix.MNotFound.WithMessage("The push rule was not found")
	errKind   = mautrix.MInvalidParam.WithMessage("There is no such kind of push rules")
)

// document is what a user changed: their own rules by kind, most important first, and changes of predefined ones by ID.
type document struct {
	Own        map[Kind][]*ownRule `json:"own,omitempty"`
	Predefined map[string]*tuning  `json:"predefined,omitempty"`
}

type ownRule struct {
	ID         string          `json:"id"`
	Conditions json.RawMessage `json:"conditions,omitempty"`
	Pattern    string          `json:"pattern,omitempty"`
	Actions    json.RawMessage `json:"actions"`
	Disabled   bool            `json:"disabled,omitempty"`
}

// tuning is what a user changed of a predefined rule.
type tuning struct {
	Enabled *bool           `json:"enabled,omitempty"`
	Actions json.RawMessage `json:"actions,omitempty"`
}

func parseDocument(raw string) (*document, error) {
	d := &document{}
	if raw != "" {
		if err := json.Unmarshal([]byte(raw), d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (r *ownRule) rule(kind Kind) Rule {
	out := Rule{RuleID: r.ID, Enabled: !r.Disabled, Actions: r.Actions}
	if kind.conditional() {
		if out.Conditions = r.Conditions; out.Conditions == nil {
			out.Conditions = json.RawMessage("[]")
		}
	}
	if kind == Content {
		out.Pattern = &r.Pattern
	}
	return out
}

// rules lists all rules of a kind in the order in which they are tried.
func (d *document) rules(kind Kind, user id.UserID) []Rule {
	out := []Rule{}
	own := func() {
		for _, r := range d.Own[kind] {
			out = append(out, r.rule(kind))
		}
	}
	placed := kind != Override
	if placed {
		own()
	}
	for i := range predefinedRules {
		p := &predefinedRules[i]
		if p.kind != kind {
			continue
		}
		out = append(out, d.tune(p.rule(user)))
		if !placed { // behind the master rule
			own()
			placed = true
		}
	}
	return out
}

func (d *document) tune(r Rule) Rule {
	if t := d.Predefined[r.RuleID]; t != nil {
		if t.Enabled != nil {
			r.Enabled = *t.Enabled
		}
		if t.Actions != nil {
			r.Actions = t.Actions
		}
	}
	return r
}

// get finds a rule. What is no kind has no rules.
func (d *document) get(kind Kind, ruleID string, user id.UserID) (Rule, error) {
	if own := d.own(kind, ruleID); own != nil {
		return own.rule(kind), nil
	}
	if p := findPredefined(kind, ruleID); p != nil {
		return d.tune(p.rule(user)), nil
	}
	return Rule{}, errNoRule
}

func (d *document) own(kind Kind, ruleID string) *ownRule {
	if i := d.index(kind, ruleID); i >= 0 {
		return d.Own[kind][i]
	}
	return nil
}

func (d *document) index(kind Kind, ruleID string) int {
	for i, r := range d.Own[kind] {
		if r.ID == ruleID {
			return i
		}
	}
	return -1
}

func findPredefined(kind Kind, ruleID string) *predefined {
	if !strings.HasPrefix(ruleID, ".") {
		return nil
	}
	for i := range predefinedRules {
		if p := &predefinedRules[i]; p.kind == kind && p.id == ruleID {
			return p
		}
	}
	return nil
}

// content is that of the m.push_rules event. spec: cs#mpush_rules
func (d *document) content(user id.UserID) (json.RawMessage, error) {
	global := make(map[Kind][]Rule, 5)
	for _, k := range kinds() {
		global[k] = d.rules(k, user)
	}
	return json.Marshal(map[string]any{"global": global})
}

// check says whether a rule may be set, and brings its JSON into compact form.
func (n *NewRule) check() error {
	switch {
	case !n.Kind.valid():
		return errKind
	case n.RuleID == "":
		return mautrix.MInvalidParam.WithMessage("A rule needs an ID")
	case len(n.RuleID) > maxRuleID || !utf8.ValidString(n.RuleID) || strings.ContainsAny(n.RuleID, "\x00"):
		return mautrix.MInvalidParam.WithMessage("The ID of a rule has at most %d bytes", maxRuleID)
	case n.RuleID[0] == '.':
		return mautrix.MInvalidParam.WithMessage("IDs that begin with a dot are for predefined rules")
	case strings.ContainsAny(n.RuleID, `/\`):
		return mautrix.MInvalidParam.WithMessage("The ID of a rule has no slashes")
	case len(n.Actions)+len(n.Conditions) > maxRuleBytes:
		return mautrix.MInvalidParam.WithMessage("A rule has at most %d bytes", maxRuleBytes)
	}
	var err error
	if n.Actions, err = checkActions(n.Actions); err != nil {
		return err
	}
	return n.checkMatch()
}

// checkMatch checks what says which events match; members that do not belong to the kind are dropped.
func (n *NewRule) checkMatch() error {
	pattern, conditions := n.Pattern, n.Conditions
	n.Pattern, n.Conditions = nil, nil
	switch {
	case n.Kind == Content:
		if pattern == nil {
			return web.MMissingParam.WithMessage("A content rule needs a pattern")
		}
		if len(*pattern) > maxPattern {
			return mautrix.MInvalidParam.WithMessage("A pattern has at most %d bytes", maxPattern)
		}
		n.Pattern = pattern
	case n.Kind.conditional() && isSet(conditions):
		var list []struct {
			Kind    *string `json:"kind"`
			Pattern any     `json:"pattern"`
		}
		if err := json.Unmarshal(conditions, &list); err != nil {
			return mautrix.MInvalidParam.WithMessage("The conditions must be a list of objects")
		}
		if len(list) > maxConditions {
			return mautrix.MInvalidParam.WithMessage("A rule has at most %d conditions", maxConditions)
		}
		for _, c := range list {
			if p, _ := c.Pattern.(string); c.Kind == nil || len(p) > maxPattern {
				return mautrix.MInvalidParam.WithMessage("A condition needs a kind, and a pattern has at most %d bytes", maxPattern)
			}
		}
		n.Conditions = compact(conditions)
	}
	return nil
}

func isSet(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// checkActions lets known actions through; the historical ones stay as they are and do nothing. spec: cs#actions
func checkActions(raw json.RawMessage) (json.RawMessage, error) {
	if !isSet(raw) {
		return nil, web.MMissingParam.WithMessage("Missing parameter: actions")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, mautrix.MInvalidParam.WithMessage("The actions must be a list")
	}
	if len(list) > maxActions || len(raw) > maxRuleBytes {
		return nil, mautrix.MInvalidParam.WithMessage("A rule has at most %d actions", maxActions)
	}
	for _, a := range list {
		var name string
		var tweak struct {
			Name *string `json:"set_tweak"`
		}
		switch {
		case json.Unmarshal(a, &name) == nil:
			if name != "notify" && name != "dont_notify" && name != "coalesce" {
				return nil, mautrix.MInvalidParam.WithMessage("There is no action %q", name)
			}
		case json.Unmarshal(a, &tweak) != nil || tweak.Name == nil:
			return nil, mautrix.MInvalidParam.WithMessage("An action is a name or sets a tweak")
		}
	}
	return compact(raw), nil
}

func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// set puts a rule in its place: a new one first of all own rules, unless it is told where. spec: cs#put_matrixclientv3pushrulesglobalkindruleid
func (d *document) set(n *NewRule) error {
	list := d.Own[n.Kind]
	r := &ownRule{ID: n.RuleID, Conditions: n.Conditions, Actions: n.Actions}
	if n.Pattern != nil {
		r.Pattern = *n.Pattern
	}
	old := d.index(n.Kind, n.RuleID)
	if old >= 0 {
		r.Disabled = list[old].Disabled
	} else if d.count() >= maxRules {
		return mautrix.MInvalidParam.WithMessage("One may have at most %d rules", maxRules)
	}
	beside := n.Before
	if beside == "" {
		beside = n.After
	}
	if beside == "" && old >= 0 {
		list[old] = r
		return nil
	}
	if beside == n.RuleID && old >= 0 {
		list[old] = r
		return nil
	}
	rest := make([]*ownRule, 0, len(list)+1)
	for i, other := range list {
		if i != old {
			rest = append(rest, other)
		}
	}
	at := 0
	if beside != "" {
		at = -1
		for i, other := range rest {
			if other.ID == beside {
				at = i
			}
		}
		if at < 0 {
			return mautrix.MUnknown.WithMessage("before/after rule not found: %s", beside).WithStatus(400)
		}
		if n.Before == "" {
			at++
		}
	}
	rest = append(rest, nil)
	copy(rest[at+1:], rest[at:])
	rest[at] = r
	d.put(n.Kind, rest)
	return nil
}

func (d *document) put(kind Kind, list []*ownRule) {
	if d.Own == nil {
		d.Own = map[Kind][]*ownRule{}
	}
	d.Own[kind] = list
}

func (d *document) count() (n int) {
	for _, list := range d.Own {
		n += len(list)
	}
	return n
}

func (d *document) remove(kind Kind, ruleID string) error {
	i := d.index(kind, ruleID)
	if i < 0 {
		return errNoRule
	}
	d.put(kind, append(d.Own[kind][:i:i], d.Own[kind][i+1:]...))
	return nil
}

func (d *document) enable(kind Kind, ruleID string, on bool) error {
	if own := d.own(kind, ruleID); own != nil {
		own.Disabled = !on
		return nil
	}
	if findPredefined(kind, ruleID) == nil {
		return errNoRule
	}
	d.tuning(ruleID).Enabled = &on
	return nil
}

func (d *document) setActions(kind Kind, ruleID string, actions json.RawMessage) error {
	if own := d.own(kind, ruleID); own != nil {
		own.Actions = actions
		return nil
	}
	if findPredefined(kind, ruleID) == nil {
		return errNoRule
	}
	d.tuning(ruleID).Actions = actions
	return nil
}

func (d *document) tuning(ruleID string) *tuning {
	t := d.Predefined[ruleID]
	if t == nil {
		t = &tuning{}
		if d.Predefined == nil {
			d.Predefined = map[string]*tuning{}
		}
		d.Predefined[ruleID] = t
	}
	return t
}
