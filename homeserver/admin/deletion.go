package admin

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

// Deletion says how a room is to go.
type Deletion struct {
	NewRoomUser id.UserID `json:"new_room_user_id,omitempty"` // makes a room for those who are put out
	RoomName    string    `json:"room_name,omitempty"`
	Message     string    `json:"message,omitempty"`
	Block       bool      `json:"block,omitempty"`
	Purge       *bool     `json:"purge,omitempty"` // nil: true
	ForcePurge  bool      `json:"force_purge,omitempty"`
}

// Deleted is what became of a room.
type Deleted struct {
	Kicked  []id.UserID    `json:"kicked_users"`
	Failed  []id.UserID    `json:"failed_to_kick_users"`
	Aliases []id.RoomAlias `json:"local_aliases"`
	NewRoom *id.RoomID     `json:"new_room_id"`
}

const (
	usualNewName = "Content Violation Notification"
	usualMessage = "Sharing illegal content on this server is not permitted and rooms in violation will be blocked."
)

func (a *Admin) checkDeletion(ctx context.Context, d *Deletion) error {
	if d.NewRoomUser == "" {
		return nil
	}
	if !a.accounts.Local(d.NewRoomUser) {
		return unknown("User must be our own: %s", d.NewRoomUser)
	}
	active, err := a.accounts.Active(ctx, d.NewRoomUser)
	if err == nil && !active {
		return errNoUser
	}
	return err
}

// DeleteRoom puts all local users out of a room, removes its local aliases and, unless told not to, all that is stored of it.
// A room that is not known here can be blocked. progress hears when the work goes on to another step; it may be nil.
func (a *Admin) DeleteRoom(ctx context.Context, by id.UserID, r id.RoomID, d Deletion, progress func(step string, so Deleted) error) (Deleted, error) {
	out := Deleted{Kicked: []id.UserID{}, Failed: []id.UserID{}, Aliases: []id.RoomAlias{}}
	if progress == nil {
		progress = func(string, Deleted) error { return nil }
	}
	if err := a.checkDeletion(ctx, &d); err != nil {
		return out, err
	}
	if d.Block {
		if err := a.rooms.Block(ctx, r, by, true); err != nil {
			return out, err
		}
	}
	known, err := a.knownRoom(ctx, r)
	if err != nil || !known {
		return out, err
	}
	if err := progress("shutting_down", out); err != nil {
		return out, err
	}
	if err := a.shutDown(ctx, by, r, &d, &out); err != nil {
		return out, err
	}
	if d.Purge != nil && !*d.Purge {
		return out, nil
	}
	if len(out.Failed) > 0 && !d.ForcePurge {
		return out, mautrix.MUnknown.WithMessage("Some users could not be made to leave the room")
	}
	if err := progress("purging", out); err != nil {
		return out, err
	}
	err = a.rooms.Purge(ctx, r)
	if notFound(err) {
		err = nil
	}
	return out, err
}

func (a *Admin) shutDown(ctx context.Context, by id.UserID, r id.RoomID, d *Deletion, out *Deleted) error {
	local, err := a.rooms.LocalJoined(ctx, r)
	if err != nil {
		return err
	}
	if d.NewRoomUser != "" {
		made, err := a.refuge(ctx, d)
		if err != nil {
			return err
		}
		out.NewRoom = &made
	}
	left, failed, err := a.rooms.Evict(ctx, r)
	out.Kicked, out.Failed = append(out.Kicked, left...), append(out.Failed, failed...)
	if err != nil {
		return err
	}
	if err := a.takeAliases(ctx, by, r, d, out); err != nil {
		return err
	}
	if err := a.Directory.Publish(ctx, r, "", false); err != nil {
		return err
	}
	if out.NewRoom == nil {
		return nil
	}
	for _, u := range local {
		if u == d.NewRoomUser {
			continue
		}
		if _, err := a.rooms.Join(ctx, room.JoinInput{User: u, RoomIDOrAlias: string(*out.NewRoom), SkipPolicy: true}); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// refuge makes the room that tells why the other one is gone.
func (a *Admin) refuge(ctx context.Context, d *Deletion) (id.RoomID, error) {
	name, message := d.RoomName, d.Message
	if name == "" {
		name = usualNewName
	}
	if message == "" {
		message = usualMessage
	}
	made, err := a.rooms.Create(ctx, room.CreateInput{Creator: d.NewRoomUser, Preset: "public_chat", Name: &name,
		PowerLevels: json.RawMessage(`{"users_default":-10}`), SkipPolicy: true})
	if err != nil {
		return "", err
	}
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": message})
	if err != nil {
		return "", err
	}
	_, err = a.rooms.Send(ctx, room.SendInput{RoomID: made, Sender: d.NewRoomUser, Type: "m.room.message", Content: content, SkipPolicy: true})
	return made, err
}

// takeAliases removes the room's aliases, or moves them to the room that replaces it.
func (a *Admin) takeAliases(ctx context.Context, by id.UserID, r id.RoomID, d *Deletion, out *Deleted) error {
	list, err := a.rooms.Aliases(ctx, r)
	if err != nil {
		return err
	}
	for _, alias := range list {
		if err := a.rooms.DeleteAlias(ctx, by, true, "", alias); err != nil && !notFound(err) {
			return err
		}
		out.Aliases = append(out.Aliases, alias)
		if out.NewRoom != nil {
			if err := a.rooms.CreateAlias(ctx, d.NewRoomUser, "", alias, *out.NewRoom); err != nil && ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Admin) doDelete(ctx context.Context, j *job) (any, error) {
	var d Deletion
	if err := json.Unmarshal(j.Input, &d); err != nil {
		return nil, err
	}
	return a.DeleteRoom(ctx, j.Operator, id.RoomID(j.Subject), d, func(step string, so Deleted) error { return a.at(ctx, j, step, so) })
}
