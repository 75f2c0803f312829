package web

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// tree matches paths segment by segment. A fixed segment wins over a parameter;
// if its branch leads nowhere, the parameter is tried.
type tree struct {
	fixed map[string]*tree
	param *tree
	rest  *tree
	// emptyParam: the parameter below may be the empty string.
	emptyParam bool
	leaf       *leaf
}

// leaf is a path with its methods.
type leaf struct {
	path    string
	params  []string
	methods map[string]*route
	allow   string
}

// maxSegments bounds the path; no path of the specification has more than ten.
const maxSegments = 24

// emptyAllowed is the one parameter that may be empty: a state key.
const emptyAllowed = "stateKey"

func (t *tree) add(path string) *leaf {
	if !strings.HasPrefix(path, "/") {
		panic("web: path without slash: " + path)
	}
	n := t
	var params []string
	for seg := range strings.SplitSeq(path[1:], "/") {
		name, isParam := strings.CutPrefix(seg, "{")
		if !isParam {
			if n.fixed == nil {
				n.fixed = map[string]*tree{}
			}
			if n.fixed[seg] == nil {
				n.fixed[seg] = &tree{}
			}
			n = n.fixed[seg]
			continue
		}
		name, ok := strings.CutSuffix(name, "}")
		if !ok || name == "" {
			panic("web: bad parameter in path " + path)
		}
		name, isRest := strings.CutSuffix(name, "...")
		params = append(params, name)
		next := &n.param
		if isRest {
			next = &n.rest
		}
		if *next == nil {
			*next = &tree{}
		}
		if name == emptyAllowed {
			n.emptyParam = true
		}
		n = *next
	}
	if n.leaf == nil {
		n.leaf = &leaf{path: path, params: params, methods: map[string]*route{}}
	}
	return n.leaf
}

// addRoute puts a route under its method; two of the same are a mistake.
func (t *tree) addRoute(r *route) {
	l := t.add(r.Path)
	if l.methods[r.Method] != nil {
		panic(fmt.Sprintf("web: two routes for %s %s", r.Method, r.Path))
	}
	l.methods[r.Method] = r
	r.params = paramNames(r.Path)
	l.allow = ""
	for m := range l.methods {
		if l.allow != "" {
			l.allow += ", "
		}
		l.allow += m
	}
}

func paramNames(path string) []string {
	var names []string
	for seg := range strings.SplitSeq(path, "/") {
		if len(seg) > 1 && seg[0] == '{' {
			names = append(names, strings.TrimSuffix(seg[1:len(seg)-1], "..."))
		}
	}
	return names
}

// match finds the leaf of an escaped path and appends the decoded values of its
// parameters to vals.
func (t *tree) match(escaped string, vals []string) (*leaf, []string, error) {
	var store [maxSegments]string
	segs := store[:0]
	if len(escaped) > 0 && escaped[0] == '/' {
		escaped = escaped[1:]
	}
	for rest, more := escaped, true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		if len(segs) == maxSegments {
			return nil, nil, nil
		}
		if strings.IndexByte(seg, '%') >= 0 {
			dec, err := url.PathUnescape(seg)
			if err != nil {
				return nil, nil, errBadPath
			}
			seg = dec
		}
		if !cleanText(seg) {
			return nil, nil, errBadPath
		}
		segs = append(segs, seg)
	}
	l, out := t.walk(segs, vals)
	if l == nil && len(segs) > 1 && segs[len(segs)-1] == "" {
		l, out = t.walk(segs[:len(segs)-1], vals)
	}
	return l, out, nil
}

func (t *tree) walk(segs, vals []string) (*leaf, []string) {
	if len(segs) == 0 {
		return t.leaf, vals
	}
	seg := segs[0]
	if n := t.fixed[seg]; n != nil {
		if l, out := n.walk(segs[1:], vals); l != nil {
			return l, out
		}
	}
	if t.param != nil && (seg != "" || t.emptyParam) {
		if l, out := t.param.walk(segs[1:], append(vals, seg)); l != nil {
			return l, out
		}
	}
	if t.rest != nil && t.rest.leaf != nil {
		return t.rest.leaf, append(vals, strings.Join(segs, "/"))
	}
	return nil, nil
}

// cleanText says that a decoded value is valid UTF-8 without NUL, which
// databases refuse.
func cleanText(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0 || c >= utf8.RuneSelf {
			return c != 0 && utf8.ValidString(s[i:]) && strings.IndexByte(s[i:], 0) < 0
		}
	}
	return true
}
