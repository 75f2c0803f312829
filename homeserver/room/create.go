package room

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

// InitialState is a state event that a room starts with.
type InitialState struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// CreateInput is a room that a local user wants. spec: cs#post_matrixclientv3createroom
type CreateInput struct {
	Creator         id.UserID
	AppService      string
	Public          bool // to be listed in the directory
	AliasName       string
	Name            *string
	Topic           *string
	Invite          []id.UserID
	Version         string // "": the default
	CreationContent json.RawMessage
	InitialState    []InitialState
	Preset          string
	Direct          bool
	PowerLevels     json.RawMessage // power_level_content_override
	Timestamp       int64
	SkipPolicy      bool

	replaces bool           // another room, whose state it gets: presets add nothing that opens it
	bans     []InitialState // member events of those banned, sent last
}

const maxInvites = 100

// creation is a room on its way into being.
type creation struct {
	*CreateInput
	version  event.Version
	content  map[string]json.RawMessage // of m.room.create
	creators []id.UserID
	alias    id.RoomAlias
	member   json.RawMessage
	preset   string
}

// Create makes a room with all its initial events in one unit.
func (r *Rooms) Create(ctx context.Context, in CreateInput) (id.RoomID, error) {
	c, err := r.prepare(ctx, &in)
	if err != nil {
		return "", err
	}
	roomID, build, err := r.newRoomID(ctx, c)
	if err != nil {
		return "", err
	}
	defer r.creating.Delete(roomID)
	if c.alias != "" {
		made, err := r.insertAlias(ctx, c.alias, roomID, in.Creator)
		if err != nil {
			return "", err
		}
		if !made {
			return "", mautrix.MRoomInUse.WithMessage("The alias is taken")
		}
	}
	if err := r.createRoom(ctx, c, roomID, build); err != nil {
		if c.alias != "" {
			if _, undo := r.db.Exec(context.WithoutCancel(ctx), sqlAliasDelete, string(c.alias)); undo != nil {
				zerolog.Ctx(ctx).Warn().Err(undo).Msg("An alias without a room was left behind")
			}
		}
		return "", err
	}
	if in.Public && r.Publish != nil {
		if err := r.Publish(ctx, roomID, in.Creator); err != nil {
			return "", err
		}
	}
	r.inviteOthers(ctx, c, roomID)
	return roomID, nil
}

// prepare checks what is wanted, before anything is written.
func (r *Rooms) prepare(ctx context.Context, in *CreateInput) (*creation, error) {
	if in.Version == "" {
		in.Version = r.DefaultVersion
	}
	c := &creation{CreateInput: in}
	var err error
	if c.version, err = r.newVersion(in.Version); err != nil {
		return nil, err
	}
	if c.preset, err = presetOf(in); err != nil {
		return nil, err
	}
	if len(in.Invite) > maxInvites {
		return nil, mautrix.MInvalidParam.WithMessage("Too many people to invite at once")
	}
	for _, u := range in.Invite {
		if !event.ValidUserID(string(u)) {
			return nil, mautrix.MInvalidParam.WithMessage("invite names something that is not a user ID")
		}
	}
	for i := range in.InitialState {
		if in.InitialState[i].Type == "" || in.InitialState[i].Type == typeCreate || in.InitialState[i].Type == typeMember {
			return nil, mautrix.MInvalidParam.WithMessage("initial_state has an event of a type that cannot stand there")
		}
	}
	if err := c.creationContent(); err != nil {
		return nil, err
	}
	if in.AliasName != "" {
		c.alias = id.RoomAlias("#" + in.AliasName + ":" + r.server)
		if strings.Contains(in.AliasName, ":") {
			return nil, mautrix.MInvalidParam.WithMessage("room_alias_name is the part before the colon only")
		}
		if err := r.checkAlias(ctx, in.Creator, in.AppService, c.alias); err != nil {
			return nil, err
		}
	}
	if !in.SkipPolicy {
		if err := r.allow(ctx, Action{Kind: ActionCreate, User: in.Creator, Create: in}); err != nil {
			return nil, err
		}
		for _, u := range in.Invite {
			if err := r.allow(ctx, Action{Kind: ActionInvite, User: in.Creator, Target: u, Create: in}); err != nil {
				return nil, err
			}
		}
	}
	m := &MemberInput{Sender: in.Creator, Target: in.Creator}
	c.member, err = r.memberContent(ctx, m, Joined)
	return c, err
}

