package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Client is what an application says of itself. spec: cs#client-registration
type Client struct {
	URI           string   `json:"client_uri"`
	Name          string   `json:"client_name,omitempty"`
	Logo          string   `json:"logo_uri,omitempty"`
	Terms         string   `json:"tos_uri,omitempty"`
	Policy        string   `json:"policy_uri,omitempty"`
	Kind          string   `json:"application_type"` // web or native
	Redirects     []string `json:"redirect_uris,omitempty"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	ResponseTypes []string `json:"response_types"`
	GrantTypes    []string `json:"grant_types"`
}

const (
	maxMetadata  = 16 << 10
	maxRedirects = 20
	maxURI       = 2048
	maxName      = 200
)

type registered struct {
	ID       string `json:"client_id"`
	IssuedAt int64  `json:"client_id_issued_at"`
	*Client
}

// PostRegistration makes an application known. The same metadata gives the same client ID: an application may ask each time it
// starts.
//
// spec: cs#dynamic-client-registration-flow
func (o *OAuth) PostRegistration(w http.ResponseWriter, r *http.Request) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return invalid("invalid_client_metadata", "The body must be application/json")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMetadata))
	if err != nil {
		return invalid("invalid_client_metadata", "The body is too long")
	}
	c, err := ParseClient(raw)
	if err != nil {
		return err
	}
	kept, err := json.Marshal(c)
	if err != nil {
		return doing("writing a client", err)
	}
	sum := sha256.Sum256(kept)
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:26])
	now := o.now()
	if _, err := o.db.Exec(r.Context(), putClient, id, string(kept), now.UnixMilli()); err != nil {
		return doing("writing a client", err)
	}
	return answer(w, http.StatusCreated, registered{id, now.Unix(), c})
}

// client finds a registered application; nil if there is none.
func (o *OAuth) client(ctx context.Context, id string) (*Client, error) {
	if id == "" || len(id) > 100 {
		return nil, nil
	}
	raw, err := o.one(ctx, getClient, id)
	if raw == "" || err != nil {
		return nil, err
	}
	c := &Client{}
	return c, doing("reading a client", json.Unmarshal([]byte(raw), c))
}

// ParseClient checks the metadata of an application. What is not known is dropped; what cannot be is an error of RFC 7591.
func ParseClient(raw []byte) (*Client, error) {
	c := &Client{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, invalid("invalid_client_metadata", "Not the metadata of a client")
	}
	home, ok := webAddress(c.URI)
	if !ok {
		return nil, invalid("invalid_client_metadata", "client_uri must be an https address")
	}
	for name, v := range map[string]string{"logo_uri": c.Logo, "tos_uri": c.Terms, "policy_uri": c.Policy} {
		if u, ok := webAddress(v); v != "" && (!ok || !within(u.Hostname(), home.Hostname())) {
			return nil, invalid("invalid_client_metadata", name+" must be an https address at the host of client_uri")
		}
	}
	c.Name = cleanName(c.Name)
	if c.Kind == "" {
		c.Kind = "web"
	}
	if c.Kind != "web" && c.Kind != "native" {
		return nil, invalid("invalid_client_metadata", "application_type is web or native")
	}
	if c.AuthMethod != "" && c.AuthMethod != "none" {
		return nil, invalid("invalid_client_metadata", "token_endpoint_auth_method must be none")
	}
	c.AuthMethod = "none"
	if err := c.grants(); err != nil {
		return nil, err
	}
	return c, c.redirects(home)
}

// grants keeps those kinds of grants and responses that exist here.
func (c *Client) grants() error {
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{grantCode}
	}
	if len(c.ResponseTypes) == 0 && slices.Contains(c.GrantTypes, grantCode) {
		c.ResponseTypes = []string{"code"}
	}
	c.GrantTypes = known(c.GrantTypes, grantCode, grantRefresh, grantDevice)
	c.ResponseTypes = known(c.ResponseTypes, "code")
	if len(c.GrantTypes) == 0 {
		return invalid("invalid_client_metadata", "None of the grant_types is supported")
	}
	return nil
}

func known(list []string, all ...string) []string {
	out := []string{}
	for _, s := range all {
		if slices.Contains(list, s) {
			out = append(out, s)
		}
	}
	return out
}

func (c *Client) redirects(home *url.URL) error {
	if len(c.Redirects) > maxRedirects {
		return invalid("invalid_redirect_uri", "Too many redirect_uris")
	}
	if len(c.Redirects) == 0 && slices.Contains(c.GrantTypes, grantCode) {
		return invalid("invalid_redirect_uri", "redirect_uris is missing")
	}
	for _, s := range c.Redirects {
		if !redirectAllowed(s, c.Kind, home) {
			return invalid("invalid_redirect_uri", "Not a redirect URI for this client: "+cut(s, 100))
		}
	}
	return nil
}

// redirectAllowed knows where a code may be sent. spec: cs#redirect-uri-validation
func redirectAllowed(s, kind string, home *url.URL) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURI || u.Fragment != "" || strings.HasSuffix(s, "#") || u.User != nil || strings.ContainsAny(s, "\r\n\t \\") {
		return false
	}
	if u.Scheme == "https" {
		return u.Host != "" && within(u.Hostname(), home.Hostname())
	}
	if kind != "native" {
		return false
	}
	if u.Scheme == "http" {
		return loopback(u.Hostname())
	}
	// A private scheme is the reversed name of a host of the client, and has no authority.
	return strings.Contains(u.Scheme, ".") && u.Host == "" && within(reversed(u.Scheme), home.Hostname())
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func reversed(scheme string) string {
	parts := strings.Split(strings.ToLower(scheme), ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// within reports whether a host is another or lies below it.
func within(host, parent string) bool {
	host, parent = strings.ToLower(host), strings.ToLower(parent)
	return parent != "" && (host == parent || strings.HasSuffix(host, "."+parent))
}

// mayRedirect reports whether a client may be answered at an address. The port of a loopback address is the program's choice.
func (c *Client) mayRedirect(s string) bool {
	if slices.Contains(c.Redirects, s) {
		return true
	}
	u, err := url.Parse(s)
	if err != nil || c.Kind != "native" || u.Scheme != "http" || !loopback(u.Hostname()) || u.Port() == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	for _, known := range c.Redirects {
		if k, err := url.Parse(known); err == nil && k.Scheme == "http" && k.Port() == "" && k.Hostname() == u.Hostname() &&
			k.EscapedPath() == u.EscapedPath() && k.RawQuery == u.RawQuery {
			return true
		}
	}
	return false
}

// webAddress reads an https address without secrets in it.
func webAddress(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURI || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, false
	}
	return u, true
}

// cleanName keeps what can be shown of a name on one line.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x206f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if r := []rune(s); len(r) > maxName {
		s = string(r[:maxName])
	}
	return strings.TrimSpace(s)
}

// title is what people read of a client.
func (c *Client) title() string {
	if c.Name != "" {
		return c.Name
	}
	return c.host()
}

func (c *Client) host() string {
	u, err := url.Parse(c.URI)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
