package room

import (
	"context"
	"fmt"

	"github.com/viaduc/viaduc/homeserver/event"
)

// visibleTo shows events as a server of the room may see them: those sent when nobody of it could read along lose all that
// redaction removes, so that the graph stays whole. spec: cs#room-history-visibility
func (r *Rooms) visibleTo(ctx context.Context, server string, list []*Stored) ([]*Stored, error) {
	out := make([]*Stored, len(list))
	seen := map[int64]bool{} // by state
	for i, s := range list {
		ok, known := seen[s.StateID]
		if !known || s.StateID == 0 || s.Is(typeVisibility, "") || s.Type() == typeMember {
			var err error
			if ok, err = r.serverSees(ctx, server, s); err != nil {
				return nil, err
			}
			if s.StateID != 0 && !s.IsState() {
				seen[s.StateID] = ok
			}
		}
		if out[i] = s.Pruned(); !ok && !s.WasRedacted() && !s.Is(typeCreate, "") {
			hidden := *s
			hidden.Event = s.Event.Redacted()
			out[i] = &hidden
		}
	}
	return out, nil
}

// serverSees looks at the state around an event.
func (r *Rooms) serverSees(ctx context.Context, server string, s *Stored) (bool, error) {
	if s.SenderServer() == server {
		return true, nil
	}
	if s.Type() == typeMember && s.IsState() && event.ServerOf(*s.StateKey()) == server {
		return true, nil
	}
	before, err := r.StateBefore(ctx, s)
	if err != nil {
		return false, err
	}
	if before == nil { // part of states and auth chains, which servers in the room may see
		return s.IsState(), nil
	}
	visibility, err := visibilityOf(ctx, before)
	if err != nil {
		return false, err
	}
	if s.Is(typeVisibility, "") {
		if now, ok := s.FieldString("history_visibility"); ok && open(now) {
			return true, nil
		}
	}
	if open(visibility) {
		return true, nil
	}
	return r.serverInside(ctx, before, server, visibility == "invited")
}

// visibilityOf is what the state says about the history; shared where it says nothing of use.
func visibilityOf(ctx context.Context, s *State) (string, error) {
	ev, err := s.Event(ctx, typeVisibility, "")
	if err != nil || ev == nil {
		return "shared", err
	}
	switch v, _ := ev.FieldString("history_visibility"); v {
	case "invited", "joined", "world_readable":
		return v, nil
	}
	return "shared", nil
}

// open says that whoever is in the room now may see it.
func open(visibility string) bool { return visibility == "shared" || visibility == "world_readable" }

// serverInside says whether somebody of a server was in the room, or invited if that counts.
func (r *Rooms) serverInside(ctx context.Context, s *State, server string, invited bool) (bool, error) {
	var nids []int64
	s.RangeType(typeMember, func(user string, ref Ref) bool {
		if event.ServerOf(user) == server {
			nids = append(nids, ref.NID)
		}
		return true
	})
	evs, err := r.eventsInOrder(ctx, nids)
	if err != nil {
		return false, fmt.Errorf("members of %s: %w", server, err)
	}
	for _, ev := range evs {
		if m := ev.Membership(); m == Joined || invited && m == Invited {
			return true, nil
		}
	}
	return false, nil
}
