package push

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// mainTimeline is the thread of what belongs to none.
const mainTimeline = id.EventID("")

// hops is how far relations are followed to find a thread.
const hops = 3

// threadOf is the root of the thread that an event belongs to, following relations if need be. spec: cs#marking-notifications-as-read
func (p *Push) threadOf(ctx context.Context, ev *room.Stored) (id.EventID, error) {
	roomID := ev.RoomID()
	for range hops + 1 {
		rel, ok := timeline.RelationOf(ev.Event)
		if !ok || ev.IsState() {
			return mainTimeline, nil
		}
		if rel.Type == "m.thread" {
			return rel.Parent, nil
		}
		parent, err := p.rooms.Event(ctx, rel.Parent)
		if err != nil {
			return mainTimeline, fmt.Errorf("thread of %s: %w", ev.ID(), err)
		}
		if parent == nil || parent.RoomID() != roomID {
			return mainTimeline, nil
		}
		ev = parent
	}
	return mainTimeline, nil
}