// newVersion is a version that new rooms may have.
func (r *Rooms) newVersion(name string) (event.Version, error) {
	v, err := event.Lookup(name)
	if err != nil || !v.Stable() && !r.UnstableVersions {
		return v, errRoomVersion.WithMessage("This server does not support room version %q", name)
	}
	return v, nil
}

func presetOf(in *CreateInput) (string, error) {
	switch in.Preset {
	case "private_chat", "trusted_private_chat", "public_chat":
		return in.Preset, nil
	case "":
		if in.Public {
			return "public_chat", nil
		}
		return "private_chat", nil
	}
	return "", mautrix.MBadJSON.WithMessage("Unknown preset")
}

// creationContent is the content of m.room.create. spec: cs#mroomcreate
func (c *creation) creationContent() error {
	c.content = map[string]json.RawMessage{}
	if len(c.CreationContent) > 0 {
		if err := json.Unmarshal(c.CreationContent, &c.content); err != nil {
			return mautrix.MBadJSON.WithMessage("creation_content must be an object")
		}
	}
	if c.content == nil {
		c.content = map[string]json.RawMessage{}
	}
	c.content["room_version"] = text(c.version.ID())
	delete(c.content, "creator")
	if c.version.CreatorInContent() {
		c.content["creator"] = text(string(c.Creator))
	}
	c.creators = []id.UserID{c.Creator}
	if !c.version.PrivilegedCreators() {
		return nil
	}
	var more []id.UserID
	if raw, ok := c.content["additional_creators"]; ok {
		if err := json.Unmarshal(raw, &more); err != nil {
			return mautrix.MBadJSON.WithMessage("additional_creators must be a list of user IDs")
		}
	}
	for _, u := range more {
		if !event.ValidUserID(string(u)) {
			return mautrix.MBadJSON.WithMessage("additional_creators names something that is not a user ID")
		}
	}
	if c.preset == "trusted_private_chat" {
		for _, u := range c.Invite {
			if !slices.Contains(more, u) && u != c.Creator {
				more = append(more, u)
			}
		}
	}
	delete(c.content, "additional_creators")
	if len(more) > 0 {
		raw, err := json.Marshal(more)
		if err != nil {
			return err
		}
		c.content["additional_creators"] = raw
	}
	c.creators = append(c.creators, more...)
	return nil
}

// newRoomID gives the room's ID and its create event. Where the ID is that of the event, two rooms of equal content must not be
// made at the same time: one of them is made a moment later. The caller deletes the ID from creating in the end.
// spec: rooms/v12#event-ids
func (r *Rooms) newRoomID(ctx context.Context, c *creation) (id.RoomID, *event.Event, error) {
	content, err := json.Marshal(c.content)
	if err != nil {
		return "", nil, err
	}
	key := ""
	p := event.Proto{RoomID: id.RoomID("!" + randomName() + ":" + r.server), Type: typeCreate, StateKey: &key, Sender: c.Creator,
		Content: content, PrevEvents: []id.EventID{}, AuthEvents: []id.EventID{}, Depth: 1, Timestamp: c.Timestamp}
	if p.Timestamp == 0 {
		p.Timestamp = r.now()
	}
	if c.version.IDInside() {
		p.EventID = r.newEventID()
	}
	for ; ; p.Timestamp++ {
		ev, err := event.Build(c.version, p, r.Signer)
		if err != nil {
			return "", nil, err
		}
		if _, busy := r.creating.LoadOrStore(ev.RoomID(), struct{}{}); busy {
			continue
		}
		known, err := r.Known(ctx, ev.RoomID())
		if err == nil && !known {
			return ev.RoomID(), ev, nil
		}
		r.creating.Delete(ev.RoomID())
		if err != nil {
			return "", nil, err
		}
	}
}

