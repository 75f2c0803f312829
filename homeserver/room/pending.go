package room

import (
	"sync"

	"maunium.net/go/mautrix/id"
)

// pending holds what has been decided and is not committed yet: state events and states, which later decisions rest on.
// Nobody but those who decide finds them here.
type pending struct {
	events sync.Map // nid → *Stored
	ids    sync.Map // event ID → *Stored
	states sync.Map // state ID → *State

	redactions sync.Map // ID of an event that is not known → ID of one that redacts it
}

func (p *pending) add(s *Stored) {
	p.events.Store(s.NID, s)
	p.ids.Store(s.ID(), s)
}

func (p *pending) remove(s *Stored) {
	p.events.Delete(s.NID)
	p.ids.CompareAndDelete(s.ID(), s)
}

func (p *pending) byNID(nid int64) (*Stored, bool) {
	v, ok := p.events.Load(nid)
	if !ok {
		return nil, false
	}
	return v.(*Stored), true
}

func (p *pending) byID(eventID id.EventID) (*Stored, bool) {
	v, ok := p.ids.Load(eventID)
	if !ok {
		return nil, false
	}
	return v.(*Stored), true
}

func (p *pending) state(sid int64) (*State, bool) {
	v, ok := p.states.Load(sid)
	if !ok {
		return nil, false
	}
	return v.(*State), true
}
