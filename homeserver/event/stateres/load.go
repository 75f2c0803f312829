package stateres

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// resolution is one call. Events that it must look into are kept; events that it only passes on the way are not.
type resolution struct {
	ctx      context.Context
	version  event.Version
	conflict Conflict
	src      Source
	events   map[id.EventID]*event.Event // nil value: asked for and not known
	create   *event.Event                // of versions whose events do not list it
}

// batch is how many events are asked for at once.
const batch = 500

// load makes the events available through r.events.
func (r *resolution) load(ids []id.EventID) error {
	missing := make([]id.EventID, 0, len(ids))
	for _, eventID := range ids {
		if _, known := r.events[eventID]; !known {
			r.events[eventID] = nil
			missing = append(missing, eventID)
		}
	}
	if len(r.events) > MaxWalk {
		return ErrTooLarge
	}
	for len(missing) > 0 {
		n := min(batch, len(missing))
		if err := r.ctx.Err(); err != nil {
			return err
		}
		got, err := r.src.Events(r.ctx, missing[:n])
		if err != nil {
			return err
		}
		for _, eventID := range missing[:n] {
			if ev := got[eventID]; ev != nil && ev.Version() == r.version {
				r.events[eventID] = ev
			}
		}
		missing = missing[n:]
	}
	return nil
}

// loadWithAuth also makes the auth events of the events available.
func (r *resolution) loadWithAuth(ids []id.EventID) error {
	if err := r.load(ids); err != nil {
		return err
	}
	var more []id.EventID
	for _, eventID := range ids {
		if ev := r.events[eventID]; ev != nil {
			more = append(more, ev.AuthEvents()...)
		}
	}
	return r.load(more)
}

// authState is what the event names as its auth events: those that are known, and the create event of the room in versions
// that do not list it.
func (r *resolution) authState(ev *event.Event, withRejected bool) auth.Events {
	ids := ev.AuthEvents()
	state := make(auth.Events, 0, len(ids)+1)
	for _, eventID := range ids {
		if a := r.events[eventID]; a != nil && (withRejected || !r.src.Rejected(eventID)) {
			state = append(state, a)
		}
	}
	if r.create != nil && (withRejected || !r.src.Rejected(r.create.ID())) {
		state = append(state, r.create)
	}
	return state
}

// loadCreate finds the create event which the room ID names.
func (r *resolution) loadCreate(anyEvent *event.Event) error {
	if !r.version.DomainlessRoomID() {
		return nil
	}
	createID := event.CreateIDOf(anyEvent.RoomID())
	if err := r.load([]id.EventID{createID}); err != nil {
		return err
	}
	r.create = r.events[createID]
	return nil
}
