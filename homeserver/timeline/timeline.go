package timeline

import (
	"context"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Deps is what New needs.
type Deps struct {
	DB       *database.DB
	Stream   *stream.Stream
	Accounts *account.Accounts
	Rooms    *room.Rooms
	Remote   Remote // nil without federation
	// Published says whether a room stands in the public directory; nil: nothing is said about that.
	Published func(ctx context.Context, roomID id.RoomID) (bool, error)
	// CacheBytes bounds the rendered events kept in memory; 0 means 32 MiB.
	CacheBytes int64
}

// Remote asks other servers for history.
type Remote interface {
	// Backfill fetches up to limit events that come before the given ones, stores them as history of the room, and says how
	// many of them were new.
	Backfill(ctx context.Context, roomID id.RoomID, before []id.EventID, limit int) (int, error)
	// EventAt asks for the event nearest to a time (ms) and stores it with what is around it; empty if nobody knows one.
	EventAt(ctx context.Context, roomID id.RoomID, ts int64, forward bool) (id.EventID, error)
}

// Timelines answers questions about the past of rooms.
type Timelines struct {
	db       *database.DB
	stream   *stream.Stream
	accounts *account.Accounts
	rooms    *room.Rooms
	remote   Remote

	published func(ctx context.Context, roomID id.RoomID) (bool, error)

	bases       *Cache[baseKey, *base]
	visOf       *Cache[int64, visibility] // history_visibility of a state event, by NID
	memberOf    *Cache[int64, membership] // membership of a member event, by NID
	relationsIn *Cache[id.RoomID, *knownRelations]
	now         func() time.Time
}

type (
	visibility = string
	membership = string
)

// New builds the slice and registers its projection.
func New(d Deps) *Timelines {
	if d.CacheBytes <= 0 {
		d.CacheBytes = 32 << 20
	}
	t := &Timelines{
		db: d.DB, stream: d.Stream, accounts: d.Accounts, rooms: d.Rooms, remote: d.Remote, published: d.Published,
		bases:       NewCache[baseKey, *base](d.CacheBytes),
		visOf:       NewCache[int64, visibility](20_000),
		memberOf:    NewCache[int64, membership](200_000),
		relationsIn: NewCache[id.RoomID, *knownRelations](200_000),
		now:         time.Now,
	}
	d.Rooms.AddProjection(relationsProjection{t})
	d.Rooms.OnPurge(t.forgetRoom)
	d.Rooms.OnSending(t.notTwice)
	return t
}

// SetRemote plugs federation in after building; it must be called before requests are served.
func (t *Timelines) SetRemote(r Remote) { t.remote = r }

const (
	typeMember     = "m.room.member"
	typeCreate     = "m.room.create"
	typeVisibility = "m.room.history_visibility"
	typeRedaction  = "m.room.redaction"

	memberJoin   = string(event.MembershipJoin)
	memberInvite = string(event.MembershipInvite)
	memberLeave  = string(event.MembershipLeave)
	memberBan    = string(event.MembershipBan)
	memberKnock  = string(event.MembershipKnock)

	visibleWorld   = "world_readable"
	visibleShared  = "shared"
	visibleInvited = "invited"
	visibleJoined  = "joined"
)
