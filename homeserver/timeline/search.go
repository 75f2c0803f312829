package timeline

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	// searchBudget bounds how many events one search reads. Rooms are read newest first, so what is left out is the oldest.
	searchBudget = 50_000
	searchPage   = 500
)

// searchQuery is what to look for.
type searchQuery struct {
	words  []string
	keys   []string
	filter *Filter
	rank   bool // best first; otherwise newest first
	upTo   stream.Pos
}

// hit is an event that matches.
type hit struct {
	Seen
	rank float64
}

// searchable says in which member of the content an event type keeps its text.
var searchable = map[string]string{"m.room.message": "body", "m.room.name": "name", "m.room.topic": "topic"}

// search reads the history of the rooms and returns all that matches within the budget, in the order asked for.
func (t *Timelines) search(ctx context.Context, user id.UserID, rooms []id.RoomID, q searchQuery) ([]hit, error) {
	var hits []hit
	for _, roomID := range rooms {
		a, err := t.access(ctx, user, roomID)
		if err != nil {
			return nil, err
		}
		found, err := t.searchRoom(ctx, a, q, searchBudget/len(rooms))
		if err != nil {
			return nil, err
		}
		hits = append(hits, found...)
	}
	slices.SortStableFunc(hits, func(x, y hit) int {
		if q.rank {
			if c := cmp.Compare(y.rank, x.rank); c != 0 {
				return c
			}
		}
		if c := cmp.Compare(y.Timestamp(), x.Timestamp()); c != 0 {
			return c
		}
		return cmp.Compare(y.Order, x.Order)
	})
	return hits, nil
}

func (t *Timelines) searchRoom(ctx context.Context, a *access, q searchQuery, budget int) ([]hit, error) {
	ignored, err := t.accounts.IgnoredUsers(ctx, a.user)
	if err != nil {
		return nil, err
	}
	v, err := t.viewer(ctx, a.user, a.room, ignored)
	if err != nil {
		return nil, err
	}
	var hits []hit
	from := min(a.until, room.OrderAt(q.upTo))
	for budget > 0 {
		evs, err := t.history(ctx, a.room, from, true, min(searchPage, budget))
		if err != nil || len(evs) == 0 {
			return hits, err
		}
		budget -= len(evs)
		from = evs[len(evs)-1].Order - 1
		for _, ev := range evs {
			rank := q.match(ev)
			if rank == 0 || !q.filter.Event(ev) {
				continue
			}
			s, ok, err := v.See(ctx, ev)
			if err != nil {
				return nil, err
			}
			if ok {
				hits = append(hits, hit{s, rank})
			}
		}
	}
	return hits, nil
}

// match gives 0 if some word is missing, else how much of the text the words are.
func (q *searchQuery) match(ev *room.Stored) float64 {
	field, ok := searchable[ev.Type()]
	if !ok || ev.RedactedBy != "" || !slices.Contains(q.keys, "content."+field) {
		return 0
	}
	text, ok := ev.FieldString(field)
	if !ok {
		return 0
	}
	found := make([]int, len(q.words))
	total := 0
	for w := range wordsOf(text) {
		total++
		for i, wanted := range q.words {
			if w == wanted {
				found[i]++
			}
		}
	}
	sum := 0
	for _, n := range found {
		if n == 0 {
			return 0
		}
		sum += n
	}
	return float64(sum) / float64(total+1)
}

// wordsOf yields the words of a text in lower case.
func wordsOf(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) }) {
			if !yield(strings.ToLower(w)) {
				return
			}
		}
	}
}
