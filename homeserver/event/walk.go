package event

import (
	"bytes"
	"encoding/json"
)

// The walkers of this file read canonical JSON only: no white space, valid, keys without unnecessary escapes. On other
// input they stop early; they never read outside of their bytes.

// walker steps through the members of an object.
type walker struct {
	b []byte
	i int
}

func walk(obj []byte) walker {
	if len(obj) < 2 || obj[0] != '{' {
		return walker{}
	}
	return walker{obj, 1}
}

// next gives the next key (without quotes, still escaped) and value.
func (w *walker) next() (key, value []byte, ok bool) {
	if w.i >= len(w.b) || w.b[w.i] != '"' {
		return nil, nil, false
	}
	end := skipString(w.b, w.i)
	if end < 0 || end+1 >= len(w.b) || w.b[end] != ':' {
		w.i = len(w.b)
		return nil, nil, false
	}
	key = w.b[w.i+1 : end-1]
	from := end + 1
	to := skipValue(w.b, from)
	if to < 0 || to >= len(w.b) {
		w.i = len(w.b)
		return nil, nil, false
	}
	w.i = to + 1
	return key, w.b[from:to:to], true
}

// complete tells whether the walk ended at the end of the object.
func (w *walker) complete() bool {
	return len(w.b) >= 2 && w.i >= len(w.b)-1 && w.i <= len(w.b) && w.b[len(w.b)-1] == '}'
}

// elements steps through an array.
type elements struct {
	b []byte
	i int
}

func eachOf(arr []byte) elements {
	if len(arr) < 2 || arr[0] != '[' {
		return elements{}
	}
	return elements{arr, 1}
}

func (e *elements) next() (value []byte, ok bool) {
	if e.i >= len(e.b)-1 {
		return nil, false
	}
	to := skipValue(e.b, e.i)
	if to <= e.i || to >= len(e.b) {
		e.i = len(e.b)
		return nil, false
	}
	value = e.b[e.i:to:to]
	e.i = to + 1
	return value, true
}

// skipString gives the index behind the string that starts at i, or -1.
func skipString(b []byte, i int) int {
	for i++; i < len(b); {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		back := i - 1
		for b[back] == '\\' {
			back--
		}
		if i++; (i-back)%2 == 0 {
			return i
		}
	}
	return -1
}

// skipValue gives the index behind the value that starts at i, or -1.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
	default:
		for ; i < len(b); i++ {
			if c := b[i]; c == ',' || c == '}' || c == ']' {
				return i
			}
		}
		return i
	}
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// find gives the value of a member of a canonical object, nil if there is none. The key must need no escapes.
func find(obj []byte, key string) []byte {
	for w := walk(obj); ; {
		k, v, ok := w.next()
		if !ok {
			return nil
		}
		if string(k) == key {
			return v
		}
		if string(k) > key && bytes.IndexByte(k, '\\') < 0 {
			return nil
		}
	}
}

// findString is find for strings.
func findString(obj []byte, key string) (string, bool) { return textOf(find(obj, key)) }

// textOf decodes a string value; false for other values.
func textOf(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	value = value[1 : len(value)-1]
	if bytes.IndexByte(value, '\\') >= 0 {
		return string(appendDecoded(nil, value)), true
	}
	return string(value), true
}

// Field gives the value of a member of a canonical object (such as the content of an Event), nil if there is none.
func Field(obj json.RawMessage, key string) json.RawMessage {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c < 0x20 || c == '"' || c == '\\' {
			quoted := appendString(nil, key)
			key = string(quoted[1 : len(quoted)-1])
			break
		}
	}
	return find(obj, key)
}

// FieldString gives the value of a member if it is a string.
func FieldString(obj json.RawMessage, key string) (string, bool) { return textOf(Field(obj, key)) }

// Fields calls fn for each member of a canonical object, keys decoded and in order, until fn returns false.
func Fields(obj json.RawMessage, fn func(key string, value json.RawMessage) bool) {
	for w := walk(obj); ; {
		k, v, ok := w.next()
		if !ok {
			return
		}
		key := string(k)
		if bytes.IndexByte(k, '\\') >= 0 {
			key = string(appendDecoded(nil, k))
		}
		if !fn(key, json.RawMessage(v)) {
			return
		}
	}
}

// Items calls fn for each element of a canonical array until fn returns false.
func Items(arr json.RawMessage, fn func(value json.RawMessage) bool) {
	for e := eachOf(arr); ; {
		v, ok := e.next()
		if !ok || !fn(json.RawMessage(v)) {
			return
		}
	}
}
