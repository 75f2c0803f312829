package account

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// Fields of a profile that the specification names.
//
// spec: cs#profiles
const (
	FieldDisplayName = "displayname"
	FieldAvatarURL   = "avatar_url"
	FieldTimeZone    = "m.tz"

	fieldAll = "#all"
)

const (
	maxProfile      = 64 << 10
	maxProfileField = 255
)

const (
	upsertProfile = `INSERT INTO profiles (user_id, fields) VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE SET fields = excluded.fields`
	selectProfile     = `SELECT fields FROM profiles WHERE user_id = $1`
	deleteUserProfile = `DELETE FROM profiles WHERE user_id = $1`
)

// Profile is what a user shows of themselves. It is shared: nobody changes it.
type Profile struct {
	DisplayName string
	AvatarURL   string
	Extra       map[string]json.RawMessage // all other fields
}

// Fields gives the profile as clients and servers see it.
func (p Profile) Fields() map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(p.Extra)+2)
	for k, v := range p.Extra {
		out[k] = v
	}
	for k, v := range map[string]string{FieldDisplayName: p.DisplayName, FieldAvatarURL: p.AvatarURL} {
		if v != "" {
			out[k], _ = json.Marshal(v) // a string always encodes
		}
	}
	return out
}

// MarshalJSON writes the profile as clients and servers see it.
func (p Profile) MarshalJSON() ([]byte, error) { return json.Marshal(p.Fields()) }

func profileOf(fields map[string]json.RawMessage) Profile {
	var p Profile
	for k, v := range fields {
		switch k {
		case FieldDisplayName:
			_ = json.Unmarshal(v, &p.DisplayName) // what is no text counts as absent
		case FieldAvatarURL:
			_ = json.Unmarshal(v, &p.AvatarURL)
		default:
			if p.Extra == nil {
				p.Extra = make(map[string]json.RawMessage)
			}
			p.Extra[k] = v
		}
	}
	return p
}

// Profile gives the profile of a user of this server, empty if they have none, or asks the server of the user.
func (a *Accounts) Profile(ctx context.Context, user id.UserID) (Profile, error) {
	if a.Local(user) {
		return a.names.get(ctx, user, func(ctx context.Context, user id.UserID) (Profile, error) {
			fields, err := a.readProfile(ctx, user)
			return profileOf(fields), err
		})
	}
	fields, err := a.remoteProfile(ctx, user, "")
	return profileOf(fields), err
}

func (a *Accounts) remoteProfile(ctx context.Context, user id.UserID, field string) (map[string]json.RawMessage, error) {
	_, server, ok := splitUser(string(user))
	if !ok {
		return nil, mautrix.MInvalidParam.WithMessage("Not a user ID")
	}
	if a.deps.Remote == nil {
		return nil, errNoProfile
	}
	return a.deps.Remote.Profile(ctx, server, user, field)
}

var errNoProfile = mautrix.MNotFound.WithMessage("Profile not found")

// VisibleProfile gives the fields of a profile, or one of them, as anyone may see them; M_NOT_FOUND if there is none.
func (a *Accounts) VisibleProfile(ctx context.Context, user id.UserID, field string) (map[string]json.RawMessage, error) {
	if len(user) > maxUserID || !utf8.ValidString(string(user)) {
		return nil, errNoProfile
	}
	if !a.Local(user) {
		fields, err := a.remoteProfile(ctx, user, field)
		return pick(fields, field, err)
	}
	active, err := a.Active(ctx, user)
	if err != nil || !active {
		return nil, errors.Join(err, errNoProfile)
	}
	p, err := a.Profile(ctx, user)
	return pick(p.Fields(), field, err)
}

func pick(fields map[string]json.RawMessage, field string, err error) (map[string]json.RawMessage, error) {
	if err != nil || field == "" {
		return fields, err
	}
	v, ok := fields[field]
	if !ok || string(v) == "null" && (field == FieldDisplayName || field == FieldAvatarURL) {
		return nil, errNoProfile.WithMessage("The profile has no such field")
	}
	return map[string]json.RawMessage{field: v}, nil
}

func (a *Accounts) readProfile(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	var raw string
	err := a.db.QueryRow(ctx, selectProfile, user).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, doing("reading a profile", err)
	}
	var fields map[string]json.RawMessage
	return fields, doing("reading a profile", json.Unmarshal([]byte(raw), &fields))
}

