package room

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// acl is a server access control list that has been read. spec: cs#server-access-control-lists-acls-for-rooms
type acl struct {
	allow, deny []string // lower case
	literals    bool     // servers named by an IP address may take part
}

// maxACLPatterns bounds a list; an event cannot hold many more.
const maxACLPatterns = 20_000

// AllowedByACL says whether a server may take part in a room. Rooms without a list let everybody in.
func (r *Rooms) AllowedByACL(ctx context.Context, roomID id.RoomID, server string) (bool, error) {
	s, err := r.State(ctx, roomID)
	if err != nil {
		return false, err
	}
	return r.allowedBy(ctx, s, server)
}

func (r *Rooms) allowedBy(ctx context.Context, s *State, server string) (bool, error) {
	ref, ok := s.Get(event.Key{Type: typeServerACL})
	if !ok {
		return true, nil
	}
	list, ok := r.acls.get(ref.NID)
	if !ok {
		ev, err := r.eventByNID(ctx, ref.NID)
		if err != nil {
			return false, err
		}
		list = parseACL(ev.Content())
		r.acls.put(ref.NID, list, 200+int64(len(ev.Content())))
	}
	return list.allows(server), nil
}

// parseACL reads a list. What has another shape counts as not given: without allow nobody is allowed.
func parseACL(content json.RawMessage) *acl {
	a := &acl{literals: true}
	if raw := event.Field(content, "allow_ip_literals"); string(raw) == "false" {
		a.literals = false
	}
	a.allow = patterns(event.Field(content, "allow"))
	a.deny = patterns(event.Field(content, "deny"))
	return a
}

func patterns(list json.RawMessage) []string {
	if firstByte(list) != '[' {
		return nil
	}
	var out []string
	event.Items(list, func(raw json.RawMessage) bool {
		var p string
		if json.Unmarshal(raw, &p) == nil {
			out = append(out, strings.ToLower(p))
		}
		return len(out) < maxACLPatterns
	})
	return out
}

func (a *acl) allows(server string) bool {
	host := strings.ToLower(event.HostOf(server))
	if host == "" {
		return false
	}
	if !a.literals {
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			return false
		}
	}
	for _, p := range a.deny {
		if globMatch(p, host) {
			return false
		}
	}
	for _, p := range a.allow {
		if globMatch(p, host) {
			return true
		}
	}
	return false
}
