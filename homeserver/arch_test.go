package homeserver_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the picture in README.md")

// guards are the rules of the code, each with the folder of testdata/arch that
// breaks it on purpose.
var guards = []struct {
	name  string
	check func(*tree) []string
}{
	{"floors", guardFloors},
	{"web", guardWeb},
	{"engines", guardEngines},
	{"tables", guardTables},
	{"state", guardState},
	{"length", guardLength},
	{"docs", guardDocs},
	{"anchors", guardAnchors},
	{"picture", guardPicture},
}

func TestArchitecture_RulesAreKept(t *testing.T) {
	tr := parseTree(t, "..")
	if *update {
		rewritePicture(t, tr)
	}
	for _, g := range guards {
		t.Run(g.name, func(t *testing.T) {
			for _, v := range g.check(tr) {
				t.Error(v)
			}
		})
	}
}

// Each guard must fail on a tree where its rule is broken, in each way that is
// planted. The files of testdata/arch have the words to expect, then the tree,
// each file after a line "-- name --".
func TestArchitecture_PlantedViolationsAreFound(t *testing.T) {
	for _, g := range guards {
		t.Run(g.name, func(t *testing.T) {
			want, dir := planted(t, g.name)
			got := g.check(parseTree(t, dir))
			for _, w := range want {
				if !slices.ContainsFunc(got, func(v string) bool { return strings.Contains(v, w) }) {
					t.Errorf("not found: %s", w)
				}
			}
			if len(got) != len(want) || t.Failed() {
				t.Errorf("%d violations, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
			}
		})
	}
}

var fileMark = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

func planted(t *testing.T, name string) (want []string, dir string) {
	text, err := os.ReadFile(filepath.Join("testdata", "arch", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	marks := fileMark.FindAllSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		file := filepath.Join(dir, string(text[m[2]:m[3]]))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text[m[1]:end], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Split(strings.TrimSpace(string(text[:marks[0][0]])), "\n"), dir
}

const pictureStart, pictureEnd = "<!-- imports: printed by go test ./homeserver -update -->\n```\n", "```\n<!-- end of imports -->"

// picture draws the floors with the imports that there are.
func picture(tr *tree) string {
	arrows := map[string]map[string]bool{}
	for _, s := range tr.files {
		pkg := concept(s.pkg)
		if _, ok := floors[pkg]; !ok || s.test() {
			continue
		}
		if arrows[pkg] == nil {
			arrows[pkg] = map[string]bool{}
		}
		for _, imp := range s.imports() {
			if to := concept(imp); to != pkg && to != "config" {
				arrows[pkg][strings.TrimPrefix(to, "homeserver/")] = true
			}
		}
	}
	var b strings.Builder
	for floor := 8; floor >= 0; floor-- {
		for _, pkg := range slices.Sorted(maps.Keys(arrows)) {
			if floors[pkg] != floor {
				continue
			}
			line := fmt.Sprintf("floor %d  %-12s", floor, strings.TrimPrefix(pkg, "homeserver/"))
			if to := slices.Sorted(maps.Keys(arrows[pkg])); len(to) > 0 {
				line += " → " + strings.Join(to, " ")
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	return b.String()
}

func guardPicture(tr *tree) []string {
	readme, err := os.ReadFile(filepath.Join(tr.root, "README.md"))
	if err != nil {
		return []string{err.Error()}
	}
	_, rest, _ := strings.Cut(string(readme), pictureStart)
	drawn, _, found := strings.Cut(rest, pictureEnd)
	switch {
	case !found:
		return []string{"README.md has no picture of the imports"}
	case drawn != picture(tr):
		return []string{"the picture in README.md is not what the imports are; if the new arrow is meant, run: go test ./homeserver -run Architecture -update"}
	}
	return nil
}

func rewritePicture(t *testing.T, tr *tree) {
	file := filepath.Join(tr.root, "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), pictureStart)
	_, after, end := strings.Cut(rest, pictureEnd)
	if !ok || !end {
		t.Fatal("README.md has no place for the picture")
	}
	if err := os.WriteFile(file, []byte(before+pictureStart+picture(tr)+pictureEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
