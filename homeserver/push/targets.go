package push

import (
	"context"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// targets are all pushers that want something, kept in memory by the replica that judges for them.
type targets struct {
	mu     sync.Mutex
	loaded bool
	dirty  map[id.UserID]struct{}
	users  map[id.UserID][]*Pusher
	age    uint64 // grows with every change of who has pushers
	inside map[id.RoomID]insiders
}

// insiders are the members of a room that have pushers. It holds for one list of members.
type insiders struct {
	first *id.UserID
	n     int
	age   uint64
	users []id.UserID
}

const maxInsiders = 10_000

func (t *targets) init() {
	t.dirty, t.inside = map[id.UserID]struct{}{}, map[id.RoomID]insiders{}
}

func (t *targets) changed(user id.UserID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loaded {
		t.dirty[user] = struct{}{}
	}
}

// settle reads what changed. Only the follower calls it.
func (p *Push) settleTargets(ctx context.Context) error {
	t := &p.targets
	t.mu.Lock()
	loaded := t.loaded
	t.loaded = true // changes from now on are noted
	dirty := make([]id.UserID, 0, len(t.dirty))
	for user := range t.dirty {
		dirty = append(dirty, user)
	}
	t.mu.Unlock()
	if loaded && len(dirty) == 0 {
		return nil
	}
	var list []*Pusher
	var err error
	if loaded {
		list, err = p.listPushers(ctx, usersPushers, database.List(dirty))
	} else {
		list, err = p.listPushers(ctx, allPushers)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.loaded = loaded
		return err
	}
	if !loaded {
		t.users = map[id.UserID][]*Pusher{}
	}
	for _, user := range dirty {
		delete(t.users, user)
		delete(t.dirty, user)
	}
	for _, one := range list {
		if one.Enabled {
			t.users[one.User] = append(t.users[one.User], one)
		}
	}
	t.age++
	return nil
}

func (t *targets) of(user id.UserID) []*Pusher {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.users[user]
}

func (t *targets) none() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.users) == 0
}

// in gives those of the members who have pushers.
func (t *targets) in(roomID id.RoomID, members []id.UserID) []id.UserID {
	if len(members) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.inside[roomID]
	if ok && known.first == &members[0] && known.n == len(members) && known.age == t.age {
		return known.users
	}
	known = insiders{first: &members[0], n: len(members), age: t.age}
	for _, user := range members {
		if len(t.users[user]) > 0 {
			known.users = append(known.users, user)
		}
	}
	if len(t.inside) >= maxInsiders {
		t.inside = map[id.RoomID]insiders{}
	}
	t.inside[roomID] = known
	return known.users
}
