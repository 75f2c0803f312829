package account

import (
	"html/template"
	"net/http"

	"github.com/viaduc/viaduc/homeserver/web"
)

// pageLogin logs a person in for clients that know none of the flows, and hands the answer to the client. It needs
// nothing from elsewhere; parameters of its address that are no credentials go along to the login.
//
// spec: cs#login-fallback
var pageLogin = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in</title></head><body><main><h1>Sign in</h1>
<form id="form"><p><label>User name <input id="user" autocomplete="username" required></label></p>
<p><label>Password <input id="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Sign in</button></p></form><p id="problem" role="alert"></p></main>
<script nonce="{{.}}">
document.getElementById("form").addEventListener("submit", async function (e) {
  e.preventDefault();
  const body = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: document.getElementById("user").value },
    password: document.getElementById("password").value,
  };
  const given = new URLSearchParams(window.location.search);
  for (const name of ["device_id", "initial_device_display_name"]) {
    if (given.has(name)) { body[name] = given.get(name); }
  }
  if (given.get("refresh_token") === "true") { body.refresh_token = true; }
  const answer = await fetch("/_matrix/client/v3/login", { method: "POST", body: JSON.stringify(body) });
  const response = await answer.json();
  if (!answer.ok) {
    document.getElementById("problem").textContent = response.error || response.errcode;
  } else if (window.matrixLogin && window.matrixLogin.onLogin) {
    window.matrixLogin.onLogin(response);
  } else {
    document.getElementById("problem").textContent = "You are signed in. You can close this page.";
  }
});
</script></body></html>
`))

// GetLoginPage shows the page.
func (a *Accounts) GetLoginPage(w http.ResponseWriter, _ *http.Request, _ web.Requester) error {
	nonce := randomText(lettersLower, 24)
	pageHeaders(w, "script-src 'nonce-"+nonce+"'; connect-src 'self'")
	return pageLogin.Execute(w, nonce)
}

// pageHeaders makes a page that runs only what it says, and is kept nowhere.
func pageHeaders(w http.ResponseWriter, allow string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "+allow)
}
