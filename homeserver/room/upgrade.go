package room

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// copied is the state that a replacement room takes over. spec: cs#server-behaviour-19
var copied = []string{typeServerACL, typeEncryption, typeName, typeAvatar, typeTopic, typeGuestAccess, typeVisibility, typeJoinRules,
	"m.room.pinned_events", "m.room.policy"}

const typeSpaceChild = "m.space.child"

// maxCopied bounds bans and children of a space that come over.
const maxCopied = 5000

// UpgradeInput is a room that shall go on in another one, of another version.
type UpgradeInput struct {
	RoomID             id.RoomID
	User               id.UserID
	Version            string
	AdditionalCreators []id.UserID
}

// Upgrade makes a room that replaces another one, and closes the old one. spec: cs#post_matrixclientv3roomsroomidupgrade
func (r *Rooms) Upgrade(ctx context.Context, in UpgradeInput) (id.RoomID, error) {
	v, err := r.newVersion(in.Version)
	if err != nil {
		return "", err
	}
	may, err := r.maySetState(ctx, in.RoomID, in.User, typeTombstone)
	if err != nil {
		return "", err
	}
	if !may {
		if known, err := r.Known(ctx, in.RoomID); err == nil && !known {
			return "", errNoRoom(in.RoomID)
		}
		return "", mautrix.MForbidden.WithMessage("You may not upgrade this room")
	}
	s, err := r.State(ctx, in.RoomID)
	if err != nil {
		return "", err
	}
	create, err := r.replacement(ctx, s, v, in)
	if err != nil {
		return "", err
	}
	newID, err := r.Create(ctx, *create)
	if err != nil {
		return "", err
	}
	if err := r.close(ctx, s, in, newID); err != nil {
		return "", err
	}
	if err := r.moveAliases(ctx, in, s, newID); err != nil {
		return "", err
	}
	return newID, nil
}

// replacement describes the new room.
func (r *Rooms) replacement(ctx context.Context, s *State, v event.Version, in UpgradeInput) (*CreateInput, error) {
	old, err := s.Event(ctx, typeCreate, "")
	if err != nil || old == nil {
		return nil, errors2(err, "the room has no create event")
	}
	c := &CreateInput{Creator: in.User, Version: v.ID(), Preset: "private_chat", replaces: true}
	if c.CreationContent, err = r.newCreateContent(ctx, old, v, in); err != nil {
		return nil, err
	}
	keys := make([]event.Key, len(copied))
	for i, t := range copied {
		keys[i] = event.Key{Type: t}
	}
	evs, err := s.EventsOfKeys(ctx, keys)
	if err != nil {
		return nil, err
	}
	space, _ := event.FieldString(old.Content(), "type")
	if space == "m.space" {
		children, err := r.limited(ctx, s, typeSpaceChild, func(ev *Stored) bool { return event.Field(ev.Content(), "via") != nil })
		if err != nil {
			return nil, err
		}
		evs = append(evs, children...)
	}
	powers, err := r.newPowerLevels(ctx, s, v, in)
	if err != nil {
		return nil, err
	}
	c.InitialState = append(c.InitialState, InitialState{typePowerLevels, "", powers})
	for _, ev := range evs {
		c.InitialState = append(c.InitialState, InitialState{ev.Type(), *ev.StateKey(), ev.Content()})
	}
	bans, err := r.limited(ctx, s, typeMember, func(ev *Stored) bool { return ev.Membership() == Banned })
	if err != nil {
		return nil, err
	}
	for _, ev := range bans {
		if *ev.StateKey() != string(in.User) {
			c.bans = append(c.bans, InitialState{typeMember, *ev.StateKey(), ev.Content()})
		}
	}
	return c, nil
}

func errors2(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errUnknown.WithMessage("%s", otherwise)
}

// limited lists events of a type that pass the filter.
func (r *Rooms) limited(ctx context.Context, s *State, evType string, keep func(*Stored) bool) ([]*Stored, error) {
	all, err := s.Events(ctx, func(k event.Key) bool { return k.Type == evType })
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(ev *Stored) bool { return ev.RedactedBy != "" || !keep(ev) })
	return all[:min(len(all), maxCopied)], nil
}

// newCreateContent keeps what the old room was made with, but for what belongs to versions and creators.
func (r *Rooms) newCreateContent(ctx context.Context, old *Stored, v event.Version, in UpgradeInput) (json.RawMessage, error) {
	var c map[string]any
	if err := json.Unmarshal(old.Content(), &c); err != nil {
		return nil, fmt.Errorf("content of %s: %w", old.ID(), err)
	}
	for _, key := range []string{"creator", "room_version", "additional_creators", "predecessor"} {
		delete(c, key)
	}
	predecessor := map[string]any{"room_id": in.RoomID}
	if !v.DomainlessRoomID() { // spec: rooms/v12: the predecessor names no event
		last, err := r.newestEvent(ctx, in.RoomID)
		if err != nil {
			return nil, err
		}
		predecessor["event_id"] = last
	}
	c["predecessor"] = predecessor
	if len(in.AdditionalCreators) > 0 {
		if !v.PrivilegedCreators() {
			return nil, mautrix.MInvalidParam.WithMessage("Rooms of this version have no additional creators")
		}
		c["additional_creators"] = in.AdditionalCreators
	}
	return json.Marshal(c)
}

