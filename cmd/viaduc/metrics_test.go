package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite metrics.txt")

// metric is one that the source declares through an Opts literal.
func metricsIn(t *testing.T, root string) (lines []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.Name() != "metrics.go" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			sel, ok := lit.Type.(*ast.SelectorExpr)
			if !ok || !strings.HasSuffix(sel.Sel.Name, "Opts") {
				return true
			}
			var name, help string
			for _, e := range lit.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				key, _ := kv.Key.(*ast.Ident)
				if v, ok := kv.Value.(*ast.BasicLit); ok && key != nil {
					text, _ := strconv.Unquote(v.Value)
					switch key.Name {
					case "Name":
						name = text
					case "Help":
						help = text
					}
				}
			}
			if name != "" {
				lines = append(lines, fmt.Sprintf("%-44s %-9s %s\n", name, strings.ToLower(strings.TrimSuffix(sel.Sel.Name, "Opts")), help))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func TestMetrics_ThePrintedListIsTheSource(t *testing.T) {
	want := strings.Join(metricsIn(t, "../.."), "")
	if *update {
		if err := os.WriteFile("metrics.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if metricsText != want {
		t.Fatal("metrics.txt differs from the source; run: go test ./cmd/viaduc -run TestMetrics -update")
	}
}
