package room

import (
	"context"
	"slices"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Look is what lists of rooms show of a room. It follows the current state, in the same unit.
type Look struct {
	Name, Topic, AvatarURL                   string
	CanonicalAlias                           id.RoomAlias
	Type                                     string
	Creator                                  id.UserID
	Encryption                               string // the algorithm
	Federated                                bool
	JoinRule, GuestAccess, HistoryVisibility string
	Replacement                              id.RoomID
	Tombstoned                               bool
}

var lookTypes = []string{typeCreate, typeName, typeTopic, typeAvatar, typeCanonical, typeEncryption, typeJoinRules, typeGuestAccess,
	typeVisibility, typeTombstone}

func isLook(k event.Key) bool { return k.StateKey == "" && slices.Contains(lookTypes, k.Type) }

// lookNow reads the look that the state of the batch gives the room.
func (b *batch) lookNow(ctx context.Context) (Look, error) {
	var l Look
	for _, t := range lookTypes {
		ref, ok := b.now.state.Get(event.Key{Type: t})
		if !ok {
			continue
		}
		s, err := b.r.eventByNID(ctx, ref.NID)
		if err != nil {
			return l, err
		}
		if i := slices.IndexFunc(b.redacted, func(x *Stored) bool { return x.NID == s.NID }); i >= 0 {
			s = b.redacted[i]
		}
		l.take(s)
	}
	return l, nil
}

func (l *Look) take(s *Stored) {
	ev := s.Event
	if s.RedactedBy != "" {
		ev = ev.Redacted()
	}
	get := func(key string) string {
		v, _ := ev.FieldString(key) // what is no text counts as absent
		return v
	}
	switch s.Type() {
	case typeCreate:
		l.Type, l.Creator = get("type"), s.Sender()
		l.Federated = string(event.Field(ev.Content(), "m.federate")) != "false"
	case typeName:
		l.Name = get("name")
	case typeTopic:
		l.Topic = get("topic")
	case typeAvatar:
		l.AvatarURL = get("url")
	case typeCanonical:
		l.CanonicalAlias = id.RoomAlias(get("alias"))
	case typeEncryption:
		l.Encryption = get("algorithm")
	case typeJoinRules:
		l.JoinRule = get("join_rule")
	case typeGuestAccess:
		l.GuestAccess = get("guest_access")
	case typeVisibility:
		l.HistoryVisibility = get("history_visibility")
	case typeTombstone:
		l.Tombstoned, l.Replacement = true, id.RoomID(get("replacement_room"))
	}
}

// writeLook takes the room's look into the unit, if it changed.
func (b *batch) writeLook(ctx context.Context) error {
	if !b.looks || b.now.state == nil {
		return nil
	}
	l, err := b.lookNow(ctx)
	if err != nil {
		return err
	}
	b.write(b.r.tables.looks, lookRow(b.nid, &l)...)
	return nil
}

// foldName is the form of names that lists sort and search by.
func foldName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }
