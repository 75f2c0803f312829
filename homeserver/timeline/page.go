package timeline

import (
	"context"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

const (
	defaultLimit = 10
	maxLimit     = 1000
	// scanBudget bounds how many events one request looks at when few of them pass the filter or may be seen.
	scanBudget = 5000
	// backfillRounds bounds how often one request asks other servers.
	backfillRounds = 5
)

// pageQuery asks for events from a place, in one direction.
type pageQuery struct {
	from      room.Order
	to        *room.Order
	backwards bool
	limit     int
	filter    *Filter
}

// page is what a reader gets: events in the direction asked for, and the place where the next page starts.
type page struct {
	events []Seen
	next   room.Order
	more   bool
}

// history reads raw history after a place (between events), in either direction.
func (t *Timelines) history(ctx context.Context, roomID id.RoomID, from room.Order, backwards bool, limit int) ([]*room.Stored, error) {
	return t.rooms.History(ctx, roomID, from, backwards, limit)
}

// page collects what the reader may see, scanning further where events are filtered out, and fetching older history from other
// servers where ours has a gap.
func (t *Timelines) page(ctx context.Context, a *access, q pageQuery) (page, error) {
	out := page{next: q.from}
	if q.limit == 0 {
		out.more = true
		return out, nil
	}
	ignored, err := t.accounts.IgnoredUsers(ctx, a.user)
	if err != nil {
		return out, err
	}
	v, err := t.viewer(ctx, a.user, a.room, ignored)
	if err != nil {
		return out, err
	}
	w := walk{t: t, a: a, q: q, v: v, out: &out}
	for scanned := 0; scanned < scanBudget; {
		want := q.limit - len(out.events)
		if !q.filter.All() {
			want = max(want*2, 100)
		}
		want = min(want, 500)
		evs, err := t.history(ctx, a.room, out.next, q.backwards, want)
		if err != nil {
			return out, err
		}
		scanned += len(evs)
		done, err := w.take(ctx, evs)
		if err != nil || done {
			return out, err
		}
		if len(evs) < want && !w.extended {
			// Clients that filter count on a token as long as something was found; the next page is then empty.
			out.more = len(out.events) > 0 && !q.filter.All()
			return out, nil
		}
		w.extended = false
	}
	out.more = true
	return out, nil
}

// walk is the state of one page being filled.
type walk struct {
	t         *Timelines
	a         *access
	q         pageQuery
	v         *Viewer
	out       *page
	backfills int
	extended  bool // older history arrived: what looked like the end is none
}

// take goes through events in reading order; done means that the page is finished.
func (w *walk) take(ctx context.Context, evs []*room.Stored) (done bool, err error) {
	for _, ev := range evs {
		if w.q.to != nil && (w.q.backwards && ev.Order <= *w.q.to || !w.q.backwards && ev.Order > *w.q.to) {
			return true, nil
		}
		if !w.q.backwards && ev.Order > w.a.until {
			return true, nil
		}
		if w.out.next = ev.Order; w.q.backwards {
			w.out.next--
		}
		if err := w.one(ctx, ev); err != nil {
			return false, err
		}
		if len(w.out.events) >= w.q.limit {
			w.out.more = !(w.q.backwards && ev.Type() == typeCreate && ev.IsState())
			return true, nil
		}
		if w.q.backwards {
			filled, err := w.fill(ctx, ev)
			if err != nil {
				return false, err
			}
			if filled {
				w.extended = true
				return false, nil // what was read after this event in evs is no longer next to it
			}
		}
	}
	return false, nil
}

func (w *walk) one(ctx context.Context, ev *room.Stored) error {
	if !w.q.filter.Event(ev) {
		return nil
	}
	m, ok, err := w.v.see(ctx, ev)
	if err == nil && ok {
		w.out.events = append(w.out.events, Seen{ev, m})
	}
	return err
}

// fill asks other servers for what comes before an event of whose predecessors some are unknown here.
func (w *walk) fill(ctx context.Context, ev *room.Stored) (bool, error) {
	if w.t.remote == nil || w.backfills >= backfillRounds {
		return false, nil
	}
	missing, err := w.t.missingBefore(ctx, ev)
	if err != nil || len(missing) == 0 {
		return false, err
	}
	w.backfills++
	n, err := w.t.remote.Backfill(ctx, w.a.room, []id.EventID{ev.ID()}, 100)
	if err != nil {
		w.backfills = backfillRounds // nobody can help now; what we have is shown
		return false, nil
	}
	return n > 0, nil
}
