package room

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// maxAliasBytes is the length of any identifier. spec: cs#room-aliases
const maxAliasBytes = 255

// ResolveAlias finds the room behind an alias and servers through which it can be reached.
func (r *Rooms) ResolveAlias(ctx context.Context, alias id.RoomAlias) (id.RoomID, []string, error) {
	server := event.ServerOf(string(alias))
	if server != r.server {
		return r.resolveElsewhere(ctx, server, alias)
	}
	a, err := r.readAlias(ctx, alias)
	if isNotFound(err) && r.AskForAlias != nil && r.AskForAlias(ctx, alias) {
		a, err = r.readAlias(ctx, alias)
	}
	if err != nil {
		return "", nil, err
	}
	servers, err := r.JoinedServers(ctx, a.room)
	if err != nil && !isNotFound(err) {
		return "", nil, err
	}
	list := []string{r.server}
	for _, s := range servers {
		if s != r.server && len(list) < 100 {
			list = append(list, s)
		}
	}
	return a.room, list, nil
}

func (r *Rooms) resolveElsewhere(ctx context.Context, server string, alias id.RoomAlias) (id.RoomID, []string, error) {
	if r.Remote == nil {
		return "", nil, errAliasNotFound
	}
	t, err := r.Remote.QueryAlias(ctx, server, alias)
	if err != nil {
		return "", nil, err
	}
	if !event.ValidRoomID(string(t.RoomID)) {
		return "", nil, mautrix.MUnknown.WithStatus(502).WithMessage("%s gave something else than a room for the alias", server)
	}
	return t.RoomID, append([]string{server}, t.Servers...), nil
}

// CreateAlias makes an alias of this server for a room. spec: cs#put_matrixclientv3directoryroomroomalias
func (r *Rooms) CreateAlias(ctx context.Context, user id.UserID, appService string, alias id.RoomAlias, roomID id.RoomID) error {
	if err := r.checkAlias(ctx, user, appService, alias); err != nil {
		return err
	}
	known, err := r.Known(ctx, roomID)
	if err != nil {
		return err
	}
	if !known {
		return mautrix.MNotFound.WithMessage("The room is not known here")
	}
	if appService == "" {
		m, ok, err := r.Member(ctx, roomID, user)
		if err != nil {
			return err
		}
		if !ok || m.Membership != Joined {
			return errNotInRoom
		}
	}
	made, err := r.insertAlias(ctx, alias, roomID, user)
	if err != nil {
		return err
	}
	if !made {
		return mautrix.MUnknown.WithStatus(409).WithMessage("The alias exists already")
	}
	return nil
}

func (r *Rooms) checkAlias(ctx context.Context, user id.UserID, appService string, alias id.RoomAlias) error {
	if !event.ValidAlias(string(alias)) || len(alias) > maxAliasBytes {
		return mautrix.MInvalidParam.WithMessage("Not a room alias")
	}
	if event.ServerOf(string(alias)) != r.server {
		return mautrix.MInvalidParam.WithMessage("Aliases of other servers are made there")
	}
	if r.AliasAllowed != nil {
		if err := r.AliasAllowed(ctx, user, appService, alias); err != nil {
			return err
		}
	}
	return r.allow(ctx, Action{Kind: ActionAlias, User: user, Content: []byte(alias)})
}

// DeleteAlias removes an alias of this server, and then its mention in the room if the user may change that. Its maker may,
// those whose power suffices to change the canonical alias, and administrators.
// spec: cs#delete_matrixclientv3directoryroomroomalias
func (r *Rooms) DeleteAlias(ctx context.Context, user id.UserID, admin bool, appService string, alias id.RoomAlias) error {
	a, err := r.readAlias(ctx, alias)
	if err != nil {
		return err
	}
	if r.AliasAllowed != nil && !admin {
		if err := r.AliasAllowed(ctx, user, appService, alias); err != nil {
			return err
		}
	}
	if a.creator != user && !admin {
		may, err := r.maySetState(ctx, a.room, user, typeCanonical)
		if err != nil {
			return err
		}
		if !may {
			return mautrix.MForbidden.WithMessage("You may not remove this alias")
		}
	}
	if _, err := r.db.Exec(ctx, sqlAliasDelete, string(alias)); err != nil {
		return fmt.Errorf("removing an alias: %w", err)
	}
	return r.forgetCanonical(ctx, a.room, user, alias)
}

