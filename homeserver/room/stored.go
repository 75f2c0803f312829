package room

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Stored is an event as it is stored here. Immutable: a redaction gives a new value that shares the event.
type Stored struct {
	*event.Event
	NID        int64
	RoomNID    int64
	Pos        stream.Pos // 0: never was live
	Order      Order      // 0: not part of the room's history
	StateID    int64      // state before it; 0: not known
	CurrentID  int64      // the room's current state once this live event was in; 0: not live
	Rejected   bool
	SoftFailed bool
	Outlier    bool
	Historic   bool // came with older history
	Gap        bool // events before it are not known here
	RedactedBy id.EventID
	DeviceID   id.DeviceID // of the local sender
	TxnID      string      // given by the local sender
}

const (
	flagRejected = 1 << iota
	flagSoftFailed
	flagOutlier
	flagHistoric
	flagGap
)

func (s *Stored) flags() int64 {
	var f int64
	for _, b := range []struct {
		on  bool
		bit int64
	}{{s.Rejected, flagRejected}, {s.SoftFailed, flagSoftFailed}, {s.Outlier, flagOutlier}, {s.Historic, flagHistoric}, {s.Gap, flagGap}} {
		if b.on {
			f |= b.bit
		}
	}
	return f
}

func (s *Stored) setFlags(f int64) {
	s.Rejected, s.SoftFailed = f&flagRejected != 0, f&flagSoftFailed != 0
	s.Outlier, s.Historic = f&flagOutlier != 0, f&flagHistoric != 0
	s.Gap = f&flagGap != 0
}

// Pruned is the event as others may see it: without what redaction removes, if it was redacted.
func (s *Stored) Pruned() *Stored {
	if s.RedactedBy == "" || s.WasRedacted() {
		return s
	}
	pruned := *s
	pruned.Event = s.Event.Redacted()
	return &pruned
}

// ref names the event in a state.
func (s *Stored) ref() Ref { return Ref{s.NID, s.ID()} }

func (s *Stored) cost() int64 { return 900 + int64(len(s.JSON())) }

// events keeps stored events in memory, by number and by ID.
type events struct {
	byNID *lru[int64, *Stored]
	nids  *lru[id.EventID, int64] // shares the fate of byNID through its hook
}

func newEvents(budget int64) events {
	c := events{byNID: newLRU[int64, *Stored](budget), nids: newLRU[id.EventID, int64](1 << 60)}
	c.byNID.gone = func(_ int64, s *Stored) { c.nids.remove(s.ID()) }
	return c
}

func (c events) put(s *Stored) {
	c.byNID.put(s.NID, s, s.cost())
	c.nids.put(s.ID(), s.NID, 1)
}

func (c events) get(eventID id.EventID) (*Stored, bool) {
	nid, ok := c.nids.get(eventID)
	if !ok {
		return nil, false
	}
	return c.byNID.get(nid)
}

// drop forgets an event, so that it is read again.
func (c events) drop(eventID id.EventID) {
	if nid, ok := c.nids.get(eventID); ok {
		c.byNID.remove(nid)
	}
}

// Event returns an event by its ID: nil if it is not stored.
func (r *Rooms) Event(ctx context.Context, eventID id.EventID) (*Stored, error) {
	if s, ok := r.events.get(eventID); ok {
		return s, nil
	}
	m, err := r.Events(ctx, []id.EventID{eventID})
	return m[eventID], err
}

// Events returns those of these events that are stored, whatever their room and fate.
func (r *Rooms) Events(ctx context.Context, ids []id.EventID) (map[id.EventID]*Stored, error) {
	out := make(map[id.EventID]*Stored, len(ids))
	var missing []id.EventID
	for _, eventID := range ids {
		if s, ok := r.events.get(eventID); ok {
			out[eventID] = s
		} else {
			missing = append(missing, eventID)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	loaded, err := r.loadEventsByID(ctx, missing)
	if err != nil {
		return nil, fmt.Errorf("events by ID: %w", err)
	}
	for _, s := range loaded {
		out[s.ID()] = s
	}
	return out, nil
}

func (r *Rooms) eventByNID(ctx context.Context, nid int64) (*Stored, error) {
	if s, ok := r.events.byNID.get(nid); ok {
		return s, nil
	}
	list, err := r.eventsInOrder(ctx, []int64{nid})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// eventsInOrder returns these events, all of which must exist, in the order asked for.
func (r *Rooms) eventsInOrder(ctx context.Context, nids []int64) ([]*Stored, error) {
	out := make([]*Stored, len(nids))
	var missing []int64
	for i, nid := range nids {
		if s, ok := r.events.byNID.get(nid); ok {
			out[i] = s
		} else if s, ok := r.pending.byNID(nid); ok {
			out[i] = s
		} else {
			missing = append(missing, nid)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	loaded, err := r.loadEventsByNID(ctx, missing)
	if err != nil {
		return nil, fmt.Errorf("events by number: %w", err)
	}
	byNID := make(map[int64]*Stored, len(loaded))
	for _, s := range loaded {
		byNID[s.NID] = s
	}
	for i, nid := range nids {
		if out[i] == nil {
			if out[i] = byNID[nid]; out[i] == nil {
				return nil, fmt.Errorf("event number %d is not stored", nid)
			}
		}
	}
	return out, nil
}
