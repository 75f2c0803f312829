package account

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type profileIn struct {
	UserID id.UserID `path:"userId"`
}

// GetProfile gives the whole profile of a user of any server.
//
// spec: cs#get_matrixclientv3profileuserid
func (a *Accounts) GetProfile(ctx context.Context, _ web.Requester, in profileIn) (map[string]json.RawMessage, error) {
	if err := checkProfileUser(in.UserID); err != nil {
		return nil, err
	}
	return a.VisibleProfile(ctx, in.UserID, "")
}

type profileFieldIn struct {
	UserID  id.UserID `path:"userId"`
	KeyName string    `path:"keyName"`
}

// GetProfileField gives one field of a profile.
//
// spec: cs#get_matrixclientv3profileuseridkeyname
func (a *Accounts) GetProfileField(ctx context.Context, _ web.Requester, in profileFieldIn) (map[string]json.RawMessage, error) {
	if err := checkProfileUser(in.UserID); err != nil {
		return nil, err
	}
	if err := checkFieldName(in.KeyName); err != nil {
		return nil, err
	}
	return a.VisibleProfile(ctx, in.UserID, in.KeyName)
}

func checkProfileUser(user id.UserID) error {
	if !validUserID(string(user)) {
		return mautrix.MInvalidParam.WithMessage("Not a user ID")
	}
	return nil
}

type putProfileIn struct {
	UserID  id.UserID       `path:"userId"`
	KeyName string          `path:"keyName"`
	Body    json.RawMessage `body:"raw"`
}

// PutProfileField sets a field of the profile.
//
// spec: cs#put_matrixclientv3profileuseridkeyname
func (a *Accounts) PutProfileField(ctx context.Context, who web.Requester, in putProfileIn) (struct{}, error) {
	if err := a.mayChangeProfile(who, in.UserID, in.KeyName); err != nil {
		return struct{}{}, err
	}
	if len(in.Body) > 2*maxProfile {
		return struct{}{}, web.MProfileTooLarge.WithMessage("A profile has at most %d bytes", maxProfile)
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(in.Body, &body); err != nil {
		return struct{}{}, mautrix.MBadJSON.WithMessage("The body must be an object")
	}
	value, ok := body[in.KeyName]
	if !ok {
		return struct{}{}, web.MMissingParam.WithMessage("The body has no member %s", in.KeyName)
	}
	return struct{}{}, a.SetProfileField(ctx, in.UserID, in.KeyName, value)
}

// DeleteProfileField removes a field of the profile.
//
// spec: cs#delete_matrixclientv3profileuseridkeyname
func (a *Accounts) DeleteProfileField(ctx context.Context, who web.Requester, in profileFieldIn) (struct{}, error) {
	if err := a.mayChangeProfile(who, in.UserID, in.KeyName); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.SetProfileField(ctx, in.UserID, in.KeyName, nil)
}

func (a *Accounts) mayChangeProfile(who web.Requester, user id.UserID, field string) error {
	if err := checkFieldName(field); err != nil {
		return err
	}
	if user != who.UserID && !(who.Admin && a.Local(user)) {
		return mautrix.MForbidden.WithMessage("Nobody changes the profile of somebody else")
	}
	if who.Guest && field != FieldDisplayName {
		return web.MGuestAccessForbidden.WithMessage("Guests have a display name only")
	}
	return notSuspended(who)
}
