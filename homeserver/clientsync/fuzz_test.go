package clientsync

import (
	"encoding/json"
	"testing"
)

func FuzzParseFilter(f *testing.F) {
	f.Add([]byte(`{"room":{"timeline":{"limit":1},"rooms":[]},"event_fields":["a.b"],"event_format":"client"}`))
	f.Add([]byte(`{"presence":null,"room":{"state":[]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if filter, err := ParseFilter(raw); err == nil && (filter.limit() < 0 || filter.limit() > maxTimeline) {
			t.Errorf("limit %d from %s", filter.limit(), raw)
		}
	})
}

// Whatever comes is refused or brought within bounds.
func FuzzSlidingRequest(f *testing.F) {
	f.Add([]byte(`{"lists":{"a":{"ranges":[[0,9]],"range":[1,2],"required_state":[["*","*"]],"filters":{"room_types":[null,"m.space"]}}}}`))
	f.Add([]byte(`{"room_subscriptions":{"!r":{"timeline_limit":-1,"required_state":{"include":[{}],"lazy_members":true}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in SlidingIn
		if json.Unmarshal(raw, &in) != nil || in.check() != nil {
			return
		}
		for _, l := range in.Lists {
			w := newWanted(l.roomConfigIn)
			if w.limit < 0 || w.limit > maxSlidingLimit {
				t.Errorf("limit %d", w.limit)
			}
			for _, p := range w.state {
				w.matches("@a:hs1", p.Type, p.Key)
			}
		}
	})
}

func FuzzConnectionPos(f *testing.F) {
	f.Add("1_2")
	f.Add("_")
	f.Fuzz(func(t *testing.T, pos string) {
		if v, at, err := parseConnectionPos(pos); err == nil && (v < 0 || at < 0) {
			t.Errorf("%q: %d %d", pos, v, at)
		}
	})
}
