package room

import (
	"errors"

	"maunium.net/go/mautrix"
)

// Errors that people see. spec: cs#common-error-codes
var (
	errBadState      = mautrix.RespError{ErrCode: "M_BAD_STATE", StatusCode: 403}
	errBadAlias      = mautrix.RespError{ErrCode: "M_BAD_ALIAS", StatusCode: 400}
	errMissingParam  = mautrix.RespError{ErrCode: "M_MISSING_PARAM", StatusCode: 400}
	errUnknown       = mautrix.MUnknown.WithStatus(400)
	errRoomState     = mautrix.RespError{ErrCode: "M_INVALID_ROOM_STATE", StatusCode: 400}
	errRoomVersion   = mautrix.MUnsupportedRoomVersion.WithStatus(400)
	errUnableToAuth  = mautrix.RespError{ErrCode: "M_UNABLE_TO_AUTHORISE_JOIN", StatusCode: 400}
	errUnableToGrant = mautrix.RespError{ErrCode: "M_UNABLE_TO_GRANT_JOIN", StatusCode: 400}
	errNoServers     = mautrix.MUnknown.WithStatus(404).WithMessage("No server is known through which this room could be reached")
	errNoFederation  = mautrix.MForbidden.WithMessage("This server does not federate")
	errAliasNotFound = mautrix.MNotFound.WithMessage("Room alias not found")
	errInvalidRoomID = mautrix.MInvalidParam.WithMessage("Not a room ID or room alias")
	errInvalidUserID = mautrix.MInvalidParam.WithMessage("Not a user ID")
	errNotInRoom     = mautrix.MForbidden.WithMessage("You are not in this room")
)

func asRespError(err error) (mautrix.RespError, bool) {
	var resp mautrix.RespError
	ok := errors.As(err, &resp)
	return resp, ok
}
