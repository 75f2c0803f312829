package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Verdict is what becomes of an action.
type Verdict uint8

// Verdicts.
const (
	Allow  Verdict = iota
	Ignore         // it succeeds for whoever did it, and is not shown to whom it was meant for
	Refuse
)

// Decision is a verdict with the rule that gave it; no rule spoke if Rule is empty.
type Decision struct {
	Verdict Verdict
	Rule    string
	Reason  string // for people
}

// Action names what is about to happen.
type Action string

// Actions that a rule speaks about; others only concern the rule about servers.
const (
	Exchange Action = "exchange" // this server talks with Peer
	Invite   Action = "invite"
)

// Question is what is decided about; what does not concern the action is empty.
type Question struct {
	Action Action
	Peer   string    // the other server
	User   id.UserID // who does it
	Target id.UserID // whom it is done to
	RoomID id.RoomID
}

// Options are what a Policy is built from.
type Options struct {
	ServerName string
	// AllowServers and DenyServers are patterns. Without AllowServers all are allowed that are not denied.
	AllowServers, DenyServers []string
	// AccountData reads what a user of this server keeps, nil if nothing; without it nobody has wishes.
	AccountData func(ctx context.Context, user id.UserID, eventType string) (json.RawMessage, error)
}

// Policy decides. A nil Policy allows everything.
type Policy struct {
	o           Options
	allow, deny list
	wishes      wishes
}

// New makes a Policy, before s runs.
func New(s *stream.Stream, o Options) *Policy {
	p := &Policy{o: o, allow: operators(o.AllowServers), deny: operators(o.DenyServers)}
	s.Observe(stream.Kinds(stream.AccountData, stream.Deactivation), p.wishes.observe)
	return p
}

// operators is a list of the operator, which has no bounds.
func operators(servers []string) list { return newList(lower(servers), len(servers), len(servers)) }

// Decide says what becomes of an action.
func (p *Policy) Decide(ctx context.Context, q Question) (Decision, error) {
	if p == nil {
		return Decision{}, nil
	}
	for _, server := range []string{q.Peer, event.ServerOf(string(q.User)), event.ServerOf(string(q.Target))} {
		if server == "" || server == p.o.ServerName {
			continue
		}
		if d := p.server(server); d.Verdict != Allow {
			return d, nil
		}
	}
	if q.Action != Invite || event.ServerOf(string(q.Target)) != p.o.ServerName {
		return Decision{}, nil
	}
	w, err := p.Invites(ctx, q.Target)
	if err != nil {
		return Decision{}, fmt.Errorf("wishes of an invited user: %w", err)
	}
	return w.Of(q.User), nil
}

// server applies the lists of servers. A pattern without a port speaks about all ports.
func (p *Policy) server(name string) Decision {
	name = strings.ToLower(name)
	host := event.HostOf(name)
	switch {
	case p.deny.has(name) || p.deny.has(host):
		return Decision{Refuse, "servers: denied", "This server does not exchange messages with " + name}
	case len(p.o.AllowServers) > 0 && !p.allow.has(name) && !p.allow.has(host):
		return Decision{Refuse, "servers: not allowed", "This server does not exchange messages with " + name}
	}
	return Decision{}
}

// Allowed is Decide as an error for people: nil unless the action is refused.
func (p *Policy) Allowed(ctx context.Context, q Question) error {
	d, err := p.Decide(ctx, q)
	if err != nil || d.Verdict != Refuse {
		return err
	}
	if strings.HasPrefix(d.Rule, "invites:") {
		return errInviteBlocked.WithMessage("%s", d.Reason)
	}
	return mautrix.MForbidden.WithMessage("%s", d.Reason)
}

// errInviteBlocked: spec: cs#invite-permission
var errInviteBlocked = mautrix.RespError{ErrCode: "M_INVITE_BLOCKED", StatusCode: http.StatusForbidden}

// Server says whether this server talks with another one.
func (p *Policy) Server(ctx context.Context, server string) error {
	return p.Allowed(ctx, Question{Action: Exchange, Peer: server})
}
