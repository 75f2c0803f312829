package appservices

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

const (
	// answerBytes bounds what a service answers.
	answerBytes = 1 << 20
	// callTimeout bounds a ping, and a query with all its attempts; transactions have their own.
	callTimeout = 30 * time.Second
	appPath     = "/_matrix/app/v1"
)

// caller sends requests to one service.
type caller struct {
	base   string
	token  string
	client interface {
		Do(req *http.Request) (*http.Response, error)
	}
}

// callError is an answer other than 2xx.
type callError struct {
	Status int
	Body   string
	Code   string
}

func (e *callError) Error() string { return fmt.Sprintf("application service answered %d", e.Status) }

// unknown says that the service does not know the path, not only what the path names.
func (e *callError) unknown() bool {
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return e.Code == "" || e.Code == "M_UNRECOGNIZED"
	}
	return false
}

// do calls the service at a path below appPath. Services that do not know the path are asked at the one that drafts of the
// specification had, where they also look for the token in the query. spec: as#legacy-routes, as#authorisation
func (c caller) do(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	err := c.try(ctx, method, appPath+path, query, body, out)
	var ce *callError
	if old := legacyPath(path); old != "" && errors.As(err, &ce) && ce.unknown() {
		q := url.Values{"access_token": {c.token}}
		for k, v := range query {
			q[k] = v
		}
		if c.try(ctx, method, old, q, body, out) == nil {
			return nil
		}
	}
	return err
}

func legacyPath(path string) string {
	switch {
	case strings.HasPrefix(path, "/transactions/"), strings.HasPrefix(path, "/users/"), strings.HasPrefix(path, "/rooms/"):
		return path
	case strings.HasPrefix(path, "/thirdparty/"):
		return "/_matrix/app/unstable" + path
	}
	return ""
}

func (c caller) try(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address of the application service is malformed") // the error has the whole of it
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.client.Do(req)
	if err != nil {
		var ue *url.Error // has the address, which may have the token in it
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("call application service: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerBytes+1))
	switch {
	case res.StatusCode/100 != 2:
		return refusal(res.StatusCode, answer)
	case out == nil:
		return nil // that it took the request is all that matters
	case err != nil:
		return fmt.Errorf("read answer: %w", err)
	case len(answer) > answerBytes:
		return errors.New("the answer of the application service is too large")
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

func refusal(status int, answer []byte) *callError {
	e := &callError{Status: status, Body: strings.ToValidUTF8(string(answer[:min(len(answer), 1000)]), "�")}
	var m struct {
		Code string `json:"errcode"`
	}
	if json.Unmarshal(answer, &m) == nil {
		e.Code = m.Code
	}
	return e
}

// Loopback serves requests by a handler in this process.
type Loopback struct{ Handler http.Handler }

// Do implements the client of a caller.
func (l Loopback) Do(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if req.Body == nil {
		req.Body = http.NoBody
	}
	req.RequestURI = req.URL.RequestURI()
	w := &answerWriter{header: http.Header{}}
	l.Handler.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: max(w.status, http.StatusOK), Header: w.header, Body: io.NopCloser(&w.body), Request: req}, nil
}

// answerWriter keeps what a handler answers, up to the size that a caller reads.
type answerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answerWriter) Header() http.Header { return w.header }

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if left := answerBytes + 1 - w.body.Len(); left < len(b) {
		w.body.Write(b[:max(left, 0)])
		return len(b), nil
	}
	return w.body.Write(b)
}
