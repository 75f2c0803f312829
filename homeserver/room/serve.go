package room

import (
	"cmp"
	"container/heap"
	"context"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

var (
	errNoEvent   = mautrix.MNotFound.WithMessage("Event not found")
	errNotInside = mautrix.MForbidden.WithMessage("Your server is not in the room")
)

// Bounds of what other servers are given at once.
const (
	maxBackfill = 100
	maxMissing  = 20
	maxLooked   = 2000 // events looked at for one answer
	maxChain    = 400_000
)

// member opens a room that another server is inside.
func (r *Rooms) member(ctx context.Context, roomID id.RoomID, server string) (*roomEntry, *head, error) {
	e, h, err := r.resident(ctx, roomID, server)
	if err != nil {
		return nil, nil, err
	}
	ro, err := e.members(ctx)
	if err == nil {
		if _, ok := ro.servers.get(nameKey(server)); !ok {
			err = errNotInside
		}
	}
	if err != nil {
		r.release(e)
		return nil, nil, err
	}
	return e, h, nil
}

// EventFor is an event as a server of its room may see it. spec: ss#get_matrixfederationv1eventeventid
func (r *Rooms) EventFor(ctx context.Context, server string, eventID id.EventID) (*Stored, error) {
	s, err := r.Event(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if s == nil || s.Rejected {
		return nil, errNoEvent
	}
	e, _, err := r.member(ctx, s.RoomID(), server)
	if err != nil {
		return nil, errNoEvent // whoever may not see it does not learn that it exists
	}
	defer r.release(e)
	list, err := r.visibleTo(ctx, server, []*Stored{s})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// StateFor is the state before an event, with its auth chain. spec: ss#get_matrixfederationv1stateroomid
func (r *Rooms) StateFor(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) (state, chain []*Stored, err error) {
	e, _, err := r.member(ctx, roomID, server)
	if err != nil {
		return nil, nil, err
	}
	defer r.release(e)
	s, err := r.Event(ctx, eventID)
	if err != nil {
		return nil, nil, err
	}
	if s == nil || s.RoomID() != roomID || s.Outlier || s.Rejected {
		return nil, nil, errNoEvent
	}
	before, err := r.StateBefore(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if before == nil {
		return nil, nil, errNoEvent
	}
	if state, err = before.Events(ctx, nil); err != nil {
		return nil, nil, err
	}
	if chain, err = r.authChain(ctx, state); err != nil {
		return nil, nil, err
	}
	return pruned(state), pruned(chain), nil
}

// AuthChainFor lists the events that authorise an event, and those that authorise them.
// spec: ss#get_matrixfederationv1event_authroomideventid
func (r *Rooms) AuthChainFor(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) ([]*Stored, error) {
	e, _, err := r.member(ctx, roomID, server)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	s, err := r.Event(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if s == nil || s.RoomID() != roomID {
		return nil, errNoEvent
	}
	chain, err := r.authChain(ctx, []*Stored{s})
	return pruned(chain), err
}

// authChain lists all events that authorise these directly or not, without repetition; an event of the list itself is there
// only if it authorises another one. Oldest first.
func (r *Rooms) authChain(ctx context.Context, of []*Stored) ([]*Stored, error) {
	seen := map[id.EventID]bool{}
	var chain []*Stored
	wave := of
	for len(wave) > 0 {
		var ids []id.EventID
		for _, s := range wave {
			for _, a := range s.AuthEvents() {
				if !seen[a] {
					seen[a] = true
					ids = append(ids, a)
				}
			}
		}
		if len(seen) > maxChain {
			return nil, mautrix.MTooLarge.WithMessage("The auth chain is too long")
		}
		found, err := r.Events(ctx, ids)
		if err != nil {
			return nil, err
		}
		wave = wave[:0:0]
		for _, a := range ids {
			if s := found[a]; s != nil {
				wave = append(wave, s)
			}
		}
		chain = append(chain, wave...)
	}
	slices.SortStableFunc(chain, func(a, b *Stored) int { return cmp.Compare(a.Depth(), b.Depth()) })
	return chain, nil
}

// BackfillFor lists events and those before them, newest first. spec: ss#get_matrixfederationv1backfillroomid
func (r *Rooms) BackfillFor(ctx context.Context, server string, roomID id.RoomID, from []id.EventID, limit int) ([]*Stored, error) {
	e, _, err := r.member(ctx, roomID, server)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	list, err := r.walkBack(ctx, roomID, from, nil, min(max(limit, 1), maxBackfill), 0)
	if err != nil {
		return nil, err
	}
	return r.visibleTo(ctx, server, list)
}

// MissingFor lists the events between two edges, oldest first. spec: ss#post_matrixfederationv1get_missing_eventsroomid
func (r *Rooms) MissingFor(ctx context.Context, server string, roomID id.RoomID, earliest, latest []id.EventID, limit int, minDepth int64,
) ([]*Stored, error) {
	e, _, err := r.member(ctx, roomID, server)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	known, err := r.Events(ctx, latest)
	if err != nil {
		return nil, err
	}
	var from []id.EventID
	for _, eventID := range latest {
		if s := known[eventID]; s != nil && s.RoomID() == roomID {
			from = append(from, s.PrevEvents()...)
		}
	}
	stop := make(map[id.EventID]bool, len(earliest)+len(latest))
	for _, eventID := range append(slices.Clone(earliest), latest...) {
		stop[eventID] = true
	}
	list, err := r.walkBack(ctx, roomID, from, stop, min(max(limit, 1), maxMissing), minDepth)
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	return r.visibleTo(ctx, server, list)
}

// byDepth is a heap whose top is the deepest event.
type byDepth []*Stored

func (h byDepth) Len() int { return len(h) }
func (h byDepth) Less(i, j int) bool {
	if c := cmp.Compare(h[i].Depth(), h[j].Depth()); c != 0 {
		return c > 0
	}
	return h[i].NID > h[j].NID
}
func (h byDepth) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byDepth) Push(x any)   { *h = append(*h, x.(*Stored)) }
func (h *byDepth) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	*h = (*h)[:last]
	return s
}

// walkBack lists events and what they follow, deepest first. Rejected ones and outliers are passed over.
func (r *Rooms) walkBack(ctx context.Context, roomID id.RoomID, from []id.EventID, stop map[id.EventID]bool, limit int, minDepth int64) ([]*Stored, error) {
	seen := map[id.EventID]bool{}
	var open byDepth
	add := func(ids []id.EventID) error {
		var want []id.EventID
		for _, eventID := range ids {
			if !seen[eventID] && !stop[eventID] {
				seen[eventID] = true
				want = append(want, eventID)
			}
		}
		found, err := r.Events(ctx, want)
		if err != nil {
			return err
		}
		for _, eventID := range want {
			if s := found[eventID]; s != nil && s.RoomID() == roomID && !s.Outlier {
				heap.Push(&open, s)
			}
		}
		return nil
	}
	if err := add(from); err != nil {
		return nil, err
	}
	var out []*Stored
	for looked := 0; open.Len() > 0 && len(out) < limit && looked < maxLooked; looked++ {
		s := heap.Pop(&open).(*Stored)
		if s.Depth() < minDepth {
			break
		}
		if !s.Rejected {
			out = append(out, s)
		}
		if err := add(s.PrevEvents()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// MaySend says whether a user is in a room and has the power to send an event of a type; "" asks for membership only.
func (r *Rooms) MaySend(ctx context.Context, roomID id.RoomID, user id.UserID, evType string, isState bool) (bool, error) {
	s, err := r.State(ctx, roomID)
	if err != nil {
		return false, err
	}
	m, err := s.Event(ctx, typeMember, string(user))
	if err != nil || m == nil || m.Membership() != Joined {
		return false, err
	}
	if evType == "" {
		return true, nil
	}
	v := &view{ctx: ctx, s: s}
	levels := auth.PowerLevels(v)
	return levels.User(user) >= levels.Event(evType, isState), v.err
}

// ResolveLocalAlias finds the room behind an alias of this server. spec: ss#get_matrixfederationv1querydirectory
func (r *Rooms) ResolveLocalAlias(ctx context.Context, alias id.RoomAlias) (id.RoomID, []string, error) {
	if event.ServerOf(string(alias)) != r.server {
		return "", nil, errAliasNotFound
	}
	return r.ResolveAlias(ctx, alias)
}
