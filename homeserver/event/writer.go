package event

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// writer writes the recorded tokens of a scanner in canonical form. Its work is linear in the text, apart from sorting.
type writer struct {
	*scanner
	dst     []byte
	members []member // a stack, one run per open object
}

type member struct {
	key   []byte // decoded
	token int32  // of the key; the value is the next one
}

func (w *writer) value(t int32) error {
	k := w.tokens[t]
	switch c := w.b[k.start]; {
	case c == '{':
		return w.object(t)
	case c == '[':
		w.dst = append(w.dst, '[')
		for e := t + 1; e < k.next; e = w.tokens[e].next {
			if e != t+1 {
				w.dst = append(w.dst, ',')
			}
			if err := w.value(e); err != nil {
				return err
			}
		}
		w.dst = append(w.dst, ']')
	case c == '"':
		w.text(k)
	case c == '-' || '0' <= c && c <= '9':
		var err error
		w.dst, err = appendNumber(w.dst, w.b[k.start:k.end])
		return err
	default:
		w.dst = append(w.dst, w.b[k.start:k.end]...)
	}
	return nil
}

func (w *writer) text(k token) {
	if !k.escaped {
		w.dst = append(w.dst, w.b[k.start:k.end]...)
		return
	}
	w.dst = appendString(w.dst, appendDecoded(nil, w.b[k.start+1:k.end-1]))
}

func (w *writer) object(t int32) error {
	base, end := len(w.members), w.tokens[t].next
	for e := t + 1; e < end; e = w.tokens[e+1].next {
		k := w.tokens[e]
		key := w.b[k.start+1 : k.end-1]
		if k.escaped {
			key = appendDecoded(nil, key)
		}
		w.members = append(w.members, member{key, e})
	}
	run := w.members[base:]
	byKey := func(a, b member) int { return bytes.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(run, byKey) {
		slices.SortFunc(run, byKey)
	}
	n := len(run)
	w.dst = append(w.dst, '{')
	for j := range n {
		m := w.members[base+j]
		if j > 0 {
			if bytes.Equal(w.members[base+j-1].key, m.key) {
				return errDuplicate
			}
			w.dst = append(w.dst, ',')
		}
		w.dst = append(appendString(w.dst, m.key), ':')
		if err := w.value(m.token + 1); err != nil {
			return err
		}
	}
	w.dst = append(w.dst, '}')
	w.members = w.members[:base]
	return nil
}

// appendDecoded appends the text of a valid string without its quotes.
func appendDecoded(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) && i+6 < len(s) {
				low, _ := hex4(s[i+3:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendString appends s as a canonical string with quotes. s must be valid UTF-8.
func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case short[c] != 0:
			dst = append(dst, '\\', short[c])
		default:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}
