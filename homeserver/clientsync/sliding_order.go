package clientsync

import (
	"context"
	"errors"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// bumping are the event types that move a room to the top.
//
// msc: 4186
var bumping = map[string]struct{}{
	"m.room.create": {}, "m.room.message": {}, "m.room.encrypted": {}, "m.sticker": {}, "m.call.invite": {},
	"m.poll.start": {}, "org.matrix.msc3381.poll.start": {}, "m.beacon_info": {}, "org.matrix.msc3672.beacon_info": {},
}

// bumps remembers for each room the position of its newest bumping event. The stream tells when a room has new events.
type bumps struct {
	mu    sync.Mutex
	rooms map[id.RoomID]bump
}

type bump struct {
	at    stream.Pos // of the newest bumping event; 0: none found
	to    stream.Pos // looked at up to here
	stale bool
}

const maxBumps = 500_000

// observe marks rooms with new events.
func (b *bumps) observe(changes []stream.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range changes {
		if x, ok := b.rooms[c.RoomID]; ok && c.Pos > x.to && !x.stale {
			x.stale = true
			b.rooms[c.RoomID] = x
		}
	}
}

func (b *bumps) get(roomID id.RoomID) bump {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rooms[roomID]
}

func (b *bumps) put(roomID id.RoomID, x bump) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rooms == nil || len(b.rooms) >= maxBumps {
		b.rooms = map[id.RoomID]bump{}
	}
	if old := b.rooms[roomID]; old.to <= x.to {
		b.rooms[roomID] = x
	}
}

// bumpStamp is what rooms are ordered by: the position of the newest event worth looking at, else that of the membership.
func (s *Syncs) bumpStamp(ctx context.Context, m room.Member, upTo stream.Pos) (stream.Pos, error) {
	if m.Membership != memberJoin {
		return m.Pos, nil
	}
	x := s.bumps.get(m.RoomID)
	if x.to == 0 || x.stale {
		var err error
		if x, err = s.findBump(ctx, m.RoomID, x, upTo); err != nil {
			return 0, err
		}
		s.bumps.put(m.RoomID, x)
	}
	if x.at == 0 {
		return m.Pos, nil
	}
	return x.at, nil
}

// findBump looks back from the head, in growing steps, as far as it is not known already.
func (s *Syncs) findBump(ctx context.Context, roomID id.RoomID, known bump, upTo stream.Pos) (bump, error) {
	hi, page := upTo, 20
	for {
		evs, more, err := s.Rooms.Live(ctx, roomID, known.to, hi, page)
		if errors.Is(err, mautrix.MNotFound) {
			return known, nil
		}
		if err != nil {
			return known, err
		}
		for i := len(evs) - 1; i >= 0; i-- {
			if _, ok := bumping[evs[i].Type()]; ok {
				return bump{at: evs[i].Pos, to: upTo}, nil
			}
		}
		if !more || len(evs) == 0 || page > 1000 {
			return bump{at: known.at, to: upTo}, nil
		}
		hi, page = evs[0].Pos-1, page*10
	}
}
