package clientsync

import (
	"cmp"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// ranked is a room in a list.
type ranked struct {
	bump stream.Pos
	room id.RoomID
}

// ranking is the order of a user's rooms at some position. It never changes.
type ranking struct {
	view    *view
	ignored uintptr
	wishes  *policy.Invites
	at      stream.Pos
	rooms   []ranked
}

// ranking orders the user's rooms: those joined, invited to and knocked on, the newest first. What it was last time is brought up
// to date, as long as the memberships are the same.
func (s *Syncs) ranking(ctx context.Context, user id.UserID, v *view, ignored map[id.UserID]struct{}, upTo stream.Pos) ([]ranked, error) {
	wishes, err := s.Policy.Invites(ctx, user)
	if err != nil {
		return nil, err
	}
	r := &ranking{view: v, ignored: reflect.ValueOf(ignored).Pointer(), wishes: wishes, at: upTo}
	old, ok := s.rankings.Get(user)
	if ok && old.view == v && old.ignored == r.ignored && old.wishes == wishes && old.at <= upTo {
		if err := s.rankAgain(ctx, r, old); err != nil {
			return nil, err
		}
	} else {
		r.rooms = make([]ranked, 0, len(v.joined)+8)
		for _, m := range v.members {
			if m.Membership == memberLeave || m.Membership == memberBan || hidden(m, ignored, wishes) {
				continue
			}
			b, err := s.bumpStamp(ctx, m, upTo)
			if err != nil {
				return nil, err
			}
			r.rooms = append(r.rooms, ranked{b, m.RoomID})
		}
		slices.SortFunc(r.rooms, compareRanks)
	}
	s.rankings.Put(user, r, int64(4+len(r.rooms)))
	return r.rooms, nil
}

// rankAgain moves the rooms with new events.
func (s *Syncs) rankAgain(ctx context.Context, r, old *ranking) error {
	r.rooms = old.rooms
	touched, err := s.Stream.Touched(ctx, old.at, r.at, r.view.topics[1:])
	if err != nil {
		return err
	}
	copied := false
	for i := range r.rooms {
		if !touched[stream.RoomTopic(r.rooms[i].room)].Has(stream.Event) {
			continue
		}
		b, err := s.bumpStamp(ctx, r.view.members[r.rooms[i].room], r.at)
		if err != nil {
			return err
		}
		if b != r.rooms[i].bump && !copied {
			r.rooms, copied = slices.Clone(r.rooms), true
		}
		if copied {
			r.rooms[i].bump = b
		}
	}
	if copied {
		slices.SortFunc(r.rooms, compareRanks)
	}
	return nil
}

func compareRanks(a, b ranked) int {
	if c := cmp.Compare(b.bump, a.bump); c != 0 {
		return c
	}
	return cmp.Compare(a.room, b.room)
}

// personal is what a user says about rooms: which are direct chats, and tags.
type personal struct {
	at     stream.Pos
	direct map[id.RoomID]struct{}
	tags   map[id.RoomID][]string
}

// personal reads the user's account data again only when it changed.
func (s *Syncs) personal(ctx context.Context, user id.UserID, upTo stream.Pos) (*personal, error) {
	if p, ok := s.personals.Get(user); ok {
		topic := stream.UserTopic(user)
		touched, err := s.Stream.Touched(ctx, p.at, upTo, []stream.Topic{topic})
		if err != nil {
			return nil, err
		}
		if !touched[topic].Has(stream.AccountData) {
			return p, nil
		}
	}
	data, err := s.Accounts.AccountDataSince(ctx, user, 0, upTo)
	if err != nil {
		return nil, err
	}
	p := &personal{at: upTo, direct: map[id.RoomID]struct{}{}, tags: map[id.RoomID][]string{}}
	for _, d := range data {
		switch {
		case d.RoomID == "" && d.Type == "m.direct":
			var direct map[string][]id.RoomID
			if json.Unmarshal(d.Content, &direct) == nil {
				for _, rooms := range direct {
					for _, r := range rooms {
						p.direct[r] = struct{}{}
					}
				}
			}
		case d.RoomID != "" && d.Type == "m.tag":
			gjson.GetBytes(d.Content, "tags").ForEach(func(tag, _ gjson.Result) bool {
				p.tags[d.RoomID] = append(p.tags[d.RoomID], tag.Str)
				return true
			})
		}
	}
	s.personals.Put(user, p, int64(4+len(p.direct)+len(p.tags)))
	return p, nil
}

// roomFacts are what filters look at.
type roomFacts struct {
	encrypted bool
	kind      string
}

// facts finds out about a room: from its state, or from what was told with an invite.
func (s *Syncs) facts(ctx context.Context, m room.Member) (roomFacts, error) {
	info, err := s.Rooms.Info(ctx, m.RoomID)
	if err != nil {
		return roomFacts{}, err
	}
	if m.Membership == memberJoin || info.Inside {
		return roomFacts{info.Encrypted, info.Type}, nil
	}
	stripped, err := s.Rooms.InviteState(ctx, m.RoomID, m.UserID)
	if err != nil {
		return roomFacts{}, err
	}
	var f roomFacts
	for _, ev := range stripped {
		switch gjson.GetBytes(ev, "type").Str {
		case "m.room.encryption":
			f.encrypted = true
		case typeCreate:
			f.kind = gjson.GetBytes(ev, "content.type").Str
		}
	}
	return f, nil
}

// none says that a list takes every room.
func (f *filtersIn) none() bool {
	return f.IsDM == nil && f.IsEncrypted == nil && f.IsInvite == nil && f.RoomTypes == nil && f.NotRoomTypes == nil &&
		f.Tags == nil && f.NotTags == nil && len(f.Spaces) == 0
}

// take says whether a room passes a list's filters.
func (f *filtersIn) take(ctx context.Context, s *Syncs, m room.Member, p *personal) (bool, error) {
	if f.IsInvite != nil && (m.Membership == memberInvite) != *f.IsInvite {
		return false, nil
	}
	if f.IsDM != nil {
		if _, dm := p.direct[m.RoomID]; dm != *f.IsDM {
			return false, nil
		}
	}
	if f.Tags != nil && !overlap(f.Tags, p.tags[m.RoomID]) || overlap(f.NotTags, p.tags[m.RoomID]) {
		return false, nil
	}
	if len(f.Spaces) > 0 {
		if in, err := s.inSpaces(ctx, m.RoomID, f.Spaces); err != nil || !in {
			return false, err
		}
	}
	if f.IsEncrypted == nil && f.RoomTypes == nil && f.NotRoomTypes == nil {
		return true, nil
	}
	facts, err := s.facts(ctx, m)
	if err != nil {
		return false, err
	}
	if f.IsEncrypted != nil && facts.encrypted != *f.IsEncrypted {
		return false, nil
	}
	return (f.RoomTypes == nil || hasType(f.RoomTypes, facts.kind)) && !hasType(f.NotRoomTypes, facts.kind), nil
}

// hasType: null stands for rooms without a type.
func hasType(list []*string, kind string) bool {
	for _, t := range list {
		if t == nil && kind == "" || t != nil && *t == kind {
			return true
		}
	}
	return false
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// inSpaces says whether one of the spaces names the room as its child.
func (s *Syncs) inSpaces(ctx context.Context, roomID id.RoomID, spaces []string) (bool, error) {
	for _, space := range spaces {
		st, err := s.Rooms.State(ctx, id.RoomID(space))
		if err != nil {
			continue // a space that is not known here has no children here
		}
		ev, err := st.Event(ctx, "m.space.child", string(roomID))
		if err != nil {
			return false, err
		}
		if ev != nil && strings.HasPrefix(string(ev.Field("via")), "[") {
			return true, nil
		}
	}
	return false, nil
}

// selection is what a request wants at this moment.
type selection struct {
	rooms  map[id.RoomID]*selected
	order  []*selected
	slab   []selected // where they lie
	counts map[string]int
}

// selected is a room that the request wants to hear of.
type selected struct {
	member     room.Member
	bump       stream.Pos
	want       *wanted
	lists      []string // in whose windows it is
	subscribed bool
}

// choose applies lists and subscriptions to the ranking.
func (a *slide) choose() (*selection, error) {
	ranks, err := a.s.ranking(a.ctx, a.req.user, a.view, a.ignored, a.upTo)
	if err != nil {
		return nil, err
	}
	sel := &selection{rooms: map[id.RoomID]*selected{}, counts: map[string]int{}}
	for name, l := range a.in.Lists {
		if err := a.chooseList(sel, name, &l, ranks); err != nil {
			return nil, err
		}
	}
	wishes, err := a.s.Policy.Invites(a.ctx, a.req.user)
	if err != nil {
		return nil, err
	}
	for roomID, c := range a.in.Subscriptions {
		m, ok := a.view.members[roomID]
		if !ok || m.Membership == memberLeave || m.Membership == memberBan || hidden(m, a.ignored, wishes) {
			continue
		}
		b, err := a.s.bumpStamp(a.ctx, m, a.upTo)
		if err != nil {
			return nil, err
		}
		sel.want(m, b, newWanted(c)).subscribed = true
	}
	return sel, nil
}

func (a *slide) chooseList(sel *selection, name string, l *listIn, ranks []ranked) error {
	want, names, n := newWanted(l.roomConfigIn), []string{name}, 0
	all := l.Filters.none()
	for _, r := range ranks {
		if !all {
			ok, err := l.Filters.take(a.ctx, a.s, a.view.members[r.room], a.personal)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		if slices.ContainsFunc(l.Ranges, func(x [2]int) bool { return n >= x[0] && n <= x[1] }) {
			s := sel.want(a.view.members[r.room], r.bump, want)
			if s.lists == nil {
				s.lists = names
			} else {
				s.lists = append(slices.Clone(s.lists), name)
			}
		}
		n++
	}
	sel.counts[name] = n
	return nil
}

// want adds a room; what is wanted of it twice is united.
func (sel *selection) want(m room.Member, bump stream.Pos, w *wanted) *selected {
	s := sel.rooms[m.RoomID]
	if s == nil {
		if len(sel.slab) == cap(sel.slab) {
			sel.slab = make([]selected, 0, 64)
		}
		sel.slab = append(sel.slab, selected{member: m, bump: bump, want: w})
		s = &sel.slab[len(sel.slab)-1]
		sel.rooms[m.RoomID] = s
		sel.order = append(sel.order, s)
	} else {
		s.want = s.want.with(w.limit, w.state)
	}
	return s
}
