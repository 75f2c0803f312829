package appservices

import (
	"context"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

const (
	// roomsKept bounds the rooms whose interest is remembered.
	roomsKept = 20_000
	// aliasesKept is how long the look-up of a room's aliases counts: that they change is told to nobody.
	aliasesKept = 2 * time.Second
)

// interests remembers which rooms a service is interested in.
type interests struct {
	mu      sync.Mutex
	members map[id.RoomID]bool // a user of its namespaces is joined
	aliases map[id.RoomID]aliased
}

type aliased struct {
	ours  bool
	until time.Time
}

func newInterests() interests {
	return interests{members: map[id.RoomID]bool{}, aliases: map[id.RoomID]aliased{}}
}

// interested: spec: as#registration, "namespaces".
func (d *delivery) interested(ctx context.Context, ev *room.Stored) (bool, error) {
	if d.s.OwnsUser(ev.Sender()) || (ev.Type() == "m.room.member" && ev.StateKey() != nil && d.s.OwnsUser(id.UserID(*ev.StateKey()))) {
		return true, nil
	}
	return d.inRoom(ctx, ev.RoomID())
}

// moved keeps what is remembered of a room true: members who are of no interest change nothing.
func (d *delivery) moved(ev *room.Stored) {
	member := ev.Type() == "m.room.member" && ev.StateKey() != nil && d.s.OwnsUser(id.UserID(*ev.StateKey()))
	if !member && ev.Type() != "m.room.canonical_alias" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if member {
		delete(d.members, ev.RoomID())
	} else {
		delete(d.aliases, ev.RoomID())
	}
}

func (d *delivery) inRoom(ctx context.Context, r id.RoomID) (bool, error) {
	if matches(d.s.Namespaces.Rooms, string(r), false) {
		return true, nil
	}
	in, err := d.hasMember(ctx, r)
	if err != nil || in || len(d.s.Namespaces.Aliases) == 0 {
		return in, err
	}
	return d.hasAlias(ctx, r)
}

func (d *delivery) hasMember(ctx context.Context, r id.RoomID) (bool, error) {
	d.mu.Lock()
	known, ok := d.members[r]
	d.mu.Unlock()
	if ok {
		return known, nil
	}
	members, err := d.a.o.Rooms.JoinedMembers(ctx, r)
	if err != nil {
		return false, err
	}
	for _, u := range members {
		if known = d.s.OwnsUser(u); known {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.members) >= roomsKept {
		clear(d.members)
	}
	d.members[r] = known
	return known, nil
}

func (d *delivery) hasAlias(ctx context.Context, r id.RoomID) (bool, error) {
	d.mu.Lock()
	known, ok := d.aliases[r]
	d.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.ours, nil
	}
	aliases, err := d.a.o.Rooms.Aliases(ctx, r)
	if err != nil {
		return false, err
	}
	known = aliased{until: time.Now().Add(aliasesKept)}
	for _, alias := range aliases {
		known.ours = known.ours || d.s.OwnsAlias(alias)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.aliases) >= roomsKept {
		clear(d.aliases)
	}
	d.aliases[r] = known
	return known.ours, nil
}

// shares says whether a user is in a room that the service is interested in.
func (d *delivery) shares(ctx context.Context, user id.UserID) (bool, error) {
	rooms, err := d.a.o.Rooms.RoomsOf(ctx, user)
	if err != nil {
		return false, err
	}
	for _, r := range rooms {
		if ok, err := d.inRoom(ctx, r); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}
