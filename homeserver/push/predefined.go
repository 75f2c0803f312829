package push

import (
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix/id"
)

// Kind is a kind of push rules.
type Kind string

// The kinds, in the order in which they are tried. spec: cs#push-rules
const (
	Override  Kind = "override"
	Content   Kind = "content"
	Room      Kind = "room"
	Sender    Kind = "sender"
	Underride Kind = "underride"
)

func kinds() [5]Kind { return [...]Kind{Override, Content, Room, Sender, Underride} }

func (k Kind) valid() bool {
	switch k {
	case Override, Content, Room, Sender, Underride:
		return true
	}
	return false
}

// conditional kinds have conditions.
func (k Kind) conditional() bool { return k == Override || k == Underride }

// predefined is a rule that every user has. In conditions and pattern $user and $localpart stand for the user's.
type predefined struct {
	kind       Kind
	id         string
	disabled   bool
	legacy     bool // rests for events with m.mentions
	conditions string
	pattern    string
	actions    string
}

const (
	masterRule = ".m.rule.master"

	quiet     = `[]`
	notify    = `["notify"]`
	ping      = `["notify",{"set_tweak":"sound","value":"default"}]`
	ring      = `["notify",{"set_tweak":"sound","value":"ring"}]`
	highlight = `["notify",{"set_tweak":"highlight"}]`
	mention   = `["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]`

	forUser      = "$user"
	forLocalpart = "$localpart"

	noKey    = `,{"kind":"event_match","key":"state_key","pattern":""}`
	oneToOne = `{"kind":"room_member_count","is":"2"},`
)

func ofType(t string) string {
	return `{"kind":"event_match","key":"type","pattern":"` + t + `"}`
}

// predefinedRules lists them by kind in the order in which they are tried. The master rule comes before the user's own, all others
// behind them.
//
// spec: cs#predefined-rules
// msc: 3930
var predefinedRules = []predefined{
	{kind: Override, id: masterRule, disabled: true, actions: quiet},
	{kind: Override, id: ".m.rule.suppress_notices", actions: quiet, conditions: `{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}`},
	{kind: Override, id: ".m.rule.invite_for_me", actions: ping, conditions: ofType("m.room.member") +
		`,{"kind":"event_match","key":"content.membership","pattern":"invite"},{"kind":"event_match","key":"state_key","pattern":"$user"}`},
	{kind: Override, id: ".m.rule.member_event", actions: quiet, conditions: ofType("m.room.member")},
	{kind: Override, id: ".m.rule.is_user_mention", actions: mention,
		conditions: `{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"$user"}`},
	{kind: Override, id: ".m.rule.contains_display_name", legacy: true, actions: mention, conditions: `{"kind":"contains_display_name"}`},
	{kind: Override, id: ".m.rule.is_room_mention", actions: highlight,
		conditions: `{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true},{"kind":"sender_notification_permission","key":"room"}`},
	{kind: Override, id: ".m.rule.roomnotif", legacy: true, actions: highlight,
		conditions: `{"kind":"event_match","key":"content.body","pattern":"@room"},{"kind":"sender_notification_permission","key":"room"}`},
	{kind: Override, id: ".m.rule.tombstone", actions: highlight, conditions: ofType("m.room.tombstone") + noKey},
	{kind: Override, id: ".m.rule.reaction", actions: quiet, conditions: ofType("m.reaction")},
	{kind: Override, id: ".m.rule.room.server_acl", actions: quiet, conditions: ofType("m.room.server_acl") + noKey},
	{kind: Override, id: ".m.rule.suppress_edits", actions: quiet,
		conditions: `{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.replace"}`},
	{kind: Override, id: ".org.matrix.msc3930.rule.poll_response", actions: quiet, conditions: ofType("org.matrix.msc3381.poll.response")},

	{kind: Content, id: ".m.rule.contains_user_name", legacy: true, actions: mention, pattern: forLocalpart},

	{kind: Underride, id: ".m.rule.call", actions: ring, conditions: ofType("m.call.invite")},
	{kind: Underride, id: ".m.rule.encrypted_room_one_to_one", actions: ping, conditions: oneToOne + ofType("m.room.encrypted")},
	{kind: Underride, id: ".m.rule.room_one_to_one", actions: ping, conditions: oneToOne + ofType("m.room.message")},
	{kind: Underride, id: ".m.rule.message", actions: notify, conditions: ofType("m.room.message")},
	{kind: Underride, id: ".m.rule.encrypted", actions: notify, conditions: ofType("m.room.encrypted")},
	{kind: Underride, id: ".org.matrix.msc3930.rule.poll_start_one_to_one", actions: ping, conditions: oneToOne + ofType("org.matrix.msc3381.poll.start")},
	{kind: Underride, id: ".org.matrix.msc3930.rule.poll_start", actions: notify, conditions: ofType("org.matrix.msc3381.poll.start")},
	{kind: Underride, id: ".org.matrix.msc3930.rule.poll_end_one_to_one", actions: ping, conditions: oneToOne + ofType("org.matrix.msc3381.poll.end")},
	{kind: Underride, id: ".org.matrix.msc3930.rule.poll_end", actions: notify, conditions: ofType("org.matrix.msc3381.poll.end")},
}

// rule is how clients see it.
func (d *predefined) rule(user id.UserID) Rule {
	r := Rule{RuleID: d.id, Default: true, Enabled: !d.disabled, Actions: json.RawMessage(d.actions)}
	if d.kind.conditional() {
		r.Conditions = json.RawMessage("[" + strings.ReplaceAll(d.conditions, `"$user"`, quoted(string(user))) + "]")
	}
	if d.kind == Content {
		pattern := d.pattern
		if pattern == forLocalpart {
			pattern = user.Localpart()
		}
		r.Pattern = &pattern
	}
	return r
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
