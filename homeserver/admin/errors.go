package admin

import (
	"errors"
	"fmt"
	"net/http"

	"maunium.net/go/mautrix"
)

var (
	errNoUser   = mautrix.MNotFound.WithMessage("User not found")
	errNotLocal = mautrix.MInvalidParam.WithMessage("The user does not belong to this server")
	errBadUser  = mautrix.MInvalidParam.WithMessage("Not a user ID")
	errBadRoom  = mautrix.MInvalidParam.WithMessage("Not a room ID")
)

// unknown is how the operator API refuses what has no code of its own.
func unknown(text string, args ...any) error {
	return mautrix.RespError{ErrCode: "M_UNKNOWN", StatusCode: http.StatusBadRequest, Err: fmt.Sprintf(text, args...)}
}

// doing says what was tried when something unexpected went wrong.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("admin: %s: %w", what, err)
}

func notFound(err error) bool { return errors.Is(err, mautrix.MNotFound) }
