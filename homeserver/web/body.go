package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"maunium.net/go/mautrix"
)

// bodyTimeout is how long a client may be silent while sending its body.
const bodyTimeout = 30 * time.Second

// boundedBody bounds a request body in size and in silence, and keeps it once
// ReadBody has read it whole.
type boundedBody struct {
	src   io.ReadCloser
	w     http.ResponseWriter
	left  int64
	timed bool
	whole []byte
	read  bool
	at    int
	err   error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.read {
		if b.at >= len(b.whole) {
			if b.err != nil {
				return 0, b.err
			}
			return 0, io.EOF
		}
		n := copy(p, b.whole[b.at:])
		b.at += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	if b.w != nil {
		b.timed = true
		_ = http.NewResponseController(b.w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	n, err := b.src.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), errTooLarge
	}
	b.left -= int64(n)
	if err != nil {
		b.err = err
		b.untime()
	}
	return n, err
}

// untime takes the deadline away, which else would end a long poll.
func (b *boundedBody) untime() {
	if b.timed {
		b.timed = false
		_ = http.NewResponseController(b.w).SetReadDeadline(time.Time{})
	}
}

func (b *boundedBody) Close() error {
	b.untime()
	return b.src.Close()
}

// ReadBody returns the whole body, bounded by the route's MaxBody. It may be
// called again, and reading r.Body afterwards gives the same bytes. The caller
// must not change them.
func ReadBody(r *http.Request) ([]byte, error) {
	b, ok := r.Body.(*boundedBody)
	if !ok {
		if r.Body == nil {
			return nil, nil
		}
		return io.ReadAll(r.Body)
	}
	if b.read {
		return b.whole, b.bodyError()
	}
	if r.ContentLength > b.left {
		b.read, b.err = true, errTooLarge
		return nil, errTooLarge
	}
	whole, err := readAll(b, r.ContentLength)
	b.read, b.whole, b.err = true, whole, err
	return whole, b.bodyError()
}

func (b *boundedBody) bodyError() error {
	switch {
	case b.err == nil:
		return nil
	case errors.Is(b.err, io.ErrUnexpectedEOF):
		return mautrix.MNotJSON.WithMessage("The request body is cut off")
	}
	if _, ok := AsRespError(b.err); ok {
		return b.err
	}
	return respError("M_UNKNOWN", http.StatusRequestTimeout).WithMessage("The request body could not be read")
}

// readAll reads to the end; a size that is promised is believed up to 64 KiB
// only, so that memory follows what really arrives.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	if size < 0 {
		size = 511
	}
	buf := make([]byte, 0, min(size, 64<<10)+1)
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), 2*cap(buf))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

var (
	errEmptyBody = mautrix.MNotJSON.WithMessage("The request body is empty")
	errNotObject = mautrix.MBadJSON.WithMessage("The request body must be a JSON object")
	errNUL       = mautrix.MBadJSON.WithMessage("The request body has a NUL character in a name or identifier")
)

func (p *plan) fillBody(v reflect.Value, r *http.Request) error {
	body, err := ReadBody(r)
	if err != nil {
		return err
	}
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		if !p.empty {
			return errEmptyBody
		}
		body = []byte("{}")
	}
	if err := CheckJSON(body, p.peer); err != nil {
		return err
	}
	if body[skipSpace(body, 0)] != '{' {
		return errNotObject
	}
	if p.raw != nil {
		v.FieldByIndex(p.raw).SetBytes(body)
		if !p.members {
			return nil
		}
	}
	if err := json.Unmarshal(body, v.Addr().Interface()); err != nil {
		return jsonError(err)
	}
	if p.raw != nil {
		v.FieldByIndex(p.raw).SetBytes(body)
	}
	if bytes.Contains(body, []byte(`\u0000`)) && hasNUL(v, 0) {
		return errNUL
	}
	return nil
}

// DecodeStrict decodes one JSON object from outside into v under the rules of
// request bodies: valid UTF-8, bounded depth, nothing behind it. peer also
// refuses keys that stand twice.
func DecodeStrict(body []byte, peer bool, v any) error {
	if err := CheckJSON(body, peer); err != nil {
		return err
	}
	if body[skipSpace(body, 0)] != '{' {
		return errNotObject
	}
	if err := json.Unmarshal(body, v); err != nil {
		return jsonError(err)
	}
	return nil
}

// jsonError tells bad syntax from wrong types.
func jsonError(err error) error {
	if e, ok := AsRespError(err); ok {
		return e
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return mautrix.MNotJSON.WithMessage("The request body is not JSON: %s at byte %d", e.Error(), e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := e.Field
		if field == "" {
			field = "the body"
		}
		return mautrix.MBadJSON.WithMessage("Wrong type of %s in the request body: %s", field, e.Value)
	}
	return mautrix.MBadJSON.WithMessage("%s", "The request body is not valid: "+err.Error())
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// hasNUL finds a NUL character in the strings of a decoded value. Raw JSON
// keeps it escaped and is left alone.
func hasNUL(v reflect.Value, depth int) bool {
	if depth > 32 || v.Type() == rawMessage {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		return strings.IndexByte(v.String(), 0) >= 0
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && hasNUL(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if hasNUL(v.Field(i), depth+1) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return false
		}
		for i := range v.Len() {
			if hasNUL(v.Index(i), depth+1) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if hasNUL(it.Key(), depth+1) || hasNUL(it.Value(), depth+1) {
				return true
			}
		}
	}
	return false
}
