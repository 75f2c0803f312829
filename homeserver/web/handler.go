package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"sync"
)

// Handler answers a route. Make one with JSON or Raw.
type Handler struct {
	plan func(r *Route) serveFunc
}

type serveFunc func(w http.ResponseWriter, r *http.Request, c *call) error

// Responder is an Out that writes itself, for hot paths.
type Responder interface {
	WriteTo(w http.ResponseWriter) error
}

// Bytes is an Out of JSON that is already encoded.
type Bytes []byte

// WriteTo writes the bytes with status 200.
func (b Bytes) WriteTo(w http.ResponseWriter) error { return writeJSONBytes(w, http.StatusOK, b) }

// MarshalJSON returns the bytes.
func (b Bytes) MarshalJSON() ([]byte, error) { return b, nil }

// WithStatus is an Out with another status than 200.
type WithStatus[T any] struct {
	Code int
	Body T
}

// WriteTo writes the body with the status.
func (o WithStatus[T]) WriteTo(w http.ResponseWriter) error { return WriteJSON(w, o.Code, o.Body) }

// JSON makes a handler of a function with typed input and output. In is a
// struct whose fields are filled by tags:
//
//	path:"roomId"    a path parameter
//	query:"dir"      a query parameter: string, int, bool, []string, or pointer to those
//	header:"If-Match"
//	json:"name"      a member of the body
//	body:"raw"       (json.RawMessage) the whole body, an object
//	body:"optional"  (on a blank member) an empty body counts as {}
//
// Out is encoded as JSON, unless it is a Responder.
func JSON[In, Out any](fn func(ctx context.Context, who Requester, in In) (Out, error)) Handler {
	return Handler{func(rt *Route) serveFunc {
		p := newPlan(reflect.TypeFor[In](), rt)
		return func(w http.ResponseWriter, r *http.Request, c *call) error {
			in := new(In)
			if err := p.fill(reflect.ValueOf(in).Elem(), r, c); err != nil {
				return err
			}
			out, err := fn(r.Context(), c.who, *in)
			if err != nil {
				return err
			}
			if rw, ok := any(out).(Responder); ok {
				return rw.WriteTo(w)
			}
			return WriteJSON(w, http.StatusOK, out)
		}
	}}
}

// Raw makes a handler of a function that reads the request and writes the
// answer itself. Path parameters come with r.PathValue. An error returned
// before anything is written becomes the answer.
func Raw(fn func(w http.ResponseWriter, r *http.Request, who Requester) error) Handler {
	return Handler{func(*Route) serveFunc {
		return func(w http.ResponseWriter, r *http.Request, c *call) error {
			for i, name := range c.route.params {
				r.SetPathValue(name, c.vals[i])
			}
			return fn(w, r, c.who)
		}
	}}
}

// HTTP makes a handler of a http.Handler, such as that of the metrics.
func HTTP(h http.Handler) Handler {
	return Raw(func(w http.ResponseWriter, r *http.Request, _ Requester) error {
		h.ServeHTTP(w, r)
		return nil
	})
}

type encodeBuffer struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var buffers = sync.Pool{New: func() any {
	b := &encodeBuffer{}
	b.enc = json.NewEncoder(&b.buf)
	b.enc.SetEscapeHTML(false)
	return b
}}

const maxPooledBuffer = 1 << 20

// WriteJSON encodes v as the answer.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b := buffers.Get().(*encodeBuffer)
	defer func() {
		if b.buf.Cap() <= maxPooledBuffer {
			b.buf.Reset()
			buffers.Put(b)
		}
	}()
	if err := b.enc.Encode(v); err != nil {
		return err
	}
	return writeJSONBytes(w, status, bytes.TrimSuffix(b.buf.Bytes(), []byte{'\n'}))
}

var headerJSON = []string{"application/json"}

func writeJSONBytes(w http.ResponseWriter, status int, body []byte) error {
	if rw, ok := w.(*responseWriter); ok && rw.gzipOK && len(body) >= gzipMin {
		return rw.writeGzip(status, body)
	}
	h := w.Header()
	h["Content-Type"] = headerJSON
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return ignoreGone(err)
}

// ignoreGone drops write errors: the client went away, which is no failure of
// the request, and nothing can be told to anyone.
func ignoreGone(error) error { return nil }
