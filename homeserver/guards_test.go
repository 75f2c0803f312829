package homeserver_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/viaduc/viaduc/"

// tree is the source of the project, or of a planted one.
type tree struct {
	root  string
	fset  *token.FileSet
	files []*source
}

// source is one Go file.
type source struct {
	pkg  string // folder from the root, "" for the root
	name string
	text string
	ast  *ast.File
}

func (s *source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s *source) path() string { return path.Join(s.pkg, s.name) }

func parseTree(t *testing.T, root string) *tree {
	tr := &tree{root: root, fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); p != root && (n == "testdata" || n == "node_modules" || n[0] == '.' || n[0] == '_') {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(tr.fset, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); rel == "." {
			rel = ""
		}
		tr.files = append(tr.files, &source{rel, d.Name(), string(text), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *tree) at(n ast.Node) string {
	p := tr.fset.Position(n.Pos())
	rel, _ := filepath.Rel(tr.root, p.Filename)
	return fmt.Sprintf("%s:%d", filepath.ToSlash(rel), p.Line)
}

// imports returns our own packages that a file imports.
func (s *source) imports() (out []string) {
	for _, i := range s.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		if ours, ok := strings.CutPrefix(p, module); ok {
			out = append(out, ours)
		}
	}
	return out
}

// floors: a package imports only from lower ones.
var floors = map[string]int{
	"homeserver/database": 0, "homeserver/web": 0, "homeserver/event": 0,
	"homeserver/stream": 1, "homeserver/mail": 1,
	"homeserver/account": 2, "homeserver/policy": 2,
	"homeserver/room": 3, "homeserver/oauth": 3,
	"homeserver/timeline": 4, "homeserver/e2ee": 4, "homeserver/ephemeral": 4, "homeserver/media": 4, "homeserver/directory": 4,
	"homeserver/push": 5, "homeserver/calls": 5,
	"homeserver/clientsync": 6, "homeserver/admin": 6, "federation": 6, "appservices": 6,
	"homeserver": 7, "homeserver/hstest": 8,
}

// concept is the package that a subfolder belongs to: event/auth is event.
func concept(pkg string) string {
	parts := strings.Split(pkg, "/")
	if parts[0] == "homeserver" && len(parts) > 2 {
		return path.Join(parts[:2]...)
	}
	return pkg
}

func guardFloors(tr *tree) (out []string) {
	for _, s := range tr.files {
		if s.test() || strings.HasPrefix(s.pkg, "cmd/") {
			continue
		}
		for _, imp := range s.imports() {
			if why := arrow(s.pkg, imp); why != "" {
				out = append(out, s.path()+": imports "+imp+": "+why)
			}
		}
	}
	return out
}

// arrow says why a package may not import another.
func arrow(from, to string) string {
	a, b := concept(from), concept(to)
	switch {
	case a == b:
		return ""
	case from == "config":
		return "config is a leaf"
	case strings.HasPrefix(from, "bridges/"):
		if to == "bridges/kit" {
			return ""
		}
		return "bridges know only the public API"
	case to == "config":
		return ""
	}
	fa, ok := floors[a]
	if !ok {
		return a + " stands on no floor"
	}
	fb, ok := floors[b]
	if !ok {
		return b + " stands on no floor"
	}
	if fb >= fa {
		return fmt.Sprintf("floor %d may not look at floor %d", fa, fb)
	}
	return ""
}

// webForAll is what domain files may take from web: the errors people see, and
// waiting that ends when the server stops.
var webForAll = regexp.MustCompile(`^(M[A-Z]\w*|Errorf|Status|LimitExceeded|SoftLogout|AsRespError|StatusOf|LongPoll)$`)

// handlerFile is a file that may know HTTP.
var handlerFile = regexp.MustCompile(`^(http(_\w+)?|auth|doc)\.go$`)

func guardWeb(tr *tree) (out []string) {
	for _, s := range tr.files {
		if f, ok := floors[concept(s.pkg)]; !ok || f < 1 || f > 6 || !strings.HasPrefix(s.pkg, "homeserver/") || s.test() || handlerFile.MatchString(s.name) {
			continue
		}
		if !slices.Contains(s.imports(), "homeserver/web") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "web" && x.Obj == nil && !webForAll.MatchString(sel.Sel.Name) {
				out = append(out, tr.at(sel)+": web."+sel.Sel.Name+" outside http_*.go and auth.go")
			}
			return true
		})
	}
	return out
}

var engineName = regexp.MustCompile(`(?i)postgres|sqlite`)

func guardEngines(tr *tree) (out []string) {
	for _, s := range tr.files {
		if s.test() || s.pkg == "config" || strings.HasPrefix(s.pkg, "cmd/") || concept(s.pkg) == "homeserver/database" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if engineName.MatchString(n.Name) {
					out = append(out, tr.at(n)+": "+n.Name)
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING && engineName.MatchString(n.Value) {
					out = append(out, tr.at(n)+": "+n.Value)
				}
			}
			return true
		})
	}
	return out
}

var createTable = regexp.MustCompile(`(?i)CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)`)

// guardTables: each table is named in SQL by one package.
func guardTables(tr *tree) (out []string) {
	schema, err := os.ReadFile(filepath.Join(tr.root, "homeserver/database/migrations/00-latest.sql"))
	if err != nil {
		return []string{err.Error()}
	}
	owners := map[string]map[string]string{}
	for _, m := range createTable.FindAllStringSubmatch(string(schema), -1) {
		owners[m[1]] = map[string]string{}
	}
	use := regexp.MustCompile(`(?i)\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+(` + strings.Join(slices.Sorted(maps.Keys(owners)), "|") + `)\b`)
	for _, s := range tr.files {
		if s.test() || concept(s.pkg) == "homeserver/database" || len(owners) == 0 {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			var names []string
			switch n := n.(type) {
			case *ast.BasicLit:
				for _, m := range use.FindAllStringSubmatch(n.Value, -1) {
					names = append(names, m[1])
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "NewTable" && len(n.Args) > 0 {
					if lit, ok := n.Args[0].(*ast.BasicLit); ok {
						name, _ := strconv.Unquote(lit.Value)
						names = append(names, name)
					}
				}
			}
			for _, name := range names {
				if by := owners[name]; by != nil && by[concept(s.pkg)] == "" {
					by[concept(s.pkg)] = tr.at(n)
				}
			}
			return true
		})
	}
	for _, table := range slices.Sorted(maps.Keys(owners)) {
		if by := owners[table]; len(by) > 1 {
			out = append(out, fmt.Sprintf("table %s is named by %s", table, strings.Join(slices.Sorted(maps.Values(by)), " and ")))
		}
	}
	return out
}

const maxLines = 800

func guardLength(tr *tree) (out []string) {
	for _, s := range tr.files {
		if n := strings.Count(s.text, "\n"); n > maxLines && !ast.IsGenerated(s.ast) {
			out = append(out, fmt.Sprintf("%s: %d lines", s.path(), n))
		}
	}
	return out
}

// guardDocs: each package has doc.go with a comment. Helpers of tests may have
// the comment elsewhere.
func guardDocs(tr *tree) (out []string) {
	has := map[string]bool{}
	for _, s := range tr.files {
		if !s.test() && s.pkg != "" {
			has[s.pkg] = has[s.pkg] || s.ast.Doc != nil && (s.name == "doc.go" || strings.HasSuffix(s.pkg, "test"))
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(has)) {
		if !has[pkg] {
			out = append(out, pkg+": no doc.go with a package comment")
		}
	}
	return out
}
