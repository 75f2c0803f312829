package policy

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Types of account data that hold a user's wishes.
const (
	typePermission = "m.invite_permission_config"
	typeFilter     = "org.matrix.msc4155.invite_permission_config"
)

// Invites are the wishes of a user about invitations. They do not change; nil lets all pass. Others compare the pointers to
// see whether the wishes are still the same.
type Invites struct {
	blockAll bool
	rules    []inviteRule // in the order in which they count
}

type inviteRule struct {
	name    string
	servers bool
	list    list
	verdict Verdict
}

// Of says what becomes of an invitation by this user.
func (w *Invites) Of(inviter id.UserID) Decision {
	if w == nil {
		return Decision{}
	}
	if w.blockAll {
		return Decision{Refuse, "invites: " + typePermission, reasonInvite}
	}
	host := strings.ToLower(event.HostOf(event.ServerOf(string(inviter))))
	for _, r := range w.rules {
		subject := string(inviter)
		if r.servers {
			subject = host
		}
		if r.list.has(subject) {
			return Decision{r.verdict, "invites: " + r.name, reasonInvite}
		}
	}
	return Decision{}
}

const reasonInvite = "This user does not want this invitation"

// readPermission reads m.invite_permission_config.
//
// spec: cs#minvite_permission_config
func readPermission(content json.RawMessage) bool {
	var in struct {
		DefaultAction json.RawMessage `json:"default_action"`
	}
	return json.Unmarshal(content, &in) == nil && string(in.DefaultAction) == `"block"`
}

// readFilter reads the rules by user and server.
//
// msc: 4155
func readFilter(content json.RawMessage) []inviteRule {
	var in map[string]json.RawMessage
	if json.Unmarshal(content, &in) != nil || string(in["enabled"]) == "false" {
		return nil
	}
	var rules []inviteRule
	for _, r := range []inviteRule{
		{name: "allowed_users", verdict: Allow}, {name: "ignored_users", verdict: Ignore}, {name: "blocked_users", verdict: Refuse},
		{name: "allowed_servers", servers: true, verdict: Allow}, {name: "ignored_servers", servers: true, verdict: Ignore},
		{name: "blocked_servers", servers: true, verdict: Refuse},
	} {
		var patterns []string
		if json.Unmarshal(in[r.name], &patterns) != nil {
			continue
		}
		if r.servers {
			patterns = lower(patterns)
		}
		if r.list = newList(patterns, maxNames, maxGlobs); !r.list.empty() {
			rules = append(rules, r)
		}
	}
	return rules
}

const maxWishes = 50_000

// wishes keeps the Invites of many users, until a change drops them.
type wishes struct {
	mu         sync.RWMutex
	byUser     map[id.UserID]*Invites
	generation uint64
}

func (c *wishes) observe(changes []stream.Change) {
	for _, ch := range changes {
		if ch.Kind == stream.Deactivation || ch.RoomID == "" && (ch.Ref == typePermission || ch.Ref == typeFilter) {
			c.mu.Lock()
			c.generation++
			delete(c.byUser, ch.UserID)
			c.mu.Unlock()
		}
	}
}

// Invites gives the wishes of a user of this server.
//
// spec: cs#invite-permission
func (p *Policy) Invites(ctx context.Context, user id.UserID) (*Invites, error) {
	if p == nil || p.o.AccountData == nil {
		return nil, nil
	}
	c := &p.wishes
	c.mu.RLock()
	w, ok := c.byUser[user]
	generation := c.generation
	c.mu.RUnlock()
	if ok {
		return w, nil
	}
	w, err := p.readInvites(ctx, user)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation { // else what was read may be old: it is not kept
		if c.byUser == nil || len(c.byUser) >= maxWishes {
			c.byUser = map[id.UserID]*Invites{}
		}
		c.byUser[user] = w
	}
	return w, nil
}

func (p *Policy) readInvites(ctx context.Context, user id.UserID) (*Invites, error) {
	permission, err := p.o.AccountData(ctx, user, typePermission)
	if err != nil {
		return nil, err
	}
	filter, err := p.o.AccountData(ctx, user, typeFilter)
	if err != nil {
		return nil, err
	}
	w := &Invites{blockAll: readPermission(permission), rules: readFilter(filter)}
	if !w.blockAll && len(w.rules) == 0 {
		return nil, nil
	}
	return w, nil
}