func (a *Accounts) writeProfile(ctx context.Context, user id.UserID, fields map[string]json.RawMessage) error {
	raw, err := json.Marshal(fields)
	if err != nil {
		return doing("writing a profile", err)
	}
	if len(raw) > maxProfile {
		return mProfileTooLarge.WithMessage("A profile has at most %d bytes", maxProfile)
	}
	_, err = a.db.Exec(ctx, upsertProfile, user, string(raw))
	return doing("writing a profile", err)
}

// SetProfileField sets a field of the profile of a user of this server; a nil value removes it.
//
// spec: cs#put_matrixclientv3profileuseridkeyname
func (a *Accounts) SetProfileField(ctx context.Context, user id.UserID, field string, value json.RawMessage) error {
	value, err := checkField(field, value)
	if err != nil {
		return err
	}
	for _, fn := range a.hooks.profileChanging {
		if err := fn(ctx, user, field, value); err != nil {
			return err
		}
	}
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		done, err := a.db.Exec(ctx, lockUser, user)
		if err != nil {
			return doing("locking a user", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNoUser)
		}
		fields, err := a.readProfile(ctx, user)
		if err != nil {
			return err
		}
		old, had := fields[field]
		if had == (value != nil) && bytes.Equal(old, value) {
			return nil
		}
		if fields == nil {
			fields = make(map[string]json.RawMessage, 1)
		}
		if fields[field] = value; value == nil {
			delete(fields, field)
		}
		if err := a.writeProfile(ctx, user, fields); err != nil {
			return err
		}
		return a.announce(ctx, stream.Change{Kind: stream.Profile, UserID: user, Ref: field})
	})
	a.names.drop(user)
	return err
}

// SetDisplayName sets the name a user shows; empty removes it.
func (a *Accounts) SetDisplayName(ctx context.Context, user id.UserID, name string) error {
	return a.setText(ctx, user, FieldDisplayName, name)
}

// SetAvatarURL sets the picture a user shows; empty removes it.
func (a *Accounts) SetAvatarURL(ctx context.Context, user id.UserID, url string) error {
	return a.setText(ctx, user, FieldAvatarURL, url)
}

func (a *Accounts) setText(ctx context.Context, user id.UserID, field, text string) error {
	value, err := json.Marshal(text)
	if err != nil {
		return doing("writing a profile", err)
	}
	return a.SetProfileField(ctx, user, field, value)
}

// checkField says whether a value may stand under a key of a profile, and gives its compact form, nil if it means
// absence.
func checkField(field string, value json.RawMessage) (json.RawMessage, error) {
	if err := checkFieldName(field); err != nil {
		return nil, err
	}
	if value == nil {
		return nil, nil
	}
	if len(value) > maxProfile {
		return nil, mProfileTooLarge.WithMessage("A profile has at most %d bytes", maxProfile)
	}
	limit := 0
	switch field {
	case FieldDisplayName:
		limit = maxDisplayName
	case FieldAvatarURL:
		limit = maxAvatarURL
	case FieldTimeZone:
		limit = maxType
	default:
		var b bytes.Buffer
		if err := json.Compact(&b, value); err != nil {
			return nil, mautrix.MBadJSON.WithMessage("The value is not valid JSON")
		}
		return b.Bytes(), nil
	}
	var text *string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, mautrix.MBadJSON.WithMessage("%s must be a text", field)
	}
	if text == nil || *text == "" {
		return nil, nil
	}
	if utf8.RuneCountInString(*text) > limit {
		return nil, mautrix.MInvalidParam.WithMessage("%s has at most %d characters", field, limit)
	}
	compact, err := json.Marshal(*text)
	return compact, doing("writing a profile", err)
}

// checkFieldName holds to the grammar of names.
//
// spec: appendices#common-namespaced-identifier-grammar
func checkFieldName(field string) error {
	if len(field) > maxProfileField {
		return mKeyTooLarge.WithMessage("The name of a field has at most %d bytes", maxProfileField)
	}
	for i := range len(field) {
		c := field[i]
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')) {
			return mautrix.MInvalidParam.WithMessage("Not a name of a profile field")
		}
	}
	if field == "" {
		return mautrix.MInvalidParam.WithMessage("Not a name of a profile field")
	}
	return nil
}
