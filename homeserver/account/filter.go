package account

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	maxFilter         = 64 << 10
	maxFiltersPerUser = 2000
	maxCachedFilters  = 10_000
)

const (
	insertFilter      = `INSERT INTO filters (user_id, filter_id, hash, filter) VALUES ($1, $2, $3, $4) ON CONFLICT (user_id, hash) DO NOTHING`
	selectFilter      = `SELECT filter FROM filters WHERE user_id = $1 AND filter_id = $2`
	selectFilterID    = `SELECT filter_id FROM filters WHERE user_id = $1 AND hash = $2`
	countFilters      = `SELECT COUNT(*) FROM filters WHERE user_id = $1`
	deleteUserFilters = `DELETE FROM filters WHERE user_id = $1`
)

// filterCache holds filters, which never change.
type filterCache struct {
	mu      sync.RWMutex
	entries map[filterKey]json.RawMessage
}

type filterKey struct {
	user id.UserID
	id   int64
}

// AddFilter keeps a filter and gives its ID. The same filter has the same ID.
//
// spec: cs#post_matrixclientv3useruseridfilter
func (a *Accounts) AddFilter(ctx context.Context, user id.UserID, filter json.RawMessage) (string, error) {
	if err := ValidateFilter(filter); err != nil {
		return "", err
	}
	filter, err := compactObject(filter)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(filter)
	hash := base64.RawURLEncoding.EncodeToString(sum[:])
	var n int64
	err = a.db.QueryRow(ctx, selectFilterID, user, hash).Scan(&n)
	if err == nil {
		return strconv.FormatInt(n, 10), nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return "", doing("looking for a filter", err)
	}
	return a.insertFilter(ctx, user, filter, hash)
}

func (a *Accounts) insertFilter(ctx context.Context, user id.UserID, filter json.RawMessage, hash string) (string, error) {
	var n int64
	if err := a.db.QueryRow(ctx, countFilters, user).Scan(&n); err != nil {
		return "", doing("counting filters", err)
	}
	if n >= maxFiltersPerUser {
		return "", limitExceeded(sweepEvery).WithMessage("This account has too many filters")
	}
	n, err := a.db.NextID(ctx, "filters")
	if err != nil {
		return "", doing("numbering a filter", err)
	}
	if _, err := a.db.Exec(ctx, insertFilter, user, n, hash, string(filter)); err != nil {
		return "", doing("writing a filter", err)
	}
	if err := a.db.QueryRow(ctx, selectFilterID, user, hash).Scan(&n); err != nil {
		return "", doing("looking for a filter", err)
	}
	return strconv.FormatInt(n, 10), nil
}

// Filter gives a filter of a user; M_NOT_FOUND if there is none.
//
// spec: cs#get_matrixclientv3useruseridfilterfilterid
func (a *Accounts) Filter(ctx context.Context, user id.UserID, filterID string) (json.RawMessage, error) {
	n, err := strconv.ParseInt(filterID, 10, 64)
	if err != nil {
		return nil, errNoFilter
	}
	key := filterKey{user, n}
	a.filters.mu.RLock()
	f := a.filters.entries[key]
	a.filters.mu.RUnlock()
	if f != nil {
		return f, nil
	}
	var text string
	err = a.db.QueryRow(ctx, selectFilter, user, n).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errNoFilter
	}
	if err != nil {
		return nil, doing("reading a filter", err)
	}
	f = json.RawMessage(text)
	a.filters.mu.Lock()
	defer a.filters.mu.Unlock()
	if a.filters.entries == nil || len(a.filters.entries) >= maxCachedFilters {
		a.filters.entries = make(map[filterKey]json.RawMessage)
	}
	a.filters.entries[key] = f
	return f, nil
}

var errNoFilter = mautrix.MNotFound.WithMessage("Unknown filter")

type eventFilter struct {
	Limit      *int64   `json:"limit"`
	Types      []string `json:"types"`
	NotTypes   []string `json:"not_types"`
	Senders    []string `json:"senders"`
	NotSenders []string `json:"not_senders"`
}