func randomName() string {
	return rand.Text()[:18]
}

func text(s string) json.RawMessage {
	raw, _ := json.Marshal(s) // a string: cannot fail
	return raw
}

// createRoom commits the room.
func (r *Rooms) createRoom(ctx context.Context, c *creation, roomID id.RoomID, create *event.Event) error {
	events, err := r.initialEvents(ctx, c)
	if err != nil {
		return err
	}
	e := r.use(roomID)
	defer r.release(e)
	return r.writeRoom(ctx, e, c.version, func(ctx context.Context, b *batch) error {
		if b.old != nil {
			return errUnknown.WithMessage("The room exists already")
		}
		if err := check(ctx, create, nil); err != nil {
			return badRoomState(err)
		}
		if _, err := b.addNext(ctx, create, "", ""); err != nil {
			return err
		}
		for _, p := range events {
			p.Timestamp = create.Timestamp() // one moment: a clock read after the answer is later than all of them
			if _, err := b.addLocal(ctx, p, "", ""); err != nil {
				return badRoomState(err)
			}
		}
		return nil
	})
}

// badRoomState says of a refusal by the rules that the wanted state is at fault.
func badRoomState(err error) error {
	if respErr, ok := asRespError(err); ok && respErr.ErrCode == mautrix.MForbidden.ErrCode {
		return errRoomState.WithMessage("The room cannot have this state: %s", respErr.Err)
	}
	return err
}

