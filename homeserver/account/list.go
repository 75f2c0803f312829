package account

import (
	"context"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// UserQuery says which users an administrator wants to see. Flags that are nil do not matter.
type UserQuery struct {
	After  id.UserID // by ID only: begin behind this one
	From   int64     // or skip so many
	Limit  int64
	Search string // part of the user ID or display name
	IDOnly bool   // Search looks at the ID alone

	Admin, Guest, Deactivated, Locked, Suspended *bool

	OrderBy  string // user_id (or empty), created, admin, guest, deactivated, user_type, displayname, last_seen
	Backward bool
}

// UserListing is a user as administrators see them.
type UserListing struct {
	User
	DisplayName string
	AvatarURL   string
	LastSeen    int64 // ms, of any device; 0 if never
}

var userOrders = map[string]string{
	"": "u.user_id", "user_id": "u.user_id", "name": "u.user_id", "created": "u.created", "creation_ts": "u.created",
	"admin": "u.admin", "is_guest": "u.guest", "guest": "u.guest", "deactivated": "u.deactivated", "locked": "u.locked", "shadow_banned": "u.shadow_banned", "suspended": "u.suspended",
	"user_type": "u.user_type", "displayname": "p.fields", "avatar_url": "p.fields", "last_seen": "last_seen", "last_seen_ts": "last_seen",
}

const (
	maxListedUsers = 10_000
	fromUsers      = ` FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id
	WHERE u.user_id > $1 AND ($2 = '' OR LOWER(u.user_id) LIKE $2 ESCAPE '!' OR LOWER(p.fields) LIKE $3 ESCAPE '!')
	AND ($4 < 0 OR u.admin = $4) AND ($5 < 0 OR u.guest = $5) AND ($6 < 0 OR u.deactivated = $6)
	AND ($7 < 0 OR u.locked = $7) AND ($8 < 0 OR u.suspended = $8)`
	countListed = `SELECT COUNT(*)` + fromUsers
	listUsers   = `SELECT u.user_id, COALESCE(u.password_hash, ''), u.created, COALESCE(u.appservice, ''), COALESCE(u.user_type, ''),
	u.admin, u.guest, u.deactivated, u.erased, u.locked, u.suspended, u.shadow_banned, COALESCE(p.fields, '{}'),
	COALESCE((SELECT MAX(d.last_seen_ts) FROM devices d WHERE d.user_id = u.user_id), 0) AS last_seen` + fromUsers
)

// ListUsers gives a page of the users asked for, and how many there are in all.
func (a *Accounts) ListUsers(ctx context.Context, q UserQuery) (page []UserListing, total int64, err error) {
	order, ok := userOrders[q.OrderBy]
	if !ok {
		return nil, 0, mautrix.MInvalidParam.WithMessage("Unknown order of users")
	}
	if !plain(q.Search, maxType) || !plain(string(q.After), maxUserID) || q.From < 0 || q.Limit < 0 {
		return nil, 0, mautrix.MInvalidParam.WithMessage("Bad query for users")
	}
	if q.Limit == 0 || q.Limit > maxListedUsers {
		q.Limit = maxListedUsers
	}
	byID, byName := "", ""
	if q.Search != "" {
		term := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(q.Search))
		byID = "%" + term + "%"
		if !q.IDOnly {
			byName = `%"displayname":"%` + term + "%"
		}
	}
	args := []any{q.After, byID, byName, tri(q.Admin), tri(q.Guest), tri(q.Deactivated), tri(q.Locked), tri(q.Suspended)}
	if err := a.db.QueryRow(ctx, countListed, args...).Scan(&total); err != nil {
		return nil, 0, doing("counting users", err)
	}
	direction := " ASC"
	if q.Backward {
		direction = " DESC"
	}
	text := listUsers + " ORDER BY " + order + direction + ", u.user_id LIMIT $9 OFFSET $10"
	page, err = database.Rows(ctx, a.db, scanListing, text, append(args, q.Limit, q.From)...)
	return page, total, doing("listing users", err)
}

// tri is -1 for nil.
func tri(b *bool) int64 {
	if b == nil {
		return -1
	}
	return bit(*b)
}

func scanListing(row database.Scanner) (l UserListing, err error) {
	var raw string
	more := scanMore{row, []any{&raw, &l.LastSeen}}
	if l.User, err = scanUser(more); err != nil {
		return l, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &fields); err != nil {
		return l, err
	}
	p := profileOf(fields)
	l.DisplayName, l.AvatarURL = p.DisplayName, p.AvatarURL
	return l, nil
}

// scanMore scans further columns behind those of a row.
type scanMore struct {
	row  database.Scanner
	more []any
}

func (s scanMore) Scan(dest ...any) error { return s.row.Scan(append(dest, s.more...)...) }