// maySetState says whether a member's power suffices to send a state event of a type.
func (r *Rooms) maySetState(ctx context.Context, roomID id.RoomID, user id.UserID, evType string) (bool, error) {
	m, ok, err := r.Member(ctx, roomID, user)
	if err != nil || !ok || m.Membership != Joined {
		return false, err
	}
	levels, err := r.PowerLevels(ctx, roomID)
	if err != nil {
		return false, err
	}
	return levels.User(user) >= levels.Event(evType, true), nil
}

// PowerLevels are the levels in force in a room.
func (r *Rooms) PowerLevels(ctx context.Context, roomID id.RoomID) (auth.Levels, error) {
	s, err := r.State(ctx, roomID)
	if err != nil {
		return auth.Levels{}, err
	}
	v := &view{ctx: ctx, s: s}
	levels := auth.PowerLevels(v)
	return levels, v.err
}

// forgetCanonical takes a removed alias out of m.room.canonical_alias, if the user may do that.
func (r *Rooms) forgetCanonical(ctx context.Context, roomID id.RoomID, user id.UserID, alias id.RoomAlias) error {
	may, err := r.maySetState(ctx, roomID, user, typeCanonical)
	if err != nil || !may {
		return ignoreNotFound(err)
	}
	s, err := r.State(ctx, roomID)
	if err != nil {
		return err
	}
	ev, err := s.Event(ctx, typeCanonical, "")
	if err != nil || ev == nil {
		return err
	}
	var named canonicalAlias
	var content map[string]json.RawMessage
	if json.Unmarshal(ev.Content(), &named) != nil || json.Unmarshal(ev.Content(), &content) != nil {
		return nil // it names nothing that could be read
	}
	i := slices.Index(named.AltAliases, string(alias))
	if named.Alias != string(alias) && i < 0 {
		return nil
	}
	if named.Alias == string(alias) {
		delete(content, "alias")
	}
	if i >= 0 {
		if named.AltAliases = slices.Delete(named.AltAliases, i, i+1); len(named.AltAliases) == 0 {
			delete(content, "alt_aliases")
		} else {
			content["alt_aliases"], _ = json.Marshal(named.AltAliases) // strings: cannot fail
		}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	key := ""
	_, err = r.Send(ctx, SendInput{RoomID: roomID, Sender: user, Type: typeCanonical, StateKey: &key, Content: raw, SkipPolicy: true})
	return err
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

// ListAliases lists the local aliases of a room to its members, or to anybody if its history is readable for all.
// spec: cs#get_matrixclientv3roomsroomidaliases
func (r *Rooms) ListAliases(ctx context.Context, user id.UserID, admin bool, roomID id.RoomID) ([]id.RoomAlias, error) {
	if !admin {
		if err := r.mayRead(ctx, user, roomID); err != nil {
			return nil, err
		}
	}
	return r.Aliases(ctx, roomID)
}

func (r *Rooms) mayRead(ctx context.Context, user id.UserID, roomID id.RoomID) error {
	m, ok, err := r.Member(ctx, roomID, user)
	if err != nil || ok && m.Membership == Joined {
		return err
	}
	s, err := r.State(ctx, roomID)
	if err != nil {
		return noRoomForbidden(err)
	}
	ev, err := s.Event(ctx, typeVisibility, "")
	if err != nil {
		return err
	}
	if ev != nil {
		if v, _ := ev.FieldString("history_visibility"); v == "world_readable" {
			return nil
		}
	}
	return errNotInRoom
}
