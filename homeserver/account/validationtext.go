package account

import (
	"html"
	"strings"

	"golang.org/x/text/language"

	"github.com/viaduc/viaduc/homeserver/mail"
)

var mailLanguages = language.NewMatcher([]language.Tag{language.English, language.French, language.German})

// mailLanguage picks the language of a message: 0 English, 1 French, 2 German.
func mailLanguage(accept string) int {
	tags, _, err := language.ParseAcceptLanguage(accept[:min(len(accept), 200)])
	if err != nil {
		return 0
	}
	_, i, _ := mailLanguages.Match(tags...)
	return i
}

type mailText struct{ subject, why, button, otherwise string }

// mailTexts say why a message comes, by purpose and language. %s is the server.
var mailTexts = map[string][3]mailText{
	forRegistering: {
		{"Confirm your address for %s", "Somebody, probably you, wants to make an account on %s with this address. To confirm it, open this link:", "Confirm the address", "If it was not you, do nothing: no account is made."},
		{"Confirmez votre adresse pour %s", "Quelqu’un, sans doute vous, souhaite créer un compte sur %s avec cette adresse. Pour la confirmer, ouvrez ce lien :", "Confirmer l’adresse", "Si ce n’était pas vous, ne faites rien : aucun compte ne sera créé."},
		{"Bestätigen Sie Ihre Adresse für %s", "Jemand, vermutlich Sie, möchte mit dieser Adresse ein Konto auf %s anlegen. Zum Bestätigen öffnen Sie diesen Link:", "Adresse bestätigen", "Falls Sie das nicht waren, tun Sie nichts: Es wird kein Konto angelegt."},
	},
	forPassword: {
		{"A new password for %s", "Somebody, probably you, wants to set a new password for your account on %s. To allow it, open this link:", "Allow a new password", "If it was not you, do nothing: your password stays as it is."},
		{"Un nouveau mot de passe pour %s", "Quelqu’un, sans doute vous, souhaite définir un nouveau mot de passe pour votre compte sur %s. Pour l’autoriser, ouvrez ce lien :", "Autoriser un nouveau mot de passe", "Si ce n’était pas vous, ne faites rien : votre mot de passe ne change pas."},
		{"Ein neues Passwort für %s", "Jemand, vermutlich Sie, möchte ein neues Passwort für Ihr Konto auf %s setzen. Um das zu erlauben, öffnen Sie diesen Link:", "Neues Passwort erlauben", "Falls Sie das nicht waren, tun Sie nichts: Ihr Passwort bleibt, wie es ist."},
	},
	forAdding: {
		{"Confirm your address for %s", "Somebody, probably you, wants to add this address to an account on %s. To confirm it, open this link:", "Confirm the address", "If it was not you, do nothing: the address is not added."},
		{"Confirmez votre adresse pour %s", "Quelqu’un, sans doute vous, souhaite ajouter cette adresse à un compte sur %s. Pour la confirmer, ouvrez ce lien :", "Confirmer l’adresse", "Si ce n’était pas vous, ne faites rien : l’adresse ne sera pas ajoutée."},
		{"Bestätigen Sie Ihre Adresse für %s", "Jemand, vermutlich Sie, möchte diese Adresse einem Konto auf %s hinzufügen. Zum Bestätigen öffnen Sie diesen Link:", "Adresse bestätigen", "Falls Sie das nicht waren, tun Sie nichts: Die Adresse wird nicht hinzugefügt."},
	},
}

func validationMessage(purpose, accept, address, server, link string) mail.Message {
	t := mailTexts[purpose][mailLanguage(accept)]
	why := strings.ReplaceAll(t.why, "%s", server)
	return mail.Message{
		To: address, Subject: strings.ReplaceAll(t.subject, "%s", server),
		Text: why + "\n\n" + link + "\n\n" + t.otherwise + "\n",
		HTML: `<!DOCTYPE html><html><body style="font-family:sans-serif"><p>` + html.EscapeString(why) + `</p><p><a href="` + html.EscapeString(link) + `">` +
			html.EscapeString(t.button) + `</a></p><p>` + html.EscapeString(t.otherwise) + `</p></body></html>`,
	}
}

type pageText struct{ lang, title, ask, button, done, gone, next string }

var emailPageTexts = [3]pageText{
	{"en", "Confirm your address", "Confirm that this address is yours?", "Confirm", "Done. Go back to your application.", "This link has expired or is wrong.", "Go on"},
	{"fr", "Confirmez votre adresse", "Confirmez-vous que cette adresse est la vôtre ?", "Confirmer", "C’est fait. Retournez à votre application.", "Ce lien a expiré ou est faux.", "Continuer"},
	{"de", "Bestätigen Sie Ihre Adresse", "Bestätigen Sie, dass dies Ihre Adresse ist?", "Bestätigen", "Fertig. Kehren Sie zu Ihrem Programm zurück.", "Dieser Link ist abgelaufen oder falsch.", "Weiter"},
}