type roomEventFilter struct {
	eventFilter
	Rooms           []string `json:"rooms"`
	NotRooms        []string `json:"not_rooms"`
	LazyLoad        *bool    `json:"lazy_load_members"`
	Redundant       *bool    `json:"include_redundant_members"`
	ContainsURL     *bool    `json:"contains_url"`
	ThreadsUnread   *bool    `json:"unread_thread_notifications"`
	RelatedByTypes  []string `json:"related_by_rel_types"`
	RelatedBySender []string `json:"related_by_senders"`
}

type syncFilter struct {
	EventFields []string     `json:"event_fields"`
	EventFormat *string      `json:"event_format"`
	Presence    *eventFilter `json:"presence"`
	AccountData *eventFilter `json:"account_data"`
	Room        *struct {
		Rooms        []string         `json:"rooms"`
		NotRooms     []string         `json:"not_rooms"`
		IncludeLeave *bool            `json:"include_leave"`
		Ephemeral    *roomEventFilter `json:"ephemeral"`
		State        *roomEventFilter `json:"state"`
		Timeline     *roomEventFilter `json:"timeline"`
		AccountData  *roomEventFilter `json:"account_data"`
	} `json:"room"`
}

// ValidateFilter says what is wrong with a filter, stored or given inline.
//
// spec: cs#filtering
func ValidateFilter(filter json.RawMessage) error {
	if len(filter) > maxFilter {
		return mautrix.MTooLarge.WithMessage("A filter has at most %d bytes", maxFilter)
	}
	if trimmed := bytes.TrimLeft(filter, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return mautrix.MBadJSON.WithMessage("A filter must be an object")
	}
	var f syncFilter
	if err := json.Unmarshal(filter, &f); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return mautrix.MBadJSON.WithMessage("%s has the wrong type in the filter", t.Field)
		}
		return mautrix.MBadJSON.WithMessage("The filter is not valid JSON")
	}
	if f.EventFormat != nil && *f.EventFormat != "client" && *f.EventFormat != "federation" {
		return mautrix.MInvalidParam.WithMessage("event_format is client or federation")
	}
	for _, e := range []*eventFilter{f.Presence, f.AccountData} {
		if err := e.check(); err != nil {
			return err
		}
	}
	if f.Room == nil {
		return nil
	}
	for _, r := range []*roomEventFilter{f.Room.Ephemeral, f.Room.State, f.Room.Timeline, f.Room.AccountData} {
		if err := r.check(); err != nil {
			return err
		}
	}
	return checkAll("room ID", validRoomID, f.Room.Rooms, f.Room.NotRooms)
}

func (e *eventFilter) check() error {
	if e == nil {
		return nil
	}
	if e.Limit != nil && *e.Limit < 0 {
		return mautrix.MInvalidParam.WithMessage("limit must not be negative")
	}
	return checkAll("user ID", validUserID, e.Senders, e.NotSenders)
}

func (r *roomEventFilter) check() error {
	if r == nil {
		return nil
	}
	if err := r.eventFilter.check(); err != nil {
		return err
	}
	if err := checkAll("user ID", validUserID, r.RelatedBySender); err != nil {
		return err
	}
	return checkAll("room ID", validRoomID, r.Rooms, r.NotRooms)
}

func checkAll(what string, valid func(string) bool, lists ...[]string) error {
	for _, list := range lists {
		for _, s := range list {
			if !valid(s) {
				return mautrix.MInvalidParam.WithMessage("%q in the filter is not a %s", cut(s, 100), what)
			}
		}
	}
	return nil
}

// compactObject gives a JSON object without needless space.
func compactObject(raw json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	b.Grow(len(raw))
	if err := json.Compact(&b, raw); err != nil {
		return nil, mautrix.MNotJSON.WithMessage("The content is not valid JSON")
	}
	if b.Len() == 0 || b.Bytes()[0] != '{' {
		return nil, mautrix.MBadJSON.WithMessage("The content must be a JSON object")
	}
	return b.Bytes(), nil
}
