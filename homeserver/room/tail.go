package room

import (
	"sort"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// tailSize is how many of a room's newest live events are at hand without asking the database.
const tailSize = 128

// tail holds all live events of a room with a position behind from, oldest first. The lists handed out are never written
// into: adding appends behind their end.
type tail struct {
	from stream.Pos
	list []*Stored
}

func (t *tail) add(s *Stored) {
	if len(t.list) >= 2*tailSize {
		t.from = t.list[len(t.list)-tailSize-1].Pos
		t.list = append(make([]*Stored, 0, 2*tailSize+1), t.list[len(t.list)-tailSize:]...)
	}
	t.list = append(t.list, s)
}

// replace puts a new value of the same event.
func (t *tail) replace(s *Stored) {
	for i, old := range t.list {
		if old.NID == s.NID {
			t.list = append([]*Stored(nil), t.list...)
			t.list[i] = s
			return
		}
	}
}

// behind is the index of the first event with a position behind pos.
func (t *tail) behind(pos stream.Pos) int {
	return sort.Search(len(t.list), func(i int) bool { return t.list[i].Pos > pos })
}

// live answers Rooms.Live from memory, if that is possible.
func (e *roomEntry) live(since, upTo stream.Pos, limit int) (list []*Stored, limited, ok bool) {
	e.mu.Lock()
	t := e.tail
	e.mu.Unlock()
	end := t.behind(upTo)
	start := t.behind(since)
	if since < t.from && end-start < limit { // memory does not reach so far back
		return nil, false, false
	}
	if start > end {
		return nil, false, true
	}
	if limited = end-start > limit || since < t.from; end-start > limit {
		start = end - limit
	}
	return t.list[start:end:end], limited, true
}

// stateAt answers Rooms.StateAt from memory.
func (e *roomEntry) stateAt(pos stream.Pos) (*State, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil || pos < e.tail.from {
		return nil, false
	}
	n := e.tail.behind(pos)
	if n == len(e.tail.list) { // nothing happened since
		if e.current.state == nil {
			return &State{r: e.r}, true
		}
		return e.current.state, true
	}
	if n == 0 {
		return nil, false
	}
	return e.r.states.get(e.tail.list[n-1].CurrentID)
}
