package directory

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"sort"
	"strconv"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// maxPublicPage bounds one page of the public room list, maxPublished the rooms looked at.
const (
	maxPublicPage = 500
	maxPublished  = 50_000
)

// PublicQuery asks for the public room list.
type PublicQuery struct {
	Limit  int    `json:"limit,omitempty"`
	Since  string `json:"since,omitempty"`
	Filter struct {
		Term  string    `json:"generic_search_term,omitempty"`
		Types []*string `json:"room_types,omitempty"`
	} `json:"filter"`
	Network string `json:"third_party_instance_id,omitempty"`
	All     bool   `json:"include_all_networks,omitempty"`
}

// PublicRooms is a page of the public room list.
type PublicRooms struct {
	Chunk []json.RawMessage `json:"chunk"`
	Next  string            `json:"next_batch,omitempty"`
	Prev  string            `json:"prev_batch,omitempty"`
	Total int               `json:"total_room_count_estimate"`
}

// Published says whether a room is in the public list.
func (d *Directory) Published(ctx context.Context, roomID id.RoomID) (bool, error) {
	return d.isPublished(ctx, roomID)
}

// PublishedRooms lists the rooms of the public list.
func (d *Directory) PublishedRooms(ctx context.Context) ([]id.RoomID, error) {
	return d.listPublished(ctx, "", false)
}

// Publish puts a room into the public list or takes it out. It asks nothing: room calls it for rooms just made.
func (d *Directory) Publish(ctx context.Context, roomID id.RoomID, network string, on bool) error {
	return d.setPublished(ctx, roomID, network, on)
}

// SetVisibility does so for a user, who must be allowed to change the room's canonical alias
// (spec: cs#put_matrixclientv3directorylistroomroomid).
func (d *Directory) SetVisibility(ctx context.Context, user id.UserID, roomID id.RoomID, visibility string) error {
	if visibility == "" {
		visibility = "public"
	}
	if visibility != "public" && visibility != "private" {
		return mautrix.MInvalidParam.WithMessage("visibility must be public or private")
	}
	if _, err := d.lookOf(ctx, roomID); err != nil {
		return errNoRoom
	}
	m, ok, err := d.Rooms.Member(ctx, roomID, user)
	if err != nil {
		return err
	}
	levels, err := d.Rooms.PowerLevels(ctx, roomID)
	if err != nil {
		return err
	}
	if !ok || m.Membership != "join" || levels.User(user) < levels.Event("m.room.canonical_alias", true) {
		return mautrix.MForbidden.WithMessage("You are not allowed to publish this room")
	}
	if d.MayPublish != nil && visibility == "public" {
		if err := d.MayPublish(ctx, user); err != nil {
			return err
		}
	}
	return d.setPublished(ctx, roomID, "", visibility == "public")
}

// Public lists published rooms, the largest first.
func (d *Directory) Public(ctx context.Context, q PublicQuery) (PublicRooms, error) {
	skip, err := readPublicToken(q.Since)
	if err != nil {
		return PublicRooms{}, err
	}
	ids, err := d.listPublished(ctx, q.Network, q.All)
	if err != nil {
		return PublicRooms{}, err
	}
	var found []Summary
	term := fold(q.Filter.Term)
	for _, r := range ids {
		l, err := d.lookOf(ctx, r)
		if err == nil && l.Joined > 0 && l.matches(term, q.Filter.Types) {
			found = append(found, l.Summary)
		}
	}
	sort.Slice(found, func(i, j int) bool {
		if found[i].Joined != found[j].Joined {
			return found[i].Joined > found[j].Joined
		}
		return found[i].RoomID < found[j].RoomID
	})
	limit := q.Limit
	if limit <= 0 || limit > maxPublicPage {
		limit = maxPublicPage
	}
	out := PublicRooms{Chunk: []json.RawMessage{}, Total: len(found)}
	end := min(skip+limit, len(found))
	for _, s := range found[min(skip, end):end] {
		raw, err := publicChunk(s)
		if err != nil {
			return out, err
		}
		out.Chunk = append(out.Chunk, raw)
	}
	if end < len(found) {
		out.Next = publicToken(end)
	}
	if skip > 0 {
		out.Prev = publicToken(max(skip-limit, 0))
	}
	return out, nil
}

// publicChunk is the form of the list, which has fewer members than a summary.
func publicChunk(s Summary) (json.RawMessage, error) {
	s.AllowedRoomIDs, s.Encryption, s.RoomVersion = nil, "", ""
	return json.Marshal(s)
}

func (l look) matches(term string, types []*string) bool {
	if len(types) > 0 {
		ok := false
		for _, t := range types {
			ok = ok || (t == nil && l.RoomType == "") || (t != nil && *t == l.RoomType && l.RoomType != "")
		}
		if !ok {
			return false
		}
	}
	return term == "" || strings.Contains(fold(l.Name), term) || strings.Contains(fold(l.Topic), term) || strings.Contains(fold(string(l.CanonicalAlias)), term)
}

func publicToken(n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte("p" + strconv.Itoa(n)))
}

func readPublicToken(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil && len(raw) > 1 && raw[0] == 'p' {
		if n, err := strconv.Atoi(string(raw[1:])); err == nil && n >= 0 && n <= maxPublished {
			return n, nil
		}
	}
	return 0, mautrix.MInvalidParam.WithMessage("since is not a token of this list")
}

// PublicOf lists the public rooms of another server.
func (d *Directory) PublicOf(ctx context.Context, server string, q PublicQuery) (json.RawMessage, error) {
	if d.Remote == nil {
		return nil, mautrix.MNotFound.WithMessage("This server is not connected to others")
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	raw, err := d.Remote.PublicRooms(ctx, server, body)
	if err != nil {
		return nil, mautrix.RespError{ErrCode: "M_UNKNOWN", Err: "The other server's room list could not be fetched", StatusCode: 502}
	}
	return raw, nil
}
