package directory

import (
	"context"
	"encoding/json"

	lru "github.com/hashicorp/golang-lru/v2"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Remote asks other servers.
type Remote interface {
	// PublicRooms sends a query as its body and returns the answer (spec: ss#post_matrixfederationv1publicrooms).
	PublicRooms(ctx context.Context, server string, query json.RawMessage) (json.RawMessage, error)
	// Hierarchy returns a room of a space with its children (spec: ss#get_matrixfederationv1hierarchyroomid).
	Hierarchy(ctx context.Context, server string, roomID id.RoomID, suggestedOnly bool) (json.RawMessage, error)
}

// Options are what a Directory is built from.
type Options struct {
	ServerName string
	DB         *database.DB
	Stream     *stream.Stream
	Accounts   *account.Accounts
	Rooms      *room.Rooms
	Remote     Remote // nil: nothing of other servers is found
	// SearchAll lets everybody find all local users, not only those in shared or public rooms.
	SearchAll bool
	// MayPublish says whether a user may put rooms into the public list; nil allows all.
	MayPublish func(ctx context.Context, user id.UserID) error
}

// Directory finds rooms and people.
type Directory struct {
	Options
	looks *lru.Cache[int64, look]
}

// looksKept bounds the rooms whose looks are kept in memory.
const looksKept = 10_000

// New returns the slice and registers its follower.
func New(o Options) *Directory {
	looks, err := lru.New[int64, look](looksKept)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	d := &Directory{Options: o, looks: looks}
	o.Rooms.OnPurge(d.forgetRoom)
	o.Stream.Follow("user_directory", stream.Kinds(stream.Profile, stream.Membership), d.followUsers)
	return d
}
