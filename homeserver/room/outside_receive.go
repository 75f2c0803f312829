package room

import (
	"context"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// receiveOutside looks at events of a room that nobody of this server is inside: only the end of an invitation or of a knock
// of a user of this server is taken, from those who could know. spec: ss#inviting-to-a-room
func (r *Rooms) receiveOutside(ctx context.Context, e *roomEntry, origin string, evs []*event.Event, out map[id.EventID]error) {
	errs := r.verify(ctx, evs)
	for i, ev := range evs {
		err := errs[i]
		if err == nil {
			err = r.takeOutside(ctx, e, origin, ev)
		}
		out[ev.ID()] = err
	}
}

// takeOutside stores that an invitation was taken back by the one who made it, or that somebody who knocked was refused.
func (r *Rooms) takeOutside(ctx context.Context, e *roomEntry, origin string, ev *event.Event) error {
	if ev.RoomID() != e.id || ev.Version() != e.version {
		return errOtherRoom
	}
	key := ev.StateKey()
	if ev.Type() != typeMember || key == nil || !r.local(id.UserID(*key)) || string(ev.Sender()) == *key {
		return errNotTogether
	}
	m, ok, err := r.Member(ctx, e.id, id.UserID(*key))
	if err != nil {
		return err
	}
	switch membership := ev.Membership(); {
	case !ok || membership != Left && membership != Banned:
		return errNotTogether
	case ev.SenderServer() != origin:
		return errNotTogether
	case m.Membership == Invited && m.Sender == ev.Sender():
	case m.Membership == Knocked && slices.Contains(r.outsideServers(ctx, e.id, m.UserID), origin):
	default:
		return errNotTogether
	}
	_, err = r.recordOutside(ctx, e.id, e.version, ev, nil)
	return err
}

// outsideServers lists servers that take part in a room, as far as what was told about it shows that.
func (r *Rooms) outsideServers(ctx context.Context, roomID id.RoomID, user id.UserID) []string {
	list, err := r.readStripped(ctx, roomID, user)
	if err != nil {
		return nil
	}
	var servers []string
	for _, raw := range list {
		if s, ok := event.ParseStripped(raw); ok {
			servers = append(servers, event.ServerOf(s.Sender))
		}
	}
	return r.viaOf(servers)
}
