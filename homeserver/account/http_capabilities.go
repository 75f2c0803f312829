package account

import (
	"context"
	"maps"

	"github.com/viaduc/viaduc/homeserver/web"
)

type capabilitiesOut struct {
	Capabilities map[string]any `json:"capabilities"`
}

type enabled struct {
	Enabled bool `json:"enabled"`
}

// GetCapabilities says what the user can do here.
//
// spec: cs#get_matrixclientv3capabilities
func (a *Accounts) GetCapabilities(_ context.Context, who web.Requester, _ struct{}) (capabilitiesOut, error) {
	versions := a.deps.RoomVersions
	if versions == nil {
		versions = map[string]string{}
	}
	active := !who.Guest && !who.Suspended
	c := map[string]any{
		"m.change_password": enabled{a.cfg.Passwords.Enabled && !who.Guest},
		"m.room_versions":   map[string]any{"default": a.deps.DefaultRoomVersion, "available": versions},
		"m.set_displayname": enabled{!who.Suspended},
		"m.set_avatar_url":  enabled{active},
		"m.3pid_changes":    enabled{false},
		"m.get_login_token": enabled{a.cfg.Sessions.LoginTokens && a.cfg.Passwords.Enabled && !who.Guest},
		"m.profile_fields":  enabled{active},

		"m.forget_forced_upon_leave":      enabled{a.deps.ForgetsOnLeave},
		"uk.tcpip.msc4133.profile_fields": enabled{active},
	}
	if who.Admin {
		c["m.account_moderation"] = map[string]bool{"suspend": true, "lock": true}
	}
	maps.Copy(c, a.deps.Capabilities)
	return capabilitiesOut{c}, nil
}

// GetVersions says which versions of the specification, and which experiments, this server knows.
//
// spec: cs#get_matrixclientversions
func (a *Accounts) GetVersions(context.Context, web.Requester, struct{}) (web.Bytes, error) {
	return a.versions, nil
}
