package event

import (
	"bytes"
	"math"
	"unicode/utf16"
	"unicode/utf8"

	"maunium.net/go/mautrix"
)

// MaxNesting bounds how deep arrays and objects may stand inside each other.
const MaxNesting = 500

var (
	errSyntax    = mautrix.MNotJSON.WithMessage("Not valid JSON")
	errUTF8      = mautrix.MNotJSON.WithMessage("Text is not valid UTF-8")
	errSurrogate = mautrix.MBadJSON.WithMessage("Text contains half a surrogate pair")
	errNesting   = mautrix.MBadJSON.WithMessage("JSON is nested too deeply")
	errDuplicate = mautrix.MBadJSON.WithMessage("JSON object names a key twice")
	errNumber    = mautrix.MBadJSON.WithMessage("Numbers must be integers between -(2^53-1) and 2^53-1")
	errObject    = mautrix.MBadJSON.WithMessage("JSON object expected")
	errLong      = mautrix.MTooLarge.WithMessage("JSON is too long")
)

// CanonicalJSON gives the canonical form of raw and refuses what has none: other numbers than integers within ±(2^53-1),
// duplicate keys, invalid text. If raw is canonical already, the answer is raw itself. spec: appendices#canonical-json
func CanonicalJSON(raw []byte) ([]byte, error) { return canonical(raw, true) }

// LenientCanonicalJSON tolerates any number, see the package comment. It is for room versions 1 to 5 and for signed
// objects other than events.
func LenientCanonicalJSON(raw []byte) ([]byte, error) { return canonical(raw, false) }

// ValidJSON checks raw like LenientCanonicalJSON and writes nothing.
func ValidJSON(raw []byte) error {
	s := scanner{b: raw}
	return s.document()
}

func canonical(raw []byte, strict bool) ([]byte, error) {
	s := scanner{b: raw, strict: strict, canon: true}
	if err := s.document(); err != nil {
		return nil, err
	}
	if s.canon {
		return raw, nil
	}
	return recode(make([]byte, 0, len(raw)), raw)
}

// recode appends the canonical form of a value that a scanner has accepted as valid.
func recode(dst, raw []byte) ([]byte, error) {
	s := scanner{b: raw, record: true, tokens: make([]token, 0, 16+len(raw)/16)}
	if err := s.document(); err != nil {
		return nil, err
	}
	w := writer{scanner: &s, dst: dst, members: make([]member, 0, 16)}
	if err := w.value(0); err != nil {
		return nil, err
	}
	return w.dst, nil
}

// A token is a value or a key. Tokens stand in the order of the text; next is the index behind the whole value.
type token struct {
	start, end, next int32
	escaped          bool // a string with backslashes
}

// scanner checks JSON in one pass. It notices whether the text is canonical already, and records tokens only if asked.
type scanner struct {
	b      []byte
	i      int
	depth  int
	strict bool
	canon  bool
	record bool
	tokens []token
}

func (s *scanner) document() error {
	if len(s.b) > math.MaxInt32-1 {
		return errLong
	}
	s.space()
	if err := s.value(); err != nil {
		return err
	}
	s.space()
	if s.i != len(s.b) {
		return errSyntax
	}
	return nil
}

func (s *scanner) space() {
	start := s.i
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\n' || s.b[s.i] == '\r') {
		s.i++
	}
	if s.i != start {
		s.canon = false
	}
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) open(start int) int {
	if !s.record {
		return 0
	}
	s.tokens = append(s.tokens, token{start: int32(start)})
	return len(s.tokens) - 1
}

func (s *scanner) close(t int, escaped bool) {
	if s.record {
		k := &s.tokens[t]
		k.end, k.next, k.escaped = int32(s.i), int32(len(s.tokens)), escaped
	}
}

func (s *scanner) value() error {
	t := s.open(s.i)
	var err error
	var escaped bool
	switch c := s.peek(); {
	case c == '"':
		escaped, err = s.text()
	case c == '{':
		err = s.object()
	case c == '[':
		err = s.array()
	case c == '-' || '0' <= c && c <= '9':
		err = s.number()
	default:
		err = s.literal()
	}
	if err != nil {
		return err
	}
	s.close(t, escaped)
	return nil
}

func (s *scanner) literal() error {
	rest := s.b[s.i:]
	for _, word := range [...]string{"true", "false", "null"} {
		if len(rest) >= len(word) && string(rest[:len(word)]) == word {
			s.i += len(word)
			return nil
		}
	}
	return errSyntax
}

func (s *scanner) array() error {
	if s.depth++; s.depth > MaxNesting {
		return errNesting
	}
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		s.depth--
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
			s.space()
		case ']':
			s.i++
			s.depth--
			return nil
		default:
			return errSyntax
		}
	}
}

func (s *scanner) object() error {
	if s.depth++; s.depth > MaxNesting {
		return errNesting
	}
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		s.depth--
		return nil
	}
	var last []byte
	for first := true; ; first = false {
		key, err := s.key()
		if err != nil {
			return err
		}
		if !first {
			switch bytes.Compare(last, key) {
			case 0:
				return errDuplicate
			case 1:
				s.canon = false // the writer sorts and finds the other duplicates
			}
		}
		last = key
		if err = s.value(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
			s.space()
		case '}':
			s.i++
			s.depth--
			return nil
		default:
			return errSyntax
		}
	}
}

// key reads a key and the colon behind it, and gives the decoded key.
func (s *scanner) key() ([]byte, error) {
	if s.peek() != '"' {
		return nil, errSyntax
	}
	start := s.i
	t := s.open(start)
	escaped, err := s.text()
	if err != nil {
		return nil, err
	}
	s.close(t, escaped)
	key := s.b[start+1 : s.i-1]
	if escaped {
		key = appendDecoded(nil, key)
	}
	s.space()
	if s.peek() != ':' {
		return nil, errSyntax
	}
	s.i++
	s.space()
	return key, nil
}

// text reads a string and tells whether it has escapes.
func (s *scanner) text() (escaped bool, err error) {
	b, i := s.b, s.i+1
	start, wide := i, false
	for ; i < len(b); i++ {
		c := b[i]
		if plain[c] {
			continue
		}
		switch {
		case c == '"':
			if wide && !utf8.Valid(b[start:i]) {
				return false, errUTF8
			}
			s.i = i + 1
			return escaped, nil
		case c >= utf8.RuneSelf:
			wide = true
		case c == '\\':
			escaped = true
			n, err := s.escape(b[i:])
			if err != nil {
				return false, err
			}
			i += n - 1
		default:
			return false, errSyntax // a bare control character
		}
	}
	return false, errSyntax
}

// plain: characters that need no thought inside a string.
var plain = func() (p [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		p[c] = c != '"' && c != '\\'
	}
	return p
}()

// escape checks the escape at the start of b and gives its length.
func (s *scanner) escape(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, errSyntax
	}
	switch b[1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return 2, nil
	case '/':
		s.canon = false
		return 2, nil
	case 'u':
	default:
		return 0, errSyntax
	}
	r, ok := hex4(b[2:])
	if !ok {
		return 0, errSyntax
	}
	if utf16.IsSurrogate(r) {
		s.canon = false
		if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
			return 0, errSurrogate
		}
		low, ok := hex4(b[8:])
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return 0, errSurrogate
		}
		return 12, nil
	}
	if s.canon {
		s.canon = r < 0x20 && short[r] == 0 && b[5] == lowerHex[r&15]
	}
	return 6, nil
}

const lowerHex = "0123456789abcdef"

// short has the letter of the two-character escapes.
var short = [0x20]byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r'}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