// initialEvents lists what follows the create event, in the order that the specification gives.
func (r *Rooms) initialEvents(ctx context.Context, c *creation) ([]event.Proto, error) {
	empty := ""
	list := []event.Proto{{Type: typeMember, StateKey: (*string)(&c.Creator), Sender: c.Creator, Content: c.member}}
	powers, err := c.powerLevels()
	if err != nil {
		return nil, err
	}
	state := func(evType string, content json.RawMessage) {
		list = append(list, event.Proto{Type: evType, StateKey: &empty, Sender: c.Creator, Content: content})
	}
	given := func(evType string) bool {
		return slices.ContainsFunc(c.InitialState, func(s InitialState) bool { return s.Type == evType && s.StateKey == "" })
	}
	if !given(typePowerLevels) {
		state(typePowerLevels, powers)
	}
	if c.alias != "" && !given(typeCanonical) {
		state(typeCanonical, object("alias", string(c.alias)))
	}
	rule, guests := "invite", "can_join"
	if c.preset == "public_chat" {
		rule, guests = "public", "forbidden"
	}
	if c.replaces {
		guests = "forbidden"
	}
	for _, s := range [][3]string{{typeJoinRules, "join_rule", rule}, {typeVisibility, "history_visibility", "shared"},
		{typeGuestAccess, "guest_access", guests}} {
		if !given(s[0]) && !(s[0] == typeGuestAccess && guests == "forbidden") {
			state(s[0], object(s[1], s[2]))
		}
	}
	for _, s := range c.InitialState {
		if s.Type == typeName && c.Name != nil || s.Type == typeTopic && c.Topic != nil {
			continue
		}
		p, err := c.initialState(s)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if c.Name != nil {
		state(typeName, object("name", *c.Name))
	}
	if c.Topic != nil {
		raw, err := json.Marshal(map[string]any{"topic": *c.Topic, "m.topic": map[string]any{"m.text": []any{map[string]string{"body": *c.Topic}}}})
		if err != nil {
			return nil, err
		}
		state(typeTopic, raw)
	}
	for _, s := range c.bans {
		list = append(list, event.Proto{Type: s.Type, StateKey: &s.StateKey, Sender: c.Creator, Content: s.Content})
	}
	return r.localInvites(ctx, c, list)
}

func (c *creation) initialState(s InitialState) (event.Proto, error) {
	if firstByte(s.Content) != '{' {
		return event.Proto{}, mautrix.MBadJSON.WithMessage("initial_state has an event without content")
	}
	if s.Type == typePowerLevels {
		if err := checkPowerLevels(c.version, s.Content); err != nil {
			return event.Proto{}, err
		}
	}
	return event.Proto{Type: s.Type, StateKey: &s.StateKey, Sender: c.Creator, Content: s.Content}, nil
}

func object(key, value string) json.RawMessage {
	raw, _ := json.Marshal(map[string]string{key: value}) // strings: cannot fail
	return raw
}

// localInvites appends the invitations of users of this server.
func (r *Rooms) localInvites(ctx context.Context, c *creation, list []event.Proto) ([]event.Proto, error) {
	for i, u := range c.Invite {
		if !r.local(u) || u == c.Creator || slices.Contains(c.Invite[:i], u) {
			continue
		}
		content, err := r.memberContent(ctx, &MemberInput{Sender: c.Creator, Target: u, IsDirect: c.Direct}, Invited)
		if err != nil {
			return nil, err
		}
		list = append(list, event.Proto{Type: typeMember, StateKey: (*string)(&c.Invite[i]), Sender: c.Creator, Content: content})
	}
	return list, nil
}

// inviteOthers invites users of other servers. The room exists; an invitation that fails can be repeated.
func (r *Rooms) inviteOthers(ctx context.Context, c *creation, roomID id.RoomID) {
	for i, u := range c.Invite {
		if r.local(u) || slices.Contains(c.Invite[:i], u) {
			continue
		}
		err := r.Invite(ctx, MemberInput{RoomID: roomID, Sender: c.Creator, Target: u, IsDirect: c.Direct, SkipPolicy: true})
		if err != nil {
			zerolog.Ctx(ctx).Info().Err(err).Str("room_id", string(roomID)).Msg("An invitation to a new room failed")
		}
	}
}

// powerLevels are those of the preset with what the caller wants otherwise. spec: cs#mroompower_levels
func (c *creation) powerLevels() (json.RawMessage, error) {
	tombstone := 100
	users := map[string]any{}
	if c.version.PrivilegedCreators() {
		tombstone = 150 // spec: cs#mroomtombstone
	} else {
		users[string(c.Creator)] = 100
		if c.preset == "trusted_private_chat" {
			for _, u := range c.Invite {
				users[string(u)] = 100
			}
		}
	}
	levels := map[string]any{
		"users_default": 0, "events_default": 0, "state_default": 50, "ban": 50, "kick": 50, "redact": 50, "invite": 0,
		"historical": 100, "users": users,
		"events": map[string]any{
			typeName: 50, typePowerLevels: 100, typeVisibility: 100, typeCanonical: 50, typeAvatar: 50,
			typeTombstone: tombstone, typeServerACL: 100, typeEncryption: 100,
		},
	}
	if c.preset == "public_chat" {
		levels["invite"] = 50
	}
	if len(c.PowerLevels) > 0 {
		if err := checkPowerLevels(c.version, c.PowerLevels); err != nil {
			return nil, err
		}
		dec := json.NewDecoder(strings.NewReader(string(c.PowerLevels)))
		dec.UseNumber()
		if err := dec.Decode(&levels); err != nil { // members given replace ours as a whole
			return nil, mautrix.MBadJSON.WithMessage("power_level_content_override must be an object")
		}
	}
	raw, err := json.Marshal(levels)
	if err != nil {
		return nil, fmt.Errorf("power levels: %w", err)
	}
	return raw, nil
}
