package push

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// Options is what New needs.
type Options struct {
	DB        *database.DB
	Stream    *stream.Stream
	Accounts  *account.Accounts
	Rooms     *room.Rooms
	Ephemeral *ephemeral.Ephemeral
	Timelines *timeline.Timelines
	// Client asks push gateways; it refuses networks that must not be asked. Nil: nothing is delivered.
	Client *http.Client
	// Memory is the budget for the counts of users, in bytes; 0 means 64 MiB.
	Memory int64
	Now    func() time.Time
}

// Push holds rules, counts and pushers.
type Push struct {
	db        *database.DB
	stream    *stream.Stream
	accounts  *account.Accounts
	rooms     *room.Rooms
	ephemeral *ephemeral.Ephemeral
	timelines *timeline.Timelines
	client    *http.Client
	now       func() time.Time

	shared      *sharedRules
	persons     *timeline.Cache[id.UserID, *person]
	memberFacts *timeline.Cache[int64, memberFact]
	marks       marks
	unsaved     checkpoints
	scanBack    int

	targets targets
	wake    chan struct{} // capacity 1: there is something to deliver
	pause   time.Duration // after the first failure of a pusher
}

// scanBack is how many events of a room are looked at to count what is unread.
const scanBack = 2000

// New builds the slice, and registers its followers and hooks. Before the stream runs.
func New(o Options) *Push {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Push{
		db: o.DB, stream: o.Stream, accounts: o.Accounts, rooms: o.Rooms, ephemeral: o.Ephemeral, timelines: o.Timelines,
		client: o.Client, now: o.Now, shared: newSharedRules(), scanBack: scanBack,
		persons:     timeline.NewCache[id.UserID, *person](o.Memory),
		memberFacts: timeline.NewCache[int64, memberFact](8 << 20),
	}
	p.wake, p.pause = make(chan struct{}, 1), firstPause
	p.marks.init()
	p.unsaved.init()
	p.targets.init()
	o.Stream.Observe(observed, p.observe)
	o.Accounts.ComputeAccountData(typePushRules, func(ctx context.Context, user id.UserID, r id.RoomID) (json.RawMessage, error) {
		if r != "" {
			return nil, nil
		}
		return p.Rules(ctx, user)
	})
	o.Accounts.OnDeviceDeleted(p.deviceDeleted)
	o.Stream.Follow("push upgrades", stream.Kinds(stream.Membership), p.followUpgrades)
	o.Stream.Follow("push ends", stream.Kinds(stream.Deactivation), p.followEnds)
	if p.client != nil {
		o.Stream.Follow("push", followed, p.followEvents, stream.Batch(200))
	}
	return p
}

const typePushRules = "m.push_rules"

// Run tells push gateways what is new, and writes what is worth keeping of the counts, until ctx ends.
func (p *Push) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { p.saveLoop(ctx) })
	if p.client != nil {
		wg.Go(func() { p.deliverLoop(ctx) })
	}
	wg.Wait()
	return nil
}

// outside is a context to read what will be kept in memory: not in a snapshot, which may be older than what memory knows.
func (p *Push) outside(ctx context.Context) context.Context {
	if p.db.InTx(ctx) {
		return ctx
	}
	return p.db.Outside(ctx)
}
