package ephemeral

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// Presence states (spec: cs#presence). Busy is msc: 3026.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
	Busy        = "busy"
	busyMSC     = "org.matrix.msc3026.busy"
)

const (
	// syncsEnd is how long after the last poll a user counts as gone, idle how long online lasts without activity.
	syncsEnd = 35 * time.Second
	idle     = 5 * time.Minute
	// maxStatus bounds a status message in bytes.
	maxStatus = 2048
)

// Presence is how a user shows. LastActive is in ms.
type Presence struct {
	UserID     id.UserID
	State      string
	Status     string
	LastActive int64
	Pos        stream.Pos
}

// presences holds, in memory, when local users were last seen here; table presence has what others see.
type presences struct {
	on     bool
	mu     sync.Mutex
	active map[id.UserID]*activity
}

type activity struct {
	lastSync, lastActive time.Time
	state                string // as last written
}

func validPresence(s string) bool {
	return s == Online || s == Unavailable || s == Offline || s == Busy || s == busyMSC
}

// SetPresence is a user's own word (spec: cs#put_matrixclientv3presenceuseridstatus). status nil keeps the old one.
func (e *Ephemeral) SetPresence(ctx context.Context, user id.UserID, state string, status *string) error {
	if !validPresence(state) {
		return mautrix.MInvalidParam.WithMessage("presence must be online, unavailable or offline")
	}
	if status != nil && len(*status) > maxStatus {
		return mautrix.MTooLarge.WithMessage("status_msg is too long")
	}
	if !e.presence.on {
		return nil
	}
	p, err := e.findPresence(ctx, user)
	if err != nil {
		return err
	}
	was := p
	p.State = state
	if status != nil {
		p.Status = *status
	}
	if state == Online {
		p.LastActive = time.Now().UnixMilli()
	}
	e.presence.seen(user, state, state == Online)
	if was.State == p.State && was.Status == p.Status {
		return nil
	}
	return e.writePresence(ctx, p)
}

// Syncing says that a user's client polls with set_presence. It writes only when the state changes, so a poll costs a
// look into memory.
func (e *Ephemeral) Syncing(ctx context.Context, user id.UserID, state string) error {
	if !e.presence.on || state == Offline {
		return nil
	}
	if state == "" {
		state = Online
	}
	if !validPresence(state) {
		return mautrix.MInvalidParam.WithMessage("set_presence must be online, unavailable or offline")
	}
	if !e.presence.seen(user, state, state == Online) {
		return nil
	}
	p, err := e.findPresence(ctx, user)
	if err != nil {
		return err
	}
	if p.State == state || (p.State == Busy && state == Online) {
		return nil
	}
	p.State = state
	if state == Online {
		p.LastActive = time.Now().UnixMilli()
	}
	return e.writePresence(ctx, p)
}

// seen notes activity; true means that the state differs from what was written.
func (p *presences) seen(user id.UserID, state string, active bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.active[user]
	if a == nil {
		a = &activity{}
		p.active[user] = a
	}
	now := time.Now()
	a.lastSync = now
	if active {
		a.lastActive = now
	}
	changed := a.state != state
	a.state = state
	return changed
}

// endPresence turns users offline who no longer poll, and idle ones unavailable.
func (e *Ephemeral) endPresence(ctx context.Context) {
	if !e.presence.on {
		return
	}
	now := time.Now()
	ended := map[id.UserID]string{}
	e.presence.mu.Lock()
	for user, a := range e.presence.active {
		switch {
		case now.Sub(a.lastSync) > syncsEnd:
			ended[user] = Offline
			delete(e.presence.active, user)
		case a.state == Online && now.Sub(a.lastActive) > idle:
			ended[user] = Unavailable
			a.state = Unavailable
		}
	}
	e.presence.mu.Unlock()
	for user, state := range ended {
		p, err := e.findPresence(ctx, user)
		if err != nil || p.State == state || p.State == Offline {
			continue
		}
		p.State = state
		_ = e.writePresence(ctx, p) // the next change of this user corrects it
	}
}

func (e *Ephemeral) writePresence(ctx context.Context, p Presence) error {
	_, err := e.stream.Commit(ctx, &stream.Unit{
		Writes:  []stream.Write{{Table: presenceTable, Row: []any{string(p.UserID), p.State, p.Status, p.LastActive, stream.PosOf(0)}}},
		Changes: []stream.Change{{Kind: stream.Presence, UserID: p.UserID}},
	})
	return err
}

