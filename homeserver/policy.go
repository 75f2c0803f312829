package homeserver

import (
	"context"

	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/room"
)

// roomPolicy puts the questions of rooms to the policy.
type roomPolicy struct{ p *policy.Policy }

// Allow lets what is sent into rooms pass at once: no rule speaks about that.
func (r roomPolicy) Allow(ctx context.Context, a room.Action) error {
	if a.Kind == room.ActionSend {
		return nil
	}
	return r.p.Allowed(ctx, policy.Question{Action: policy.Action(a.Kind), User: a.User, Target: a.Target, RoomID: a.RoomID})
}
