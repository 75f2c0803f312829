package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
)

func respError(code string, status int) mautrix.RespError {
	return mautrix.RespError{ErrCode: code, StatusCode: status}
}

// Error codes that mautrix does not name. Copy with WithMessage before use.
// spec: cs#common-error-codes cs#other-error-codes
var (
	MAppServiceLoginUnsupported = respError("M_APPSERVICE_LOGIN_UNSUPPORTED", 400)
	MBadAlias                   = respError("M_BAD_ALIAS", 400)
	MBadState                   = respError("M_BAD_STATE", 400)
	MCannotLeaveServerNotice    = respError("M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", 403)
	MCannotOverwriteMedia       = respError("M_CANNOT_OVERWRITE_MEDIA", 409)
	MConnectionFailed           = respError("M_CONNECTION_FAILED", 502)
	MConnectionTimeout          = respError("M_CONNECTION_TIMEOUT", 504)
	MDuplicateAnnotation        = respError("M_DUPLICATE_ANNOTATION", 400)
	MGuestAccessForbidden       = respError("M_GUEST_ACCESS_FORBIDDEN", 403)
	MIncompatibleRoomVersion    = respError("M_INCOMPATIBLE_ROOM_VERSION", 400)
	MInvalidRoomState           = respError("M_INVALID_ROOM_STATE", 400)
	MKeyTooLarge                = respError("M_KEY_TOO_LARGE", 400)
	MMissingParam               = respError("M_MISSING_PARAM", 400)
	MNotYetUploaded             = respError("M_NOT_YET_UPLOADED", 504)
	MProfileTooLarge            = respError("M_PROFILE_TOO_LARGE", 400)
	MResourceLimitExceeded      = respError("M_RESOURCE_LIMIT_EXCEEDED", 403)
	MServerNotTrusted           = respError("M_SERVER_NOT_TRUSTED", 400)
	MThreepidAuthFailed         = respError("M_THREEPID_AUTH_FAILED", 403)
	MThreepidDenied             = respError("M_THREEPID_DENIED", 403)
	MThreepidInUse              = respError("M_THREEPID_IN_USE", 400)
	MThreepidMediumNotSupported = respError("M_THREEPID_MEDIUM_NOT_SUPPORTED", 400)
	MThreepidNotFound           = respError("M_THREEPID_NOT_FOUND", 400)
	MUnableToAuthoriseJoin      = respError("M_UNABLE_TO_AUTHORISE_JOIN", 400)
	MUnableToGrantJoin          = respError("M_UNABLE_TO_GRANT_JOIN", 400)
	MUnauthorized               = respError("M_UNAUTHORIZED", 401)
	MUnknownPos                 = respError("M_UNKNOWN_POS", 400)
	MUnsupportedRoomVersion     = respError("M_UNSUPPORTED_ROOM_VERSION", 400)
	MUserDeactivated            = respError("M_USER_DEACTIVATED", 403)
	MUserLocked                 = respError("M_USER_LOCKED", 401)
	MUserLimitExceeded          = respError("M_USER_LIMIT_EXCEEDED", 403)
	MUserSuspended              = respError("M_USER_SUSPENDED", 403)
	MWeakPassword               = respError("M_WEAK_PASSWORD", 400)
)

var (
	errNotFound      = mautrix.MUnrecognized.WithMessage("Unknown path")
	errWrongMethod   = mautrix.MUnrecognized.WithMessage("Wrong method for this path").WithStatus(405)
	errNotAdmin      = mautrix.MForbidden.WithMessage("Only administrators of this server may do this")
	errNotAppService = mautrix.MForbidden.WithMessage("Only application services may do this")
	errBadPath       = mautrix.MInvalidParam.WithMessage("The path is not valid UTF-8, or badly escaped")
	errTooLarge      = mautrix.MTooLarge.WithMessage("The request body is too large")
	errMissingToken  = mautrix.MMissingToken.WithMessage("Missing access token")
)