// GetPresence gives a user's presence to somebody who shares a room with them.
func (e *Ephemeral) GetPresence(ctx context.Context, asker, user id.UserID) (Presence, error) {
	if asker != user {
		shares, err := e.rooms.SharesRoom(ctx, asker, user)
		if err != nil {
			return Presence{}, err
		}
		if !shares {
			return Presence{}, mautrix.MForbidden.WithMessage("You share no room with this user")
		}
	}
	return e.findPresence(ctx, user)
}

// OwnPresence gives what is to be told to other servers.
func (e *Ephemeral) OwnPresence(ctx context.Context, user id.UserID) (Presence, error) {
	return e.findPresence(ctx, user)
}

// PresenceSince gives the m.presence events of users whom the asker shares rooms with, changed in (since, upTo];
// with since 0 all that are not offline.
func (e *Ephemeral) PresenceSince(ctx context.Context, asker id.UserID, since, upTo stream.Pos) ([]json.RawMessage, error) {
	if !e.presence.on {
		return nil, nil
	}
	users, err := e.rooms.UsersSharing(ctx, asker)
	if err != nil {
		return nil, err
	}
	ps, err := e.listPresence(ctx, append(users, asker), since, upTo)
	if err != nil {
		return nil, err
	}
	if since == 0 {
		return presenceEvents(ps)
	}
	return presenceEventsOf(ps)
}

// PresenceOf gives the m.presence events of users whom the asker only now shares a room with, but for those offline.
func (e *Ephemeral) PresenceOf(ctx context.Context, users []id.UserID) ([]json.RawMessage, error) {
	if !e.presence.on || len(users) == 0 {
		return nil, nil
	}
	ps, err := e.presenceOf(ctx, users)
	if err != nil {
		return nil, err
	}
	return presenceEvents(ps)
}

// presenceEvents leaves out those who are offline.
func presenceEvents(ps []Presence) ([]json.RawMessage, error) {
	there := ps[:0]
	for _, p := range ps {
		if p.State != Offline {
			there = append(there, p)
		}
	}
	return presenceEventsOf(there)
}

func presenceEventsOf(ps []Presence) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, 0, len(ps))
	for _, p := range ps {
		ev, err := json.Marshal(map[string]any{"type": "m.presence", "sender": p.UserID, "content": p.Content()})
		if err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, nil
}

// Content is the content of an m.presence event.
func (p Presence) Content() map[string]any {
	c := map[string]any{"presence": p.State, "currently_active": p.State == Online}
	if p.Status != "" {
		c["status_msg"] = p.Status
	}
	if p.LastActive > 0 {
		c["last_active_ago"] = max(time.Now().UnixMilli()-p.LastActive, 0)
	}
	return c
}

// presenceAudience: the rooms that a user is in hear of the user's presence.
func (e *Ephemeral) presenceAudience(ctx context.Context, c stream.Change) []stream.Topic {
	rooms, err := e.rooms.RoomsOf(ctx, c.UserID)
	if err != nil {
		return nil
	}
	topics := make([]stream.Topic, len(rooms))
	for i, r := range rooms {
		topics[i] = stream.RoomTopic(r)
	}
	return topics
}

// maxPresenceEDU bounds the users taken from one EDU.
const maxPresenceEDU = 1000

// ReceivePresence takes an m.presence EDU (spec: ss#presence).
func (e *Ephemeral) ReceivePresence(ctx context.Context, origin string, content json.RawMessage) error {
	if !e.presence.on {
		return nil
	}
	var c struct {
		Push []struct {
			UserID          id.UserID `json:"user_id"`
			Presence        string    `json:"presence"`
			StatusMsg       string    `json:"status_msg"`
			LastActiveAgo   int64     `json:"last_active_ago"`
			CurrentlyActive bool      `json:"currently_active"`
		} `json:"push"`
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return mautrix.MBadJSON.WithMessage("m.presence is malformed")
	}
	for i, p := range c.Push {
		if i >= maxPresenceEDU {
			break
		}
		if p.UserID.Homeserver() != origin || !validPresence(p.Presence) || len(p.StatusMsg) > maxStatus {
			continue
		}
		old, err := e.findPresence(ctx, p.UserID)
		if err != nil {
			return err
		}
		now := Presence{UserID: p.UserID, State: p.Presence, Status: p.StatusMsg, LastActive: time.Now().UnixMilli() - max(p.LastActiveAgo, 0)}
		if old.State == now.State && old.Status == now.Status {
			continue
		}
		if err := e.writePresence(ctx, now); err != nil {
			return err
		}
	}
	return nil
}
