package account

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// Stages of user-interactive authentication that are known here.
//
// spec: cs#authentication-types
const (
	StagePassword = "m.login.password"
	StageDummy    = "m.login.dummy"
	StageToken    = "m.login.registration_token"
	StageTerms    = "m.login.terms"
	StageEmail    = "m.login.email.identity"
)

// Challenge is an operation that must be confirmed before it is done.
type Challenge struct {
	// Operation names what is confirmed. What was completed for one operation is worth nothing for another.
	Operation string
	// User is who must confirm it. Empty: whoever the stages prove (a client that is not signed in).
	User id.UserID
	// Flows are the ways to confirm, each a list of stages to be passed in order.
	Flows [][]string
	// Params go with the flows, by stage.
	Params map[string]any
}

// Confirmed is the outcome of a passed challenge.
type Confirmed struct {
	// User is who was proven, or empty if no stage proves anyone.
	User id.UserID
	// Proofs are what stages noted, by stage (the registration token).
	Proofs map[string]string
}

// Attempt is what a client sent for one stage.
type Attempt struct {
	Challenge Challenge
	// Auth is the whole auth object.
	Auth json.RawMessage
}

// Proof is what a stage found out.
type Proof struct {
	User id.UserID // who it is, or empty
	Note string    // kept with the session until the operation is done
}

// Stage checks attempts at one type of authentication. A RespError tells the client what was wrong; the client may
// then try again.
type Stage interface {
	Check(ctx context.Context, at Attempt) (Proof, error)
}

// AddStage makes a type of authentication known.
func (a *Accounts) AddStage(kind string, s Stage) { a.stages[kind] = s }

// uiaSession is what is remembered of a session in which at least one stage was passed.
type uiaSession struct {
	Completed []string          `json:"completed"`
	User      id.UserID         `json:"user,omitempty"`
	Proofs    map[string]string `json:"proofs,omitempty"`
}

const (
	uiaLifetime = 20 * time.Minute
	maxStages   = 8
)

// Confirm lets an operation pass if auth, and what was completed before in the same session, satisfies one of the
// flows. Otherwise the error is the 401 answer that tells the client what is missing.
//
// spec: cs#user-interactive-authentication-api
func (a *Accounts) Confirm(ctx context.Context, c Challenge, auth json.RawMessage) (Confirmed, error) {
	if len(auth) == 0 || string(auth) == "null" {
		return Confirmed{}, a.challenge(c, "", uiaSession{}, nil)
	}
	var given struct {
		Type    string `json:"type"`
		Session string `json:"session"`
	}
	if err := json.Unmarshal(auth, &given); err != nil || auth[0] != '{' {
		return Confirmed{}, mautrix.MBadJSON.WithMessage("auth must be an object")
	}
	session, fresh, err := a.openSession(ctx, c, given.Session)
	if err != nil {
		return Confirmed{}, err
	}
	if fresh {
		given.Session = ""
	}
	if given.Type != "" && !slices.Contains(session.Completed, given.Type) {
		if err := a.attempt(ctx, c, given.Type, auth, &session); err != nil {
			return Confirmed{}, a.refuse(c, given.Session, session, err)
		}
		if !satisfied(c.Flows, session.Completed) {
			if given.Session, err = a.keepSession(ctx, c, given.Session, session); err != nil {
				return Confirmed{}, err
			}
		}
	}
	if !satisfied(c.Flows, session.Completed) {
		return Confirmed{}, a.challenge(c, given.Session, session, nil)
	}
	user := session.User
	if user == "" {
		user = c.User
	}
	return Confirmed{User: user, Proofs: session.Proofs}, nil
}

// attempt checks one stage and notes it as completed.
func (a *Accounts) attempt(ctx context.Context, c Challenge, kind string, auth json.RawMessage, session *uiaSession) error {
	if !follows(c.Flows, session.Completed, kind) {
		return mautrix.MForbidden.WithMessage("%q is not the next stage of any flow", cut(kind, 100))
	}
	stage := a.stages[kind]
	if stage == nil {
		return mautrix.MForbidden.WithMessage("%q is completed elsewhere", cut(kind, 100))
	}
	proof, err := stage.Check(ctx, Attempt{Challenge: c, Auth: auth})
	if err != nil {
		return err
	}
	if proof.User != "" && c.User != "" && proof.User != c.User {
		return otherUser{}
	}
	session.add(kind, proof)
	return nil
}

func (s *uiaSession) add(stage string, proof Proof) {
	s.Completed = append(s.Completed, stage)
	if proof.User != "" {
		s.User = proof.User
	}
	if proof.Note != "" {
		if s.Proofs == nil {
			s.Proofs = make(map[string]string, 1)
		}
		s.Proofs[stage] = proof.Note
	}
}

