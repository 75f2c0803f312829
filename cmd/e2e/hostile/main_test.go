package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program under test.
var binary string

// full asks for all room versions.
var full = os.Getenv("VIADUC_HOSTILE") == "full"

func TestMain(m *testing.M) { os.Exit(withBinary(m.Run)) }

// withBinary builds the server once for all tests.
func withBinary(run func() int) int {
	if binary = os.Getenv("VIADUC_BIN"); binary != "" {
		return run()
	}
	dir, err := os.MkdirTemp("", "viaduc-hostile-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "viaduc")
	build := exec.Command("go", "build", "-tags", "goolm", "-o", binary, "../../viaduc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the server: %v\n%s", err, out)
		return 1
	}
	return run()
}
