package federation

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// evilWeb answers .well-known requests as told.
type evilWeb struct {
	asked  int
	answer func(r *http.Request) *http.Response
}

func (e *evilWeb) RoundTrip(r *http.Request) (*http.Response, error) {
	e.asked++
	if e.answer == nil {
		return nil, errors.New("away")
	}
	res := e.answer(r)
	res.Request = r
	return res, nil
}

func evilResolver(answer func(r *http.Request) *http.Response) (*resolver, *evilWeb) {
	e := &evilWeb{answer: answer}
	return newResolver(&http.Client{Transport: e, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}), e
}

func page(status int, body string, header ...string) *http.Response {
	res := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	return res
}

func TestHostileWellKnown_RedirectsEnd(t *testing.T) {
	for name, to := range map[string]func(n int) string{
		"a loop":             func(int) string { return "https://a.example/.well-known/matrix/server" },
		"twenty hops":        func(n int) string { return "https://h" + strconv.Itoa(n) + ".example/x" },
		"away from https":    func(int) string { return "http://a.example/x" },
		"another scheme":     func(int) string { return "file:///etc/passwd" },
		"with a user":        func(int) string { return "https://user:word@a.example/" },
		"nowhere":            func(int) string { return "" },
		"no address at all":  func(int) string { return "://" },
		"control characters": func(int) string { return "https://a\x7f/" },
	} {
		n := 0
		r, e := evilResolver(func(*http.Request) *http.Response {
			if n++; n > 20 {
				return page(200, `{"m.server":"evil.example"}`)
			}
			return page(302, "", "Location", to(n))
		})
		if server, _, err := r.fetchWellKnown(context.Background(), "a.example"); err == nil {
			t.Errorf("%s: %q", name, server)
		}
		if e.asked > wellKnownRedirects+1 {
			t.Errorf("%s: %d requests", name, e.asked)
		}
	}
}

// endless never ends.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	e.read += len(b)
	return len(b), nil
}

func TestHostileWellKnown_BodiesAreBounded(t *testing.T) {
	body := &endless{}
	r, _ := evilResolver(func(*http.Request) *http.Response {
		res := page(200, "")
		res.Body = io.NopCloser(body)
		return res
	})
	if server, _, err := r.fetchWellKnown(context.Background(), "a.example"); err == nil || body.read > 4*wellKnownBytes {
		t.Errorf("%q after %d bytes: %v", server, body.read, err)
	}
}

func TestHostileWellKnown_NonsenseIsNoDelegation(t *testing.T) {
	for _, body := range []string{``, `x`, `null`, `[]`, `5`, `{}`, `{"m.server":5}`, `{"m.server":["a.example"]}`, `{"m.server":""}`, `{"m.server":null}`, `{"m.server":{}}`,
		`{"m.server":"a.example/path"}`, `{"m.server":"user@a.example"}`, `{"m.server":"https://a.example"}`, `{"m.server":"a.example:99999"}`, `{"m.server":"a.example:x"}`,
		`{"m.server":"a b"}`, `{"m.server":"` + strings.Repeat("a", 300) + `"}`, `{"m.server":"a.example"`, `{"M.SERVER":"a.example"}`} {
		r, _ := evilResolver(func(*http.Request) *http.Response { return page(200, body) })
		if server, _, err := r.fetchWellKnown(context.Background(), "a.example"); err == nil {
			t.Errorf("%s: %q", body, server)
		}
	}
	r, _ := evilResolver(func(*http.Request) *http.Response { return page(404, `{"m.server":"b.example"}`) })
	if server, _, err := r.fetchWellKnown(context.Background(), "a.example"); err == nil {
		t.Errorf("404: %q", server)
	}
}

func TestHostileWellKnown_LivesNotTooLong(t *testing.T) {
	for _, value := range []string{"max-age=315360000", "max-age=99999999999999999999", `max-age="315360000"`, "public, MAX-AGE=315360000"} {
		r, e := evilResolver(func(*http.Request) *http.Response {
			return page(200, `{"m.server":"b.example:1"}`, "Cache-Control", value)
		})
		wk := r.lookupWellKnown(context.Background(), "a.example")
		if left := time.Until(wk.until); wk.server != "b.example:1" || left > 48*time.Hour || left < 47*time.Hour {
			t.Errorf("%s: %q for %v", value, wk.server, left)
		}
		if r.lookupWellKnown(context.Background(), "a.example"); e.asked != 1 {
			t.Errorf("%s: asked %d times", value, e.asked)
		}
	}
	r, e := evilResolver(nil)
	last := time.Duration(0)
	for range 20 {
		wk := r.lookupWellKnown(context.Background(), "a.example")
		left := time.Until(wk.until)
		if wk.server != "" || left > time.Hour || left < last-time.Second {
			t.Fatalf("after a failure: %q for %v, before that %v", wk.server, left, last)
		}
		last = left
		wk.until = time.Now().Add(-time.Second)
		r.known["a.example"] = wk
	}
	if e.asked != 20 || last < 50*time.Minute {
		t.Errorf("asked %d times, then waits %v", e.asked, last)
	}
}

func TestHostileAnswers_AreReadInSteps(t *testing.T) {
	read := func(body io.Reader) (n int, err error) {
		var list []json.RawMessage
		err = object{Lists: map[string]*[]json.RawMessage{"state": &list}}.readFrom(body)
		return len(list), err
	}
	big := `{"a":"` + strings.Repeat("x", maxEntry) + `"}`
	if n, err := read(strings.NewReader(`{"other":[1,{"a":[]}],"state":[{},` + big + `,{}]}`)); n != 2 || err != nil {
		t.Errorf("an entry that is too large: %d, %v", n, err)
	}
	e := &endless{}
	if _, err := read(io.MultiReader(strings.NewReader(`{"state":[{},"`), e)); err == nil || e.read > 4*maxStep {
		t.Errorf("an entry without end: %d bytes, %v", e.read, err)
	}
	e = &endless{}
	if _, err := read(io.MultiReader(strings.NewReader(`{"other":"`), e)); err == nil || e.read > 4*maxStep {
		t.Errorf("a member without end: %d bytes, %v", e.read, err)
	}
}
