package room

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

func newLookTable() *database.Table {
	cols := []string{"name", "folded", "topic", "avatar_url", "alias", "type", "creator", "encryption", "join_rule", "guest_access",
		"history_visibility", "replacement"}
	list, set := []database.Col{database.Int("room_nid"), database.Int("federated"), database.Int("tombstoned")},
		[]string{"federated = excluded.federated", "tombstoned = excluded.tombstoned"}
	for _, c := range cols {
		list, set = append(list, database.Text(c)), append(set, c+" = excluded."+c)
	}
	return database.NewTable("room_looks", `ON CONFLICT (room_nid) DO UPDATE SET `+strings.Join(set, ", "), list...)
}

func lookRow(nid int64, l *Look) []any {
	return []any{nid, flag(l.Federated), flag(l.Tombstoned), l.Name, foldName(l.Name), l.Topic, l.AvatarURL, string(l.CanonicalAlias), l.Type,
		string(l.Creator), l.Encryption, l.JoinRule, l.GuestAccess, l.HistoryVisibility, string(l.Replacement)}
}

func flag(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

// Listing is a room as operators see it in lists.
type Listing struct {
	Look
	RoomID              id.RoomID
	Version             string
	Joined, JoinedLocal int64
}

// ListQuery says which rooms an operator wants to see.
type ListQuery struct {
	Search      string      // part of the name or alias, or a room ID
	Empty       *bool       // without anybody joined, or not
	Public      []id.RoomID // those of the public directory
	OnlyPublic  *bool       // in that list, or not
	OrderBy     string
	Backward    bool
	From, Limit int64
}

const (
	sqlListed = ` FROM rooms r LEFT JOIN room_looks l ON l.room_nid = r.room_nid
		WHERE r.state_id <> 0 AND ($1 = '' OR l.folded LIKE $1 ESCAPE '!' OR LOWER(l.alias) LIKE $1 ESCAPE '!' OR r.room_id = $2)
		AND ($3 < 0 OR $3 = 1 AND r.joined = 0 OR $3 = 0 AND r.joined > 0)
		AND ($4 < 0 OR $4 = 1 AND r.room_id IN LIST($5) OR $4 = 0 AND r.room_id NOT IN LIST($5))`
	sqlListedCount = `SELECT COUNT(*)` + sqlListed
	sqlListedRooms = `SELECT r.room_id, r.room_version, r.joined, r.joined_local, COALESCE(l.federated, 1), COALESCE(l.tombstoned, 0),
		COALESCE(l.name, ''), COALESCE(l.topic, ''), COALESCE(l.avatar_url, ''), COALESCE(l.alias, ''), COALESCE(l.type, ''), COALESCE(l.creator, ''),
		COALESCE(l.encryption, ''), COALESCE(l.join_rule, ''), COALESCE(l.guest_access, ''), COALESCE(l.history_visibility, ''), COALESCE(l.replacement, '')`
	sqlListedOne = sqlListedRooms + ` FROM rooms r LEFT JOIN room_looks l ON l.room_nid = r.room_nid WHERE r.room_id = $1`
)

// unnamedLast sorts rooms without name behind the others.
const unnamedLast = "CASE WHEN COALESCE(l.folded, '') = '' THEN 1 ELSE 0 END"

var byName = []string{unnamedLast, "l.folded"}

// listOrders are the expressions to sort by. Numbers begin with the largest.
var listOrders = map[string][]string{
	"": byName, "name": byName, "alphabetical": byName,
	"canonical_alias": {"LOWER(l.alias)"}, "joined_members": {"-r.joined"}, "size": {"-r.joined"}, "state_events": {"-r.joined"},
	"joined_local_members": {"-r.joined_local"}, "version": {"-LENGTH(r.room_version)", "r.room_version"}, "creator": {"l.creator"},
	"encryption": {"l.encryption"}, "federatable": {"l.federated"}, "join_rules": {"l.join_rule"}, "guest_access": {"l.guest_access"},
	"history_visibility": {"l.history_visibility"}, "room_type": {"l.type"},
	"public": {"CASE WHEN r.room_id IN LIST($5) THEN 1 ELSE 0 END"},
}

func scanListing(s database.Scanner) (l Listing, err error) {
	var federated, tombstoned int64
	err = s.Scan(&l.RoomID, &l.Version, &l.Joined, &l.JoinedLocal, &federated, &tombstoned, &l.Name, &l.Topic, &l.AvatarURL, &l.CanonicalAlias, &l.Type,
		&l.Creator, &l.Encryption, &l.JoinRule, &l.GuestAccess, &l.HistoryVisibility, &l.Replacement)
	l.Federated, l.Tombstoned = federated != 0, tombstoned != 0
	return l, err
}

// ListRooms gives a page of the rooms whose state is known here, and how many there are in all. Sorting by the number of state
// events, which is not stored, sorts by members.
func (r *Rooms) ListRooms(ctx context.Context, q ListQuery) (page []Listing, total int64, err error) {
	order, ok := listOrders[q.OrderBy]
	if !ok {
		return nil, 0, mautrix.MInvalidParam.WithMessage("Unknown order of rooms")
	}
	ctx = database.Interruptible(ctx)
	term := ""
	if q.Search != "" {
		term = "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(foldName(q.Search)) + "%"
	}
	args := []any{term, q.Search, tri(q.Empty), tri(q.OnlyPublic), database.List(q.Public)}
	if err := r.db.QueryRow(ctx, sqlListedCount, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("number of rooms: %w", err)
	}
	direction := " ASC"
	if q.Backward {
		direction = " DESC"
	}
	text := sqlListedRooms + sqlListed + " ORDER BY " + strings.Join(append(slices.Clone(order), "r.room_id"), direction+", ") + direction + " LIMIT $6 OFFSET $7"
	page, err = database.Rows(ctx, r.db, scanListing, text, append(args, q.Limit, q.From)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list of rooms: %w", err)
	}
	return page, total, nil
}

func tri(b *bool) int64 {
	if b == nil {
		return -1
	}
	return flag(*b)
}

// ListRoom is one room as ListRooms gives it; M_NOT_FOUND if it is not known here.
func (r *Rooms) ListRoom(ctx context.Context, roomID id.RoomID) (Listing, error) {
	list, err := database.Rows(ctx, r.db, scanListing, sqlListedOne, string(roomID))
	if err != nil {
		return Listing{}, fmt.Errorf("row of %s: %w", roomID, err)
	}
	if len(list) == 0 {
		return Listing{}, errNoRoom(roomID)
	}
	return list[0], nil
}
