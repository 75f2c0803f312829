package timeline

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
)

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{`{}`, `{"types":["m.*","*"],"limit":-1}`, `{"contains_url":true,"rooms":[]}`, `[]`, `{"types":[null]}`, `{"limit":1e9}`} {
		f.Add(s, "m.room.message")
	}
	f.Fuzz(func(t *testing.T, raw, evType string) {
		filter, err := ParseFilter([]byte(raw))
		if err != nil {
			return
		}
		filter.Type(evType)
		filter.Kind(evType, "@a:hs1")
		filter.Room(id.RoomID("!r"))
		if filter != nil && filter.Limit < 0 {
			t.Errorf("negative limit from %s", raw)
		}
	})
}

// The wildcard means what path.Match means, where that has no other special characters and no slashes.
func FuzzWildcard(f *testing.F) {
	f.Add("m.*.x", "m.room.x")
	f.Add("**a*", "bca")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.ContainsAny(pattern, `[]\?/`) || strings.Contains(s, "/") || !strings.Contains(pattern, "*") {
			return
		}
		want, err := path.Match(pattern, s)
		if err == nil && wildcard(pattern, s) != want {
			t.Errorf("%q %q: %v", pattern, s, !want)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00\u2028é\xff")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && len(back) == 0 && len(s) > 0 {
			t.Errorf("%q: %v, %q", s, err, back)
		}
	})
}

func FuzzMoment(f *testing.F) {
	f.Add("t1_2")
	f.Add("s5")
	f.Add("t-9_x")
	f.Fuzz(func(t *testing.T, token string) {
		if pos, ok := moment(token); ok && pos < 0 {
			t.Errorf("%q: %d", token, pos)
		}
	})
}
