package account

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/web"
)

// What an address is validated for.
const (
	forRegistering = "register"
	forPassword    = "password"
	forAdding      = "add"
)

const (
	selectValidation = `SELECT sid, address, purpose, secret, send_attempt, validated_at, next_link, expires FROM threepid_validations WHERE sid = $1`
	findValidation   = `SELECT sid, address, purpose, secret, send_attempt, validated_at, next_link, expires FROM threepid_validations
		WHERE client_secret = $1 AND address = $2 AND purpose = $3 AND expires > $4`
	insertValidation = `INSERT INTO threepid_validations (sid, client_secret, address, purpose, secret, send_attempt, validated_at, next_link, expires)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)`
	repeatValidation  = `UPDATE threepid_validations SET send_attempt = $2, secret = $3, next_link = $4 WHERE sid = $1 AND send_attempt < $2`
	passValidation    = `UPDATE threepid_validations SET validated_at = $2 WHERE sid = $1 AND validated_at = 0`
	provenValidation  = `SELECT sid, address, purpose, secret, send_attempt, validated_at, next_link, expires FROM threepid_validations WHERE sid = $1 AND client_secret = $2`
	deleteValidation  = `DELETE FROM threepid_validations WHERE sid = $1`
	deleteValidations = `DELETE FROM threepid_validations WHERE expires < $1`
)

// validationLifetime is how long a link is good, and what it proves.
const validationLifetime = 24 * time.Hour

// validation is the proof, or the wish for it, that somebody reads the mail of an address.
type validation struct {
	sid, address, purpose string
	secret                string // hash of what stands in the link
	attempt, validated    int64
	nextLink              string
	expires               int64
}

func (a *Accounts) validation(ctx context.Context, query string, args ...any) (v validation, found bool, err error) {
	err = a.db.QueryRow(ctx, query, args...).Scan(&v.sid, &v.address, &v.purpose, &v.secret, &v.attempt, &v.validated, &v.nextLink, &v.expires)
	if errors.Is(err, sql.ErrNoRows) {
		return v, false, nil
	}
	return v, err == nil && v.expires > a.now().UnixMilli(), doing("reading a validation", err)
}

// TokenRequest asks for a message with a link to an address.
type TokenRequest struct {
	Purpose, ClientSecret, Address, NextLink string
	SendAttempt                              int64
	Language                                 string // Accept-Language
}

var clientSecret = regexp.MustCompile(`^[0-9a-zA-Z.=_-]{1,255}$`)

// RequestToken sends a link to an address, unless this attempt has been sent already, and names the session.
//
// spec: cs#post_matrixclientv3registeremailrequesttoken
func (a *Accounts) RequestToken(ctx context.Context, in TokenRequest) (sid string, err error) {
	if !a.deps.Mail.Enabled() {
		if in.Purpose == forAdding {
			return "", web.MThreepidMediumNotSupported.WithMessage("This server sends no e-mail")
		}
		return "", web.MThreepidDenied.WithMessage("This server sends no e-mail")
	}
	address, ok := mail.Address(in.Address)
	switch {
	case !ok:
		return "", mautrix.MInvalidParam.WithMessage("Not an e-mail address")
	case !clientSecret.MatchString(in.ClientSecret):
		return "", mautrix.MInvalidParam.WithMessage("client_secret has 1 to 255 characters of 0-9, a-z, A-Z and . = _ -")
	case in.NextLink != "" && !webLink(in.NextLink):
		return "", mautrix.MInvalidParam.WithMessage("next_link is no web address")
	}
	owner, err := a.ThreepidOwner(ctx, "email", address)
	switch {
	case err != nil:
		return "", err
	case in.Purpose == forPassword && owner == "":
		return "", web.MThreepidNotFound.WithMessage("The address belongs to no account")
	case in.Purpose != forPassword && owner != "":
		return "", web.MThreepidInUse.WithMessage("The address belongs to an account already")
	case in.Purpose == forRegistering && !a.mayRegisterWith(address):
		return "", web.MThreepidDenied.WithMessage("Addresses of this domain cannot register here")
	}
	return a.sendToken(ctx, in, address)
}

// mayRegisterWith reports whether the domain of an address is one of those configured.
func (a *Accounts) mayRegisterWith(address string) bool {
	allowed := a.cfg.Registration.EmailDomains
	_, domain, _ := strings.Cut(address, "@")
	return len(allowed) == 0 || slices.ContainsFunc(allowed, func(d string) bool { return strings.EqualFold(d, domain) })
}

