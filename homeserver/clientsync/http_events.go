package clientsync

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/policy"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/timeline"
	"github.com/viaduc/viaduc/homeserver/web"
)

// EventsIn is the request of GetEvents.
type EventsIn struct {
	From    string    `query:"from"`
	Timeout int64     `query:"timeout"`
	RoomID  id.RoomID `query:"room_id"`
}

// GetEvents waits for events of the user's rooms or, with room_id, of one room that the user may read.
//
// spec: cs#get_matrixclientv3events
func (s *Syncs) GetEvents(ctx context.Context, who web.Requester, in EventsIn) (web.Bytes, error) {
	l := listener{user: who.UserID, room: in.RoomID, since: s.Stream.Head()}
	if in.RoomID != "" && !event.ValidRoomID(string(in.RoomID)) {
		return nil, mautrix.MInvalidParam.WithMessage("Not a room ID")
	}
	if in.RoomID == "" && who.Guest {
		return nil, web.MGuestAccessForbidden.WithMessage("Guests must name a room")
	}
	if in.From != "" {
		var err error
		if l.since, err = stream.ParseToken(in.From); err != nil {
			return nil, err
		}
	}
	var wait context.Context
	if in.Timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = web.LongPoll(ctx, time.Duration(min(in.Timeout, maxTimeout.Milliseconds()))*time.Millisecond)
		defer cancel()
	}
	seen, end, err := s.listen(ctx, wait, l)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, 4096), `{"start":"`...)
	dst = append(append(dst, stream.Token(l.since)...), `","end":"`...)
	dst = append(append(dst, stream.Token(end)...), `","chunk":[`...)
	dst, err = s.Timelines.AppendEvents(ctx, dst, seen, timeline.RenderOptions{ForUser: who.UserID, Device: who.DeviceID})
	return append(dst, ']', '}'), err
}

// InitialSyncIn is the request of GetInitialSync.
type InitialSyncIn struct {
	Limit    *int64 `query:"limit"`
	Archived bool   `query:"archived"`
}

const (
	initialEvents    = 10
	maxInitialEvents = 100
)

// GetInitialSync gives all the user's rooms at once.
//
// spec: cs#get_matrixclientv3initialsync
func (s *Syncs) GetInitialSync(ctx context.Context, who web.Requester, in InitialSyncIn) (web.Bytes, error) {
	limit := initialEvents
	if in.Limit != nil {
		limit = int(min(max(*in.Limit, 0), maxInitialEvents))
	}
	end := s.Stream.Head()
	v, err := s.view(ctx, who.UserID)
	if err != nil {
		return nil, err
	}
	data, err := s.Accounts.AccountDataSince(ctx, who.UserID, 0, end)
	if err != nil {
		return nil, err
	}
	dst := append(append(make([]byte, 0, 64<<10), `{"end":"`...), stream.Token(end)...)
	dst = append(dst, `","rooms":[`...)
	rooms := make([]id.RoomID, 0, len(v.members))
	for r := range v.members {
		rooms = append(rooms, r)
	}
	slices.Sort(rooms)
	o := timeline.RenderOptions{ForUser: who.UserID, Device: who.DeviceID}
	ignored, wishes, err := s.unwanted(ctx, who.UserID)
	if err != nil {
		return nil, err
	}
	for _, r := range rooms {
		m := v.members[r]
		if hidden(m, ignored, wishes) {
			continue
		}
		before := len(dst)
		if dst[before-1] != '[' {
			dst = append(dst, ',')
		}
		switch {
		case m.Membership == memberJoin, m.Membership == memberLeave && in.Archived && !m.Forgotten:
			more, err := s.Timelines.AppendRoom(ctx, dst, o, r, limit, data)
			if web.StatusOf(err) == 403 || web.StatusOf(err) == 404 { // left before, or never inside
				dst = dst[:before]
				continue
			}
			if err != nil {
				return nil, err
			}
			dst = more
		case m.Membership == memberInvite:
			if dst, err = s.appendInvited(ctx, dst, r, m.EventID, o); err != nil {
				return nil, err
			}
		default:
			dst = dst[:before]
		}
	}
	dst = timeline.AppendAccountData(append(dst, `],"account_data":[`...), data, "")
	return s.appendPresence(ctx, append(dst, `],"presence":[`...), who.UserID, end)
}

// unwanted is what hides invitations from a user.
func (s *Syncs) unwanted(ctx context.Context, user id.UserID) (map[id.UserID]struct{}, *policy.Invites, error) {
	ignored, err := s.Accounts.IgnoredUsers(ctx, user)
	if err != nil {
		return nil, nil, err
	}
	wishes, err := s.Policy.Invites(ctx, user)
	return ignored, wishes, err
}

func (s *Syncs) appendInvited(ctx context.Context, dst []byte, r id.RoomID, invite id.EventID, o timeline.RenderOptions) ([]byte, error) {
	dst = append(timeline.AppendString(append(dst, `{"room_id":`...), string(r)), `,"membership":"invite"`...)
	ev, err := s.Rooms.Event(ctx, invite)
	if err != nil {
		return nil, err
	}
	if ev != nil {
		if dst, err = s.Timelines.AppendEvents(ctx, append(dst, `,"invite":`...), []timeline.Seen{{Stored: ev}}, o); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (s *Syncs) appendPresence(ctx context.Context, dst []byte, user id.UserID, upTo stream.Pos) ([]byte, error) {
	var list []json.RawMessage
	if s.Presence != nil {
		var err error
		if list, err = s.Presence.PresenceSince(ctx, user, 0, upTo); err != nil {
			return nil, err
		}
	}
	for i, p := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, p...)
	}
	return append(dst, ']', '}'), nil
}
