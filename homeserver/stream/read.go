package stream

import (
	"cmp"
	"context"
	"slices"

	"github.com/viaduc/viaduc/homeserver/database"
)

// Touched tells which kinds of changes touched each topic in (since, upTo]; topics that nothing touched are absent. It may
// name a kind that has an audience too often, if the window begins before the tail.
func (s *Stream) Touched(ctx context.Context, since, upTo Pos, topics []Topic) (map[Topic]KindSet, error) {
	var out map[Topic]KindSet
	var unknown []Topic
	t := &s.tail
	t.mu.RLock()
	inTail := since+1 >= t.start
	for _, name := range topics {
		x := t.topics[name]
		if untouched, _ := t.untouched(x, since); untouched {
			continue
		}
		if !inTail {
			unknown = append(unknown, name)
			continue
		}
		if k := x.kindsIn(since, upTo); k != 0 {
			if out == nil {
				out = make(map[Topic]KindSet)
			}
			out[name] |= k
		}
	}
	t.mu.RUnlock()
	if len(unknown) == 0 || since >= upTo {
		return out, nil
	}
	return s.touchedSQL(ctx, since, upTo, unknown)
}

// scanWindow is the size of window up to which reading all of it is cheaper than asking for each topic.
const scanWindow = 2000

func (s *Stream) touchedSQL(ctx context.Context, since, upTo Pos, topics []Topic) (map[Topic]KindSet, error) {
	out := make(map[Topic]KindSet)
	if upTo-since <= s.scan || s.scan > 0 && upTo-since <= 4*Pos(len(topics)) {
		changes, err := database.Rows(ctx, s.db, scanChange, rangeQuery, since, upTo, upTo-since)
		if err != nil {
			return nil, err
		}
		asked := make(map[Topic]struct{}, len(topics))
		for _, name := range topics {
			asked[name] = struct{}{}
		}
		for i := range changes {
			s.eachTopic(ctx, &changes[i], func(name Topic) {
				if _, ok := asked[name]; ok {
					out[name] |= 1 << changes[i].Kind
				}
			})
		}
		return out, nil
	}
	type pair struct {
		topic Topic
		kind  Kind
	}
	scan := func(r database.Scanner) (p pair, err error) {
		err = r.Scan(&p.topic, &p.kind)
		return p, err
	}
	for _, ask := range []struct {
		query string
		kinds KindSet
	}{{touchedRoomsQuery, All &^ private}, {touchedUsersQuery, All &^ public}} {
		pairs, err := database.Rows(ctx, s.db, scan, ask.query, database.List(topics), database.List(ask.kinds.list()), since, upTo)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			out[p.topic] |= 1 << p.kind
		}
	}
	if s.audience != 0 {
		for _, name := range topics {
			out[name] |= s.audience
		}
	}
	return out, nil
}

// eachTopic calls fn for all topics that a change touches.
func (s *Stream) eachTopic(ctx context.Context, c *Change, fn func(Topic)) {
	room, user := c.topics()
	if room != "" {
		fn(room)
	}
	if user != "" {
		fn(user)
	}
	for _, x := range s.extra(ctx, c) {
		if x != room && x != user {
			fn(x)
		}
	}
}

// extra asks the audience of a change.
func (s *Stream) extra(ctx context.Context, c *Change) []Topic {
	if s.audience.Has(c.Kind) {
		return s.audiences[c.Kind](ctx, *c)
	}
	return nil
}

// Changes gives the rows of these kinds in (since, upTo] that touch one of the topics; all of them if topics is nil.
func (s *Stream) Changes(ctx context.Context, since, upTo Pos, of KindSet, topics []Topic) ([]Change, error) {
	if topics == nil {
		out, _, err := s.some(ctx, since, upTo, of, int(max(upTo-since, 0)))
		return out, err
	}
	if since >= upTo || of == 0 || len(topics) == 0 {
		return nil, nil
	}
	t := &s.tail
	t.mu.RLock()
	if since+1 < t.start {
		t.mu.RUnlock()
		return s.changesSQL(ctx, since, upTo, of, topics)
	}
	defer t.mu.RUnlock()
	var found []Pos
	for _, name := range topics {
		x := t.topics[name]
		if x == nil || x.last <= since {
			continue
		}
		for i := len(x.marks) - 1; i >= 0 && x.marks[i].pos() > since; i-- {
			if m := x.marks[i]; m.pos() <= upTo && of.Has(m.kind()) {
				found = append(found, m.pos())
			}
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	out := make([]Change, 0, len(found))
	for _, p := range found {
		if e := t.get(p); e != nil {
			out = append(out, e.Change)
		}
	}
	return out, nil
}

// some gives at most limit changes of these kinds in (since, upTo], and how far it looked.
func (s *Stream) some(ctx context.Context, since, upTo Pos, of KindSet, limit int) (out []Change, seen Pos, err error) {
	if since >= upTo || of == 0 {
		return nil, max(since, upTo), nil
	}
	t := &s.tail
	t.mu.RLock()
	if since+1 >= t.start {
		defer t.mu.RUnlock()
		upTo = min(upTo, t.last)
		for p := since + 1; p <= upTo; p++ {
			if e := t.get(p); e != nil && of.Has(e.Kind) {
				if len(out) == limit {
					return out, p - 1, nil
				}
				out = append(out, e.Change)
			}
		}
		return out, upTo, nil
	}
	t.mu.RUnlock()
	out, err = database.Rows(ctx, s.db, scanChange, kindsQuery, since, upTo, database.List(of.list()), limit)
	if len(out) == limit && limit > 0 {
		return out, out[limit-1].Pos, err
	}
	return out, upTo, err
}

func (s *Stream) changesSQL(ctx context.Context, since, upTo Pos, of KindSet, topics []Topic) ([]Change, error) {
	names := database.List(topics)
	var all []Change
	for _, ask := range []struct {
		query string
		kinds KindSet
	}{{roomsQuery, of &^ private}, {usersQuery, of &^ public}} {
		rows, err := database.Rows(ctx, s.db, scanChange, ask.query, names, database.List(ask.kinds.list()), since, upTo)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	if of &= s.audience; of != 0 {
		rows, err := database.Rows(ctx, s.db, scanChange, kindsQuery, since, upTo, database.List(of.list()), upTo-since)
		if err != nil {
			return nil, err
		}
		for _, c := range rows {
			if slices.ContainsFunc(s.extra(ctx, &c), func(x Topic) bool { return slices.Contains(topics, x) }) {
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Pos, b.Pos) })
	return slices.CompactFunc(all, func(a, b Change) bool { return a.Pos == b.Pos }), nil
}
