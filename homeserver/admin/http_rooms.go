package admin

import (
	"context"
	"encoding/json"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/timeline"
	"github.com/viaduc/viaduc/homeserver/web"
)

type roomOut struct {
	RoomID            id.RoomID `json:"room_id"`
	Name              *string   `json:"name"`
	CanonicalAlias    *string   `json:"canonical_alias"`
	Joined            int64     `json:"joined_members"`
	JoinedLocal       int64     `json:"joined_local_members"`
	Version           string    `json:"version"`
	Creator           *string   `json:"creator"`
	Encryption        *string   `json:"encryption"`
	Federatable       bool      `json:"federatable"`
	Public            bool      `json:"public"`
	JoinRules         *string   `json:"join_rules"`
	GuestAccess       *string   `json:"guest_access"`
	HistoryVisibility *string   `json:"history_visibility"`
	StateEvents       int       `json:"state_events"`
	Type              *string   `json:"room_type"`
}

func (a *Admin) roomOf(ctx context.Context, l room.Listing, public bool) (roomOut, error) {
	out := roomOut{RoomID: l.RoomID, Name: orNull(l.Name), CanonicalAlias: orNull(string(l.CanonicalAlias)), Joined: l.Joined, JoinedLocal: l.JoinedLocal,
		Version: l.Version, Creator: orNull(string(l.Creator)), Encryption: orNull(l.Encryption), Federatable: l.Federated, Public: public,
		JoinRules: orNull(l.JoinRule), GuestAccess: orNull(l.GuestAccess), HistoryVisibility: orNull(l.HistoryVisibility), Type: orNull(l.Type)}
	s, err := a.rooms.State(ctx, l.RoomID)
	if err == nil {
		out.StateEvents = s.Len()
	}
	if notFound(err) { // purged meanwhile
		err = nil
	}
	return out, err
}

type listRoomsIn struct {
	pageIn
	OrderBy string `query:"order_by"`
	Search  string `query:"search_term"`
	Public  *bool  `query:"public_rooms"`
	Empty   *bool  `query:"empty_rooms"`
}

type roomsOut struct {
	Rooms  []roomOut `json:"rooms"`
	Offset int64     `json:"offset"`
	Total  int64     `json:"total_rooms"`
	Next   *int64    `json:"next_batch,omitempty"`
	Prev   *int64    `json:"prev_batch,omitempty"`
}

// GetRooms lists the rooms known here.
func (a *Admin) GetRooms(ctx context.Context, _ web.Requester, in listRoomsIn) (out roomsOut, err error) {
	limit, err := in.check()
	if err != nil {
		return out, err
	}
	public, err := a.Directory.PublishedRooms(ctx)
	if err != nil {
		return out, err
	}
	page, total, err := a.rooms.ListRooms(ctx, room.ListQuery{Search: in.Search, Empty: in.Empty, Public: public, OnlyPublic: in.Public, OrderBy: in.OrderBy,
		Backward: in.Dir == "b", From: in.From, Limit: limit})
	if err != nil {
		return out, err
	}
	out = roomsOut{Rooms: []roomOut{}, Offset: in.From, Total: total}
	for _, l := range page {
		r, err := a.roomOf(ctx, l, slices.Contains(public, l.RoomID))
		if err != nil {
			return out, err
		}
		out.Rooms = append(out.Rooms, r)
	}
	if end := in.From + int64(len(page)); len(page) > 0 && end < total {
		out.Next = &end
	}
	if in.From > 0 {
		before := max(in.From-limit, 0)
		out.Prev = &before
	}
	return out, nil
}

type roomIn struct {
	RoomID id.RoomID `path:"roomId"`
}

type roomDetails struct {
	roomOut
	Avatar       *string `json:"avatar"`
	Topic        *string `json:"topic"`
	LocalDevices int64   `json:"joined_local_devices"`
	Forgotten    bool    `json:"forgotten"`
	Tombstoned   bool    `json:"tombstoned"`
	Replacement  *string `json:"replacement_room"`
}

// GetRoom tells about one room.
func (a *Admin) GetRoom(ctx context.Context, _ web.Requester, in roomIn) (out roomDetails, err error) {
	l, err := a.rooms.ListRoom(ctx, in.RoomID)
	if err != nil {
		return out, err
	}
	public, err := a.Directory.Published(ctx, in.RoomID)
	if err != nil {
		return out, err
	}
	if out.roomOut, err = a.roomOf(ctx, l, public); err != nil {
		return out, err
	}
	out.Avatar, out.Topic, out.Tombstoned, out.Replacement = orNull(l.AvatarURL), orNull(l.Topic), l.Tombstoned, orNull(string(l.Replacement))
	local, err := a.rooms.LocalJoined(ctx, in.RoomID)
	if err != nil {
		return out, err
	}
	if out.LocalDevices, err = a.accounts.CountDevices(ctx, local); err != nil || len(local) > 0 {
		return out, err
	}
	out.Forgotten, err = a.forgotten(ctx, in.RoomID)
	return out, err
}

