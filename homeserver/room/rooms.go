package room

import (
	"context"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Deps is what Rooms is built from. Only DB, Stream and Signer must be given.
type Deps struct {
	DB     *database.DB
	Stream *stream.Stream
	Signer event.Signer
	Keys   event.KeySource
	Remote Remote
	Policy Policy
	// Profile is what member events of a local user show.
	Profile func(ctx context.Context, user id.UserID) (displayName, avatarURL string, err error)
	// KnownUser says whether a user of this server exists; nil: all do.
	KnownUser func(ctx context.Context, user id.UserID) (bool, error)
	// Publish puts a new room into the public directory, if that is what its creator asked for.
	Publish func(ctx context.Context, room id.RoomID, creator id.UserID) error
	// MayDecline says whether a user may turn down this invitation.
	MayDecline func(ctx context.Context, user id.UserID, room id.RoomID, inviter id.UserID) error
	// AliasAllowed says whether a user (through an application service or not) may make or remove this alias.
	AliasAllowed func(ctx context.Context, user id.UserID, appService string, alias id.RoomAlias) error
	// AskForAlias asks application services for an alias that nobody made yet; true: it exists now.
	AskForAlias func(ctx context.Context, alias id.RoomAlias) bool
	// DefaultVersion is the version of new rooms; event.Default if empty.
	DefaultVersion string
	// UnstableVersions lets people make rooms of versions that are not in the specification.
	UnstableVersions bool
	// Memory budgets in bytes; 0: defaults.
	EventBytes, StateBytes, RoomBytes, MembershipBytes int64
	Now                                                func() time.Time
}

// Rooms is all rooms: the only writer of events.
type Rooms struct {
	Deps
	db          *database.DB
	stream      *stream.Stream
	server      string
	projections []Projection
	sending     []SendingFunc
	purgers     []func(ctx context.Context, roomID id.RoomID) error
	elsewhere   elsewhere // nil: no other servers

	events  events
	pending pending
	states  *lru[int64, *State]
	users   *lru[id.UserID, *userRooms]
	past    *others           // lets one at a time fetch a room's history
	acls    *lru[int64, *acl] // by the number of their event

	creating    sync.Map // IDs of rooms on their way into being
	entriesMu   sync.Mutex
	entries     map[id.RoomID]*roomEntry
	idle        *lru[id.RoomID, *roomEntry] // those nobody uses at the moment
	redactionMu sync.RWMutex
	redactions  uint64 // counts redactions, so that a reader notices one that passed it

	tables tables
}

type tables struct {
	rooms                                                   *stream.GuardTable
	roomUpdate                                              *database.Table
	events, snapshots, members, stripped, redactions, looks *database.Table
}

// New makes Rooms. Projections are added before the first write.
func New(d Deps) *Rooms {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.DefaultVersion == "" {
		d.DefaultVersion = event.Default
	}
	for _, b := range []struct {
		budget *int64
		usual  int64
	}{{&d.EventBytes, 96 << 20}, {&d.StateBytes, 64 << 20}, {&d.RoomBytes, 64 << 20}, {&d.MembershipBytes, 32 << 20}} {
		if *b.budget <= 0 {
			*b.budget = b.usual
		}
	}
	r := &Rooms{
		Deps: d, db: d.DB, stream: d.Stream, server: d.Signer.Server,
		events:  newEvents(d.EventBytes),
		states:  newLRU[int64, *State](d.StateBytes),
		users:   newLRU[id.UserID, *userRooms](d.MembershipBytes),
		acls:    newLRU[int64, *acl](4 << 20),
		entries: map[id.RoomID]*roomEntry{},
		idle:    newLRU[id.RoomID, *roomEntry](d.RoomBytes),
		tables:  newTables(),
	}
	r.idle.gone = r.forgetEntry
	r.past = newOthers(r)
	if d.Remote != nil {
		r.elsewhere = newOthers(r)
	}
	d.Stream.Observe(stream.Kinds(stream.Event, stream.Membership, stream.Redaction, stream.Forgotten), r.onChange)
	return r
}

func newTables() tables {
	return tables{
		rooms: newRoomTable(), roomUpdate: newRoomUpdate(), events: newEventTable(), snapshots: newSnapshotTable(), members: newMemberTable(),
		stripped: newStrippedTable(), redactions: newRedactionTable(), looks: newLookTable(),
	}
}

// AddProjection registers rows that belong to events and join their unit.
func (r *Rooms) AddProjection(p Projection) { r.projections = append(r.projections, p) }

// SendingFunc may refuse an event that a user of this server wants to send. It is called while the room's queue waits.
type SendingFunc func(ctx context.Context, in *SendInput) error

// OnSending registers a check of what users send. State events and what skips the policy are not asked about.
func (r *Rooms) OnSending(fn SendingFunc) { r.sending = append(r.sending, fn) }

// Projection turns an event into rows of other slices that must be seen together with it. It is called while the room's
// queue is held and must not wait for anything but a state event that it needs.
//
// In the rows stream.PosOf(0) and stream.OrderOf(0) stand for the event's own place, stream.PosOf(i) for the position of the
// i-th returned change. before is the state before the event.
type Projection interface {
	Project(ctx context.Context, ev *Stored, before *State) ([]stream.Write, []stream.Change, error)
}

// OrderOfRow is what a projection writes for the order of an event.
func OrderOfRow(ev *Stored) any {
	if ev.Historic {
		return int64(ev.Order)
	}
	return stream.OrderOf(0)
}

// Policy decides about who may do what beyond the rules of the protocol.
type Policy interface {
	Allow(ctx context.Context, a Action) error
}

// ActionKind names what a user is about to do.
type ActionKind string

// Kinds of actions.
const (
	ActionCreate ActionKind = "create"
	ActionInvite ActionKind = "invite"
	ActionJoin   ActionKind = "join"
	ActionKnock  ActionKind = "knock"
	ActionSend   ActionKind = "send"
	ActionAlias  ActionKind = "alias"
)

// Action is what a policy is asked about; fields that do not concern the kind are empty.
type Action struct {
	Kind    ActionKind
	User    id.UserID
	RoomID  id.RoomID
	Target  id.UserID
	Type    string
	Key     *string
	Content []byte
	State   *State
	Create  *CreateInput
}

func (r *Rooms) allow(ctx context.Context, a Action) error {
	if r.Policy == nil {
		return nil
	}
	return r.Policy.Allow(ctx, a)
}

func (r *Rooms) now() int64 { return r.Now().UnixMilli() }

// fresh is a context to read what will be kept in memory: not in a snapshot, which may be older than what memory knows. A
// writing transaction sees what is committed.
func (r *Rooms) fresh(ctx context.Context) context.Context {
	if r.db.InTx(ctx) {
		return ctx
	}
	return r.db.Outside(ctx)
}
