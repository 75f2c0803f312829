package account

import (
	"encoding/json"
	"html/template"
	"net/http"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/web"
)

// pageFallback lets a person pass a stage in a browser, for clients that do not know it. It works without styles and
// without anything from elsewhere.
//
// spec: cs#fallback
var pageFallback = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title></head><body><main><h1>{{.Title}}</h1>
{{if .Done}}<p>Done. You can close this page.</p>
<script nonce="{{.Nonce}}">
if (window.onAuthDone) { window.onAuthDone(); }
else if (window.opener && window.opener.postMessage) { window.opener.postMessage("authDone", "*"); }
</script>
{{else}}{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
<form method="post"><input type="hidden" name="session" value="{{.Session}}">
{{if .Field}}<p><label>{{.Label}} <input name="{{.Field}}" autocomplete="off" required></label></p>{{end}}
<p><button>Continue</button></p></form>{{end}}</main></body></html>
`))

type fallbackPage struct {
	Title, Session, Field, Label, Problem, Nonce string
	Done                                         bool
}

// fallbackOf knows the stages that can be passed in a browser.
func fallbackOf(stage string) (fallbackPage, bool) {
	switch stage {
	case StageDummy, StageTerms:
		return fallbackPage{Title: "Please confirm"}, true
	case StageToken:
		return fallbackPage{Title: "Registration", Field: "token", Label: "Registration token"}, true
	}
	return fallbackPage{}, false
}

// GetFallback shows the page of a stage.
func (a *Accounts) GetFallback(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	p, ok := fallbackOf(r.PathValue("authType"))
	if !ok {
		return mautrix.MNotFound.WithMessage("This stage has no page")
	}
	if p.Session = r.URL.Query().Get("session"); p.Session == "" {
		return web.MMissingParam.WithMessage("The session is missing")
	}
	return writePage(w, p)
}

// PostFallback checks what was entered and notes the stage as passed.
func (a *Accounts) PostFallback(w http.ResponseWriter, r *http.Request, _ web.Requester) error {
	stage := r.PathValue("authType")
	p, ok := fallbackOf(stage)
	if !ok {
		return mautrix.MNotFound.WithMessage("This stage has no page")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		return mautrix.MInvalidParam.WithMessage("Not a form")
	}
	p.Session = r.PostForm.Get("session")
	auth, err := json.Marshal(map[string]string{"type": stage, "token": r.PostForm.Get("token")})
	if err != nil {
		return doing("reading a form", err)
	}
	if p.Problem, err = a.passInBrowser(r.Context(), p.Session, stage, auth); err != nil {
		return err
	}
	if p.Done = p.Problem == ""; p.Done {
		p.Nonce = randomText(lettersLower, 24)
	}
	return writePage(w, p)
}

func writePage(w http.ResponseWriter, p fallbackPage) error {
	allow := ""
	if p.Nonce != "" {
		allow = "script-src 'nonce-" + p.Nonce + "'"
	}
	pageHeaders(w, allow)
	return pageFallback.Execute(w, p)
}