// Errorf is a RespError with a formatted message.
func Errorf(code mautrix.RespError, format string, args ...any) error {
	return code.WithMessage(format, args...)
}

// Status is the error with another HTTP status.
func Status(err mautrix.RespError, code int) mautrix.RespError { return err.WithStatus(code) }

// SoftLogout is M_UNKNOWN_TOKEN, telling the client whether it may keep its
// keys and only needs to sign in, or refresh its token, again.
// spec: cs#soft-logout
func SoftLogout(soft bool, message string) mautrix.RespError {
	return mautrix.MUnknownToken.WithMessage("%s", message).WithExtraField("soft_logout", soft)
}

// LimitExceeded is M_LIMIT_EXCEEDED with the time after which to ask again.
// spec: cs#rate-limiting
func LimitExceeded(after time.Duration) mautrix.RespError {
	return mautrix.RespError{
		ErrCode: "M_LIMIT_EXCEEDED", Err: "Too many requests", StatusCode: http.StatusTooManyRequests,
		ExtraData:   map[string]any{"retry_after_ms": max(after.Milliseconds(), 1)},
		ExtraHeader: map[string]string{"Retry-After": strconv.Itoa(int(math.Ceil(max(after.Seconds(), 0.001))))},
	}
}

// AsRespError finds the error meant for people in err.
func AsRespError(err error) (mautrix.RespError, bool) {
	if v, ok := errors.AsType[mautrix.RespError](err); ok {
		return v, true
	}
	if p, ok := errors.AsType[*mautrix.RespError](err); ok && p != nil {
		return *p, true
	}
	return mautrix.RespError{}, false
}

// StatusOf is the HTTP status that err will have.
func StatusOf(err error) int {
	e, ok := AsRespError(err)
	if !ok {
		return http.StatusInternalServerError
	}
	return statusOf(e)
}

func statusOf(e mautrix.RespError) int {
	switch {
	case e.StatusCode >= 100 && e.StatusCode <= 999:
		return e.StatusCode
	case e.ErrCode == "M_USER_DEACTIVATED":
		return http.StatusForbidden
	case e.ErrCode == "M_UNKNOWN":
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// statusGone is logged when the client went away before the answer.
const statusGone = 499

// publicError turns any error into the one people see, and says whether it is
// ours to look at.
func publicError(ctx context.Context, err error, requestID string) (e mautrix.RespError, unexpected bool) {
	if e, ok := AsRespError(err); ok {
		return e, statusOf(e) == http.StatusInternalServerError
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLarge, false
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return respError("M_UNKNOWN", statusGone).WithMessage("The request was cancelled"), false
	}
	return respError("M_UNKNOWN", http.StatusInternalServerError).
		WithMessage("Internal error, request %s", requestID), true
}

// WriteError is the only writer of errors.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r.Context())
	e, unexpected := publicError(r.Context(), err, c.requestID())
	if unexpected {
		zerolog.Ctx(r.Context()).Error().Err(err).Str("route", c.pattern()).Msg("Request failed")
	}
	c.fail(e.ErrCode)
	if c.w != nil && c.w.started {
		return
	}
	writeRespError(w, e)
}

func writeRespError(w http.ResponseWriter, e mautrix.RespError) {
	data := make(map[string]any, len(e.ExtraData)+2)
	for k, v := range e.ExtraData {
		data[k] = v
	}
	code, text := "errcode", "error"
	if e.OAuth {
		code, text = "error", "error_description"
	}
	if e.ErrCode != "" {
		data[code] = e.ErrCode
		data[text] = e.Err
	} else if e.Err != "" {
		data[text] = e.Err
	}
	body, err := json.Marshal(data)
	if err != nil {
		body = fmt.Appendf(nil, `{"errcode":%q,"error":"Unknown error"}`, e.ErrCode)
	}
	h := w.Header()
	for k, v := range e.ExtraHeader {
		h.Set(k, v)
	}
	h.Del("Content-Encoding")
	h.Del("Content-Disposition")
	h["Content-Type"] = headerJSON
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(statusOf(e))
	_, _ = w.Write(body)
}
