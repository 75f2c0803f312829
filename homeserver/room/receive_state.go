package room

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

// place is an entry of a state.
type place struct {
	key event.Key
	ref Ref
}

const sqlPlaces = `SELECT event_id, nid, type, state_key, flags FROM events WHERE event_id IN LIST($1) AND room_nid = $2`

// placeRow is what is looked at of an event that another server names as part of a state.
type placeRow struct {
	place
	state    bool
	rejected bool
}

func scanPlace(s database.Scanner) (p placeRow, err error) {
	var key sql.NullString
	var flags int64
	err = s.Scan(&p.ref.EventID, &p.ref.NID, &p.key.Type, &key, &flags)
	p.key.StateKey, p.state = key.String, key.Valid
	p.rejected = flags&flagRejected != 0
	return p, err
}

// placesOf finds stored events of the room without reading them.
func (in *intake) placesOf(ctx context.Context, ids []id.EventID) (map[id.EventID]placeRow, error) {
	out := make(map[id.EventID]placeRow, len(ids))
	for len(ids) > 0 {
		part := ids[:min(len(ids), loadBatch)]
		ids = ids[len(part):]
		rows, err := database.Rows(in.r.db.Outside(ctx), in.r.db, scanPlace, sqlPlaces, database.List(part), in.e.nid)
		if err != nil {
			return nil, fmt.Errorf("entries of a state: %w", err)
		}
		for _, p := range rows {
			out[p.ref.EventID] = p
		}
	}
	return out, nil
}

// stateBehind is the state behind an event that has no place here, as the other server tells it; all its events are stored
// afterwards. What cannot be had or does not pass the rules is left out.
// spec: ss#get_matrixfederationv1state_idsroomid
func (in *intake) stateBehind(ctx context.Context, at id.EventID) ([]place, error) {
	if places, ok := in.behind[at]; ok {
		return places, nil
	}
	if in.r.Remote == nil {
		return nil, errPrevMissing
	}
	if in.edges++; in.edges > maxEdges {
		return nil, errTooManyAtOnce
	}
	state, chain, err := in.r.Remote.StateIDs(ctx, in.origin, in.e.id, at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStateUncertain, err)
	}
	if len(state)+len(chain) > maxStateFetch {
		return nil, errTooManyAtOnce
	}
	all := append(append(append(make([]id.EventID, 0, len(state)+len(chain)+1), state...), chain...), at)
	if err := in.fetchState(ctx, at, all); err != nil {
		return nil, err
	}
	rows, err := in.placesOf(ctx, append(state, at))
	if err != nil {
		return nil, err
	}
	places, err := in.collect(rows, state, at)
	if err != nil {
		return nil, err
	}
	if in.behind == nil {
		in.behind = map[id.EventID][]place{}
	}
	in.behind[at] = places
	return places, nil
}

// collect makes a state of rows: that of the IDs, and the event itself if it is one.
func (in *intake) collect(rows map[id.EventID]placeRow, state []id.EventID, at id.EventID) ([]place, error) {
	self, ok := rows[at]
	if !ok {
		return nil, errPrevMissing
	}
	byKey := make(map[event.Key]place, len(state)+1)
	for _, eventID := range state {
		p, ok := rows[eventID]
		if !ok || !p.state || p.rejected {
			continue
		}
		if _, twice := byKey[p.key]; twice {
			return nil, errStateUncertain
		}
		byKey[p.key] = p.place
	}
	if self.state && !self.rejected {
		byKey[self.key] = self.place
	}
	if _, ok := byKey[event.Key{Type: typeCreate}]; !ok {
		return nil, errStateUncertain
	}
	places := make([]place, 0, len(byKey))
	for _, p := range byKey {
		places = append(places, p)
	}
	return places, nil
}

// fetchState gets those events that are not stored: each by itself if they are few, else the whole state.
func (in *intake) fetchState(ctx context.Context, at id.EventID, all []id.EventID) error {
	missing, err := in.notStored(ctx, all)
	if err != nil || len(missing) == 0 {
		return err
	}
	if len(missing) > fewEvents && len(missing)*10 > len(all) {
		state, chain, err := in.r.Remote.State(ctx, in.origin, in.e.id, at)
		if err == nil {
			raw := append(append(make([]json.RawMessage, 0, len(state)+len(chain)), chain...), state...)
			if err := in.storeBeside(ctx, in.signed(ctx, in.parse(raw, maxStateFetch))); err != nil {
				return err
			}
		}
		if missing, err = in.notStored(ctx, all); err != nil {
			return err
		}
	}
	if len(missing) > maxSingly {
		missing = append(missing[:maxSingly:maxSingly], at)
	}
	return in.storeBeside(ctx, in.signed(ctx, in.getEvents(ctx, missing, map[id.EventID]bool{})))
}

const (
	fewEvents = 8    // asked for one by one whatever their share
	maxSingly = 2000 // asked for one by one
	askers    = 8    // questions at once
)

func (in *intake) notStored(ctx context.Context, ids []id.EventID) ([]id.EventID, error) {
	known, err := in.placesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	var missing []id.EventID
	seen := map[id.EventID]bool{}
	for _, eventID := range ids {
		if _, ok := known[eventID]; !ok && !seen[eventID] {
			seen[eventID] = true
			missing = append(missing, eventID)
		}
	}
	return missing, nil
}

// getEvents asks for events one by one, a few at a time. asked remembers those asked for.
func (in *intake) getEvents(ctx context.Context, ids []id.EventID, asked map[id.EventID]bool) []*event.Event {
	found := make([][]*event.Event, len(ids))
	var wg sync.WaitGroup
	slots := make(chan struct{}, askers)
	for i, eventID := range ids {
		if asked[eventID] {
			continue
		}
		asked[eventID] = true
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			raw, err := in.r.Remote.Event(ctx, in.origin, eventID)
			if err != nil {
				return
			}
			if evs := in.parse([]json.RawMessage{raw}, 1); len(evs) == 1 && evs[0].ID() == eventID {
				found[i] = evs
			}
		})
	}
	wg.Wait()
	var out []*event.Event
	for _, evs := range found {
		out = append(out, evs...)
	}
	return out
}
