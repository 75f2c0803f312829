package push

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// naive says whether a pattern matches all of a text.
func naive(pattern, text []rune) bool {
	if len(pattern) == 0 {
		return len(text) == 0
	}
	switch pattern[0] {
	case '*':
		return naive(pattern[1:], text) || len(text) > 0 && naive(pattern, text[1:])
	case '?':
		return len(text) > 0 && naive(pattern[1:], text[1:])
	}
	return len(text) > 0 && text[0] == pattern[0] && naive(pattern[1:], text[1:])
}

func naiveWords(pattern, text string) bool {
	for i := 0; i <= len(text); i++ {
		for j := i; j <= len(text); j++ {
			if boundary(text, i) && boundary(text, j) && (i == len(text) || utf8Start(text[i])) && (j == len(text) || utf8Start(text[j])) &&
				naive([]rune(pattern), []rune(text[i:j])) {
				return true
			}
		}
	}
	return false
}

func utf8Start(b byte) bool { return b&0xc0 != 0x80 }

func TestGlob_AgreesWithNaiveMatching(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func(letters string, n int) string {
		var b strings.Builder
		for range rnd.IntN(n) {
			b.WriteRune([]rune(letters)[rnd.IntN(len([]rune(letters)))])
		}
		return b.String()
	}
	yes := 0
	for range 30_000 {
		pattern, text := word("ab*?é-", 7), word("ab é-", 9)
		g := newGlob(pattern)
		if got, want := g.all(text), naive([]rune(pattern), []rune(text)); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, text, got, want)
		}
		got, want := g.words(text), naiveWords(pattern, text)
		if got != want {
			t.Fatalf("%q stands in %q: %v, want %v", pattern, text, got, want)
		}
		if want {
			yes++
		}
	}
	if yes < 1000 {
		t.Errorf("only %d matches", yes)
	}
}

func TestGlob_LongPatterns(t *testing.T) {
	long := strings.Repeat("abc?", 60)
	text := strings.Repeat("abcd", 60)
	if g := newGlob(long); !g.all(text) || g.all(text+"x") || !g.words("so "+text+" it is") || g.words("so"+text) {
		t.Error("240 characters")
	}
	if g := newGlob("*" + long + "*end"); !g.all("start" + text + "and the end") {
		t.Error("with stars")
	}
}

func TestGlob_ManyDifferentCharacters(t *testing.T) {
	var b strings.Builder
	for r := rune(0x4e00); r < 0x4e00+300; r++ {
		b.WriteRune(r)
	}
	if g := newGlob(b.String() + "*"); !g.all(b.String()+"x") || g.all("x") {
		t.Error("300 different characters")
	}
}

func TestGlob_ExamplesOfTheSpecification(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		all, words    bool
	}{
		{"lunc?*", "lunch plans", true, true},
		{"lunc?*", "lunch", true, true},
		{"lunc?*", " lunch", false, true},
		{"lunc?*", "lunc", false, false},
		{"ex*ple", "an example event.", false, true},
		{"ex*ple", "exple", true, true},
		{"ex*ple", "an exciting triple-whammy", false, true},
		{"ex*ple", "unexample", false, false},
		{"@room", "hey @room!", false, true},
		{"@room", "hey @rooms", false, false},
	} {
		g := newGlob(c.pattern)
		if g.all(c.text) != c.all || g.words(c.text) != c.words {
			t.Errorf("%q on %q: %v, %v", c.pattern, c.text, g.all(c.text), g.words(c.text))
		}
	}
}
