package clientsync

import (
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// Deps is what New needs. Sources that are nil have nothing to say.
type Deps struct {
	DB        *database.DB
	Stream    *stream.Stream
	Accounts  *account.Accounts
	Rooms     *room.Rooms
	Timelines *timeline.Timelines

	ToDevice    ToDevice
	DeviceLists DeviceLists
	KeyCounts   KeyCounts
	Receipts    Receipts
	Typing      Typing
	Presence    Presence
	PushCounts  PushCounts
	PushRules   PushRules
	Policy      *policy.Policy // nil: shows every invitation
}

// Syncs answers /sync.
type Syncs struct {
	Deps
	views     *timeline.Cache[id.UserID, *view]
	filters   *timeline.Cache[filterKey, *Filter]
	devices   *timeline.Cache[deviceKey, *device]
	heroes    *timeline.Cache[heroKey, []id.UserID]
	conns     *timeline.Cache[versionKey, *connection]
	personals *timeline.Cache[id.UserID, *personal]
	rankings  *timeline.Cache[id.UserID, *ranking]
	bumps     bumps
	now       func() time.Time
}

type filterKey struct {
	user id.UserID
	text string // the ID of a stored filter, or the filter itself
}

type deviceKey struct {
	user   id.UserID
	device id.DeviceID
}

// New builds the slice.
func New(d Deps) *Syncs {
	s := &Syncs{
		Deps:      d,
		views:     timeline.NewCache[id.UserID, *view](2_000_000), // topics held
		filters:   timeline.NewCache[filterKey, *Filter](20_000),
		devices:   timeline.NewCache[deviceKey, *device](1_000_000), // members remembered
		heroes:    timeline.NewCache[heroKey, []id.UserID](50_000),
		conns:     timeline.NewCache[versionKey, *connection](32 << 20),
		rankings:  timeline.NewCache[id.UserID, *ranking](2_000_000),
		personals: timeline.NewCache[id.UserID, *personal](500_000),
		now:       time.Now,
	}
	d.Stream.Observe(stream.Kinds(stream.Event, stream.Membership), s.bumps.observe)
	return s
}
