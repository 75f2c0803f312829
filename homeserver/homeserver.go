package homeserver

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/admin"
	"github.com/viaduc/viaduc/homeserver/calls"
	"github.com/viaduc/viaduc/homeserver/clientsync"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/directory"
	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/media"
	"github.com/viaduc/viaduc/homeserver/oauth"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/push"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
)

// Remote is all that the slices want of other servers; *federation.Client fits.
type Remote interface {
	account.Remote
	room.Remote
	e2ee.Remote
	media.Remote
	directory.Remote
}

// Options are what a Homeserver is built from.
type Options struct {
	Config *config.Config
	DB     *database.DB
	Stream *stream.Stream
	Signer event.Signer
	Keys   event.KeySource
	Remote Remote // nil: no federation
	Policy *policy.Policy
	Blobs  media.Blobs
	// Previews fetches pages for link previews; it must refuse private addresses.
	Previews *http.Client
	// Gateways calls push gateways; it must refuse private addresses.
	Gateways *http.Client
	// Mail sends e-mail; nil: none is sent.
	Mail *mail.Mailer
	// Providers calls OpenID providers.
	Providers *http.Client
	// Aliases and networks of application services.
	AliasAllowed func(ctx context.Context, user id.UserID, appService string, alias id.RoomAlias) error
	AskForAlias  func(ctx context.Context, alias id.RoomAlias) bool
	Exclusive    account.ExclusiveFunc
	Version      string // of this program
	Log          zerolog.Logger
}

// Homeserver is the slices, in floor order.
type Homeserver struct {
	Accounts  *account.Accounts
	OAuth     *oauth.OAuth
	Rooms     *room.Rooms
	Timelines *timeline.Timelines
	Keys      *e2ee.Keys
	Ephemeral *ephemeral.Ephemeral
	Media     *media.Media
	Directory *directory.Directory
	Push      *push.Push
	Syncs     *clientsync.Syncs
	Calls     *calls.Calls
	Admin     *admin.Admin

	mail *mail.Mailer
}

// RenderForServices gives events as application services get them.
func (h *Homeserver) RenderForServices(ctx context.Context, evs []*room.Stored) ([]json.RawMessage, error) {
	return h.Timelines.Render(ctx, evs, timeline.RenderOptions{})
}

// New builds the slices. Nothing runs before Run.
func New(ctx context.Context, o Options) (*Homeserver, error) {
	h := &Homeserver{mail: o.Mail}
	var err error
	if h.Accounts, err = account.New(ctx, o.Config, o.DB, o.Stream, accountDeps(o)); err != nil {
		return nil, err
	}
	h.Accounts.SetExclusive(h.reserved(o.Exclusive))
	h.OAuth = oauth.New(oauth.Options{Config: o.Config, DB: o.DB, Accounts: h.Accounts, HTTP: o.Providers})
	h.Rooms = room.New(h.roomDeps(o))
	h.Rooms.Follow()
	h.Timelines = timeline.New(timeline.Deps{DB: o.DB, Stream: o.Stream, Accounts: h.Accounts, Rooms: h.Rooms, Remote: room.Past{Rooms: h.Rooms},
		Published: func(ctx context.Context, r id.RoomID) (bool, error) { return h.Directory.Published(ctx, r) }})
	h.Keys = e2ee.New(e2ee.Deps{DB: o.DB, Stream: o.Stream, Accounts: e2ee.FromAccounts(h.Accounts), Rooms: e2ee.FromRooms(h.Rooms), Remote: orNil[e2ee.Remote](o.Remote), Log: o.Log})
	h.Keys.Attach(h.Accounts)
	h.Ephemeral = ephemeral.New(ephemeral.Options{DB: o.DB, Stream: o.Stream, Accounts: h.Accounts, Rooms: h.Rooms, Presence: o.Config.Presence.Enabled})
	h.Media = media.New(media.Options{
		ServerName: o.Config.ServerName, DB: o.DB, Blobs: o.Blobs, Remote: orNil[media.Remote](o.Remote), HTTP: o.Previews,
		MaxUpload: int64(o.Config.Media.MaxUpload), MaxRemote: int64(o.Config.Media.MaxRemote), MaxPixels: o.Config.Media.Thumbnails.MaxPixels,
		Previews: o.Config.Media.URLPreviews.Enabled, LegacyDownload: o.Config.Media.AllowUnauthenticated,
	})
	h.Directory = directory.New(directory.Options{
		ServerName: o.Config.ServerName, DB: o.DB, Stream: o.Stream, Accounts: h.Accounts, Rooms: h.Rooms,
		Remote: orNil[directory.Remote](o.Remote), SearchAll: o.Config.Rooms.FindAllUsers,
	})
	h.Push = push.New(push.Options{DB: o.DB, Stream: o.Stream, Accounts: h.Accounts, Rooms: h.Rooms, Ephemeral: h.Ephemeral, Timelines: h.Timelines, Client: o.Gateways})
	h.Syncs = clientsync.New(clientsync.Deps{
		DB: o.DB, Stream: o.Stream, Accounts: h.Accounts, Rooms: h.Rooms, Timelines: h.Timelines,
		ToDevice: h.Keys, DeviceLists: h.Keys, KeyCounts: h.Keys, Receipts: h.Ephemeral, Typing: h.Ephemeral, Presence: h.Ephemeral,
		PushCounts: h.Push, PushRules: h.Push, Policy: o.Policy,
	})
	h.Accounts.OnDeviceDeleted(h.Syncs.ForgetDevice)
	h.Calls = calls.New(calls.Deps{TURN: o.Config.TURN})
	h.Admin = admin.New(admin.Deps{DB: o.DB, Accounts: h.Accounts, Rooms: h.Rooms, Timeline: h.Timelines, Directory: h.Directory,
		Notices: o.Config.ServerNotices, Version: o.Version})
	return h, nil
}

