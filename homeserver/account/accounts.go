package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Remote asks other servers what only they know.
type Remote interface {
	// Profile asks a server for the profile of one of its users, or for one field of it if field is not empty.
	Profile(ctx context.Context, server string, user id.UserID, field string) (map[string]json.RawMessage, error)
}

// Deps is what the integrator hands in beside configuration and database.
type Deps struct {
	// Remote may be nil: then profiles of other servers are not found.
	Remote Remote
	// DefaultRoomVersion and RoomVersions (version → "stable" or "unstable") stand in the capabilities.
	DefaultRoomVersion string
	RoomVersions       map[string]string
	// SpecVersions and UnstableFeatures are what /versions says.
	SpecVersions     []string
	UnstableFeatures map[string]bool
	// Capabilities are more members of the capabilities, or replacements.
	Capabilities map[string]any
	// ForgetsOnLeave says that rooms are forgotten when left.
	ForgetsOnLeave bool
	// BcryptPepper is the pepper of password hashes that came from another server.
	BcryptPepper string
	// ConfirmGrace exempts sessions this young from confirming sensitive operations. Zero exempts none.
	ConfirmGrace time.Duration
	// Mail sends messages; nil: none are sent.
	Mail *mail.Mailer
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Accounts is who is who on this server.
type Accounts struct {
	cfg    *config.Config
	deps   Deps
	db     *database.DB
	stream *stream.Stream
	now    func() time.Time
	hasher *hasher
	secret []byte // signs user-interactive sessions and registration nonces; the same in all replicas

	hooks   hooks
	stages  map[string]Stage
	tokens  *tokenCache
	seen    seenDevices
	ignored userCache[map[id.UserID]struct{}]
	names   userCache[Profile]
	filters filterCache

	versions []byte // the answer of /versions
}

// hooks are what floors above have asked to be told or to decide. They are set while the server is built.
type hooks struct {
	exclusive       ExclusiveFunc
	deviceReserved  func(ctx context.Context, user id.UserID, device id.DeviceID) (bool, error)
	deviceDeleted   []DeviceFunc
	deviceChanged   []DeviceFunc
	loginFlows      []func() map[string]any
	ownerStages     []func(User) string
	mayRegister     []func(ctx context.Context, user id.UserID) error
	ownedTypes      map[string]string // account data types with their own endpoint
	computed        map[string]ComputedFunc
	profileChanging []func(ctx context.Context, user id.UserID, field string, value json.RawMessage) error
}

// DeviceFunc is told about a device of a user, inside the transaction that changes it.
type DeviceFunc func(ctx context.Context, user id.UserID, device id.DeviceID) error

// ComputedFunc gives account data that is kept elsewhere; nil if there is none.
type ComputedFunc func(ctx context.Context, user id.UserID, room id.RoomID) (json.RawMessage, error)

// ExclusiveFunc reports whether a user ID lies in the exclusive namespace of an application service other than the
// one named ("" for none).
type ExclusiveFunc func(user id.UserID, appService string) bool

// New builds the slice. Hooks are to be set before the first request.
func New(ctx context.Context, cfg *config.Config, db *database.DB, s *stream.Stream, deps Deps) (*Accounts, error) {
	a := &Accounts{cfg: cfg, deps: deps, db: db, stream: s, now: deps.Now}
	if a.now == nil {
		a.now = time.Now
	}
	p := cfg.Passwords
	a.hasher = newHasher(hashCost{memory: p.Argon2MemoryKB, passes: p.Argon2Time, lanes: p.Argon2Parallel, pepper: deps.BcryptPepper})
	a.tokens = newTokenCache(maxCachedTokens)
	a.seen.pending = make(map[deviceKey]sighting)
	a.hooks.ownedTypes = map[string]string{
		"m.push_rules": "the push rules API", "m.fully_read": "the read markers API",
	}
	a.stages = map[string]Stage{
		StageDummy:    dummyStage{},
		StagePassword: passwordStage{a},
		StageToken:    tokenStage{a},
		StageTerms:    dummyStage{},
		StageEmail:    emailStage{a},
	}
	a.hooks.computed = make(map[string]ComputedFunc)
	var err error
	if a.versions, err = json.Marshal(map[string]any{"versions": deps.SpecVersions, "unstable_features": nonNil(deps.UnstableFeatures)}); err != nil {
		return nil, doing("writing the versions", err)
	}
	if a.secret, err = a.sharedKey(ctx); err != nil {
		return nil, doing("reading the server's secret", err)
	}
	s.Observe(cachedKinds, a.observe)
	return a, nil
}

func nonNil(m map[string]bool) map[string]bool {
	if m == nil {
		return map[string]bool{}
	}
	return m
}

// sharedKey is a random secret that all replicas have in common, made at the first start.
func (a *Accounts) sharedKey(ctx context.Context) ([]byte, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	fresh := base64.RawStdEncoding.EncodeToString(key)
	if _, err := a.db.Exec(ctx, insertTicketOnce, ticketSecret, "", "", fresh, int64(0)); err != nil {
		return nil, err
	}
	var kept string
	var user string
	var expires int64
	if err := a.db.QueryRow(ctx, selectTicket, ticketSecret, "").Scan(&user, &kept, &expires); err != nil {
		return nil, err
	}
	key, err := base64.RawStdEncoding.DecodeString(kept)
	if err != nil || len(key) < 32 {
		return nil, fmt.Errorf("the stored secret is damaged: %w", err)
	}
	return key, nil
}

// Run writes what is gathered in memory and removes what has expired, until ctx ends.
func (a *Accounts) Run(ctx context.Context) error {
	flush, sweep := time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return a.FlushSeen(last)
		case <-flush.C:
			if err := a.FlushSeen(ctx); err != nil && ctx.Err() == nil {
				logError(ctx, err, "Writing when devices were last seen")
			}
		case <-sweep.C:
			if err := a.Sweep(ctx); err != nil && ctx.Err() == nil {
				logError(ctx, err, "Removing expired sessions")
			}
		}
	}
}

