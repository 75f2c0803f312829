package appservices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// Accounts is what the authentication of services needs of accounts.
type Accounts interface {
	Exists(ctx context.Context, user id.UserID) (bool, error)
	DeviceExists(ctx context.Context, user id.UserID, device id.DeviceID) (bool, error)
	EnsureUser(ctx context.Context, user id.UserID, appService string) error
}

// asserted is a query parameter, empty if there is none. One that cannot be read must not count as none: the request would be
// made as somebody else.
func asserted(rawQuery, name string) (string, error) {
	v, ok := web.Query(rawQuery, name)
	if !ok && strings.Contains("&"+rawQuery, "&"+name+"=") {
		return "", mautrix.MInvalidParam.WithMessage("%s cannot be read", name)
	}
	return v, nil
}

// Authenticate turns an as_token into a requester; false when the token is none. The user named in the query must be
// the service's own (spec: as#identity-assertion), and so must a device named there.
func (l *Services) Authenticate(ctx context.Context, accounts Accounts, r *http.Request, token string) (web.Requester, bool, error) {
	s := l.byHash[sha256.Sum256([]byte(token))]
	if s == nil {
		return web.Requester{}, false, nil
	}
	who := web.Requester{UserID: s.Sender, Token: hex.EncodeToString(s.hash[:]), AppService: s.asSelf}
	user, err := asserted(r.URL.RawQuery, "user_id")
	if err != nil {
		return who, true, err
	}
	if user != "" {
		who.UserID = id.UserID(user)
		if !s.OwnsUser(who.UserID) {
			return who, true, mautrix.MForbidden.WithMessage("This user is not in the application service's namespace")
		}
	}
	if who.UserID != s.Sender {
		who.AppService = s.asUser
	}
	if who.UserID == s.Sender {
		if err := accounts.EnsureUser(ctx, s.Sender, s.ID); err != nil {
			return who, true, err
		}
	} else {
		ok, err := accounts.Exists(ctx, who.UserID)
		if err != nil {
			return who, true, err
		}
		if !ok {
			return who, true, mautrix.MForbidden.WithMessage("This user has not been registered")
		}
	}
	for _, name := range []string{"device_id", "org.matrix.msc3202.device_id"} {
		device, err := asserted(r.URL.RawQuery, name)
		if err != nil {
			return who, true, err
		}
		if device == "" {
			continue
		}
		exists, err := accounts.DeviceExists(ctx, who.UserID, id.DeviceID(device))
		if err != nil {
			return who, true, err
		}
		if !exists {
			return who, true, mautrix.RespError{ErrCode: "M_UNKNOWN_DEVICE", Err: "This user has no such device", StatusCode: http.StatusBadRequest}
		}
		who.DeviceID = id.DeviceID(device)
		break
	}
	return who, true, nil
}
