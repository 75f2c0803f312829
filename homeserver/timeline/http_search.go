package timeline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// SearchIn is the request of PostSearch.
type SearchIn struct {
	NextBatch  string `query:"next_batch"`
	Categories struct {
		RoomEvents *SearchEvents `json:"room_events"`
	} `json:"search_categories"`
}

// SearchEvents is the criteria of a search for events.
type SearchEvents struct {
	Term         string          `json:"search_term"`
	Keys         []string        `json:"keys"`
	Filter       json.RawMessage `json:"filter"`
	OrderBy      string          `json:"order_by"`
	IncludeState bool            `json:"include_state"`
	Context      *struct {
		Before  *int `json:"before_limit"`
		After   *int `json:"after_limit"`
		Profile bool `json:"include_profile"`
	} `json:"event_context"`
	Groupings struct {
		GroupBy []struct {
			Key string `json:"key"`
		} `json:"group_by"`
	} `json:"groupings"`
}

// PostSearch looks for words in the rooms of the user.
//
// spec: cs#post_matrixclientv3search
func (t *Timelines) PostSearch(ctx context.Context, who web.Requester, in SearchIn) (web.Bytes, error) {
	c := in.Categories.RoomEvents
	if c == nil {
		return web.Bytes(`{"search_categories":{}}`), nil
	}
	q, offset, err := t.searchQuery(c, in.NextBatch)
	if err != nil {
		return nil, err
	}
	rooms, err := t.searchedRooms(ctx, who.UserID, q.filter)
	if err != nil {
		return nil, err
	}
	hits, err := t.search(database.Interruptible(ctx), who.UserID, rooms, q)
	if err != nil {
		return nil, err
	}
	limit := min(max(limitParam(nil, q.filter, defaultLimit), 1), 100)
	shown := hits[min(offset, len(hits)):min(offset+limit, len(hits))]
	w := searchWriter{t: t, ctx: ctx, who: who, c: c, q: q, o: RenderOptions{ForUser: who.UserID, Device: who.DeviceID}}
	w.dst = append(make([]byte, 0, 16<<10), `{"search_categories":{"room_events":{"count":`...)
	w.dst = strconv.AppendInt(w.dst, int64(len(hits)), 10)
	if err := w.results(shown); err != nil {
		return nil, err
	}
	w.groups(shown)
	if len(shown) == limit {
		w.dst = fmt.Appendf(w.dst, `,"next_batch":"%d_%d"`, offset+limit, q.upTo)
	}
	if c.IncludeState {
		if err := w.states(shown); err != nil {
			return nil, err
		}
	}
	return append(w.dst, '}', '}', '}'), nil
}

func (t *Timelines) searchQuery(c *SearchEvents, batch string) (q searchQuery, offset int, err error) {
	for w := range wordsOf(c.Term) {
		if !slices.Contains(q.words, w) && len(q.words) < 32 {
			q.words = append(q.words, w)
		}
	}
	if len(q.words) == 0 {
		return q, 0, mautrix.MInvalidParam.WithMessage("search_term has no words")
	}
	if q.keys = c.Keys; len(q.keys) == 0 {
		q.keys = []string{"content.body", "content.name", "content.topic"}
	}
	switch c.OrderBy {
	case "", "rank":
		q.rank = true
	case "recent":
	default:
		return q, 0, mautrix.MInvalidParam.WithMessage("order_by must be rank or recent")
	}
	if q.filter, err = filterParam(string(c.Filter)); err != nil {
		return q, 0, err
	}
	q.upTo = t.stream.Head()
	if batch != "" {
		n, at, ok := strings.Cut(batch, "_")
		pos, err1 := strconv.ParseInt(at, 10, 64)
		offset, err = strconv.Atoi(n)
		if !ok || err != nil || err1 != nil || offset < 0 {
			return q, 0, mautrix.MInvalidParam.WithMessage("Malformed next_batch")
		}
		q.upTo = min(q.upTo, stream.Pos(pos))
	}
	return q, offset, nil
}

// searchedRooms are the rooms the user is in, as far as the filter wants them.
func (t *Timelines) searchedRooms(ctx context.Context, user id.UserID, f *Filter) ([]id.RoomID, error) {
	members, err := t.rooms.Memberships(ctx, user)
	if err != nil {
		return nil, err
	}
	var rooms []id.RoomID
	for roomID, m := range members {
		if m.Membership == memberJoin && f.Room(roomID) {
			rooms = append(rooms, roomID)
		}
	}
	slices.Sort(rooms)
	return rooms, nil
}

// searchWriter writes the answer of a search.
type searchWriter struct {
	t   *Timelines
	ctx context.Context
	who web.Requester
	c   *SearchEvents
	q   searchQuery
	o   RenderOptions
	dst []byte
}