// otherUser says that someone proved to be another user than the one whose operation it is.
type otherUser struct{}

func (otherUser) Error() string { return "confirmed by another user" }

// refuse turns the error of a stage into the answer: 401 with the flows if the client may try again.
func (a *Accounts) refuse(c Challenge, token string, session uiaSession, err error) error {
	switch e := err.(type) {
	case otherUser:
		return mautrix.MForbidden.WithMessage("Only the user whose account this is may confirm it")
	case mautrix.RespError:
		if e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500 {
			return e
		}
		return a.challenge(c, token, session, &e)
	}
	return err
}

// challenge is the 401 answer.
func (a *Accounts) challenge(c Challenge, token string, session uiaSession, why *mautrix.RespError) error {
	if token == "" {
		token = a.sealSession(c)
	}
	flows := make([]map[string]any, len(c.Flows))
	for i, f := range c.Flows {
		flows[i] = map[string]any{"stages": f}
	}
	params := c.Params
	if params == nil {
		params = map[string]any{}
	}
	extra := map[string]any{"flows": flows, "params": params, "session": token}
	if len(session.Completed) > 0 {
		extra["completed"] = session.Completed
	}
	answer := mautrix.RespError{StatusCode: http.StatusUnauthorized, ExtraData: extra}
	if why != nil {
		answer.ErrCode, answer.Err = why.ErrCode, why.Err
	}
	return answer
}

// satisfied reports whether all stages of one of the flows are completed.
func satisfied(flows [][]string, completed []string) bool {
	return slices.ContainsFunc(flows, func(f []string) bool {
		return len(f) > 0 && !slices.ContainsFunc(f, func(s string) bool { return !slices.Contains(completed, s) })
	})
}

// follows reports whether the stage is the next one of a flow.
func follows(flows [][]string, completed []string, stage string) bool {
	return slices.ContainsFunc(flows, func(f []string) bool {
		n := len(completed)
		return n < len(f) && f[n] == stage && slices.Equal(f[:n], completed)
	})
}

// CompleteStage notes that a stage was passed outside the API. User and note may be empty. The flows are checked when
// the client comes back with the session.
func (a *Accounts) CompleteStage(ctx context.Context, token, stage string, proof Proof) error {
	if err := a.checkSession(token, nil); err != nil {
		return mautrix.MForbidden.WithMessage("This session is unknown or has expired")
	}
	session, _, err := a.loadSession(ctx, token)
	if err != nil || slices.Contains(session.Completed, stage) || len(session.Completed) >= maxStages {
		return err
	}
	session.add(stage, proof)
	_, err = a.keepSession(ctx, Challenge{}, token, session)
	return err
}

// passInBrowser checks a stage for somebody at a page. problem is what they should read, if it went wrong.
func (a *Accounts) passInBrowser(ctx context.Context, token, stage string, auth json.RawMessage) (problem string, err error) {
	s := a.stages[stage]
	if s == nil {
		return "This cannot be done here.", nil
	}
	proof, err := s.Check(ctx, Attempt{Auth: auth})
	if err == nil {
		err = a.CompleteStage(ctx, token, stage, proof)
	}
	if e, refused := errors.AsType[mautrix.RespError](err); refused {
		return e.Err, nil
	}
	return "", err
}

func (a *Accounts) openSession(ctx context.Context, c Challenge, token string) (s uiaSession, fresh bool, err error) {
	if token == "" {
		return s, true, nil
	}
	if err := a.checkSession(token, &c); err != nil {
		if err == errSessionGone {
			return s, true, nil // as if it had never been: the client gets a new one if it needs one
		}
		return s, false, err
	}
	s, _, err = a.loadSession(ctx, token)
	if err == nil && c.User != "" && s.User != "" && s.User != c.User {
		return s, false, mautrix.MForbidden.WithMessage("Only the user whose account this is may confirm it")
	}
	return s, false, err
}

func (a *Accounts) loadSession(ctx context.Context, token string) (s uiaSession, found bool, err error) {
	t, found, err := a.findTicket(ctx, selectTicket, ticketUIA, hashToken(token))
	if err != nil || !found {
		return s, false, err
	}
	return s, true, doing("reading a session", json.Unmarshal([]byte(t.data), &s))
}

func (a *Accounts) keepSession(ctx context.Context, c Challenge, token string, s uiaSession) (string, error) {
	if token == "" {
		token = a.sealSession(c)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return "", doing("writing a session", err)
	}
	_, err = a.db.Exec(ctx, upsertTicket, ticketUIA, hashToken(token), c.User, string(data), a.now().Add(uiaLifetime).UnixMilli())
	return token, doing("writing a session", err)
}
