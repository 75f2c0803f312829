package room

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

func isNotFound(err error) bool { return errors.Is(err, mautrix.MNotFound) }

// powerFields are the members of power levels that hold one number, powerMaps those that hold one for each name.
var (
	powerFields = []string{"ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"}
	powerMaps   = []string{"events", "notifications", "users"}
)

// checkPowerLevels refuses power levels that other servers would read differently or not at all.
// spec: cs#mroompower_levels
func checkPowerLevels(v event.Version, content json.RawMessage) error {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(content, &c); err != nil {
		return mautrix.MBadJSON.WithMessage("The power levels are not an object")
	}
	for _, name := range powerFields {
		if raw, ok := c[name]; ok && !isLevel(v, raw) {
			return mautrix.MBadJSON.WithMessage("Power level %s is not an integer", name)
		}
	}
	for _, name := range powerMaps {
		raw, ok := c[name]
		if !ok {
			continue
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil || m == nil {
			return mautrix.MBadJSON.WithMessage("Power levels: %s is not an object", name)
		}
		for key, level := range m {
			if !isLevel(v, level) {
				return mautrix.MBadJSON.WithMessage("Power levels: a member of %s is not an integer", name)
			}
			if name == "users" && !event.ValidUserID(key) {
				return mautrix.MBadJSON.WithMessage("Power levels: users names something that is not a user ID")
			}
		}
	}
	return nil
}

// checkCreatorLevels refuses levels for creators, who stand above all of them. spec: rooms/v12#authorisation-rules 9.3
func (r *Rooms) checkCreatorLevels(ctx context.Context, e *roomEntry, content json.RawMessage) error {
	if !e.version.PrivilegedCreators() {
		return nil
	}
	h, err := e.newestForReading(ctx)
	if err != nil {
		return err
	}
	create, err := h.state.Event(ctx, typeCreate, "")
	if err != nil || create == nil {
		return err
	}
	var c struct {
		Users map[id.UserID]json.RawMessage `json:"users"`
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return mautrix.MBadJSON.WithMessage("Power levels: users is not an object")
	}
	for _, u := range auth.Creators(create.Event) {
		if _, named := c.Users[u]; named {
			return mautrix.MBadJSON.WithMessage("Power levels: users names a creator of the room")
		}
	}
	return nil
}

// isLevel takes integers, and before version 10 what was a string of one.
func isLevel(v event.Version, raw json.RawMessage) bool {
	s := string(raw)
	if !v.PowerLevelsMustBeInts() && len(s) > 2 && s[0] == '"' {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	n, err := json.Number(s).Int64()
	const most = 1<<53 - 1
	return err == nil && n <= most && n >= -most
}

// canonicalAlias is the content of m.room.canonical_alias.
type canonicalAlias struct {
	Alias      string   `json:"alias"`
	AltAliases []string `json:"alt_aliases"`
}

// checkCanonicalAlias lets only aliases in that were not there before if they point to the room.
// spec: cs#mroomcanonical_alias
func (r *Rooms) checkCanonicalAlias(ctx context.Context, e *roomEntry, content json.RawMessage) error {
	var now, before canonicalAlias
	if err := json.Unmarshal(content, &now); err != nil {
		return mautrix.MInvalidParam.WithMessage("alias must be a string, alt_aliases a list of strings")
	}
	h, err := e.committed(ctx)
	if err != nil {
		return err
	}
	if h.state != nil {
		old, err := h.state.Event(ctx, typeCanonical, "")
		if err != nil {
			return err
		}
		if old != nil {
			_ = json.Unmarshal(old.Content(), &before) // what is not readable names nothing
		}
	}
	known := map[string]bool{before.Alias: true}
	for _, a := range before.AltAliases {
		known[a] = true
	}
	for _, a := range append([]string{now.Alias}, now.AltAliases...) {
		if a == "" || known[a] {
			if a == "" && a != now.Alias {
				return mautrix.MInvalidParam.WithMessage("An alternative alias is empty")
			}
			continue
		}
		if !event.ValidAlias(a) {
			return mautrix.MInvalidParam.WithMessage("Not a room alias")
		}
		roomID, _, err := r.ResolveAlias(ctx, id.RoomAlias(a))
		if isNotFound(err) || err == nil && roomID != e.id {
			return errBadAlias.WithMessage("Alias %s does not point to this room", a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkServerACL keeps people from locking this server out by accident.
func (r *Rooms) checkServerACL(content json.RawMessage) error {
	var acl struct {
		Allow []string `json:"allow"`
		Deny  []string `json:"deny"`
	}
	if err := json.Unmarshal(content, &acl); err != nil {
		return mautrix.MBadJSON.WithMessage("allow and deny must be lists of strings")
	}
	for _, p := range acl.Deny {
		if globMatch(p, r.server) {
			return mautrix.MBadJSON.WithMessage("These rules would shut this server out of the room")
		}
	}
	for _, p := range acl.Allow {
		if globMatch(p, r.server) {
			return nil
		}
	}
	return mautrix.MBadJSON.WithMessage("These rules would shut this server out of the room")
}

// globMatch matches * and ? in linear time, ignoring case.
func globMatch(pattern, s string) bool {
	pattern, s = strings.ToLower(pattern), strings.ToLower(s)
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
