package account

import (
	"context"
	"encoding/json"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// mine refuses paths that name another user.
func mine(who web.Requester, user id.UserID) error {
	if user != who.UserID {
		return mautrix.MForbidden.WithMessage("This belongs to somebody else")
	}
	return nil
}

type accountDataIn struct {
	UserID id.UserID `path:"userId"`
	Type   string    `path:"type"`
}

type putAccountDataIn struct {
	UserID id.UserID       `path:"userId"`
	Type   string          `path:"type"`
	Body   json.RawMessage `body:"raw"`
}

type roomDataIn struct {
	UserID id.UserID `path:"userId"`
	RoomID id.RoomID `path:"roomId"`
	Type   string    `path:"type"`
}

type putRoomDataIn struct {
	UserID id.UserID       `path:"userId"`
	RoomID id.RoomID       `path:"roomId"`
	Type   string          `path:"type"`
	Body   json.RawMessage `body:"raw"`
}

// GetAccountData gives a global datum.
//
// spec: cs#get_matrixclientv3useruseridaccount_datatype
func (a *Accounts) GetAccountData(ctx context.Context, who web.Requester, in accountDataIn) (web.Bytes, error) {
	return a.getData(ctx, who, in.UserID, "", in.Type)
}

// GetRoomAccountData gives a datum of a room.
//
// spec: cs#get_matrixclientv3useruseridroomsroomidaccount_datatype
func (a *Accounts) GetRoomAccountData(ctx context.Context, who web.Requester, in roomDataIn) (web.Bytes, error) {
	if !validRoomID(string(in.RoomID)) {
		return nil, mautrix.MInvalidParam.WithMessage("Not a room ID")
	}
	return a.getData(ctx, who, in.UserID, in.RoomID, in.Type)
}

func (a *Accounts) getData(ctx context.Context, who web.Requester, user id.UserID, room id.RoomID, eventType string) (web.Bytes, error) {
	if err := mine(who, user); err != nil {
		return nil, err
	}
	read := func() (json.RawMessage, error) { return a.AccountData(ctx, user, room, eventType) }
	if fn := a.hooks.computed[eventType]; fn != nil {
		read = func() (json.RawMessage, error) { return fn(ctx, user, room) }
	}
	content, err := read()
	if err == nil && content == nil {
		return nil, mautrix.MNotFound.WithMessage("Account data not found")
	}
	return web.Bytes(content), err
}

// PutAccountData sets a global datum.
//
// spec: cs#put_matrixclientv3useruseridaccount_datatype
func (a *Accounts) PutAccountData(ctx context.Context, who web.Requester, in putAccountDataIn) (struct{}, error) {
	if err := a.mayWrite(who, in.UserID, in.Type); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.SetAccountData(ctx, in.UserID, "", in.Type, in.Body)
}

// PutRoomAccountData sets a datum of a room.
//
// spec: cs#put_matrixclientv3useruseridroomsroomidaccount_datatype
func (a *Accounts) PutRoomAccountData(ctx context.Context, who web.Requester, in putRoomDataIn) (struct{}, error) {
	if err := a.mayWriteRoom(who, in.UserID, in.RoomID, in.Type); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.SetAccountData(ctx, in.UserID, in.RoomID, in.Type, in.Body)
}

// DeleteGlobalAccountData removes a global datum.
//
// msc: 3391
func (a *Accounts) DeleteGlobalAccountData(ctx context.Context, who web.Requester, in accountDataIn) (struct{}, error) {
	if err := a.mayWrite(who, in.UserID, in.Type); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.DeleteAccountData(ctx, in.UserID, "", in.Type)
}

// DeleteRoomAccountData removes a datum of a room.
//
// msc: 3391
func (a *Accounts) DeleteRoomAccountData(ctx context.Context, who web.Requester, in roomDataIn) (struct{}, error) {
	if err := a.mayWriteRoom(who, in.UserID, in.RoomID, in.Type); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.DeleteAccountData(ctx, in.UserID, in.RoomID, in.Type)
}

func (a *Accounts) mayWriteRoom(who web.Requester, user id.UserID, room id.RoomID, eventType string) error {
	if !validRoomID(string(room)) {
		return mautrix.MInvalidParam.WithMessage("Not a room ID")
	}
	return a.mayWrite(who, user, eventType)
}

// mayWrite refuses types that have an endpoint of their own.
func (a *Accounts) mayWrite(who web.Requester, user id.UserID, eventType string) error {
	if err := mine(who, user); err != nil {
		return err
	}
	if endpoint, owned := a.hooks.ownedTypes[eventType]; owned {
		return mautrix.MBadJSON.WithMessage("%s is written through %s", eventType, endpoint).WithStatus(http.StatusMethodNotAllowed)
	}
	return nil
}

type tagsIn struct {
	UserID id.UserID `path:"userId"`
	RoomID id.RoomID `path:"roomId"`
}

type tagsOut struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

// GetTags lists the tags of a room.
//
// spec: cs#get_matrixclientv3useruseridroomsroomidtags
func (a *Accounts) GetTags(ctx context.Context, who web.Requester, in tagsIn) (tagsOut, error) {
	if err := mine(who, in.UserID); err != nil {
		return tagsOut{}, err
	}
	tags, err := a.Tags(ctx, in.UserID, in.RoomID)
	return tagsOut{tags}, err
}

type tagIn struct {
	UserID id.UserID `path:"userId"`
	RoomID id.RoomID `path:"roomId"`
	Tag    string    `path:"tag"`
}

type putTagIn struct {
	UserID id.UserID       `path:"userId"`
	RoomID id.RoomID       `path:"roomId"`
	Tag    string          `path:"tag"`
	Order  json.RawMessage `json:"order"`
	Body   json.RawMessage `body:"raw"`

	_ struct{} `body:"optional"`
}

// PutTag puts a tag on a room.
//
// spec: cs#put_matrixclientv3useruseridroomsroomidtagstag
func (a *Accounts) PutTag(ctx context.Context, who web.Requester, in putTagIn) (struct{}, error) {
	if err := mine(who, in.UserID); err != nil {
		return struct{}{}, err
	}
	if !validRoomID(string(in.RoomID)) {
		return struct{}{}, mautrix.MInvalidParam.WithMessage("Not a room ID")
	}
	info, err := compactObject(in.Body)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.SetTag(ctx, in.UserID, in.RoomID, in.Tag, info)
}

// DeleteTag takes a tag from a room.
//
// spec: cs#delete_matrixclientv3useruseridroomsroomidtagstag
func (a *Accounts) DeleteTag(ctx context.Context, who web.Requester, in tagIn) (struct{}, error) {
	if err := mine(who, in.UserID); err != nil {
		return struct{}{}, err
	}
	if !validRoomID(string(in.RoomID)) {
		return struct{}{}, mautrix.MInvalidParam.WithMessage("Not a room ID")
	}
	return struct{}{}, a.SetTag(ctx, in.UserID, in.RoomID, in.Tag, nil)
}

type postFilterIn struct {
	UserID id.UserID       `path:"userId"`
	Body   json.RawMessage `body:"raw"`
}

type filterOut struct {
	FilterID string `json:"filter_id"`
}

// PostFilter keeps a filter.
//
// spec: cs#post_matrixclientv3useruseridfilter
func (a *Accounts) PostFilter(ctx context.Context, who web.Requester, in postFilterIn) (filterOut, error) {
	if err := mine(who, in.UserID); err != nil {
		return filterOut{}, err
	}
	n, err := a.AddFilter(ctx, in.UserID, in.Body)
	return filterOut{n}, err
}

type filterIn struct {
	UserID   id.UserID `path:"userId"`
	FilterID string    `path:"filterId"`
}

// GetFilter gives a filter back.
//
// spec: cs#get_matrixclientv3useruseridfilterfilterid
func (a *Accounts) GetFilter(ctx context.Context, who web.Requester, in filterIn) (web.Bytes, error) {
	if err := mine(who, in.UserID); err != nil {
		return nil, err
	}
	f, err := a.Filter(ctx, in.UserID, in.FilterID)
	return web.Bytes(f), err
}

type openIDIn struct {
	UserID id.UserID `path:"userId"`

	_ struct{} `body:"optional"`
}

type openIDOut struct {
	AccessToken      string `json:"access_token"`
	ExpiresIn        int64  `json:"expires_in"`
	MatrixServerName string `json:"matrix_server_name"`
	TokenType        string `json:"token_type"`
}

// PostOpenIDToken gives a token that tells third parties who the user is.
//
// spec: cs#post_matrixclientv3useruseridopenidrequest_token
func (a *Accounts) PostOpenIDToken(ctx context.Context, who web.Requester, in openIDIn) (openIDOut, error) {
	if err := mine(who, in.UserID); err != nil {
		return openIDOut{}, err
	}
	token, lifetime, err := a.NewOpenIDToken(ctx, in.UserID)
	return openIDOut{token, int64(lifetime.Seconds()), a.cfg.ServerName, "Bearer"}, err
}