func webLink(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= 2000 && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

// sendToken queues the message together with the row.
func (a *Accounts) sendToken(ctx context.Context, in TokenRequest, address string) (sid string, err error) {
	token, hash := newToken(prefixLogin)
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		v, found, err := a.validation(ctx, findValidation, in.ClientSecret, address, in.Purpose, a.now().UnixMilli())
		if err != nil {
			return err
		}
		if sid = v.sid; found && v.attempt >= in.SendAttempt {
			return nil // a repeated request: the message is under way
		}
		if found {
			_, err = a.db.Exec(ctx, repeatValidation, sid, in.SendAttempt, hash, in.NextLink)
		} else {
			sid = randomText(lettersLower, 24)
			_, err = a.db.Exec(ctx, insertValidation, sid, in.ClientSecret, address, in.Purpose, hash, in.SendAttempt, in.NextLink,
				a.now().Add(validationLifetime).UnixMilli())
		}
		if err != nil {
			return doing("writing a validation", err)
		}
		link := a.cfg.BaseURL() + "/account/email?sid=" + url.QueryEscape(sid) + "&token=" + url.QueryEscape(token)
		return a.deps.Mail.Send(ctx, validationMessage(in.Purpose, in.Language, address, a.cfg.ServerName, link))
	})
	if err == nil {
		a.deps.Mail.Wake()
	}
	return sid, err
}

// PassValidation notes that the link of a message was followed. nextLink is where the client wants its user to go on.
func (a *Accounts) PassValidation(ctx context.Context, sid, token string) (nextLink string, ok bool, err error) {
	v, found, err := a.validation(ctx, selectValidation, sid)
	if err != nil || !found || subtle.ConstantTimeCompare([]byte(v.secret), []byte(hashToken(token))) != 1 {
		return "", false, err
	}
	_, err = a.db.Exec(ctx, passValidation, sid, a.now().UnixMilli())
	return v.nextLink, err == nil, doing("noting a validation", err)
}

type threepidCreds struct {
	SID          string `json:"sid"`
	ClientSecret string `json:"client_secret"`
}

// proven gives the address that a client has validated.
func (a *Accounts) proven(ctx context.Context, c threepidCreds, purposes ...string) (validation, error) {
	if c.SID == "" || c.ClientSecret == "" || len(c.SID) > 100 || !clientSecret.MatchString(c.ClientSecret) {
		return validation{}, web.MMissingParam.WithMessage("client_secret and sid must be given")
	}
	v, found, err := a.validation(ctx, provenValidation, c.SID, c.ClientSecret)
	if err != nil {
		return v, err
	}
	if !found || v.validated == 0 || !slices.Contains(purposes, v.purpose) {
		return v, web.MThreepidAuthFailed.WithMessage("The address has not been validated").WithStatus(401)
	}
	return v, nil
}

// AddValidated gives a validated address to a user. The proof is used up.
//
// spec: cs#post_matrixclientv3account3pidadd
func (a *Accounts) AddValidated(ctx context.Context, user id.UserID, c threepidCreds) error {
	v, err := a.proven(ctx, c, forAdding)
	if err != nil {
		return err
	}
	return a.db.Tx(ctx, func(ctx context.Context) error {
		owner, err := a.ThreepidOwner(ctx, "email", v.address)
		if err != nil {
			return err
		}
		if owner != "" && owner != user {
			return web.MThreepidInUse.WithMessage("The address belongs to an account already")
		}
		if _, err := a.db.Exec(ctx, deleteValidation, v.sid); err != nil {
			return doing("using a validation", err)
		}
		return a.SetThreepid(ctx, user, "email", v.address)
	})
}

// emailStage proves that somebody reads the mail of an address: of a new account, or of the one whose password is to be reset.
//
// spec: cs#email-based-identity--homeserver
type emailStage struct{ a *Accounts }

// Check implements Stage.
func (s emailStage) Check(ctx context.Context, at Attempt) (Proof, error) {
	var in struct {
		Creds  *threepidCreds `json:"threepid_creds"`
		Legacy *threepidCreds `json:"threepidCreds"`
	}
	if json.Unmarshal(at.Auth, &in) != nil || in.Creds == nil && in.Legacy == nil {
		return Proof{}, mMissingParam.WithMessage("threepid_creds is missing")
	}
	if in.Creds == nil {
		in.Creds = in.Legacy
	}
	if at.Challenge.Operation == forRegistering {
		v, err := s.a.proven(ctx, *in.Creds, forRegistering)
		if err != nil {
			return Proof{}, err
		}
		if owner, err := s.a.ThreepidOwner(ctx, "email", v.address); err != nil || owner != "" {
			return Proof{}, errors.Join(err, web.MThreepidInUse.WithMessage("The address belongs to an account already"))
		}
		return Proof{Note: v.address}, nil
	}
	v, err := s.a.proven(ctx, *in.Creds, forPassword)
	if err != nil {
		return Proof{}, err
	}
	owner, err := s.a.ThreepidOwner(ctx, "email", v.address)
	if err == nil && owner == "" {
		err = web.MThreepidAuthFailed.WithMessage("The address belongs to no account").WithStatus(401)
	}
	if err != nil {
		return Proof{}, err
	}
	_, err = s.a.db.Exec(ctx, deleteValidation, v.sid)
	return Proof{User: owner}, doing("using a validation", err)
}
