package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// wire is a client that does exactly one request at a time when told so: what is
// tried again, and how, is said by the test.
type wire struct {
	s      *server
	http   *http.Client
	token  string
	user   string
	device string
}

// refused is an answer that is not 200.
type refused struct {
	Status int
	Code   string `json:"errcode"`
	Text   string `json:"error"`
	Body   string `json:"-"`
}

func (e *refused) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Body) }

// once makes one request.
func (c *wire) once(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(in)
	default:
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.s.base+path, body)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		e := &refused{Status: res.StatusCode, Body: string(raw)}
		_ = json.Unmarshal(raw, e)
		return e
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = raw
		return nil
	}
	return json.Unmarshal(raw, out)
}

// persist makes the same request until it is answered; the server may be killed
// meanwhile. An answer other than 200 is an error at once.
func (c *wire) persist(ctx context.Context, method, path string, in, out any) error {
	for {
		one, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := c.once(one, method, path, in, out)
		cancel()
		var no *refused
		if err == nil || errors.As(err, &no) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// register makes an account, or logs in if an earlier try made it unheard.
func (c *wire) register(ctx context.Context, name string) error {
	var out struct {
		UserID string `json:"user_id"`
		Token  string `json:"access_token"`
		Device string `json:"device_id"`
	}
	err := c.persist(ctx, http.MethodPost, "/_matrix/client/v3/register", map[string]any{
		"username": name, "password": password, "auth": map[string]string{"type": "m.login.dummy"},
	}, &out)
	var no *refused
	if errors.As(err, &no) && no.Code == "M_USER_IN_USE" {
		err = c.persist(ctx, http.MethodPost, "/_matrix/client/v3/login", map[string]any{
			"type": "m.login.password", "password": password, "identifier": map[string]string{"type": "m.id.user", "user": name},
		}, &out)
	}
	c.token, c.user, c.device = out.Token, out.UserID, out.Device
	return err
}

func (s *server) wire() *wire {
	return &wire{s: s, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
}

// path joins escaped parts to a path of the client API.
func path(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/_matrix/client/v3/" + strings.Join(parts, "/")
}
