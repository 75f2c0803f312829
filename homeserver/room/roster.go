package room

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

type nameKey string

func (k nameKey) compare(o nameKey) int { return strings.Compare(string(k), string(o)) }
func (k nameKey) hash() uint64          { return maphash.String(seed, string(k)) }

// roster is who is joined to a room. Immutable; the lists are made when first asked for.
type roster struct {
	joined  tree[nameKey, struct{}]
	local   tree[nameKey, struct{}]
	servers tree[nameKey, int]

	all, here listOnce[id.UserID]
	names     listOnce[string]
}

// listOnce is a list made once.
type listOnce[T ~string] struct {
	once sync.Once
	list []T
}

func (l *listOnce[T]) get(size int, each func(func(nameKey))) []T {
	l.once.Do(func() {
		l.list = make([]T, 0, size)
		each(func(k nameKey) { l.list = append(l.list, T(k)) })
	})
	return l.list
}

func keysOf[V comparable](t tree[nameKey, V]) func(func(nameKey)) {
	return func(fn func(nameKey)) { t.each(func(k nameKey, _ V) bool { fn(k); return true }) }
}

// with gives the roster after these changes.
func (o *roster) with(r *Rooms, changes []memberChange) *roster {
	n := &roster{joined: o.joined, local: o.local, servers: o.servers}
	for _, c := range changes {
		n.set(c.UserID, c.Membership == Joined, r.local(c.UserID))
	}
	if n.joined.root == o.joined.root {
		return o
	}
	return n
}

func (n *roster) set(user id.UserID, joined, local bool) {
	k := nameKey(user)
	if _, was := n.joined.get(k); was == joined {
		return
	}
	server := nameKey(event.ServerOf(string(user)))
	count, _ := n.servers.get(server)
	if joined {
		n.joined = n.joined.set(k, struct{}{})
		n.servers = n.servers.set(server, count+1)
		if local {
			n.local = n.local.set(k, struct{}{})
		}
		return
	}
	n.joined = n.joined.remove(k)
	if count > 1 {
		n.servers = n.servers.set(server, count-1)
	} else {
		n.servers = n.servers.remove(server)
	}
	if local {
		n.local = n.local.remove(k)
	}
}

const rosterTries = 4

// members returns who is joined, from memory or the table.
func (e *roomEntry) members(ctx context.Context) (*roster, error) {
	ctx = e.r.fresh(ctx)
	var ro *roster
	for range rosterTries {
		e.mu.Lock()
		if e.roster != nil {
			defer e.mu.Unlock()
			return e.roster, nil
		}
		age := e.rosterAge
		e.mu.Unlock()
		users, err := database.Rows(ctx, e.r.db, scanUser, sqlJoinedUsers, e.nid)
		if err != nil {
			return nil, fmt.Errorf("members of %s: %w", e.id, err)
		}
		ro = e.r.rosterOf(users)
		e.mu.Lock()
		if e.rosterAge == age && e.current != nil {
			e.roster = ro
		}
		e.mu.Unlock()
	}
	return ro, nil // a room that changes all the time: as fresh as a read can be
}

func (r *Rooms) rosterOf(users []id.UserID) *roster {
	slices.Sort(users)
	all := make([]entry[nameKey, struct{}], 0, len(users))
	var local []entry[nameKey, struct{}]
	servers := map[nameKey]int{}
	for _, u := range users {
		all = append(all, entry[nameKey, struct{}]{key: nameKey(u)})
		if r.local(u) {
			local = append(local, entry[nameKey, struct{}]{key: nameKey(u)})
		}
		servers[nameKey(event.ServerOf(string(u)))]++
	}
	ro := &roster{joined: buildTree(all), local: buildTree(local)}
	for server, n := range servers {
		ro.servers = ro.servers.set(server, n)
	}
	return ro
}

func (r *Rooms) rosterFor(ctx context.Context, roomID id.RoomID) (*roster, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	return e.members(ctx)
}

// JoinedMembers lists who is joined to a room. Nobody may write into the list.
func (r *Rooms) JoinedMembers(ctx context.Context, roomID id.RoomID) ([]id.UserID, error) {
	ro, err := r.rosterFor(ctx, roomID)
	if err != nil {
		return nil, err
	}
	return ro.all.get(ro.joined.len(), keysOf(ro.joined)), nil
}

// LocalJoined lists the users of this server who are joined to a room. Nobody may write into the list.
func (r *Rooms) LocalJoined(ctx context.Context, roomID id.RoomID) ([]id.UserID, error) {
	ro, err := r.rosterFor(ctx, roomID)
	if err != nil {
		return nil, err
	}
	return ro.here.get(ro.local.len(), keysOf(ro.local)), nil
}

// JoinedServers lists the servers of those joined to a room. Nobody may write into the list.
func (r *Rooms) JoinedServers(ctx context.Context, roomID id.RoomID) ([]string, error) {
	ro, err := r.rosterFor(ctx, roomID)
	if err != nil {
		return nil, err
	}
	return ro.names.get(ro.servers.len(), keysOf(ro.servers)), nil
}
