package stream

import (
	"sync"
)

// tail is the newest part of the log in memory, and who waits for what comes.
type tail struct {
	mu     sync.RWMutex
	cap    Pos
	chunk  Pos
	chunks [][]entry // the ring, made piece by piece: position p is in place p mod cap
	start  Pos       // all positions from here to the head are in memory
	last   Pos       // the head, for those who hold mu
	topics map[Topic]*topic
	quiet  []quietTopic // topics that have neither marks nor waiters, oldest first
	rounds uint64

	watchers map[*watcher]struct{}
}

// entry is a place of the ring. A hole has another position, or none.
type entry struct {
	Change
	extra []Topic // from the audience
}

// topic is what is known of one topic.
type topic struct {
	last    Pos    // newest change that touched it; 0 if none is known, and then there is none in the tail
	marks   []mark // the changes that touched it in the tail, in order
	waiters []place
	round   uint64 // of its entry in quiet
}

// mark is a position and a kind.
type mark uint64

func makeMark(p Pos, k Kind) mark { return mark(uint64(p)<<8 | uint64(k)) }
func (m mark) pos() Pos           { return Pos(m >> 8) }
func (m mark) kind() Kind         { return Kind(m) }

// quietTopic is a topic that may be forgotten, unless it came to life again since.
type quietTopic struct {
	name  Topic
	round uint64
}

func (t *tail) init(size int, head Pos) {
	t.chunk = Pos(min(size, 1024))
	n := (Pos(size) + t.chunk - 1) / t.chunk
	t.cap = n * t.chunk
	t.chunks = make([][]entry, n)
	t.start, t.last = head+1, head
	t.topics = make(map[Topic]*topic)
	t.watchers = make(map[*watcher]struct{})
}

// at gives the place of a position, nil if nothing was ever there.
func (t *tail) at(p Pos) *entry {
	i := p % t.cap
	c := t.chunks[i/t.chunk]
	if c == nil {
		return nil
	}
	return &c[i%t.chunk]
}

// get gives the change at a position; nil if it is a hole or not in memory.
func (t *tail) get(p Pos) *entry {
	if e := t.at(p); e != nil && e.Pos == p {
		return e
	}
	return nil
}

// push appends changes; head is the newest position after them. The caller holds mu.
func (t *tail) push(changes []entry, head Pos) {
	for i := range changes {
		e := &changes[i]
		t.makeRoom(e.Pos)
		place := t.at(e.Pos)
		if place == nil {
			t.chunks[e.Pos%t.cap/t.chunk] = make([]entry, t.chunk)
			place = t.at(e.Pos)
		}
		room, user := e.topics()
		*place = *e
		t.touch(room, e)
		t.touch(user, e)
		for _, x := range e.extra {
			if x != room && x != user {
				t.touch(x, e)
			}
		}
	}
	t.makeRoom(head)
	t.last = head
}

// makeRoom forgets what is too old once the head is at p.
func (t *tail) makeRoom(p Pos) {
	for t.start <= p-t.cap {
		if e := t.get(t.start); e != nil {
			room, user := e.topics()
			t.unmark(room, e.Pos)
			t.unmark(user, e.Pos)
			for _, x := range e.extra {
				t.unmark(x, e.Pos)
			}
			*e = entry{}
		}
		t.start++
	}
}

// topic finds or makes a topic.
func (t *tail) topic(name Topic) *topic {
	x := t.topics[name]
	if x == nil {
		x = &topic{}
		t.topics[name] = x
	}
	return x
}

func (t *tail) touch(name Topic, e *entry) {
	if name == "" {
		return
	}
	x := t.topic(name)
	x.last = e.Pos
	x.marks = append(x.marks, makeMark(e.Pos, e.Kind))
}

// unmark takes away the oldest mark of a topic if it is of this position.
func (t *tail) unmark(name Topic, p Pos) {
	if name == "" {
		return
	}
	x := t.topics[name]
	if x == nil || len(x.marks) == 0 || x.marks[0].pos() != p {
		return
	}
	x.marks = x.marks[1:]
	if len(x.marks) == 0 {
		x.marks = nil
		t.rest(name, x)
	}
}

// rest notes that a topic has neither marks nor waiters, and forgets the topics that have rested longest. What is forgotten is
// only when they changed last; the database knows that too.
func (t *tail) rest(name Topic, x *topic) {
	if len(x.marks) > 0 || len(x.waiters) > 0 {
		return
	}
	if x.last == 0 {
		delete(t.topics, name)
		return
	}
	t.rounds++
	x.round = t.rounds
	t.quiet = append(t.quiet, quietTopic{name, x.round})
	for Pos(len(t.quiet)) > t.cap {
		old := t.quiet[0]
		t.quiet = t.quiet[1:]
		if y := t.topics[old.name]; y != nil && y.round == old.round && len(y.marks) == 0 && len(y.waiters) == 0 {
			delete(t.topics, old.name)
		}
	}
}

// untouched says whether certainly nothing newer than since touched a topic, which may be nil; unknown, that only the database
// can tell.
func (t *tail) untouched(x *topic, since Pos) (untouched, unknown bool) {
	if x != nil && x.last > 0 {
		return x.last <= since, false
	}
	return since+1 >= t.start, since+1 < t.start
}

// kindsIn are the kinds of the marks in (since, upTo].
func (x *topic) kindsIn(since, upTo Pos) (s KindSet) {
	for i := len(x.marks) - 1; i >= 0; i-- {
		p := x.marks[i].pos()
		if p <= since {
			break
		}
		if p <= upTo {
			s |= 1 << x.marks[i].kind()
		}
	}
	return s
}