func (w *searchWriter) results(hits []hit) (err error) {
	w.dst = append(w.dst, `,"highlights":[`...)
	for i, word := range w.q.words {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = AppendString(w.dst, word)
	}
	w.dst = append(w.dst, `],"results":[`...)
	for i, h := range hits {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = strconv.AppendFloat(append(w.dst, `{"rank":`...), h.rank, 'f', 4, 64)
		if w.dst, err = w.t.AppendEvents(w.ctx, append(w.dst, `,"result":`...), []Seen{h.Seen}, w.o); err != nil {
			return err
		}
		if w.c.Context != nil {
			if err := w.context(h.Seen); err != nil {
				return err
			}
		}
		w.dst = append(w.dst, '}')
	}
	w.dst = append(w.dst, ']')
	return nil
}

func (w *searchWriter) context(s Seen) error {
	before, after := 5, 5
	if n := w.c.Context.Before; n != nil {
		before = min(max(*n, 0), 50)
	}
	if n := w.c.Context.After; n != nil {
		after = min(max(*n, 0), 50)
	}
	a, err := w.t.access(w.ctx, w.who.UserID, s.RoomID())
	if err != nil {
		return err
	}
	around, err := w.t.around(w.ctx, a, s, before, after, nil)
	if err != nil {
		return err
	}
	if w.dst, err = w.t.AppendEvents(w.ctx, append(w.dst, `,"context":{"events_before":[`...), around.before.events, w.o); err != nil {
		return err
	}
	if w.dst, err = w.t.AppendEvents(w.ctx, append(w.dst, `],"events_after":[`...), around.after.events, w.o); err != nil {
		return err
	}
	w.dst = append(AppendToken(append(w.dst, `],"start":"`...), around.before.next), '"')
	w.dst = append(AppendToken(append(w.dst, `,"end":"`...), around.after.next), '"')
	if w.c.Context.Profile {
		if err := w.profiles(append(append(around.before.events, s), around.after.events...)); err != nil {
			return err
		}
	}
	w.dst = append(w.dst, '}')
	return nil
}

// profiles writes names and avatars as the room has them.
func (w *searchWriter) profiles(evs []Seen) error {
	w.dst = append(w.dst, `,"profile_info":{`...)
	done := map[id.UserID]bool{}
	for _, s := range evs {
		if done[s.Sender()] {
			continue
		}
		done[s.Sender()] = true
		m, _, err := w.t.rooms.Member(w.ctx, s.RoomID(), s.Sender())
		if err != nil {
			return err
		}
		w.dst = append(appendKey(w.dst, string(s.Sender())), '{')
		start := len(w.dst)
		if m.DisplayName != "" {
			w.dst = AppendString(append(w.dst, `"displayname":`...), m.DisplayName)
		}
		if m.AvatarURL != "" {
			if len(w.dst) > start {
				w.dst = append(w.dst, ',')
			}
			w.dst = AppendString(append(w.dst, `"avatar_url":`...), m.AvatarURL)
		}
		w.dst = append(w.dst, '}')
	}
	w.dst = append(w.dst, '}')
	return nil
}

// groups lists the results by room or sender, if asked for.
func (w *searchWriter) groups(hits []hit) {
	if len(w.c.Groupings.GroupBy) == 0 {
		return
	}
	w.dst = append(w.dst, `,"groups":{`...)
	for _, by := range w.c.Groupings.GroupBy {
		if by.Key != "room_id" && by.Key != "sender" {
			continue
		}
		var order []string
		members := map[string][]string{}
		for _, h := range hits {
			key := string(h.RoomID())
			if by.Key == "sender" {
				key = string(h.Sender())
			}
			if members[key] == nil {
				order = append(order, key)
			}
			members[key] = append(members[key], string(h.ID()))
		}
		w.dst = append(appendKey(w.dst, by.Key), '{')
		for i, key := range order {
			w.dst = append(appendKey(w.dst, key), `{"results":[`...)
			for n, e := range members[key] {
				if n > 0 {
					w.dst = append(w.dst, ',')
				}
				w.dst = AppendString(w.dst, e)
			}
			w.dst = append(strconv.AppendInt(append(w.dst, `],"order":`...), int64(i+1), 10), '}')
		}
		w.dst = append(w.dst, '}')
	}
	w.dst = append(w.dst, '}')
}

// states writes the current state of the rooms found.
func (w *searchWriter) states(hits []hit) error {
	w.dst = append(w.dst, `,"state":{`...)
	done := map[id.RoomID]bool{}
	for _, h := range hits {
		if done[h.RoomID()] {
			continue
		}
		done[h.RoomID()] = true
		st, err := w.t.rooms.State(w.ctx, h.RoomID())
		if err != nil {
			return err
		}
		var evs []*room.Stored
		if evs, err = st.Events(w.ctx, func(event.Key) bool { return true }); err != nil {
			return err
		}
		w.dst = append(appendKey(w.dst, string(h.RoomID())), '[')
		w.dst = append(w.t.AppendState(w.dst, evs, w.o), ']')
	}
	w.dst = append(w.dst, '}')
	return nil
}