const (
	flushEvery = 20 * time.Second
	sweepEvery = 10 * time.Minute
)

// Sweep removes tickets and tokens that have expired.
func (a *Accounts) Sweep(ctx context.Context) error {
	now := a.now().UnixMilli()
	if _, err := a.db.Exec(ctx, deleteExpiredTickets, now); err != nil {
		return doing("removing expired tickets", err)
	}
	if _, err := a.db.Exec(ctx, deleteValidations, now); err != nil {
		return doing("removing expired validations", err)
	}
	// An expired access token still tells its client to refresh or sign in again, so it stays for a while.
	_, err := a.db.Exec(ctx, deleteExpiredTokens, now-keepExpired.Milliseconds())
	return doing("removing expired tokens", err)
}

const keepExpired = 30 * 24 * time.Hour

// SetExclusive says which user IDs belong to application services.
func (a *Accounts) SetExclusive(fn ExclusiveFunc) { a.hooks.exclusive = fn }

// SetDeviceReserved says which device IDs are taken by something else (cross-signing keys).
func (a *Accounts) SetDeviceReserved(fn func(ctx context.Context, user id.UserID, device id.DeviceID) (bool, error)) {
	a.hooks.deviceReserved = fn
}

// OnDeviceDeleted is told of each device that goes, inside the transaction.
func (a *Accounts) OnDeviceDeleted(fn DeviceFunc) {
	a.hooks.deviceDeleted = append(a.hooks.deviceDeleted, fn)
}

// OnDeviceChanged is told of each device that comes or gets another name, inside the transaction.
func (a *Accounts) OnDeviceChanged(fn DeviceFunc) {
	a.hooks.deviceChanged = append(a.hooks.deviceChanged, fn)
}

// OnRegister may refuse a registration by a person or guest. It is asked before anything is written.
func (a *Accounts) OnRegister(fn func(ctx context.Context, user id.UserID) error) {
	a.hooks.mayRegister = append(a.hooks.mayRegister, fn)
}

// OnProfileChanging may refuse that a user changes a field of their profile.
func (a *Accounts) OnProfileChanging(fn func(ctx context.Context, user id.UserID, field string, value json.RawMessage) error) {
	a.hooks.profileChanging = append(a.hooks.profileChanging, fn)
}

// AddLoginFlow adds a member to the flows of GET /login (m.login.sso).
func (a *Accounts) AddLoginFlow(fn func() map[string]any) {
	a.hooks.loginFlows = append(a.hooks.loginFlows, fn)
}

// OwnAccountData reserves a type of account data for another endpoint, so clients cannot write it directly.
func (a *Accounts) OwnAccountData(eventType, endpoint string) {
	a.hooks.ownedTypes[eventType] = endpoint
}

// ComputeAccountData lets clients read account data of a type that is kept elsewhere.
func (a *Accounts) ComputeAccountData(eventType string, fn ComputedFunc) {
	a.hooks.computed[eventType] = fn
}
