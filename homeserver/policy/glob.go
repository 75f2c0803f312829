package policy

import "strings"

const (
	maxPattern = 255    // bytes; no user ID or server name is longer
	maxGlobs   = 200    // patterns with wildcards in a list of a user
	maxNames   = 10_000 // patterns without
)

// list is a set of patterns.
type list struct {
	names map[string]struct{}
	globs []string
}

// newList reads patterns; what could match nothing, and what is too much, is left out.
func newList(patterns []string, maxNames, maxGlobs int) list {
	var l list
	for _, p := range patterns {
		switch {
		case p == "" || len(p) > maxPattern:
		case strings.ContainsAny(p, "*?"):
			if len(l.globs) < maxGlobs {
				l.globs = append(l.globs, p)
			}
		case len(l.names) < maxNames:
			if l.names == nil {
				l.names = map[string]struct{}{}
			}
			l.names[p] = struct{}{}
		}
	}
	return l
}

func (l list) empty() bool { return len(l.names) == 0 && len(l.globs) == 0 }

func (l list) has(s string) bool {
	if _, ok := l.names[s]; ok {
		return true
	}
	for _, g := range l.globs {
		if match(g, s) {
			return true
		}
	}
	return false
}

// match compares with a pattern in which * stands for anything and ? for one character.
//
// spec: appendices#glob-style-matching
func match(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func lower(patterns []string) []string {
	out := make([]string, len(patterns))
	for i, p := range patterns {
		out[i] = strings.ToLower(p)
	}
	return out
}
