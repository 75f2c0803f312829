package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

// pageIn is where a list begins and how long it is.
type pageIn struct {
	From  int64  `query:"from"`
	Limit *int64 `query:"limit"`
	Dir   string `query:"dir"`
}

const (
	usualPage = 100
	maxPage   = 1000
)

// check gives the length of the page.
func (p *pageIn) check() (limit int64, err error) {
	limit = usualPage
	if p.Limit != nil {
		limit = min(*p.Limit, maxPage)
	}
	if p.From < 0 || limit < 0 {
		return 0, mautrix.MInvalidParam.WithMessage("from and limit must not be negative")
	}
	if p.Dir != "" && p.Dir != "f" && p.Dir != "b" {
		return 0, mautrix.MInvalidParam.WithMessage("dir must be f or b")
	}
	return limit, nil
}

// next is the token of the page behind one of n entries; nil if there is none.
func (p *pageIn) next(n int, total int64) *string {
	if end := p.From + int64(n); n > 0 && end < total {
		token := strconv.FormatInt(end, 10)
		return &token
	}
	return nil
}

type listUsersIn struct {
	pageIn
	UserID      string `query:"user_id"`
	Name        string `query:"name"`
	Guests      *bool  `query:"guests"`
	Admins      *bool  `query:"admins"`
	Deactivated *bool  `query:"deactivated"`
	Locked      *bool  `query:"locked"`
	OrderBy     string `query:"order_by"`
}

type listedUser struct {
	Name         id.UserID `json:"name"`
	UserType     *string   `json:"user_type"`
	Guest        bool      `json:"is_guest"`
	Admin        bool      `json:"admin"`
	Deactivated  bool      `json:"deactivated"`
	ShadowBanned bool      `json:"shadow_banned"`
	DisplayName  *string   `json:"displayname"`
	AvatarURL    *string   `json:"avatar_url"`
	Created      int64     `json:"creation_ts"` // ms
	Approved     bool      `json:"approved"`
	Erased       bool      `json:"erased"`
	LastSeen     *int64    `json:"last_seen_ts"`
	Locked       bool      `json:"locked"`
	Suspended    bool      `json:"suspended"`
}

type usersOut struct {
	Users []listedUser `json:"users"`
	Next  *string      `json:"next_token,omitempty"`
	Total int64        `json:"total"`
}

// GetUsers lists accounts; those that are deactivated or locked only if asked for.
func (a *Admin) GetUsers(ctx context.Context, _ web.Requester, in listUsersIn) (usersOut, error) {
	q := account.UserQuery{Deactivated: new(bool), Locked: new(bool)}
	if in.Deactivated != nil && *in.Deactivated {
		q.Deactivated = nil
	}
	return a.listUsers(ctx, in, q)
}

// GetUsersV3 is GetUsers, where deactivated says whether to list only those or none of them.
func (a *Admin) GetUsersV3(ctx context.Context, _ web.Requester, in listUsersIn) (usersOut, error) {
	return a.listUsers(ctx, in, account.UserQuery{Deactivated: in.Deactivated, Locked: new(bool)})
}

