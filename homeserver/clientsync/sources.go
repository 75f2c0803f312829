package clientsync

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/push"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// ToDevice is the device's inbox.
type ToDevice interface {
	// ToDevice returns messages with positions in (since, upTo], oldest first; more says that the limit cut them, last is the
	// position of the last one returned.
	ToDevice(ctx context.Context, user id.UserID, device id.DeviceID, since, upTo stream.Pos, limit int) (events []json.RawMessage, last stream.Pos, more bool, err error)
	// DeleteToDevice drops what the device has acknowledged.
	DeleteToDevice(ctx context.Context, user id.UserID, device id.DeviceID, upTo stream.Pos) error
}

// DeviceLists tells whose devices changed, as far as the user shares rooms with them.
type DeviceLists interface {
	DeviceListChanges(ctx context.Context, user id.UserID, since, upTo stream.Pos) (changed, left []id.UserID, err error)
}

// KeyCounts tells what other devices can still claim from this one.
type KeyCounts interface {
	KeyCounts(ctx context.Context, user id.UserID, device id.DeviceID) (counts map[string]int, unusedFallback []string, err error)
}

// Receipts gives whole m.receipt events.
type Receipts interface {
	ReceiptsSince(ctx context.Context, rooms []id.RoomID, since, upTo stream.Pos, forUser id.UserID) (map[id.RoomID]json.RawMessage, error)
}

// Typing gives the whole m.typing event of a room.
type Typing interface {
	TypingIn(ctx context.Context, room id.RoomID) ([]id.UserID, error)
	TypingEvent(ctx context.Context, room id.RoomID) (json.RawMessage, error)
}

// Presence gives whole m.presence events.
type Presence interface {
	PresenceSince(ctx context.Context, asker id.UserID, since, upTo stream.Pos) ([]json.RawMessage, error)
	// PresenceOf gives the presence of people whom the user only now shares a room with.
	PresenceOf(ctx context.Context, users []id.UserID) ([]json.RawMessage, error)
	// Syncing notes that a client of the user is there; state is set_presence.
	Syncing(ctx context.Context, user id.UserID, state string) error
}

// Counts are unread counts of a room.
type Counts = push.Counts

// PushCounts gives unread counts.
type PushCounts interface {
	Counts(ctx context.Context, user id.UserID, rooms []id.RoomID, upTo stream.Pos) (map[id.RoomID]Counts, error)
}

// PushRules gives the content of the m.push_rules event: the user's rules with the predefined ones.
type PushRules interface {
	Rules(ctx context.Context, user id.UserID) (json.RawMessage, error)
}
