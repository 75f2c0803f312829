package oauth

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"

	"golang.org/x/text/language"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page is what a template shows. Fields are used by some pages only.
type page struct {
	Name    string // which page
	Problem string // key of a text, or a text
	Request string // name of the pending request
	Token   string // of the form
	User    string // who is signed in
	Client  string // what asks, by its name
	Host    string // where the browser goes next
	Home    string // address of the client
	Policy  string
	Terms   string
	Create  bool // the form for a new account is offered
	Ask     bool // a registration token is needed
	Local   bool // passwords are used
	Device  string
	Server  string
	Form    string // hosts that the form may lead to

	Providers []providerLink
	Devices   []deviceRow

	Lang string
	T    map[string]string
	Done string // script nonce of the last page
}

type providerLink struct{ ID, Name string }

type deviceRow struct{ ID, Name, Seen string }

var languages = language.NewMatcher([]language.Tag{language.English, language.French, language.German})

// show writes a page in the language of the browser.
func (o *OAuth) show(w http.ResponseWriter, r *http.Request, status int, p page) error {
	b, err := o.browser(w, r)
	if err != nil {
		return err
	}
	tags, _, _ := language.ParseAcceptLanguage(cut(r.Header.Get("Accept-Language"), 200))
	_, i, _ := languages.Match(tags...)
	p.Lang, p.T = []string{"en", "fr", "de"}[i], texts[i]
	if t, ok := p.T[p.Problem]; ok {
		p.Problem = t
	}
	if p.Token == "" {
		p.Token = b.token()
	}
	p.User, p.Server = string(b.user), o.cfg.ServerName
	if p.Name == "done" {
		p.Done = secret()
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		return doing("writing a page", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// Without form-action: a form of ours is answered by a redirect to where the client wants it, and browsers would stop that.
	policy := "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'"
	if p.Done != "" {
		policy += "; script-src 'nonce-" + p.Done + "'"
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Language", p.Lang)
	w.WriteHeader(status)
	_, err = w.Write(out.Bytes())
	return err
}

// fail shows that nothing can be done.
func (o *OAuth) fail(w http.ResponseWriter, r *http.Request, status int, text string) error {
	return o.show(w, r, status, page{Name: "problem", Problem: text})
}