// reserved keeps, beside what application services have reserved, the user who sends notices.
func (h *Homeserver) reserved(others account.ExclusiveFunc) account.ExclusiveFunc {
	return func(user id.UserID, service string) bool {
		return h.Admin != nil && user == h.Admin.Notifier() || others != nil && others(user, service)
	}
}

// orNil keeps a missing Remote a nil interface.
func orNil[T any](r Remote) (t T) {
	if r == nil {
		return t
	}
	return any(r).(T)
}

func (h *Homeserver) roomDeps(o Options) room.Deps {
	budget := int64(o.Config.MemoryMB) << 20
	return room.Deps{
		DB: o.DB, Stream: o.Stream, Signer: o.Signer, Keys: o.Keys, Remote: orNil[room.Remote](o.Remote), Policy: roomPolicy{o.Policy},
		Profile: func(ctx context.Context, user id.UserID) (string, string, error) {
			p, err := h.Accounts.Profile(ctx, user)
			return p.DisplayName, p.AvatarURL, err
		},
		Publish: func(ctx context.Context, r id.RoomID, _ id.UserID) error {
			return h.Directory.Publish(ctx, r, "", true)
		},
		KnownUser: func(ctx context.Context, user id.UserID) (bool, error) {
			if active, err := h.Accounts.Active(ctx, user); active || err != nil {
				return active, err
			}
			exists, err := h.Accounts.Exists(ctx, user)
			return !exists && h.reserved(o.Exclusive)(user, ""), err // an application service may make the account when it hears of it
		},
		MayDecline: func(ctx context.Context, user id.UserID, r id.RoomID, inviter id.UserID) error {
			return h.Admin.MayDecline(ctx, user, r, inviter)
		},
		AliasAllowed: o.AliasAllowed, AskForAlias: o.AskForAlias,
		DefaultVersion: o.Config.Rooms.DefaultVersion, UnstableVersions: o.Config.Experimental.MSC3757,
		EventBytes: budget / 4, StateBytes: budget / 4, RoomBytes: budget / 8, MembershipBytes: budget / 8,
	}
}

// Run runs what the slices do by themselves, until ctx ends.
func (h *Homeserver) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.mail.Run(ctx) })
	g.Go(func() error { return h.Accounts.Run(ctx) })
	g.Go(func() error { return h.OAuth.Run(ctx) })
	g.Go(func() error { return h.Keys.Run(ctx) })
	g.Go(func() error { return h.Ephemeral.Run(ctx) })
	g.Go(func() error { return h.Push.Run(ctx) })
	g.Go(func() error { return h.Admin.Run(ctx) })
	return g.Wait()
}
