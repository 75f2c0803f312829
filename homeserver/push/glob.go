package push

import (
	"strings"
	"unicode/utf8"
)

// glob matches patterns with * and ? without regard to case, in time linear in the text. Texts are given in lower case.
//
// spec: appendices#glob-style-matching
type glob struct {
	literal  string // the pattern in lower case, if it has no wildcards
	wild     bool
	n        int        // runes and question marks
	stars    []uint64   // bit i: a star stands behind i of them
	ascii    [128]uint8 // the class of a character; 0: not in the pattern
	others   map[rune]uint8
	accepted [][]uint64 // by class: bit i: the i-th takes it
}

// newGlob compiles a pattern.
func newGlob(pattern string) *glob {
	pattern = strings.ToLower(pattern)
	if !strings.ContainsAny(pattern, "*?") {
		return &glob{literal: pattern}
	}
	g := &glob{wild: true}
	var tokens []rune // 0 stands for ?
	starAt := map[int]bool{}
	for _, r := range pattern {
		switch r {
		case '*':
			starAt[len(tokens)] = true
		case '?':
			tokens = append(tokens, 0)
		default:
			tokens = append(tokens, r)
		}
	}
	g.n = len(tokens)
	words := g.n/64 + 1
	g.stars = make([]uint64, words)
	for i := range starAt {
		g.stars[i/64] |= 1 << (i % 64)
	}
	g.accepted = [][]uint64{make([]uint64, words)}
	for i, t := range tokens {
		if t == 0 {
			g.accepted[0][i/64] |= 1 << (i % 64)
		}
	}
	for i, t := range tokens {
		if t != 0 {
			c := g.classFor(t)
			g.accepted[c][i/64] |= 1 << (i % 64)
		}
	}
	return g
}

// classFor gives the class of a character of the pattern. Behind 254 different ones the rest share the last, which then takes
// more than it should: no pattern of a sane length has so many.
func (g *glob) classFor(r rune) uint8 {
	if c := g.class(r); c != 0 {
		return c
	}
	c := uint8(min(len(g.accepted), 255))
	if int(c) == len(g.accepted) {
		g.accepted = append(g.accepted, append([]uint64(nil), g.accepted[0]...))
	}
	if r < 128 && r >= 0 {
		g.ascii[r] = c
	} else {
		if g.others == nil {
			g.others = map[rune]uint8{}
		}
		g.others[r] = c
	}
	return c
}

func (g *glob) class(r rune) uint8 {
	if r < 128 && r >= 0 {
		return g.ascii[r]
	}
	return g.others[r]
}

// state is the set of places in the pattern where a match may be: bit i: i characters are matched.
type state struct {
	bits  []uint64
	small [5]uint64
}

func (g *glob) start(s *state) {
	if len(g.stars) <= len(s.small) {
		s.bits = s.small[:len(g.stars)]
	} else {
		s.bits = make([]uint64, len(g.stars))
	}
}

func (g *glob) step(s *state, r rune) {
	takes := g.accepted[g.class(r)]
	var carry uint64
	for i, d := range s.bits {
		moved := d & takes[i]
		s.bits[i] = moved<<1 | carry | d&g.stars[i]
		carry = moved >> 63
	}
}

func (g *glob) matched(s *state) bool { return s.bits[g.n/64]>>(g.n%64)&1 == 1 }

// all says whether the pattern matches the whole text.
func (g *glob) all(text string) bool {
	if !g.wild {
		return text == g.literal
	}
	var s state
	g.start(&s)
	s.bits[0] = 1
	for _, r := range text {
		g.step(&s, r)
	}
	return g.matched(&s)
}

// words says whether the pattern matches a part of the text that begins and ends at a boundary of words.
func (g *glob) words(text string) bool {
	if !g.wild {
		return hasWords(text, g.literal)
	}
	var s state
	g.start(&s)
	s.bits[0] = 1
	if g.matched(&s) {
		return true
	}
	for i, r := range text {
		if i > 0 && boundary(text, i) {
			s.bits[0] |= 1
		}
		g.step(&s, r)
		if g.matched(&s) && boundary(text, i+utf8.RuneLen(r)) {
			return true
		}
	}
	return false
}

// hasWords says whether the words stand in the text, both in lower case.
func hasWords(text, words string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], words)
		if i < 0 {
			return false
		}
		i += from
		if boundary(text, i) && boundary(text, i+len(words)) {
			return true
		}
		if from = i + 1; from > len(text) {
			return false
		}
	}
}

// boundary says whether a word may begin or end at a place.
func boundary(text string, at int) bool {
	return at <= 0 || at >= len(text) || !wordByte(text[at-1]) || !wordByte(text[at])
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c >= 'A' && c <= 'Z'
}