func (a *Admin) listUsers(ctx context.Context, in listUsersIn, q account.UserQuery) (out usersOut, err error) {
	if q.Limit, err = in.check(); err != nil {
		return out, err
	}
	if in.Locked != nil && *in.Locked {
		q.Locked = nil
	}
	if in.Guests != nil && !*in.Guests {
		q.Guest = new(bool)
	}
	q.From, q.Admin, q.OrderBy, q.Backward = in.From, in.Admins, in.OrderBy, in.Dir == "b"
	if q.Search = in.Name; in.Name == "" {
		q.Search, q.IDOnly = in.UserID, true
	}
	out.Users = []listedUser{}
	if q.Limit == 0 {
		return out, nil
	}
	page, total, err := a.accounts.ListUsers(ctx, q)
	if err != nil {
		return out, err
	}
	for _, u := range page {
		l := listedUser{Name: u.ID, UserType: orNull(u.Type), Guest: u.Guest, Admin: u.Admin, Deactivated: u.Deactivated, ShadowBanned: u.ShadowBanned,
			DisplayName: orNull(u.DisplayName), AvatarURL: orNull(u.AvatarURL), Created: u.Created, Approved: true, Erased: u.Erased,
			Locked: u.Locked, Suspended: u.Suspended}
		if u.LastSeen > 0 {
			l.LastSeen = &u.LastSeen
		}
		out.Users = append(out.Users, l)
	}
	out.Total, out.Next = total, in.next(len(page), total)
	return out, nil
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

type userOut struct {
	Name         id.UserID          `json:"name"`
	DisplayName  *string            `json:"displayname"`
	Threepids    []account.Threepid `json:"threepids"`
	AvatarURL    *string            `json:"avatar_url"`
	Guest        bool               `json:"is_guest"`
	Admin        bool               `json:"admin"`
	Deactivated  bool               `json:"deactivated"`
	Erased       bool               `json:"erased"`
	ShadowBanned bool               `json:"shadow_banned"`
	Created      int64              `json:"creation_ts"` // seconds
	LastSeen     *int64             `json:"last_seen_ts"`
	AppService   *string            `json:"appservice_id"`
	NoticeSent   *string            `json:"consent_server_notice_sent"`
	Consent      *string            `json:"consent_version"`
	ConsentTime  *int64             `json:"consent_ts"`
	ExternalIDs  []struct{}         `json:"external_ids"`
	UserType     *string            `json:"user_type"`
	Locked       bool               `json:"locked"`
	Suspended    bool               `json:"suspended"`
	Approved     bool               `json:"approved"`
}

// GetUserInfo tells about an account.
func (a *Admin) GetUserInfo(ctx context.Context, _ web.Requester, in userIn) (userOut, error) {
	if !a.accounts.Local(in.UserID) {
		return userOut{}, unknown("Can only look up local users")
	}
	return a.userInfo(ctx, in.UserID)
}

func (a *Admin) userInfo(ctx context.Context, user id.UserID) (userOut, error) {
	u, err := a.accounts.GetUser(ctx, user)
	if err != nil {
		return userOut{}, err
	}
	p, err := a.accounts.Profile(ctx, user)
	if err != nil {
		return userOut{}, err
	}
	out := userOut{Name: u.ID, DisplayName: orNull(p.DisplayName), AvatarURL: orNull(p.AvatarURL), Guest: u.Guest, Admin: u.Admin, Deactivated: u.Deactivated,
		Erased: u.Erased, ShadowBanned: u.ShadowBanned, Created: u.Created / 1000, AppService: orNull(u.AppService), ExternalIDs: []struct{}{},
		UserType: orNull(u.Type), Locked: u.Locked, Suspended: u.Suspended, Approved: true}
	if out.Threepids, err = a.accounts.Threepids(ctx, user); err != nil {
		return out, err
	}
	if out.Threepids == nil {
		out.Threepids = []account.Threepid{}
	}
	devices, err := a.accounts.Devices(ctx, user)
	for _, d := range devices {
		if d.LastSeen > 0 && (out.LastSeen == nil || *out.LastSeen < d.LastSeen) {
			out.LastSeen = &d.LastSeen
		}
	}
	return out, err
}

type putUserIn struct {
	userIn
	Password      *string           `json:"password"`
	LogoutDevices *bool             `json:"logout_devices"`
	DisplayName   *string           `json:"displayname"`
	AvatarURL     *string           `json:"avatar_url"`
	Threepids     *[]Address        `json:"threepids"`
	ExternalIDs   []json.RawMessage `json:"external_ids"`
	Admin         *bool             `json:"admin"`
	Deactivated   *bool             `json:"deactivated"`
	Locked        *bool             `json:"locked"`
	UserType      json.RawMessage   `json:"user_type"`
	_             struct{}          `body:"optional"`
}

func (in *putUserIn) change() (c UserChange, err error) {
	c = UserChange{Password: in.Password, KeepDevices: in.LogoutDevices != nil && !*in.LogoutDevices, DisplayName: in.DisplayName, AvatarURL: in.AvatarURL,
		Threepids: in.Threepids, Admin: in.Admin, Deactivated: in.Deactivated, Locked: in.Locked}
	if len(in.ExternalIDs) > 0 {
		return c, mautrix.MInvalidParam.WithMessage("external_ids is not supported")
	}
	if in.UserType != nil {
		c.Type = new(string)
		if err := json.Unmarshal(in.UserType, c.Type); err != nil {
			return c, mautrix.MInvalidParam.WithMessage("user_type must be a text or null")
		}
	}
	return c, nil
}

// PutUser makes an account (201) or changes it.
func (a *Admin) PutUser(ctx context.Context, who web.Requester, in putUserIn) (out web.WithStatus[userOut], err error) {
	if !a.accounts.Local(in.UserID) {
		return out, unknown("This endpoint can only be used with local users")
	}
	c, err := in.change()
	if err != nil {
		return out, err
	}
	exists, err := a.accounts.Exists(ctx, in.UserID)
	if err != nil {
		return out, err
	}
	if out.Code = http.StatusOK; exists {
		var u account.User
		if u, err = a.accounts.GetUser(ctx, in.UserID); err == nil {
			err = a.ChangeUser(ctx, who.UserID, u, c)
		}
	} else {
		out.Code, err = http.StatusCreated, a.CreateUser(ctx, in.UserID, c)
	}
	if err != nil {
		return out, err
	}
	out.Body, err = a.userInfo(ctx, in.UserID)
	return out, err
}

type nameIn struct {
	Username string `query:"username"`
}

type availableOut struct {
	Available bool `json:"available"`
}

// GetUsernameAvailable says whether a name is free.
func (a *Admin) GetUsernameAvailable(ctx context.Context, _ web.Requester, in nameIn) (availableOut, error) {
	if in.Username == "" {
		return availableOut{}, web.MMissingParam.WithMessage("username is missing")
	}
	_, err := a.accounts.Available(ctx, in.Username, "")
	return availableOut{err == nil}, err
}

type threepidIn struct {
	Medium  string `path:"medium"`
	Address string `path:"address"`
}

type ownerOut struct {
	UserID id.UserID `json:"user_id"`
}

// GetThreepidOwner finds the user who has an address.
func (a *Admin) GetThreepidOwner(ctx context.Context, _ web.Requester, in threepidIn) (ownerOut, error) {
	owner, err := a.accounts.ThreepidOwner(ctx, in.Medium, in.Address)
	if err == nil && owner == "" {
		err = errNoUser
	}
	return ownerOut{owner}, err
}
