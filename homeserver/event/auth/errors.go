package auth

import "maunium.net/go/mautrix"

// Error says which rule an event breaks. The message never carries content.
type Error struct {
	Rule string // as numbered in the text of the room version
	Msg  string
}

func (e *Error) Error() string { return "rule " + e.Rule + ": " + e.Msg }

// Unwrap makes it M_FORBIDDEN for people.
func (e *Error) Unwrap() error {
	return mautrix.MForbidden.WithMessage("Not allowed by rule %s of the room version: %s", e.Rule, e.Msg)
}

func reject(rule, msg string) *Error { return &Error{Rule: rule, Msg: msg} }

// asError keeps a nil *Error from becoming a non-nil error.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}
