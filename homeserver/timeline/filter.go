package timeline

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

// Filter is a RoomEventFilter, compiled: the same for /sync, /messages, /context and /search.
// A nil *Filter lets everything through.
//
// spec: cs#filtering
type Filter struct {
	Limit           int // 0: not given
	LimitGiven      bool
	LazyLoad        bool
	RedundantMember bool
	ThreadCounts    bool

	types, notTypes       matcher
	senders, notSenders   map[string]struct{}
	rooms, notRooms       map[id.RoomID]struct{}
	relTypes, notRelTypes []string
	containsURL           *bool
	any                   bool // nothing restricts events
}

// filterJSON is the wire form; nil slices mean "not given", empty ones "nothing matches".
type filterJSON struct {
	Limit                   *int        `json:"limit"`
	Types                   []string    `json:"types"`
	NotTypes                []string    `json:"not_types"`
	Senders                 []string    `json:"senders"`
	NotSenders              []string    `json:"not_senders"`
	Rooms                   []id.RoomID `json:"rooms"`
	NotRooms                []id.RoomID `json:"not_rooms"`
	ContainsURL             *bool       `json:"contains_url"`
	LazyLoadMembers         bool        `json:"lazy_load_members"`
	IncludeRedundantMembers bool        `json:"include_redundant_members"`
	UnreadThreads           bool        `json:"unread_thread_notifications"`
	RelTypes                []string    `json:"org.matrix.msc3874.rel_types"`
	NotRelTypes             []string    `json:"org.matrix.msc3874.not_rel_types"`
}

// ParseFilter compiles a RoomEventFilter (or an EventFilter, which has fewer fields).
func ParseFilter(raw []byte) (*Filter, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	var in filterJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	f := &Filter{
		LazyLoad: in.LazyLoadMembers, RedundantMember: in.IncludeRedundantMembers, ThreadCounts: in.UnreadThreads,
		types: newMatcher(in.Types), notTypes: newMatcher(in.NotTypes),
		senders: set(in.Senders), notSenders: set(in.NotSenders),
		rooms: set(in.Rooms), notRooms: set(in.NotRooms),
		relTypes: in.RelTypes, notRelTypes: in.NotRelTypes,
		containsURL: in.ContainsURL,
	}
	if in.Limit != nil {
		f.Limit, f.LimitGiven = max(*in.Limit, 0), true
	}
	f.any = !f.types.given && !f.notTypes.given && f.senders == nil && f.notSenders == nil &&
		f.rooms == nil && f.notRooms == nil && f.relTypes == nil && f.notRelTypes == nil && f.containsURL == nil
	return f, nil
}

// All says that the filter drops nothing.
func (f *Filter) All() bool { return f == nil || f.any }

// Lazy says whether members are to be loaded lazily.
func (f *Filter) Lazy() bool { return f != nil && f.LazyLoad }

// Room says whether the room passes.
func (f *Filter) Room(room id.RoomID) bool {
	if f.All() {
		return true
	}
	if f.rooms != nil {
		if _, ok := f.rooms[room]; !ok {
			return false
		}
	}
	_, out := f.notRooms[room]
	return !out
}

// Kind says whether an event of this type and sender passes, without looking at its content.
func (f *Filter) Kind(evType, sender string) bool {
	if f.All() {
		return true
	}
	if f.types.given && !f.types.match(evType) || f.notTypes.given && f.notTypes.match(evType) {
		return false
	}
	if f.senders != nil {
		if _, ok := f.senders[sender]; !ok {
			return false
		}
	}
	_, out := f.notSenders[sender]
	return !out
}

// Type says whether events of this type pass.
func (f *Filter) Type(evType string) bool {
	return f.All() || !(f.types.given && !f.types.match(evType) || f.notTypes.given && f.notTypes.match(evType))
}

// Event says whether the event passes.
func (f *Filter) Event(ev *room.Stored) bool {
	if f.All() {
		return true
	}
	if !f.Room(ev.RoomID()) || !f.Kind(ev.Type(), string(ev.Sender())) {
		return false
	}
	if f.containsURL != nil && gjson.GetBytes(ev.Content(), "url").Exists() != *f.containsURL {
		return false
	}
	if f.relTypes != nil || f.notRelTypes != nil {
		rel, _ := RelationOf(ev.Event)
		if f.relTypes != nil && !slices.Contains(f.relTypes, rel.Type) || slices.Contains(f.notRelTypes, rel.Type) {
			return false
		}
	}
	return true
}

// matcher matches event types; a `*` stands for any sequence of characters.
type matcher struct {
	given    bool
	exact    map[string]struct{}
	patterns []string
}

func newMatcher(list []string) matcher {
	if list == nil {
		return matcher{}
	}
	m := matcher{given: true}
	for _, s := range list {
		if strings.Contains(s, "*") {
			m.patterns = append(m.patterns, s)
			continue
		}
		if m.exact == nil {
			m.exact = make(map[string]struct{}, len(list))
		}
		m.exact[s] = struct{}{}
	}
	return m
}

func (m *matcher) match(s string) bool {
	if _, ok := m.exact[s]; ok {
		return true
	}
	for _, p := range m.patterns {
		if wildcard(p, s) {
			return true
		}
	}
	return false
}

// wildcard matches without backtracking over more than the last star, so its cost is bounded by len(p)*len(s).
func wildcard(p, s string) bool {
	pi, si, star, mark := 0, 0, -1, 0
	for si < len(s) {
		switch {
		case pi < len(p) && p[pi] == '*':
			star, mark = pi, si
			pi++
		case pi < len(p) && p[pi] == s[si]:
			pi++
			si++
		case star >= 0:
			mark++
			pi, si = star+1, mark
		default:
			return false
		}
	}
	for pi < len(p) && p[pi] == '*' {
		pi++
	}
	return pi == len(p)
}

func set[T comparable](list []T) map[T]struct{} {
	if list == nil {
		return nil
	}
	m := make(map[T]struct{}, len(list))
	for _, v := range list {
		m[v] = struct{}{}
	}
	return m
}
