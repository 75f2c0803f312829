package account

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/mail"
	"github.com/viaduc/viaduc/homeserver/web"
)

type requestTokenIn struct {
	ClientSecret string `json:"client_secret"`
	Email        string `json:"email"`
	SendAttempt  int64  `json:"send_attempt"`
	NextLink     string `json:"next_link"`
	Language     string `header:"Accept-Language"`
}

type requestTokenOut struct {
	SID string `json:"sid"`
}

func (a *Accounts) requestToken(ctx context.Context, purpose string, in requestTokenIn) (requestTokenOut, error) {
	if a.deps.Mail.Enabled() && (in.ClientSecret == "" || in.Email == "") {
		return requestTokenOut{}, web.MMissingParam.WithMessage("client_secret and email must be given")
	}
	if address, ok := mail.Address(in.Email); ok { // nobody's mailbox is filled
		if err := web.TakeLimit(ctx, web.LimitRegister, address); err != nil {
			return requestTokenOut{}, err
		}
	}
	sid, err := a.RequestToken(ctx, TokenRequest{Purpose: purpose, ClientSecret: in.ClientSecret, Address: in.Email, NextLink: in.NextLink,
		SendAttempt: in.SendAttempt, Language: in.Language})
	return requestTokenOut{sid}, err
}

// PostRegisterEmail sends a link to somebody who wants an account.
//
// spec: cs#post_matrixclientv3registeremailrequesttoken
func (a *Accounts) PostRegisterEmail(ctx context.Context, _ web.Requester, in requestTokenIn) (requestTokenOut, error) {
	if !a.registrationOpen() {
		return requestTokenOut{}, mautrix.MForbidden.WithMessage("Registration is disabled")
	}
	return a.requestToken(ctx, forRegistering, in)
}

// PostPasswordEmail sends a link to somebody who has forgotten their password.
//
// spec: cs#post_matrixclientv3accountpasswordemailrequesttoken
func (a *Accounts) PostPasswordEmail(ctx context.Context, _ web.Requester, in requestTokenIn) (requestTokenOut, error) {
	return a.requestToken(ctx, forPassword, in)
}

// PostThreepidEmail sends a link to an address that somebody wants to add to their account.
//
// spec: cs#post_matrixclientv3account3pidemailrequesttoken
func (a *Accounts) PostThreepidEmail(ctx context.Context, _ web.Requester, in requestTokenIn) (requestTokenOut, error) {
	return a.requestToken(ctx, forAdding, in)
}

// PostMSISDN refuses to register or to reset a password by telephone: no text messages are sent.
//
// spec: cs#post_matrixclientv3registermsisdnrequesttoken
func (a *Accounts) PostMSISDN(context.Context, web.Requester, optionalBody) (struct{}, error) {
	return struct{}{}, web.MThreepidDenied.WithMessage("This server sends no text messages")
}

// PostThreepidMSISDN refuses to validate a telephone number.
//
// spec: cs#post_matrixclientv3account3pidmsisdnrequesttoken
func (a *Accounts) PostThreepidMSISDN(context.Context, web.Requester, optionalBody) (struct{}, error) {
	return struct{}{}, web.MThreepidMediumNotSupported.WithMessage("This server sends no text messages")
}

type addThreepidIn struct {
	ClientSecret string          `json:"client_secret"`
	SID          string          `json:"sid"`
	Creds        *threepidCreds  `json:"three_pid_creds"`
	Auth         json.RawMessage `json:"auth"`

	_ struct{} `body:"optional"`
}

// PostThreepidAdd adds an address that has been validated.
//
// spec: cs#post_matrixclientv3account3pidadd
func (a *Accounts) PostThreepidAdd(ctx context.Context, who web.Requester, in addThreepidIn) (struct{}, error) {
	creds := threepidCreds{in.SID, in.ClientSecret}
	if in.Creds != nil {
		creds = *in.Creds
	}
	if creds.SID == "" || creds.ClientSecret == "" {
		return struct{}{}, web.MMissingParam.WithMessage("client_secret and sid must be given")
	}
	if err := notSuspended(who); err != nil {
		return struct{}{}, err
	}
	if !a.deps.Mail.Enabled() {
		return struct{}{}, web.MThreepidAuthFailed.WithMessage("The address has not been validated")
	}
	if err := a.UserInteractive(ctx, who, in.Auth, "3pid/add"); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.AddValidated(ctx, who.UserID, creds)
}

var pageEmail = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="{{.Text.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Text.Title}}</title></head><body><main><h1>{{.Text.Title}}</h1>
{{if .Problem}}<p role="alert">{{.Text.Gone}}</p>
{{else if .Done}}<p role="status">{{.Text.Done}}</p>{{with .Next}}<p><a href="{{.}}" rel="noopener noreferrer">{{$.Text.Next}}</a></p>{{end}}
{{else}}<form method="post"><input type="hidden" name="sid" value="{{.SID}}"><input type="hidden" name="token" value="{{.Token}}">
<p>{{.Text.Ask}}</p><p><button>{{.Text.Button}}</button></p></form>{{end}}</main></body></html>
`))

type emailPage struct {
	SID, Token, Next string
	Done, Problem    bool
	Text             struct{ Lang, Title, Ask, Button, Done, Gone, Next string }
}

func (p emailPage) write(w http.ResponseWriter, r *http.Request) error {
	t := emailPageTexts[mailLanguage(r.Header.Get("Accept-Language"))]
	p.Text.Lang, p.Text.Title, p.Text.Ask, p.Text.Button, p.Text.Done, p.Text.Gone, p.Text.Next = t.lang, t.title, t.ask, t.button, t.done, t.gone, t.next
	pageHeaders(w, "")
	return pageEmail.Execute(w, p)
}

// GetEmailPage asks whoever follows the link of a message: programs that look into mails follow links too, but press no button.
func (a *Accounts) GetEmailPage(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	q := r.URL.Query()
	return emailPage{SID: q.Get("sid"), Token: q.Get("token")}.write(w, r)
}

// PostEmailPage validates the address.
//
// spec: cs#post_matrixclientv3account3pidemailrequesttoken
func (a *Accounts) PostEmailPage(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return mautrix.MInvalidParam.WithMessage("Not a form")
	}
	next, ok, err := a.PassValidation(r.Context(), r.PostForm.Get("sid"), r.PostForm.Get("token"))
	if err != nil {
		return err
	}
	return emailPage{Done: ok, Problem: !ok, Next: next}.write(w, r)
}
