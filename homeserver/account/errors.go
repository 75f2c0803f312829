package account

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
)

// Errors people see that mautrix does not name.
//
// spec: cs#common-error-codes cs#other-error-codes
var (
	mMissingParam    = respError("M_MISSING_PARAM", http.StatusBadRequest)
	mWeakPassword    = respError("M_WEAK_PASSWORD", http.StatusBadRequest)
	mProfileTooLarge = respError("M_PROFILE_TOO_LARGE", http.StatusBadRequest)
	mKeyTooLarge     = respError("M_KEY_TOO_LARGE", http.StatusBadRequest)
	mUserLocked      = respError("M_USER_LOCKED", http.StatusUnauthorized)
	mUserSuspended   = respError("M_USER_SUSPENDED", http.StatusForbidden)
	mUserDeactivated = respError("M_USER_DEACTIVATED", http.StatusForbidden)
	mUnknown         = respError("M_UNKNOWN", http.StatusBadRequest)
)

var (
	errUnknownToken = mautrix.MUnknownToken.WithMessage("Unknown access token").WithExtraField("soft_logout", false)
	errExpiredToken = mautrix.MUnknownToken.WithMessage("The access token has expired").WithExtraField("soft_logout", true)
	errUserLocked   = mUserLocked.WithMessage("This account has been locked").WithExtraField("soft_logout", true)
	errSuspended    = mUserSuspended.WithMessage("You cannot perform this action while suspended")
	errBadLogin     = mautrix.MForbidden.WithMessage("Wrong user name or password")
	errNoUser       = mautrix.MNotFound.WithMessage("Unknown user")
	errNoDevice     = mautrix.MNotFound.WithMessage("Unknown device")
)

func respError(code string, status int) mautrix.RespError {
	return mautrix.RespError{ErrCode: code, StatusCode: status}
}

// limitExceeded is M_LIMIT_EXCEEDED with the time after which to ask again.
//
// spec: cs#rate-limiting
func limitExceeded(after time.Duration) mautrix.RespError {
	return mautrix.RespError{
		ErrCode: "M_LIMIT_EXCEEDED", Err: "Too many requests", StatusCode: http.StatusTooManyRequests,
		ExtraData:   map[string]any{"retry_after_ms": max(after.Milliseconds(), 1)},
		ExtraHeader: map[string]string{"Retry-After": strconv.Itoa(int(math.Ceil(max(after.Seconds(), .001))))},
	}
}

// doing says what was tried when something unexpected went wrong.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("account: %s: %w", what, err)
}
