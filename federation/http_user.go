package federation

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/web"
)

func (f *Federation) local(user id.UserID) error {
	if user.Homeserver() != f.ServerName {
		return mautrix.MInvalidParam.WithMessage("The user is not of this server")
	}
	return nil
}

// UserIn names a user.
type UserIn struct {
	UserID id.UserID `path:"userId"`
}

// GetUserDevices gives the devices of a user. spec: ss#get_matrixfederationv1userdevicesuserid
func (f *Federation) GetUserDevices(ctx context.Context, _ web.Requester, in UserIn) (*e2ee.UserDevices, error) {
	if err := f.local(in.UserID); err != nil {
		return nil, err
	}
	if known, err := f.Accounts.Active(ctx, in.UserID); err != nil || !known {
		return nil, errors.Join(err, mautrix.MNotFound.WithMessage("Unknown user"))
	}
	out, err := f.E2EE.FederationDevices(ctx, in.UserID)
	if err == nil && f.HideDeviceNames {
		for i := range out.Devices {
			out.Devices[i].DisplayName = ""
		}
	}
	return out, err
}

// KeysQueryIn asks for device keys.
type KeysQueryIn struct {
	DeviceKeys e2ee.Asked `json:"device_keys"`
}

// KeysQueryOut are device keys and signing keys.
type KeysQueryOut struct {
	DeviceKeys  map[id.UserID]json.RawMessage `json:"device_keys"`
	Master      map[id.UserID]json.RawMessage `json:"master_keys,omitempty"`
	SelfSigning map[id.UserID]json.RawMessage `json:"self_signing_keys,omitempty"`
}

// PostKeysQuery gives device keys. spec: ss#post_matrixfederationv1userkeysquery
func (f *Federation) PostKeysQuery(ctx context.Context, _ web.Requester, in KeysQueryIn) (KeysQueryOut, error) {
	for u := range in.DeviceKeys {
		if f.local(u) != nil {
			delete(in.DeviceKeys, u)
		}
	}
	a, err := f.E2EE.FederationQuery(ctx, in.DeviceKeys)
	if err != nil {
		return KeysQueryOut{}, err
	}
	if f.HideDeviceNames {
		a.DeviceKeys = hideNames(a.DeviceKeys)
	}
	return KeysQueryOut{a.DeviceKeys, a.Master, a.SelfSigning}, nil
}

// KeysClaimIn claims one-time keys.
type KeysClaimIn struct {
	OneTimeKeys e2ee.Wanted `json:"one_time_keys"`
}

// PostKeysClaim gives one-time keys. spec: ss#post_matrixfederationv1userkeysclaim
func (f *Federation) PostKeysClaim(ctx context.Context, _ web.Requester, in KeysClaimIn) (*e2ee.ClaimedKeys, error) {
	for u := range in.OneTimeKeys {
		if f.local(u) != nil {
			delete(in.OneTimeKeys, u)
		}
	}
	return f.E2EE.FederationClaim(ctx, in.OneTimeKeys)
}

// QueryProfileIn asks for a profile.
type QueryProfileIn struct {
	UserID id.UserID `query:"user_id"`
	Field  string    `query:"field"`
}

// GetQueryProfile gives a profile. spec: ss#get_matrixfederationv1queryprofile
func (f *Federation) GetQueryProfile(ctx context.Context, _ web.Requester, in QueryProfileIn) (map[string]json.RawMessage, error) {
	if in.UserID == "" {
		return nil, web.MMissingParam.WithMessage("user_id is missing")
	}
	if f.HideProfiles {
		return nil, mautrix.MForbidden.WithMessage("Profiles are not told to other servers")
	}
	if err := f.local(in.UserID); err != nil {
		return nil, err
	}
	return f.Accounts.VisibleProfile(ctx, in.UserID, in.Field)
}

// QueryDirectoryIn asks for an alias.
type QueryDirectoryIn struct {
	Alias id.RoomAlias `query:"room_alias"`
}

// QueryDirectoryOut is what an alias stands for.
type QueryDirectoryOut struct {
	RoomID  id.RoomID `json:"room_id"`
	Servers []string  `json:"servers"`
}

// GetQueryDirectory resolves an alias of this server. spec: ss#get_matrixfederationv1querydirectory
func (f *Federation) GetQueryDirectory(ctx context.Context, _ web.Requester, in QueryDirectoryIn) (QueryDirectoryOut, error) {
	if in.Alias == "" {
		return QueryDirectoryOut{}, web.MMissingParam.WithMessage("room_alias is missing")
	}
	roomID, servers, err := f.Rooms.ResolveLocalAlias(ctx, in.Alias)
	return QueryDirectoryOut{roomID, notNil(servers)}, err
}

// QueryTypeIn is any other query.
type QueryTypeIn struct {
	Type string `path:"queryType"`
}

// GetQuery answers queries of unknown type. spec: ss#get_matrixfederationv1queryquerytype
func (f *Federation) GetQuery(context.Context, web.Requester, QueryTypeIn) (struct{}, error) {
	return struct{}{}, mautrix.RespError{ErrCode: "M_UNRECOGNIZED", Err: "Unknown query type", StatusCode: http.StatusNotFound}
}

// OpenIDIn is a token that a user gave to a third party.
type OpenIDIn struct {
	Token string `query:"access_token"`
}

// OpenIDOut names the user.
type OpenIDOut struct {
	Sub id.UserID `json:"sub"`
}

// GetOpenID tells whose token it is. spec: ss#get_matrixfederationv1openiduserinfo
func (f *Federation) GetOpenID(ctx context.Context, _ web.Requester, in OpenIDIn) (OpenIDOut, error) {
	if in.Token == "" {
		return OpenIDOut{}, mautrix.RespError{ErrCode: "M_MISSING_TOKEN", Err: "access_token is missing", StatusCode: http.StatusUnauthorized}
	}
	user, err := f.Accounts.OpenIDUser(ctx, in.Token)
	return OpenIDOut{user}, err
}

// VersionOut names this software.
type VersionOut struct {
	Server struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"server"`
}

// GetVersion names this software. spec: ss#get_matrixfederationv1version
func (f *Federation) GetVersion(context.Context, web.Requester, struct{}) (VersionOut, error) {
	var out VersionOut
	out.Server.Name, out.Server.Version = "Viaduc", f.Version
	return out, nil
}

// OnBindIn is told by an identity server.
type OnBindIn struct {
	_ struct{} `body:"optional"`
}

// PutOnBind takes note of a bound address. Invites by address are not made by this server, so none waits for it.
// spec: ss#put_matrixfederationv13pidonbind
func (f *Federation) PutOnBind(context.Context, web.Requester, OnBindIn) (struct{}, error) {
	return struct{}{}, nil
}
