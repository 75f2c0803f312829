package ephemeral

import (
	"context"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Options are what an Ephemeral is built from.
type Options struct {
	DB       *database.DB
	Stream   *stream.Stream
	Accounts *account.Accounts
	Rooms    *room.Rooms
	// Presence turns presence on. Off, everybody is offline and nothing is sent.
	Presence bool
}

// Ephemeral holds typing, receipts and presence.
type Ephemeral struct {
	db       *database.DB
	stream   *stream.Stream
	accounts *account.Accounts
	rooms    *room.Rooms

	typing   roomCache[[]typist]
	receipts roomCache[recentReceipts]
	presence presences
}

// New returns the slice and registers who hears of presence.
func New(o Options) *Ephemeral {
	e := &Ephemeral{db: o.DB, stream: o.Stream, accounts: o.Accounts, rooms: o.Rooms}
	e.presence.on = o.Presence
	e.presence.active = map[id.UserID]*activity{}
	o.Stream.Observe(stream.Kinds(stream.Typing, stream.Receipt), func(changes []stream.Change) {
		for _, c := range changes {
			if c.Kind == stream.Typing {
				e.typing.drop(c.RoomID)
			} else {
				e.receipts.drop(c.RoomID)
			}
		}
	})
	o.Stream.Audience(stream.Presence, e.presenceAudience)
	o.Rooms.OnPurge(e.forgetRoom)
	return e
}

// forgetRoom removes what is stored of a purged room.
func (e *Ephemeral) forgetRoom(ctx context.Context, roomID id.RoomID) error {
	for _, text := range []string{typingPurge, receiptPurge} {
		if _, err := e.db.Exec(ctx, text, string(roomID)); err != nil {
			return fmt.Errorf("purging a room: %w", err)
		}
	}
	e.db.AfterCommit(ctx, func() {
		e.typing.drop(roomID)
		e.receipts.drop(roomID)
	})
	return nil
}

// Run ends typing and presence that nobody renews. It returns when ctx ends.
func (e *Ephemeral) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			e.endTyping(ctx)
			e.endPresence(ctx)
		}
	}
}

// cachedRooms bounds the rooms whose newest ephemeral facts are kept in memory.
const cachedRooms = 4096

// roomCache keeps one value a room until the stream says that the room's value is newer. A value that was read before
// such a change and arrives after it is not kept: generations tell.
type roomCache[T any] struct {
	mu   sync.Mutex
	gen  uint64
	last map[id.RoomID]uint64
	m    map[id.RoomID]T
}

func (c *roomCache[T]) drop(r id.RoomID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	if c.last == nil || len(c.last) >= cachedRooms {
		c.last = map[id.RoomID]uint64{}
		c.m = map[id.RoomID]T{}
	}
	c.last[r] = c.gen
	delete(c.m, r)
}

func (c *roomCache[T]) get(ctx context.Context, r id.RoomID, load func(context.Context, id.RoomID) (T, error)) (T, error) {
	c.mu.Lock()
	v, ok := c.m[r]
	gen := c.gen
	c.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := load(ctx, r)
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Only rooms that changed since this process started are kept: their drop is what makes the value trustworthy.
	if c.last[r] <= gen && c.gen-gen < cachedRooms/2 {
		if c.m == nil {
			c.m, c.last = map[id.RoomID]T{}, map[id.RoomID]uint64{}
		}
		if len(c.m) < cachedRooms {
			c.m[r] = v
		}
	}
	return v, nil
}
