package room

import (
	"cmp"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// sortByHistory puts events behind those that they follow.
func sortByHistory(evs []*event.Event) { sortBehind(evs, (*event.Event).PrevEvents) }

// sortByAuth puts events behind those that authorise them.
func sortByAuth(evs []*event.Event) { sortBehind(evs, (*event.Event).AuthEvents) }

// sortBehind puts events behind those of them that they name; otherwise lesser depth comes first. Those of a loop, which the
// IDs of versions 1 and 2 allow, and all behind it come last.
func sortBehind(evs []*event.Event, names func(*event.Event) []id.EventID) {
	slices.SortStableFunc(evs, func(a, b *event.Event) int { return cmp.Compare(a.Depth(), b.Depth()) })
	index := make(map[id.EventID]int, len(evs))
	for i, ev := range evs {
		index[ev.ID()] = i
	}
	waits := make([]int, len(evs))
	next := make([][]int, len(evs))
	for i, ev := range evs {
		for _, n := range names(ev) {
			if j, ok := index[n]; ok {
				waits[i]++
				next[j] = append(next[j], i)
			}
		}
	}
	sorted := make([]*event.Event, 0, len(evs))
	done := make([]bool, len(evs))
	var queue []int
	for i := range evs {
		if waits[i] > 0 {
			continue
		}
		queue = append(queue, i)
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		sorted, done[i] = append(sorted, evs[i]), true
		for _, j := range next[i] {
			if waits[j]--; waits[j] == 0 {
				queue = append(queue, j)
			}
		}
	}
	for i, ev := range evs {
		if !done[i] {
			sorted = append(sorted, ev)
		}
	}
	copy(evs, sorted)
}
