package clientsync

import (
	"context"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/timeline"
)

const (
	defaultTimeline = 20
	maxTimeline     = 1000
)

// Filter is a filter of /sync, compiled.
//
// spec: cs#post_matrixclientv3useruseridfilter
type Filter struct {
	presence, accountData                       *timeline.Filter
	rooms                                       *timeline.Filter // rooms and not_rooms of the room filter
	state, timeline, ephemeral, roomAccountData *timeline.Filter
	includeLeave                                bool
	fields                                      []string
	federation                                  bool
}

var noFilter = &Filter{}

type filterJSON struct {
	EventFields []string        `json:"event_fields"`
	EventFormat string          `json:"event_format"`
	Presence    json.RawMessage `json:"presence"`
	AccountData json.RawMessage `json:"account_data"`
	Room        struct {
		Rooms        []id.RoomID     `json:"rooms"`
		NotRooms     []id.RoomID     `json:"not_rooms"`
		Ephemeral    json.RawMessage `json:"ephemeral"`
		State        json.RawMessage `json:"state"`
		Timeline     json.RawMessage `json:"timeline"`
		AccountData  json.RawMessage `json:"account_data"`
		IncludeLeave bool            `json:"include_leave"`
	} `json:"room"`
}

var errBadFilter = mautrix.MInvalidParam.WithMessage("The filter is malformed")

// ParseFilter compiles a filter; it is also the check for filters that are to be stored.
func ParseFilter(raw []byte) (*Filter, error) {
	var in filterJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, errBadFilter
	}
	f := &Filter{includeLeave: in.Room.IncludeLeave, fields: in.EventFields}
	switch in.EventFormat {
	case "", "client":
	case "federation":
		f.federation = true
	default:
		return nil, errBadFilter
	}
	for _, part := range []struct {
		to  **timeline.Filter
		raw json.RawMessage
	}{{&f.presence, in.Presence}, {&f.accountData, in.AccountData}, {&f.state, in.Room.State}, {&f.timeline, in.Room.Timeline},
		{&f.ephemeral, in.Room.Ephemeral}, {&f.roomAccountData, in.Room.AccountData}} {
		var err error
		if *part.to, err = timeline.ParseFilter(part.raw); err != nil {
			return nil, errBadFilter
		}
	}
	if in.Room.Rooms != nil || in.Room.NotRooms != nil {
		raw, err := json.Marshal(map[string]any{"rooms": in.Room.Rooms, "not_rooms": in.Room.NotRooms})
		if err != nil {
			return nil, errBadFilter
		}
		if f.rooms, err = timeline.ParseFilter(raw); err != nil {
			return nil, errBadFilter
		}
	}
	return f, nil
}

// limit is the number of timeline events wanted for each room.
func (f *Filter) limit() int {
	if f.timeline != nil && f.timeline.LimitGiven {
		return min(f.timeline.Limit, maxTimeline)
	}
	return defaultTimeline
}

// filter finds the filter that a request names.
func (s *Syncs) filter(ctx context.Context, user id.UserID, text string) (*Filter, error) {
	if text == "" {
		return noFilter, nil
	}
	key := filterKey{user, text}
	inline := strings.HasPrefix(text, "{")
	if inline {
		key.user = ""
	}
	if f, ok := s.filters.Get(key); ok {
		return f, nil
	}
	raw := json.RawMessage(text)
	if !inline {
		var err error
		if raw, err = s.Accounts.Filter(ctx, user, text); err != nil {
			return nil, err
		}
		if raw == nil {
			return nil, mautrix.MInvalidParam.WithMessage("Unknown filter")
		}
	}
	f, err := ParseFilter(raw)
	if err != nil {
		return nil, err
	}
	s.filters.Put(key, f, int64(1+len(text)/64))
	return f, nil
}
