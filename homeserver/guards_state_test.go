package homeserver_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// guardState: no package-level state that changes, beside metrics. A variable
// that is never assigned after its declaration is a table, and fine.
func guardState(tr *tree) (out []string) {
	vars := map[string]map[string]*ast.ValueSpec{} // package, name
	for _, s := range tr.files {
		if s.test() || s.name == "metrics.go" {
			continue
		}
		for _, d := range s.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for _, name := range v.Names {
					if vars[s.pkg] == nil {
						vars[s.pkg] = map[string]*ast.ValueSpec{}
					}
					vars[s.pkg][name.Name] = v
				}
				if kind := stateful(v); kind != "" {
					out = append(out, fmt.Sprintf("%s: package-level %s %s", tr.at(v), kind, v.Names[0].Name))
				}
			}
		}
	}
	for _, s := range tr.files {
		if s.test() {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			var targets []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					targets = n.Lhs
				}
			case *ast.IncDecStmt:
				targets = []ast.Expr{n.X}
			}
			for _, x := range targets {
				if id := base(x); id != nil && id.Name != "_" {
					if v := vars[s.pkg][id.Name]; v != nil && (id.Obj == nil || id.Obj.Decl == v) {
						out = append(out, fmt.Sprintf("%s: package-level %s is changed", tr.at(x), id.Name))
					}
				}
			}
			return true
		})
	}
	return out
}

// stateful names a type that is made to change. Pools hold nothing that matters.
func stateful(v *ast.ValueSpec) (kind string) {
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.FuncType:
			return false
		case *ast.ChanType:
			kind = "channel"
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && (x.Name == "atomic" || x.Name == "sync" && !slices.Contains([]string{"Pool", "OnceValue", "OnceValues", "OnceFunc"}, n.Sel.Name)) {
				kind = x.Name + "." + n.Sel.Name
			}
		}
		return true
	}
	if v.Type != nil {
		ast.Inspect(v.Type, look)
	}
	for _, x := range v.Values {
		ast.Inspect(x, look)
	}
	return kind
}

// base is the variable at the bottom of x[i], x.f, *x.
func base(x ast.Expr) *ast.Ident {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			return e
		case *ast.IndexExpr:
			x = e.X
		case *ast.SelectorExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.ParenExpr:
			x = e.X
		default:
			return nil
		}
	}
}

var (
	anchorWord  = regexp.MustCompile(`\b((?:cs|ss|as|is|push|appendices|rooms(?:/v\d+)?)#[\w.\-]*[\w])`)
	specComment = regexp.MustCompile(`(?m)^\s*(?://)?\s*spec: (.*)$`)
	ownAnchor   = regexp.MustCompile(`^(msc|viaduc|synapse|oidc|rfc)[:#]\s?\S`)
	numbered    = regexp.MustCompile(`-\d+$`)
	roomVersion = regexp.MustCompile(`^rooms(/v\d+)?#`)
)

// anchors are those of the specification, dots removed.
func anchors(root string) map[string]bool {
	text, err := os.ReadFile(filepath.Join(root, "homeserver/testdata/anchors.txt"))
	if err != nil {
		return nil
	}
	known := map[string]bool{}
	for a := range strings.FieldsSeq(string(text)) {
		a = strings.ReplaceAll(a, ".", "")
		known[a] = true
		known[roomVersion.ReplaceAllString(a, "rooms#")] = true
		known[strings.Replace(a, "#definition-", "#", 1)] = true
	}
	return known
}

func knownAnchor(known map[string]bool, a string) bool {
	a = strings.ReplaceAll(roomVersion.ReplaceAllString(a, "rooms#"), ".", "")
	base, _, _ := strings.Cut(a, "_response-")
	return known[a] || known[base] || known[numbered.ReplaceAllString(a, "")] ||
		known[strings.Replace(a, "#definition-", "#", 1)] || strings.Contains(a, "#definition-")
}

// guardAnchors: each route has an anchor, and each anchor that is cited exists.
func guardAnchors(tr *tree) (out []string) {
	known := anchors(tr.root)
	for _, s := range tr.files {
		if s.test() {
			continue
		}
		for _, group := range s.ast.Comments {
			for _, m := range specComment.FindAllStringSubmatch(group.Text(), -1) {
				for _, a := range anchorWord.FindAllString(m[1], -1) {
					if !knownAnchor(known, a) {
						out = append(out, tr.at(group)+": the specification has no "+a)
					}
				}
			}
		}
		if s.name != "routes.go" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			path, spec, ok := routeRow(n)
			switch {
			case !ok:
			case spec == "":
				out = append(out, tr.at(n)+": no anchor for "+path)
			case !ownAnchor.MatchString(spec) && !knownAnchor(known, spec):
				out = append(out, tr.at(n)+": the specification has no "+spec)
			}
			return true
		})
	}
	return out
}

// routeRow takes a row of a route table apart.
func routeRow(n ast.Node) (path, spec string, ok bool) {
	lit, isLit := n.(*ast.CompositeLit)
	if !isLit {
		return "", "", false
	}
	for i, e := range lit.Elts {
		name := ""
		if kv, keyed := e.(*ast.KeyValueExpr); keyed {
			if id, isID := kv.Key.(*ast.Ident); isID {
				name = id.Name
			}
			e = kv.Value
		}
		b, isText := e.(*ast.BasicLit)
		if !isText || b.Kind != token.STRING {
			continue
		}
		text, _ := strconv.Unquote(b.Value)
		switch {
		case strings.HasPrefix(text, "/") && (name == "Path" || name == "" && i == 1):
			path = text
		case name == "Spec" || name == "" && i >= 3:
			spec = text
		}
	}
	return path, spec, path != ""
}
