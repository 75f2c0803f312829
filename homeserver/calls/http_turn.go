package calls

import (
	"context"

	"github.com/viaduc/viaduc/homeserver/web"
)

// GetTurnServer gives credentials for the relay. Without a relay it answers {}: clients take an empty list of addresses
// for a broken relay.
//
// spec: cs#get_matrixclientv3voipturnserver
func (c *Calls) GetTurnServer(_ context.Context, who web.Requester, _ struct{}) (any, error) {
	if who.Guest && !c.TURN.Guests {
		return nil, web.MGuestAccessForbidden.WithMessage("Guests may not use the relay")
	}
	if r := c.Relay(who.UserID); r != nil {
		return r, nil
	}
	return struct{}{}, nil
}
