package directory

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// VisibilityIn names a room.
type VisibilityIn struct {
	RoomID id.RoomID `path:"roomId"`
}

// VisibilityOut says whether a room is published.
type VisibilityOut struct {
	Visibility string `json:"visibility"`
}

// GetVisibility tells whether a room is published. spec: cs#get_matrixclientv3directorylistroomroomid
func (d *Directory) GetVisibility(ctx context.Context, _ web.Requester, in VisibilityIn) (VisibilityOut, error) {
	if _, err := d.lookOf(ctx, in.RoomID); err != nil {
		return VisibilityOut{}, err
	}
	on, err := d.Published(ctx, in.RoomID)
	if on {
		return VisibilityOut{"public"}, err
	}
	return VisibilityOut{"private"}, err
}

// PutVisibilityIn publishes a room or not.
type PutVisibilityIn struct {
	_          struct{}  `body:"optional"`
	RoomID     id.RoomID `path:"roomId"`
	Visibility string    `json:"visibility"`
}

// PutVisibility publishes a room or takes it back. spec: cs#put_matrixclientv3directorylistroomroomid
func (d *Directory) PutVisibility(ctx context.Context, who web.Requester, in PutVisibilityIn) (struct{}, error) {
	return struct{}{}, d.SetVisibility(ctx, who.UserID, in.RoomID, in.Visibility)
}

// PutNetworkIn publishes a room in the list of an application service's network.
type PutNetworkIn struct {
	NetworkID  string    `path:"networkId"`
	RoomID     id.RoomID `path:"roomId"`
	Visibility string    `json:"visibility"`
}

// PutNetworkVisibility is for application services. spec: as#put_matrixclientv3directorylistappservicenetworkidroomid
func (d *Directory) PutNetworkVisibility(ctx context.Context, who web.Requester, in PutNetworkIn) (struct{}, error) {
	if who.AppService == nil {
		return struct{}{}, mautrix.MForbidden.WithMessage("Only application services have networks")
	}
	if in.Visibility != "public" && in.Visibility != "private" {
		return struct{}{}, mautrix.MInvalidParam.WithMessage("visibility must be public or private")
	}
	return struct{}{}, d.Publish(ctx, in.RoomID, who.AppService.ID+"|"+in.NetworkID, in.Visibility == "public")
}

// GetPublicIn asks for the list.
type GetPublicIn struct {
	Server string `query:"server"`
	Limit  int    `query:"limit"`
	Since  string `query:"since"`
}

// GetPublicRooms lists published rooms. spec: cs#get_matrixclientv3publicrooms
func (d *Directory) GetPublicRooms(ctx context.Context, _ web.Requester, in GetPublicIn) (any, error) {
	return d.publicOf(ctx, in.Server, PublicQuery{Limit: in.Limit, Since: in.Since})
}

// PostPublicIn asks for the list with a filter.
type PostPublicIn struct {
	_      struct{} `body:"optional"`
	Server string   `query:"server"`
	PublicQuery
}

// PostPublicRooms lists published rooms with a filter. spec: cs#post_matrixclientv3publicrooms
func (d *Directory) PostPublicRooms(ctx context.Context, _ web.Requester, in PostPublicIn) (any, error) {
	return d.publicOf(ctx, in.Server, in.PublicQuery)
}

func (d *Directory) publicOf(ctx context.Context, server string, q PublicQuery) (any, error) {
	if server != "" && server != d.ServerName {
		raw, err := d.PublicOf(ctx, server, q)
		return web.Bytes(raw), err
	}
	return d.Public(ctx, q)
}

// GetFederationPublic answers other servers. spec: ss#get_matrixfederationv1publicrooms
func (d *Directory) GetFederationPublic(ctx context.Context, _ web.Requester, in FederationPublicIn) (PublicRooms, error) {
	return d.Public(ctx, PublicQuery{Limit: in.Limit, Since: in.Since, Network: in.Network, All: in.All})
}

// FederationPublicIn is another server's question.
type FederationPublicIn struct {
	Limit   int    `query:"limit"`
	Since   string `query:"since"`
	Network string `query:"third_party_instance_id"`
	All     bool   `query:"include_all_networks"`
}

// PostFederationPublic answers other servers with a filter. spec: ss#post_matrixfederationv1publicrooms
func (d *Directory) PostFederationPublic(ctx context.Context, _ web.Requester, in PostPublicIn) (PublicRooms, error) {
	return d.Public(ctx, in.PublicQuery)
}