func (r *Rooms) newestEvent(ctx context.Context, roomID id.RoomID) (id.EventID, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return "", err
	}
	defer r.release(e)
	h, err := e.newestForReading(ctx)
	if err != nil || len(h.extremities) == 0 {
		return "", err
	}
	return h.extremities[0].id, nil
}

// newPowerLevels are the old ones, without new creators; old creators of a room that had such keep what a number can give.
func (r *Rooms) newPowerLevels(ctx context.Context, s *State, v event.Version, in UpgradeInput) (json.RawMessage, error) {
	levels := map[string]any{}
	ev, err := s.Event(ctx, typePowerLevels, "")
	if err != nil {
		return nil, err
	}
	if ev != nil {
		if err := json.Unmarshal(ev.Content(), &levels); err != nil {
			return nil, fmt.Errorf("content of %s: %w", ev.ID(), err)
		}
	}
	users, _ := levels["users"].(map[string]any)
	if users == nil {
		users = map[string]any{}
	}
	create, err := s.Event(ctx, typeCreate, "")
	if err != nil {
		return nil, err
	}
	was := create.Version().PrivilegedCreators()
	if was && !v.PrivilegedCreators() {
		for _, u := range auth.Creators(create.Event) {
			users[string(u)] = 100
		}
	}
	if v.PrivilegedCreators() {
		delete(users, string(in.User))
		for _, u := range in.AdditionalCreators {
			delete(users, string(u))
		}
		events, _ := levels["events"].(map[string]any)
		if events == nil {
			events = map[string]any{}
		}
		if !was {
			events[typeTombstone] = 150
		}
		levels["events"] = events
	} else if _, ok := users[string(in.User)]; !ok {
		users[string(in.User)] = 100
	}
	levels["users"] = users
	return json.Marshal(levels)
}

// close puts the tombstone up and lets only those speak in the old room who could before by a higher level.
func (r *Rooms) close(ctx context.Context, s *State, in UpgradeInput, newID id.RoomID) error {
	key := ""
	content, err := json.Marshal(map[string]any{"body": "This room has been replaced", "replacement_room": newID})
	if err != nil {
		return err
	}
	if _, err := r.Send(ctx, SendInput{RoomID: in.RoomID, Sender: in.User, Type: typeTombstone, StateKey: &key, Content: content,
		SkipPolicy: true}); err != nil {
		return err
	}
	quiet, err := r.quietLevels(ctx, s)
	if err != nil || quiet == nil {
		return err
	}
	_, err = r.Send(ctx, SendInput{RoomID: in.RoomID, Sender: in.User, Type: typePowerLevels, StateKey: &key, Content: quiet, SkipPolicy: true})
	if resp, ok := asRespError(err); ok && resp.StatusCode < 500 {
		zerolog.Ctx(ctx).Debug().Str("room_id", string(in.RoomID)).Msg("The power levels of an upgraded room stay as they are")
		return nil
	}
	return err
}

// quietLevels raise what everybody may do, so that clients without upgrades stop writing; nil: nothing to do.
func (r *Rooms) quietLevels(ctx context.Context, s *State) (json.RawMessage, error) {
	ev, err := s.Event(ctx, typePowerLevels, "")
	if err != nil || ev == nil {
		return nil, err
	}
	v := &view{ctx: ctx, s: s}
	levels := auth.PowerLevels(v)
	var c map[string]any
	if v.err != nil || json.Unmarshal(ev.Content(), &c) != nil {
		return nil, v.err
	}
	enough := max(50, levels.UsersDefault+1)
	if levels.EventsDefault >= enough && levels.Invite >= enough {
		return nil, nil
	}
	c["events_default"], c["invite"] = max(enough, levels.EventsDefault), max(enough, levels.Invite)
	return json.Marshal(c)
}

// moveAliases lets the old room's aliases point to the new one, and moves the canonical alias.
func (r *Rooms) moveAliases(ctx context.Context, in UpgradeInput, s *State, newID id.RoomID) error {
	if _, err := r.db.Exec(ctx, sqlAliasesMoved, string(in.RoomID), string(newID)); err != nil {
		return fmt.Errorf("moving aliases: %w", err)
	}
	ev, err := s.Event(ctx, typeCanonical, "")
	if err != nil || ev == nil || ev.RedactedBy != "" {
		return err
	}
	key := ""
	for _, send := range []SendInput{
		{RoomID: in.RoomID, Content: json.RawMessage("{}")},
		{RoomID: newID, Content: ev.Content()},
	} {
		send.Sender, send.Type, send.StateKey, send.SkipPolicy = in.User, typeCanonical, &key, true
		if _, err := r.Send(ctx, send); err != nil {
			zerolog.Ctx(ctx).Info().Err(err).Str("room_id", string(send.RoomID)).Msg("The canonical alias of an upgraded room was not moved")
			return nil // it is not worth failing for
		}
	}
	return nil
}
