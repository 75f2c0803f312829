package room

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Remote asks other servers. Events are handed over as they came: nothing in them has been checked.
type Remote interface {
	// MakeJoin, MakeLeave and MakeKnock ask for the frame of a member event, naming all versions that event.Versions lists.
	// spec: ss#joining-rooms
	MakeJoin(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error)
	MakeLeave(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error)
	MakeKnock(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error)
	SendJoin(ctx context.Context, server string, ev *event.Event) (JoinAnswer, error)
	SendLeave(ctx context.Context, server string, ev *event.Event) error
	SendKnock(ctx context.Context, server string, ev *event.Event) (stripped []json.RawMessage, err error)
	// SendInvite gives the invitation back with the signature of the invited user's server.
	SendInvite(ctx context.Context, server string, ev *event.Event, stripped []json.RawMessage) (json.RawMessage, error)

	Event(ctx context.Context, server string, eventID id.EventID) (json.RawMessage, error)
	StateIDs(ctx context.Context, server string, room id.RoomID, at id.EventID) (state, authChain []id.EventID, err error)
	State(ctx context.Context, server string, room id.RoomID, at id.EventID) (state, authChain []json.RawMessage, err error)
	MissingEvents(ctx context.Context, server string, room id.RoomID, q MissingQuery) ([]json.RawMessage, error)
	Backfill(ctx context.Context, server string, room id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error)
	EventAuth(ctx context.Context, server string, room id.RoomID, eventID id.EventID) ([]json.RawMessage, error)

	// TimestampToEvent finds the event nearest to a time (ms), before it if backwards.
	TimestampToEvent(ctx context.Context, server string, room id.RoomID, ts int64, backwards bool) (id.EventID, error)

	QueryAlias(ctx context.Context, server string, alias id.RoomAlias) (AliasTarget, error)
}

// Template is the frame of an event that a resident server offers.
type Template struct {
	RoomVersion string
	Event       json.RawMessage
}

// JoinAnswer is what a resident server tells those who join.
type JoinAnswer struct {
	Event     json.RawMessage // with the signature of the resident server, if it had to sign
	State     []json.RawMessage
	AuthChain []json.RawMessage
	Servers   []string
	Partial   bool
}

// MissingQuery asks for the events between two edges. spec: ss#post_matrixfederationv1get_missing_eventsroomid
type MissingQuery struct {
	Earliest, Latest []id.EventID
	Limit            int
	MinDepth         int64
}

// AliasTarget is what an alias points to.
type AliasTarget struct {
	RoomID  id.RoomID
	Servers []string
}

// elsewhere changes the membership of a local user in a room that nobody of this server is inside, through servers that are.
type elsewhere interface {
	join(ctx context.Context, m outsideMember) (id.EventID, error)
	leave(ctx context.Context, m outsideMember) (id.EventID, error)
	knock(ctx context.Context, m outsideMember) (id.EventID, error)
}

// outsideMember is a membership wanted in a room elsewhere.
type outsideMember struct {
	Room    id.RoomID
	User    id.UserID
	Via     []string // never this server
	Content json.RawMessage
}