// HierarchyIn asks for the rooms of a space.
type HierarchyIn struct {
	RoomID        id.RoomID `path:"roomId"`
	SuggestedOnly bool      `query:"suggested_only"`
	Limit         int       `query:"limit"`
	MaxDepth      *int      `query:"max_depth"`
	From          string    `query:"from"`
}

// HierarchyOut is a page of them.
type HierarchyOut struct {
	Rooms []Node `json:"rooms"`
	Next  string `json:"next_batch,omitempty"`
}

// GetHierarchy lists the rooms of a space. spec: cs#get_matrixclientv1roomsroomidhierarchy
func (d *Directory) GetHierarchy(ctx context.Context, who web.Requester, in HierarchyIn) (HierarchyOut, error) {
	q := HierarchyQuery{RoomID: in.RoomID, SuggestedOnly: in.SuggestedOnly, Limit: in.Limit, MaxDepth: -1, From: in.From}
	if in.MaxDepth != nil {
		if *in.MaxDepth < 0 {
			return HierarchyOut{}, mautrix.MInvalidParam.WithMessage("max_depth must not be negative")
		}
		q.MaxDepth = *in.MaxDepth
	}
	rooms, next, err := d.Hierarchy(ctx, who.UserID, q)
	if rooms == nil {
		rooms = []Node{}
	}
	return HierarchyOut{rooms, next}, err
}

// FederationHierarchyIn is another server's question.
type FederationHierarchyIn struct {
	RoomID        id.RoomID `path:"roomId"`
	SuggestedOnly bool      `query:"suggested_only"`
}

// GetFederationHierarchy answers other servers. spec: ss#get_matrixfederationv1hierarchyroomid
func (d *Directory) GetFederationHierarchy(ctx context.Context, who web.Requester, in FederationHierarchyIn) (any, error) {
	return d.FederationHierarchy(ctx, who.Server, in.RoomID, in.SuggestedOnly)
}

// SummaryIn names a room.
type SummaryIn struct {
	Room string   `path:"roomIdOrAlias"`
	Via  []string `query:"via"`
}

// GetSummary tells about a room. spec: cs#get_matrixclientv1room_summaryroomidoralias
func (d *Directory) GetSummary(ctx context.Context, who web.Requester, in SummaryIn) (RoomSummary, error) {
	roomID := id.RoomID(in.Room)
	if len(in.Room) > 0 && in.Room[0] == '#' {
		target, servers, err := d.Rooms.ResolveAlias(ctx, id.RoomAlias(in.Room))
		if err != nil {
			return RoomSummary{}, err
		}
		roomID, in.Via = target, append(in.Via, servers...)
	} else if len(in.Room) == 0 || in.Room[0] != '!' {
		return RoomSummary{}, mautrix.MInvalidParam.WithMessage("Not a room ID or alias")
	}
	return d.Summarize(ctx, who.UserID, roomID, in.Via)
}

// SearchUsersIn asks for people.
type SearchUsersIn struct {
	Term  *string `json:"search_term"`
	Limit int     `json:"limit"`
}

// SearchUsersOut are people.
type SearchUsersOut struct {
	Results []User `json:"results"`
	Limited bool   `json:"limited"`
}

// PostSearchUsers finds people. spec: cs#post_matrixclientv3user_directorysearch
func (d *Directory) PostSearchUsers(ctx context.Context, who web.Requester, in SearchUsersIn) (SearchUsersOut, error) {
	if in.Term == nil {
		return SearchUsersOut{}, web.MMissingParam.WithMessage("search_term is missing")
	}
	found, limited, err := d.SearchUsers(ctx, who.UserID, *in.Term, in.Limit)
	return SearchUsersOut{found, limited}, err
}

// MutualIn names another user.
type MutualIn struct {
	UserID id.UserID `query:"user_id"`
	From   string    `query:"from"`
}

// MutualOut are the rooms shared.
type MutualOut struct {
	Joined []id.RoomID `json:"joined"`
	Count  int         `json:"count"`
}

// GetMutualRooms lists shared rooms. spec: cs#get_matrixclientv1usermutual_rooms
func (d *Directory) GetMutualRooms(ctx context.Context, who web.Requester, in MutualIn) (MutualOut, error) {
	switch {
	case in.UserID == "":
		return MutualOut{}, web.MMissingParam.WithMessage("user_id is missing")
	case in.UserID == who.UserID:
		return MutualOut{}, mautrix.MInvalidParam.WithMessage("You share all rooms with yourself")
	case in.From != "":
		return MutualOut{}, mautrix.MInvalidParam.WithMessage("from is not a token of this list")
	}
	rooms, err := d.MutualRooms(ctx, who.UserID, in.UserID)
	return MutualOut{rooms, len(rooms)}, err
}
