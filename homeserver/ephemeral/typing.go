package ephemeral

import (
	"context"
	"encoding/json"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	defaultTyping = 30 * time.Second
	maxTyping     = 2 * time.Minute
	// maxTypists bounds who is shown as typing in one room.
	maxTypists = 50
)

// typist is somebody typing until Until (ms).
type typist struct {
	User  id.UserID
	Until int64
}

// SetTyping says that a user of this server types in a room, for timeout at most, or has stopped.
func (e *Ephemeral) SetTyping(ctx context.Context, roomID id.RoomID, user id.UserID, on bool, timeout time.Duration) error {
	m, ok, err := e.rooms.Member(ctx, roomID, user)
	if err != nil {
		return err
	}
	if !ok || m.Membership != "join" {
		return mautrix.MForbidden.WithMessage("You are not in this room")
	}
	if timeout <= 0 {
		timeout = defaultTyping
	}
	return e.writeTyping(ctx, roomID, user, on, min(timeout, maxTyping))
}

func (e *Ephemeral) writeTyping(ctx context.Context, roomID id.RoomID, user id.UserID, on bool, timeout time.Duration) error {
	until := int64(0)
	if on {
		until = time.Now().Add(timeout).UnixMilli()
	}
	was, err := e.typists(ctx, roomID)
	if err != nil {
		return err
	}
	same := false
	for _, t := range was {
		if t.User == user {
			same = true
		}
	}
	if !on && !same {
		return nil
	}
	u := &stream.Unit{Writes: []stream.Write{{Table: typingTable, Row: []any{string(roomID), string(user), until}}}}
	// A renewal changes nothing that anybody sees.
	if on != same {
		u.Changes = []stream.Change{{Kind: stream.Typing, RoomID: roomID, UserID: user}}
	} else {
		defer e.typing.drop(roomID)
	}
	_, err = e.stream.Commit(ctx, u)
	return err
}

func (e *Ephemeral) typists(ctx context.Context, roomID id.RoomID) ([]typist, error) {
	all, err := e.typing.get(ctx, roomID, e.loadTyping)
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixMilli()
	live := make([]typist, 0, len(all))
	for _, t := range all {
		if t.Until > now && len(live) < maxTypists {
			live = append(live, t)
		}
	}
	return live, nil
}

// TypingIn lists who types in a room now.
func (e *Ephemeral) TypingIn(ctx context.Context, roomID id.RoomID) ([]id.UserID, error) {
	ts, err := e.typists(ctx, roomID)
	if err != nil {
		return nil, err
	}
	users := make([]id.UserID, len(ts))
	for i, t := range ts {
		users[i] = t.User
	}
	return users, nil
}

// TypingEvent is the ephemeral event of a room as /sync gives it.
func (e *Ephemeral) TypingEvent(ctx context.Context, roomID id.RoomID) (json.RawMessage, error) {
	users, err := e.TypingIn(ctx, roomID)
	if err != nil {
		return nil, err
	}
	var ev struct {
		Type    string `json:"type"`
		Content struct {
			UserIDs []id.UserID `json:"user_ids"`
		} `json:"content"`
	}
	ev.Type, ev.Content.UserIDs = "m.typing", users
	return json.Marshal(ev)
}

// IsTyping tells whether one user types in a room; federation asks before it tells others.
func (e *Ephemeral) IsTyping(ctx context.Context, roomID id.RoomID, user id.UserID) (bool, error) {
	ts, err := e.typists(ctx, roomID)
	if err != nil {
		return false, err
	}
	for _, t := range ts {
		if t.User == user {
			return true, nil
		}
	}
	return false, nil
}

// endTyping announces typing that ended by time. Each replica may do so; announcing twice is harmless.
func (e *Ephemeral) endTyping(ctx context.Context) {
	ended, err := e.takeEndedTyping(ctx, time.Now().UnixMilli())
	if err != nil || len(ended) == 0 {
		return
	}
	u := &stream.Unit{}
	for _, t := range ended {
		u.Writes = append(u.Writes, stream.Write{Table: typingTable, Row: []any{string(t.room), string(t.user), int64(0)}})
		u.Changes = append(u.Changes, stream.Change{Kind: stream.Typing, RoomID: t.room, UserID: t.user})
	}
	_, _ = e.stream.Commit(ctx, u) // tried again in a second
}

// ReceiveTyping takes an m.typing EDU (spec: ss#typing-notifications).
func (e *Ephemeral) ReceiveTyping(ctx context.Context, origin string, content json.RawMessage) error {
	var c struct {
		RoomID id.RoomID `json:"room_id"`
		UserID id.UserID `json:"user_id"`
		Typing bool      `json:"typing"`
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return mautrix.MBadJSON.WithMessage("m.typing is malformed")
	}
	if c.UserID.Homeserver() != origin {
		return mautrix.MForbidden.WithMessage("The user is not of this server")
	}
	m, ok, err := e.rooms.Member(ctx, c.RoomID, c.UserID)
	if err != nil || !ok || m.Membership != "join" {
		return err
	}
	return e.writeTyping(ctx, c.RoomID, c.UserID, c.Typing, defaultTyping)
}
