package web

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"

	"github.com/viaduc/viaduc/config"
)

//go:embed landing.html
var landingHTML string

// landingText is the page in one language.
type landingText struct {
	Lang, Title, Intro, Clients, ClientsText, Address, Server, API, APIText, Status string
}

var landingTexts = []landingText{
	{
		Lang: "en", Title: "A Matrix server runs here",
		Intro:       "This is the address of a Matrix homeserver, run with Viaduc. There is nothing to see in a browser: people talk through a Matrix app.",
		Clients:     "Sign in",
		ClientsText: "Open a Matrix app such as Element, choose another server, and give this address:",
		Address:     "Address", Server: "Name of the server",
		API: "For administrators", APIText: "Versions of the client API that this server speaks:",
		Status: "The server is running.",
	},
	{
		Lang: "fr", Title: "Un serveur Matrix fonctionne ici",
		Intro:       "Ceci est l’adresse d’un serveur Matrix, exploité avec Viaduc. Il n’y a rien à voir dans un navigateur : on échange avec une application Matrix.",
		Clients:     "Se connecter",
		ClientsText: "Ouvrez une application Matrix telle qu’Element, choisissez un autre serveur, et indiquez cette adresse :",
		Address:     "Adresse", Server: "Nom du serveur",
		API: "Pour les administrateurs", APIText: "Versions de l’API client que ce serveur connaît :",
		Status: "Le serveur fonctionne.",
	},
	{
		Lang: "de", Title: "Hier läuft ein Matrix-Server",
		Intro:       "Dies ist die Adresse eines Matrix-Servers, betrieben mit Viaduc. Im Browser gibt es nichts zu sehen: Man unterhält sich mit einer Matrix-App.",
		Clients:     "Anmelden",
		ClientsText: "Öffnen Sie eine Matrix-App wie Element, wählen Sie einen anderen Server und geben Sie diese Adresse an:",
		Address:     "Adresse", Server: "Name des Servers",
		API: "Für Administratoren", APIText: "Versionen der Client-API, die dieser Server spricht:",
		Status: "Der Server läuft.",
	},
}

// Landing is the page at / for people who open the address in a browser.
func Landing(cfg *config.Config) Handler {
	tmpl := template.Must(template.New("landing").Parse(landingHTML))
	pages := make(map[string][]byte, len(landingTexts))
	for _, text := range landingTexts {
		var b bytes.Buffer
		if err := tmpl.Execute(&b, map[string]any{"T": text, "URL": cfg.BaseURL(), "Name": cfg.ServerName}); err != nil {
			panic(err)
		}
		pages[text.Lang] = b.Bytes()
	}
	return Raw(func(w http.ResponseWriter, r *http.Request, _ Requester) error {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Vary", "Accept-Language")
		h.Set("Cache-Control", "public, max-age=3600")
		_, err := w.Write(pages[acceptedLanguage(r.Header.Get("Accept-Language"))])
		return ignoreGone(err)
	})
}

// acceptedLanguage picks the first language of the header that there is; the
// order stands for the weight, as browsers send it.
func acceptedLanguage(header string) string {
	for part := range strings.SplitSeq(header, ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		tag, _, _ = strings.Cut(strings.ToLower(tag), "-")
		for _, t := range landingTexts {
			if t.Lang == tag {
				return tag
			}
		}
	}
	return "en"
}
