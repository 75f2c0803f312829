package clientsync

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// SlidingIn is the request of PostSlidingSync.
//
// msc: 4186
type SlidingIn struct {
	Pos         string `query:"pos"`
	Timeout     int64  `query:"timeout"`
	SetPresence string `query:"set_presence"`

	BodyPos       string                     `json:"pos"`
	ConnID        string                     `json:"conn_id"`
	TxnID         string                     `json:"txn_id"`
	Lists         map[string]listIn          `json:"lists"`
	Subscriptions map[id.RoomID]roomConfigIn `json:"room_subscriptions"`
	Extensions    extensionsIn               `json:"extensions"`

	_ struct{} `body:"optional"`
}

type roomConfigIn struct {
	TimelineLimit int             `json:"timeline_limit"`
	RequiredState requiredStateIn `json:"required_state"`
}

type listIn struct {
	roomConfigIn
	Ranges  [][2]int  `json:"ranges"`
	Range   *[2]int   `json:"range"`
	Filters filtersIn `json:"filters"`
}

type filtersIn struct {
	IsDM         *bool     `json:"is_dm"`
	IsEncrypted  *bool     `json:"is_encrypted"`
	IsInvite     *bool     `json:"is_invite"`
	RoomTypes    []*string `json:"room_types"`
	NotRoomTypes []*string `json:"not_room_types"`
	Tags         []string  `json:"tags"`
	NotTags      []string  `json:"not_tags"`
	Spaces       []string  `json:"spaces"`
}

type extensionsIn struct {
	ToDevice struct {
		Enabled bool   `json:"enabled"`
		Since   string `json:"since"`
		Limit   int    `json:"limit"`
	} `json:"to_device"`
	E2EE struct {
		Enabled bool `json:"enabled"`
	} `json:"e2ee"`
	AccountData roomExtensionIn `json:"account_data"`
	Receipts    roomExtensionIn `json:"receipts"`
	Typing      roomExtensionIn `json:"typing"`
}

// roomExtensionIn says for which rooms something is wanted; nil means for all of them.
type roomExtensionIn struct {
	Enabled bool      `json:"enabled"`
	Lists   *[]string `json:"lists"`
	Rooms   *[]string `json:"rooms"`
}

const (
	maxLists         = 100
	maxSubscriptions = 200
	maxRequired      = 200
	maxSlidingLimit  = 100
	maxConnID        = 64
)

// requiredStateIn is a list of [type, state_key] pairs, or {"include": […], "lazy_members": …}.
type requiredStateIn []statePattern

// statePattern is a wanted kind of state; either may be "*", the key also "$ME" or "$LAZY".
type statePattern struct{ Type, Key string }

// UnmarshalJSON implements json.Unmarshaler.
func (r *requiredStateIn) UnmarshalJSON(raw []byte) error {
	*r = nil
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '{' {
		var object struct {
			Include []struct {
				Type     *string `json:"type"`
				StateKey *string `json:"state_key"`
			} `json:"include"`
			LazyMembers bool `json:"lazy_members"`
		}
		if err := json.Unmarshal(raw, &object); err != nil {
			return err
		}
		any := "*"
		for _, p := range object.Include {
			if p.Type == nil {
				p.Type = &any
			}
			if p.StateKey == nil {
				p.StateKey = &any
			}
			*r = append(*r, statePattern{*p.Type, *p.StateKey})
		}
		if object.LazyMembers {
			*r = append(*r, statePattern{typeMember, keyLazy})
		}
		return nil
	}
	var pairs [][2]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return err
	}
	for _, p := range pairs {
		*r = append(*r, statePattern{p[0], p[1]})
	}
	return nil
}

const (
	keyMe   = "$ME"
	keyLazy = "$LAZY"
	anyKey  = "*"
)

// check bounds the request and brings it into one form.
func (in *SlidingIn) check() error {
	if in.Pos == "" {
		in.Pos = in.BodyPos
	}
	if len(in.Lists) > maxLists || len(in.Subscriptions) > maxSubscriptions || len(in.ConnID) > maxConnID {
		return mautrix.MInvalidParam.WithMessage("Too many lists or subscriptions, or too long a conn_id")
	}
	for name, l := range in.Lists {
		if l.Range != nil {
			l.Ranges = append(l.Ranges, *l.Range)
		}
		if len(l.Ranges) > 20 {
			return mautrix.MInvalidParam.WithMessage("Too many ranges")
		}
		for _, r := range l.Ranges {
			if r[0] < 0 || r[1] < r[0] {
				return mautrix.MInvalidParam.WithMessage("Malformed range")
			}
		}
		if err := l.check(); err != nil {
			return err
		}
		in.Lists[name] = l
	}
	for roomID, c := range in.Subscriptions {
		if err := c.check(); err != nil {
			return err
		}
		in.Subscriptions[roomID] = c
	}
	return nil
}

func (c *roomConfigIn) check() error {
	if c.TimelineLimit < 0 || len(c.RequiredState) > maxRequired {
		return mautrix.MInvalidParam.WithMessage("Malformed timeline_limit or required_state")
	}
	c.TimelineLimit = min(c.TimelineLimit, maxSlidingLimit)
	return nil
}

// wanted is what a connection wants of a room: the union of the lists it is in and its subscription. It never changes.
type wanted struct {
	limit int
	state []statePattern // sorted, without duplicates
	text  string         // the patterns as canonical text
	lazy  bool           // members are wanted only as far as they spoke
}

func newWanted(c roomConfigIn) *wanted { return (&wanted{}).with(c.TimelineLimit, c.RequiredState) }

// with is the union of w and more.
func (w *wanted) with(limit int, more []statePattern) *wanted {
	out := &wanted{limit: max(w.limit, limit), state: slices.Clone(w.state), text: w.text, lazy: w.lazy}
	for _, p := range more {
		if i, ok := slices.BinarySearchFunc(out.state, p, comparePatterns); !ok {
			out.state = slices.Insert(out.state, i, p)
		}
	}
	if len(out.state) > len(w.state) {
		var b strings.Builder
		for _, p := range out.state {
			b.WriteString(p.Type)
			b.WriteByte(0)
			b.WriteString(p.Key)
			b.WriteByte(1)
		}
		out.text = b.String()
		out.lazy = slices.Contains(out.state, statePattern{typeMember, keyLazy})
	}
	return out
}

func comparePatterns(a, b statePattern) int {
	if c := strings.Compare(a.Type, b.Type); c != 0 {
		return c
	}
	return strings.Compare(a.Key, b.Key)
}

// matches says whether a piece of state is wanted, leaving lazy members aside.
func (w *wanted) matches(me id.UserID, evType, key string) bool {
	lazy := evType == typeMember && w.lazy
	for _, p := range w.state {
		if p.Type != evType && p.Type != anyKey {
			continue
		}
		switch {
		case p.Key == key && p.Key != keyLazy, p.Key == keyMe && key == string(me):
			return true
		case p.Key == anyKey && !(lazy && p.Type == anyKey):
			return true
		}
	}
	return false
}