// forgotten says whether all local users who ever were in a room have forgotten it.
func (a *Admin) forgotten(ctx context.Context, r id.RoomID) (bool, error) {
	members, err := a.rooms.Members(ctx, r, "")
	for _, m := range members {
		if a.accounts.Local(m.UserID) && !m.Forgotten {
			return false, err
		}
	}
	return err == nil, err
}

type membersOut struct {
	Members []id.UserID `json:"members"`
	Total   int         `json:"total"`
}

// GetRoomMembers lists who is in a room.
func (a *Admin) GetRoomMembers(ctx context.Context, _ web.Requester, in roomIn) (membersOut, error) {
	list, err := a.rooms.JoinedMembers(ctx, in.RoomID)
	if list == nil {
		list = []id.UserID{}
	}
	return membersOut{list, len(list)}, err
}

type roomStateIn struct {
	roomIn
	Type string `query:"type"`
}

// GetRoomState gives the current state of a room, or the part of one type.
func (a *Admin) GetRoomState(ctx context.Context, _ web.Requester, in roomStateIn) (web.Bytes, error) {
	s, err := a.rooms.State(ctx, in.RoomID)
	if err != nil {
		return nil, err
	}
	evs, err := s.Events(ctx, func(k event.Key) bool { return in.Type == "" || k.Type == in.Type })
	if err != nil {
		return nil, err
	}
	return append(a.Timeline.AppendState([]byte(`{"state":[`), evs, timeline.RenderOptions{}), "]}"...), nil
}

type blockOut struct {
	Block bool      `json:"block"`
	By    id.UserID `json:"user_id,omitempty"`
}

// GetRoomBlock says whether a room is blocked.
func (a *Admin) GetRoomBlock(ctx context.Context, _ web.Requester, in roomIn) (blockOut, error) {
	if !event.ValidRoomID(string(in.RoomID)) {
		return blockOut{}, errBadRoom
	}
	by, blocked, err := a.rooms.Blocked(ctx, in.RoomID)
	return blockOut{blocked, by}, err
}

type blockIn struct {
	roomIn
	Block *bool `json:"block"`
}

// PutRoomBlock keeps local users from entering a room, or lets them again. The room need not be known here.
func (a *Admin) PutRoomBlock(ctx context.Context, who web.Requester, in blockIn) (blockOut, error) {
	if !event.ValidRoomID(string(in.RoomID)) {
		return blockOut{}, errBadRoom
	}
	if in.Block == nil {
		return blockOut{}, web.MMissingParam.WithMessage("block is missing")
	}
	return blockOut{Block: *in.Block}, a.rooms.Block(ctx, in.RoomID, who.UserID, *in.Block)
}

type someoneIn struct {
	Room   string    `path:"roomIdOrAlias"`
	UserID id.UserID `json:"user_id"`
	_      struct{}  `body:"optional"`
}

// PostMakeRoomAdmin gives a user, usually the one who asks, the highest power in a room.
func (a *Admin) PostMakeRoomAdmin(ctx context.Context, who web.Requester, in someoneIn) (struct{}, error) {
	r, err := a.find(ctx, in.Room)
	if err != nil {
		return struct{}{}, err
	}
	if in.UserID == "" {
		in.UserID = who.UserID
	}
	return struct{}{}, a.MakeRoomAdmin(ctx, r, in.UserID)
}

type joinedOut struct {
	RoomID id.RoomID `json:"room_id"`
}

// PostJoin makes a local user join a room.
func (a *Admin) PostJoin(ctx context.Context, who web.Requester, in someoneIn) (joinedOut, error) {
	if in.UserID == "" {
		return joinedOut{}, web.MMissingParam.WithMessage("user_id is missing")
	}
	if _, err := a.local(ctx, in.UserID); err != nil {
		return joinedOut{}, err
	}
	r, err := a.find(ctx, in.Room)
	if err != nil {
		return joinedOut{}, err
	}
	return joinedOut{r}, a.JoinFor(ctx, who.UserID, in.UserID, r)
}

// find turns what an operator named into a room ID.
func (a *Admin) find(ctx context.Context, named string) (id.RoomID, error) {
	switch {
	case event.ValidRoomID(named):
		return id.RoomID(named), nil
	case event.ValidAlias(named):
		r, _, err := a.rooms.ResolveAlias(ctx, id.RoomAlias(named))
		return r, err
	}
	return "", mautrix.MInvalidParam.WithMessage("Neither a room ID nor an alias")
}

type anyEventIn struct {
	EventID id.EventID `path:"eventId"`
}

type fetchOut struct {
	Event json.RawMessage `json:"event"`
}

// GetFetchEvent gives any event.
func (a *Admin) GetFetchEvent(ctx context.Context, _ web.Requester, in anyEventIn) (out fetchOut, err error) {
	ev, err := a.rooms.Event(ctx, in.EventID)
	if err != nil {
		return out, err
	}
	if ev == nil {
		return out, mautrix.MNotFound.WithMessage("Event not found")
	}
	list, err := a.Timeline.Render(ctx, []*room.Stored{ev}, timeline.RenderOptions{})
	if err == nil {
		out.Event = list[0]
	}
	return out, err
}
