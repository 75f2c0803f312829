package directory

import (
	"context"
	"encoding/json"
	"sort"
	"strings"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	maxUserResults = 50
	maxCandidates  = 500
	maxWords       = 12 // of one name
	maxTerms       = 6  // of one search
)

// User is a result of a search.
type User struct {
	UserID      id.UserID `json:"user_id"`
	DisplayName string    `json:"display_name,omitempty"`
	AvatarURL   string    `json:"avatar_url,omitempty"`
}

// fold makes text comparable: no case, no accents.
func fold(s string) string {
	out, _, err := transform.String(transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), norm.NFC), s)
	if err != nil {
		out = s
	}
	return strings.ToLower(out)
}

// words are what a name is found by: its words and the whole, and the localpart.
func words(user id.UserID, name string) []string {
	seen := map[string]bool{}
	var out []string
	add := func(w string) {
		if r := []rune(w); len(r) > 64 {
			w = string(r[:64])
		}
		if w != "" && !seen[w] && len(out) < maxWords {
			seen[w] = true
			out = append(out, w)
		}
	}
	add(fold(user.Localpart()))
	add(fold(string(user)))
	split := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for _, w := range strings.FieldsFunc(fold(name), split) {
		add(w)
	}
	for _, w := range strings.FieldsFunc(fold(user.Localpart()), split) {
		add(w)
	}
	return out
}

// terms are the prefixes that all must be found.
func terms(q string) []string {
	q = strings.TrimSpace(fold(q))
	if strings.HasPrefix(q, "@") && strings.Contains(q, ":") {
		return []string{q}
	}
	out := strings.FieldsFunc(q, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(out) == 0 && q != "" {
		out = []string{q}
	}
	return out[:min(len(out), maxTerms)]
}

// SearchUsers finds people by the beginnings of their names (spec: cs#post_matrixclientv3user_directorysearch).
func (d *Directory) SearchUsers(ctx context.Context, asker id.UserID, q string, limit int) (found []User, limited bool, err error) {
	if limit <= 0 || limit > maxUserResults {
		limit = 10
	}
	ts := terms(q)
	if len(ts) == 0 {
		return []User{}, false, nil
	}
	candidates, err := d.findUsers(ctx, ts)
	if err != nil {
		return nil, false, err
	}
	sort.Slice(candidates, func(i, j int) bool {
		a, b := candidates[i], candidates[j]
		if la, lb := a.UserID.Homeserver() == d.ServerName, b.UserID.Homeserver() == d.ServerName; la != lb {
			return la
		}
		return a.UserID < b.UserID
	})
	found = []User{}
	for _, u := range candidates {
		if u.UserID == asker {
			continue
		}
		ok, err := d.mayFind(ctx, asker, u.UserID)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			continue
		}
		if len(found) == limit {
			return found, true, nil
		}
		found = append(found, u)
	}
	return found, false, nil
}

// mayFind: those who share a room, and those in a public one.
func (d *Directory) mayFind(ctx context.Context, asker, user id.UserID) (bool, error) {
	if d.SearchAll && user.Homeserver() == d.ServerName {
		return true, nil
	}
	if ok, err := d.Rooms.SharesRoom(ctx, asker, user); ok || err != nil {
		return ok, err
	}
	rooms, err := d.Rooms.RoomsOf(ctx, user)
	if err != nil {
		return false, err
	}
	for _, r := range rooms {
		l, err := d.lookOf(ctx, r)
		if err == nil && (l.JoinRule == "public" || l.WorldReadable) {
			return true, nil
		}
	}
	return false, nil
}

// followUsers keeps the directory up to date. Names of local users are those of their profiles; of others, those that
// their servers give in member events.
func (d *Directory) followUsers(ctx context.Context, changes []stream.Change) error {
	seen := map[id.UserID]bool{}
	for _, c := range changes {
		if c.UserID == "" || (seen[c.UserID] && c.Kind == stream.Membership) {
			continue
		}
		seen[c.UserID] = true
		if err := d.refreshUser(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) refreshUser(ctx context.Context, c stream.Change) error {
	u := User{UserID: c.UserID}
	if c.UserID.Homeserver() == d.ServerName {
		active, err := d.Accounts.Active(ctx, c.UserID)
		if err != nil {
			return err
		}
		if !active {
			return d.dropUser(ctx, c.UserID)
		}
		p, err := d.Accounts.Profile(ctx, c.UserID)
		if err != nil {
			return err
		}
		u.DisplayName, u.AvatarURL = p.DisplayName, p.AvatarURL
		return d.putUser(ctx, u)
	}
	if c.Kind != stream.Membership {
		return nil
	}
	ev, err := d.Rooms.Event(ctx, id.EventID(c.Ref))
	if err != nil || ev == nil {
		return err
	}
	if ev.Membership() != "join" {
		return nil
	}
	var content struct {
		Name   any `json:"displayname"`
		Avatar any `json:"avatar_url"`
	}
	if json.Unmarshal(ev.Content(), &content) == nil {
		u.DisplayName, _ = content.Name.(string)
		u.AvatarURL, _ = content.Avatar.(string)
	}
	if len(u.DisplayName) > 512 || len(u.AvatarURL) > 512 {
		u.DisplayName, u.AvatarURL = "", ""
	}
	return d.putUser(ctx, u)
}

// MutualRooms lists the rooms that two users share (spec: cs#get_matrixclientv1mutual_rooms).
func (d *Directory) MutualRooms(ctx context.Context, a, b id.UserID) ([]id.RoomID, error) {
	mine, err := d.Rooms.RoomsOf(ctx, a)
	if err != nil {
		return nil, err
	}
	theirs, err := d.Rooms.RoomsOf(ctx, b)
	if err != nil {
		return nil, err
	}
	set := make(map[id.RoomID]bool, len(mine))
	for _, r := range mine {
		set[r] = true
	}
	out := []id.RoomID{}
	for _, r := range theirs {
		if set[r] {
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out, nil
}
