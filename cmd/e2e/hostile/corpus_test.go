package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// row is one file of the corpus.
type row struct {
	ID       int      `yaml:"id"`
	Part     string   `yaml:"part"`
	Basis    string   `yaml:"basis"`
	Source   string   `yaml:"source"`
	Input    string   `yaml:"input"`
	To       string   `yaml:"to"`
	Required string   `yaml:"required"`
	Choice   string   `yaml:"choice"` // what we chose, where nobody requires anything
	Versions []string `yaml:"versions"`

	PDU  []pduTrial  `yaml:"pdu"`
	HTTP []httpTrial `yaml:"http"`
	// Tests are "./package TestName": they prove the row in the package that owns the behaviour.
	Tests []string `yaml:"tests"`

	Memory int64    `yaml:"memory"` // MiB that the row may take for a moment
	CPU    int      `yaml:"cpu"`    // seconds of processor time
	Allow  []string `yaml:"allow"`  // parts of names of counters of 5xx that may grow
}

func (r *row) allows(what string) bool {
	return slices.ContainsFunc(r.Allow, func(a string) bool { return strings.Contains(what, a) })
}

// trial is one row in one room version.
type trial struct {
	*testing.T
	w     *world
	row   *row
	v     string
	alice *person
	m     *fake // mallory
	used  []*stage
}

// stage is the common room of the version.
func (t *trial) stage() *stage {
	t.Helper()
	s := t.w.stageOf(t.T, t.v)
	if !slices.Contains(t.used, s) {
		t.used = append(t.used, s)
	}
	return s
}

// fresh is a room for this trial alone.
func (t *trial) fresh(more ...obj) *stage {
	t.Helper()
	s := t.w.newStage(t.T, t.v, more...)
	t.used = append(t.used, s)
	return s
}

// script is a row's function. Rows that do not depend on the room version run once, see rowVersions.
type script func(t *trial)

// scripts are filled by the case_*_test.go files.
var scripts = map[int]script{}

func register(id int, fn script) bool {
	if scripts[id] != nil {
		panic(fmt.Sprintf("two scripts for row %d", id))
	}
	scripts[id] = fn
	return true
}

func loadCorpus(t tb) []*row {
	t.Helper()
	files, err := filepath.Glob("corpus/*.yaml")
	must(t, err)
	var rows []*row
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		r := &row{}
		if err := yaml.UnmarshalWithOptions(b, r, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if filepath.Base(f) != fmt.Sprintf("%03d.yaml", r.ID) {
			t.Fatalf("%s holds row %d", f, r.ID)
		}
		if len(r.Versions) == 0 {
			r.Versions = []string{"12"}
		}
		rows = append(rows, r)
	}
	return rows
}

// TestCorpus_EveryRowIsTried: each row says what it is, and how it is tried.
func TestCorpus_EveryRowIsTried(t *testing.T) {
	known := map[int]bool{}
	for _, r := range loadCorpus(t) {
		known[r.ID] = true
		if r.Part == "" || r.Input == "" || r.Required == "" || !strings.Contains("SIP", r.Basis[:1]) {
			t.Errorf("row %d does not say what it is", r.ID)
		}
		if len(r.PDU)+len(r.HTTP)+len(r.Tests) == 0 && scripts[r.ID] == nil {
			t.Errorf("row %d is not tried", r.ID)
		}
		if r.Basis == "P" && r.Choice == "" {
			t.Errorf("row %d does not say what was chosen", r.ID)
		}
		for _, x := range r.Tests {
			dir, name, _ := strings.Cut(x, " ")
			if !testExists(filepath.Join("../../..", dir), name) {
				t.Errorf("row %d: no test %s", r.ID, x)
			}
		}
	}
	for id := range scripts {
		if !known[id] {
			t.Errorf("row %d has a script and no file", id)
		}
	}
}

func testExists(dir, name string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// TestCorpus tries all rows against one server.
func TestCorpus(t *testing.T) {
	rows := loadCorpus(t)
	pick := os.Getenv("VIADUC_HOSTILE_ROWS") // a regular expression of numbers, for work on the corpus
	w := newWorld(t)
	defer w.end()
	var lines []string
	passed, failed := 0, 0
	for _, r := range rows {
		if pick != "" && !regexp.MustCompile("^("+pick+")$").MatchString(fmt.Sprint(r.ID)) {
			continue
		}
		start := time.Now()
		ok := w.try(t, r)
		verdict := "passed"
		if ok {
			passed++
		} else {
			failed++
			verdict = "FAILED"
		}
		lines = append(lines, fmt.Sprintf("%03d %-2s %-6s %6.1fs  %s", r.ID, r.Basis, verdict, time.Since(start).Seconds(), clip([]byte(r.Input), 100)))
		if !w.hs.running() {
			break
		}
	}
	lines = append(lines, fmt.Sprintf("%d passed, %d failed", passed, failed), "")
	report := strings.Join(lines, "\n")
	if file := os.Getenv("VIADUC_HOSTILE_REPORT"); file != "" {
		must(t, os.WriteFile(file, []byte(report), 0o600))
	}
	if failed > 0 || full {
		t.Log("\n" + report)
	}
}

// try runs a row in its versions, and says whether it passed.
func (w *world) try(t *testing.T, r *row) bool {
	return t.Run(fmt.Sprintf("%03d", r.ID), func(t *testing.T) {
		if len(r.PDU)+len(r.HTTP)+len(r.Tests) == 0 && scripts[r.ID] == nil {
			t.Fatal("nothing is tried")
		}
		before := w.begin()
		versions := r.Versions
		if !full {
			versions = versions[len(versions)-1:]
		}
		var used []*stage
		for _, v := range versions {
			t.Run("v"+v, func(t *testing.T) {
				tr := &trial{T: t, w: w, row: r, v: v, alice: w.alice, m: w.mallory}
				defer func() { used = append(used, tr.used...) }()
				tr.pdus()
				tr.requests()
				if fn := scripts[r.ID]; fn != nil {
					fn(tr)
				}
			})
		}
		if full {
			for _, x := range r.Tests {
				runElsewhere(t, x)
			}
		}
		w.allIsWell(t, r, before, used[:min(len(used), 2)]...)
	})
}

// runElsewhere runs a test of another package.
func runElsewhere(t *testing.T, x string) {
	t.Helper()
	dir, name, _ := strings.Cut(x, " ")
	cmd := exec.Command("go", "test", "-tags", "goolm", "-count", "1", "-run", "^"+name+"$", dir)
	cmd.Dir = "../../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "no tests to run") {
		t.Errorf("%s: %v\n%s", x, err, out)
	}
}
