package web

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"maunium.net/go/mautrix"
)

// maxDepth is how deep JSON from outside may be nested.
const maxDepth = 200

var (
	errUTF8  = mautrix.MNotJSON.WithMessage("The request body is not valid UTF-8")
	errDeep  = mautrix.MBadJSON.WithMessage("The request body is nested too deeply")
	errTwice = mautrix.MBadJSON.WithMessage("The request body has the same key twice in one object")
)

// CheckJSON checks one JSON value: UTF-8, syntax, nothing behind it, depth, and
// with unique also that no object has a key twice.
func CheckJSON(body []byte, unique bool) error {
	if !utf8.Valid(body) {
		return errUTF8
	}
	if tooDeep(body) {
		return errDeep
	}
	if !json.Valid(body) {
		var sink json.RawMessage
		return jsonError(json.Unmarshal(body, &sink))
	}
	if unique && !uniqueKeys(body) {
		return errTwice
	}
	return nil
}

// tooDeep counts brackets outside strings; the syntax is checked afterwards.
func tooDeep(b []byte) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			i = stringEnd(b, i)
		}
	}
	return false
}

// stringEnd returns the index of the quote that ends the string beginning at i,
// or the last index if there is none.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			break
		}
		end := i + n
		slashes := 0
		for k := end - 1; k >= i && b[k] == '\\'; k-- {
			slashes++
		}
		if slashes%2 == 0 {
			return end
		}
		i = end
	}
	return len(b) - 1
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return min(i, len(b)-1)
}

// uniqueKeys walks valid JSON and looks at the keys of each object. Keys are
// compared after unescaping.
func uniqueKeys(b []byte) bool {
	type frame struct {
		keys   []string
		many   map[string]struct{}
		object bool
	}
	var stack []frame
	key := false // a string that comes now is a key
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{':
			stack = append(stack, frame{object: true})
			key = true
		case '[':
			stack = append(stack, frame{})
			key = false
		case '}', ']':
			stack = stack[:len(stack)-1]
			key = false
		case ':':
			key = false
		case ',':
			key = len(stack) > 0 && stack[len(stack)-1].object
		case '"':
			end := stringEnd(b, i)
			if key {
				f := &stack[len(stack)-1]
				if !addKey(&f.keys, &f.many, keyText(b[i:end+1])) {
					return false
				}
			}
			i = end
		}
	}
	return true
}

func keyText(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(inner)
	}
	return s
}

// addKey keeps few keys in a list and many in a map.
func addKey(keys *[]string, many *map[string]struct{}, k string) bool {
	if *many == nil {
		for _, have := range *keys {
			if have == k {
				return false
			}
		}
		*keys = append(*keys, k)
		if len(*keys) > 12 {
			*many = make(map[string]struct{}, 64)
			for _, have := range *keys {
				(*many)[have] = struct{}{}
			}
		}
		return true
	}
	if _, have := (*many)[k]; have {
		return false
	}
	(*many)[k] = struct{}{}
	return true
}
