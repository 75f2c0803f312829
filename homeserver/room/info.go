package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

// Info is what is often asked about a room.
type Info struct {
	RoomID    id.RoomID
	Version   event.Version
	Known     bool // its state is known here
	Inside    bool // someone of this server is joined
	Encrypted bool
	Type      string // m.space …
	Creator   id.UserID
	Federated bool // not closed to other servers at its creation
}

// Info tells about a room; M_NOT_FOUND if it is not known here.
func (r *Rooms) Info(ctx context.Context, roomID id.RoomID) (Info, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return Info{}, err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return Info{}, err
	}
	info := Info{RoomID: roomID, Version: e.version, Known: h.state != nil, Inside: h.inside()}
	if h.state == nil {
		return info, nil
	}
	_, info.Encrypted = h.state.Get(event.Key{Type: typeEncryption})
	create, err := h.state.Event(ctx, typeCreate, "")
	if err != nil || create == nil {
		return info, err
	}
	var c createContent
	_ = json.Unmarshal(create.Content(), &c) // what has another type counts as absent
	info.Type, _ = c.Type.(string)
	info.Creator = create.Sender()
	info.Federated = c.Federate != false
	return info, nil
}

type createContent struct {
	Type     any `json:"type"`
	Federate any `json:"m.federate"`
}

// Known says whether a room is known here at all.
func (r *Rooms) Known(ctx context.Context, roomID id.RoomID) (bool, error) {
	e, err := r.acquire(ctx, roomID)
	if err == nil {
		r.release(e)
		return true, nil
	}
	if errors.Is(err, mautrix.MNotFound) {
		return false, nil
	}
	return false, err
}

// Counts are the numbers of joined and invited users.
func (r *Rooms) Counts(ctx context.Context, roomID id.RoomID) (joined, invited int, err error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return 0, 0, err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return 0, 0, err
	}
	return int(h.joined), int(h.invited), nil
}

// State is the current state of a room; empty for a room that we only have an invitation to.
func (r *Rooms) State(ctx context.Context, roomID id.RoomID) (*State, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer r.release(e)
	h, err := e.committed(ctx)
	if err != nil {
		return nil, err
	}
	if h.state == nil {
		return &State{r: r}, nil
	}
	return h.state, nil
}

// StateBefore is the state that an event was sent into; nil if that is not known.
func (r *Rooms) StateBefore(ctx context.Context, s *Stored) (*State, error) {
	if s.StateID == 0 {
		if s.Is(typeCreate, "") {
			return &State{r: r}, nil
		}
		return nil, nil
	}
	return r.stateByID(ctx, s.StateID)
}

// StateAfter is the state behind an event; nil if that is not known.
func (r *Rooms) StateAfter(ctx context.Context, s *Stored) (*State, error) {
	before, err := r.StateBefore(ctx, s)
	if err != nil || before == nil || !s.IsState() || s.Rejected {
		return before, err
	}
	after := *before
	after.id, after.m = -s.NID, before.m.set(stateKey(s.Key()), s.ref())
	return &after, nil
}

// List pages through all rooms known here, by ID.
func (r *Rooms) List(ctx context.Context, after id.RoomID, limit int) ([]id.RoomID, error) {
	list, err := database.Rows(ctx, r.db, scanRoomID, sqlRoomList, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list of rooms: %w", err)
	}
	return list, nil
}
