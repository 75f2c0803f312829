// Package oauth is the server's own OAuth 2.0 authorization server, single sign-on for older clients, and the pages on which
// people sign in, allow clients, and look after their sessions.
//
// All of it is one machine. Whatever a browser comes for - an authorization, single sign-on, the code of a device, the account
// page, the confirmation of an operation - becomes a pending request: a row found by the hash of a random name that the browser
// carries along. The browser then signs in, if its cookie is not that of a signed-in browser yet: by password, by a new account
// where registration is open, or at an OpenID provider. Then it decides, and the pending request is turned into what was asked
// for. No address to go to is ever taken from the browser at that point: it is in the row.
//
// Tokens are the sessions of package account, so nothing else knows the difference. What is here of them is only which client
// they were given to.
//
// Specification: cs#oauth-20-api, cs#sso-client-loginauthentication; RFC 6749, 7009, 7591, 7636, 8414, 8628, 9207;
// OpenID Connect Core for providers.
//
// Deliberately absent: confidential clients, other grants than the code, refresh and device grants, and token introspection.
package oauth
