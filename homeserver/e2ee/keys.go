package e2ee

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Keys is the whole of end-to-end encryption as far as a server sees it.
type Keys struct {
	db       *database.DB
	stream   *stream.Stream
	accounts Accounts
	rooms    Rooms
	remote   Remote
	log      zerolog.Logger

	users  *cache[id.UserID, *userKeys]              // keys as shown to clients, local and remote users
	names  *cache[id.UserID, map[id.DeviceID]string] // devices of local users and their display names
	counts *cache[string, keyCount]                  // by owner
	steps  *memo[stream.Pos, step]                   // what a membership event changed; immutable

	claiming chan struct{} // one claim at a time: parallel ones would only wait for each other's rows
	uploads  keyedLock[id.UserID]
	resyncs  keyedLock[id.UserID]
	clock    clock
	wake     chan struct{} // there is a stale list to fetch

	acks ackQueue
}

// Accounts is what e2ee needs to know of accounts.
type Accounts interface {
	// Local tells whether a user ID is one of this server.
	Local(user id.UserID) bool
	// DeviceNames lists the devices of a local user with their display names.
	DeviceNames(ctx context.Context, user id.UserID) (map[id.DeviceID]string, error)
	// ConfirmOwner lets an operation pass if auth proves that the owner of the account asks for it.
	ConfirmOwner(ctx context.Context, user id.UserID, device id.DeviceID, operation string, auth json.RawMessage) error
}

// Deps is what Keys is built from.
type Deps struct {
	DB       *database.DB
	Stream   *stream.Stream
	Accounts Accounts
	Rooms    Rooms
	Remote   Remote // nil: no federation
	Log      zerolog.Logger
	// CachedUsers bounds the users whose keys are kept in memory, a few kilobytes each; 0 means 5,000.
	CachedUsers int
}

const (
	cachedUsers   = 5_000
	cachedNames   = 50_000
	cachedCounts  = 100_000
	cachedSteps   = 50_000
	deactivations = "e2ee-deactivation"
)

// New builds the slice and registers whose waiting requests a changed device list wakes.
func New(d Deps) *Keys {
	if d.CachedUsers <= 0 {
		d.CachedUsers = cachedUsers
	}
	self := func(user id.UserID) id.UserID { return user }
	k := &Keys{
		db: d.DB, stream: d.Stream, accounts: d.Accounts, rooms: d.Rooms, remote: d.Remote, log: d.Log,
		users: newCache[id.UserID, *userKeys](d.Stream, d.CachedUsers, self, stream.DeviceList, stream.Session),
		names: newCache[id.UserID, map[id.DeviceID]string](d.Stream, cachedNames, self, stream.DeviceList, stream.Session),
		counts: newCache[string, keyCount](d.Stream, cachedCounts, func(o string) id.UserID {
			user, _ := splitOwner(o)
			return user
		}, stream.KeyCount),
		steps:    newMemo[stream.Pos, step](cachedSteps),
		claiming: make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
	}
	d.Stream.Audience(stream.DeviceList, k.deviceListAudience)
	d.Stream.Follow("e2ee-tracking", stream.Kinds(stream.Membership), k.followMemberships)
	d.Stream.Follow(deactivations, stream.Kinds(stream.Deactivation), k.followDeactivations)
	return k
}

// clock gives growing numbers close to the time, for the order of one-time keys.
type clock struct {
	mu   sync.Mutex
	last int64
}

func (c *clock) next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, time.Now().UnixMilli())
	return c.last
}

// keyedLock is a lock for each key in use.
type keyedLock[K comparable] struct {
	mu    sync.Mutex
	locks map[K]*waitLock
}

type waitLock struct {
	held    chan struct{}
	waiters int
}

// lock waits for the lock of the key and returns the function that gives it back.
func (l *keyedLock[K]) lock(ctx context.Context, key K) (unlock func(), err error) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = make(map[K]*waitLock)
	}
	w := l.locks[key]
	if w == nil {
		w = &waitLock{held: make(chan struct{}, 1)}
		l.locks[key] = w
	}
	w.waiters++
	l.mu.Unlock()
	select {
	case w.held <- struct{}{}:
		return func() { <-w.held; l.leave(key, w) }, nil
	case <-ctx.Done():
		l.leave(key, w)
		return nil, ctx.Err()
	}
}

func (l *keyedLock[K]) leave(key K, w *waitLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.waiters--; w.waiters == 0 {
		delete(l.locks, key)
	}
}

// memo is a bounded map of things that never change.
type memo[K comparable, V any] struct {
	mu  sync.Mutex
	max int
	m   map[K]V
}

func newMemo[K comparable, V any](limit int) *memo[K, V] {
	return &memo[K, V]{max: limit, m: make(map[K]V)}
}

func (m *memo[K, V]) get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.m[key]
	return v, ok
}

func (m *memo[K, V]) put(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.m) >= m.max {
		clear(m.m)
	}
	m.m[key] = v
}
