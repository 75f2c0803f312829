package room

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// userRooms keeps the memberships of one user. Changes are gathered and applied when someone asks.
type userRooms struct {
	loading sync.Mutex

	mu    sync.Mutex
	epoch uint64
	rooms map[id.RoomID]Member // immutable; nil: to be read
	later []Member
}

// known returns the memberships if they are in memory.
func (u *userRooms) known() (map[id.RoomID]Member, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rooms == nil {
		return nil, false
	}
	if len(u.later) > 0 {
		rooms := make(map[id.RoomID]Member, len(u.rooms)+len(u.later))
		maps.Copy(rooms, u.rooms)
		for _, m := range u.later {
			rooms[m.RoomID] = m
		}
		u.rooms, u.later = rooms, nil
	}
	return u.rooms, true
}

func (u *userRooms) drop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.epoch++
	u.rooms, u.later = nil, nil
}

// Memberships returns all memberships of a user: joined, invited, knocked, left and banned. Nobody may write into the map.
func (r *Rooms) Memberships(ctx context.Context, user id.UserID) (map[id.RoomID]Member, error) {
	u, ok := r.users.get(user)
	if !ok {
		u = r.users.getOrPut(user, &userRooms{}, 512)
	}
	if rooms, ok := u.known(); ok {
		return rooms, nil
	}
	ctx = r.fresh(ctx)
	u.loading.Lock()
	defer u.loading.Unlock()
	for {
		if rooms, ok := u.known(); ok {
			return rooms, nil
		}
		u.mu.Lock()
		epoch := u.epoch
		u.mu.Unlock()
		list, err := database.Rows(ctx, r.db, scanMember, sqlMembersOfUser, string(user))
		if err != nil {
			return nil, fmt.Errorf("memberships of %s: %w", user, err)
		}
		rooms := make(map[id.RoomID]Member, len(list))
		for _, m := range list {
			rooms[m.RoomID] = m
		}
		u.mu.Lock()
		if u.epoch == epoch {
			u.rooms = rooms
		}
		u.mu.Unlock()
		r.users.charge(user, 512+int64(len(rooms))*400)
	}
}

// membershipCommitted applies an own change, in commit order.
func (r *Rooms) membershipCommitted(m Member) {
	u, ok := r.users.peek(m.UserID)
	if !ok {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rooms == nil {
		u.epoch++ // someone may be reading what was before
		return
	}
	u.later = append(u.later, m)
}

// membershipNoticed drops what is known of a user whose membership another replica changed.
func (r *Rooms) membershipNoticed(c stream.Change) {
	u, ok := r.users.peek(c.UserID)
	if !ok {
		return
	}
	if c.Kind == stream.Membership {
		if rooms, ok := u.known(); ok && rooms[c.RoomID].Pos >= c.Pos {
			return
		}
	}
	u.drop()
}
