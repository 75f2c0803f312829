package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// obj is a JSON object.
type obj = map[string]any

// raw is JSON text that is put in as it is, even if it is none.
type raw string

// encode writes canonical JSON: sorted keys, no spaces, fewest escapes.
func encode(v any) []byte { return appendJSON(nil, v) }

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case raw:
		return append(b, v...)
	case json.RawMessage:
		return append(b, v...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case json.Number:
		return append(b, v...)
	case string:
		return appendText(b, v)
	case []string:
		return appendList(b, v)
	case []any:
		return appendList(b, v)
	case []obj:
		return appendList(b, v)
	case []raw:
		return appendList(b, v)
	case obj:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, k), ':')
			b = appendJSON(b, v[k])
		}
		return append(b, '}')
	}
	panic(fmt.Sprintf("no JSON for %T", v))
}

func appendList[T any](b []byte, list []T) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(b, v)
	}
	return append(b, ']')
}

func appendText(b []byte, s string) []byte {
	const short = "\b\t\n\f\r\"\\"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		at := bytes.IndexByte([]byte(short), c)
		switch {
		case at >= 0:
			b = append(b, '\\', `btnfr"\`[at])
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// decode reads JSON; numbers keep their text. nil if it is none.
func decode(b []byte) any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

func decodeObj(b []byte) obj {
	o, _ := decode(b).(obj)
	return o
}

// text is the string at a path, "" if there is none.
func text(v any, path ...string) string {
	s, _ := at(v, path...).(string)
	return s
}

// at is the value at a path of keys, nil if there is none.
func at(v any, path ...string) any {
	for _, k := range path {
		o, _ := v.(obj)
		v = o[k]
	}
	return v
}

func list(v any, path ...string) []any {
	l, _ := at(v, path...).([]any)
	return l
}

func number(v any, path ...string) int64 {
	switch n := at(v, path...).(type) {
	case json.Number:
		i, _ := n.Int64()
		return i
	case int64:
		return n
	case int:
		return int64(n)
	case raw:
		i, _ := strconv.ParseInt(string(n), 10, 64)
		return i
	}
	return 0
}

// clone copies a value deeply.
func clone(v any) any {
	switch v := v.(type) {
	case obj:
		out := make(obj, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}

func copyObj(o obj) obj { return clone(o).(obj) }

func clip(b []byte, n int) string {
	if len(b) > n {
		b = b[:n]
	}
	if !utf8.Valid(b) {
		return fmt.Sprintf("%q", b)
	}
	return string(b)
}
