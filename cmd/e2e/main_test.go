package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program under test.
var binary string

// botEnv set in the environment makes this program the application service of
// TestAppserviceBot instead of a test.
const botEnv = "VIADUC_E2E_BOT"

func TestMain(m *testing.M) {
	if os.Getenv(botEnv) != "" {
		botMain()
		return
	}
	os.Exit(withBinary(m.Run))
}

// withBinary builds the server once for all tests.
func withBinary(run func() int) int {
	if binary = os.Getenv("VIADUC_BIN"); binary != "" {
		return run()
	}
	dir, err := os.MkdirTemp("", "viaduc-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "viaduc")
	build := exec.Command("go", "build", "-tags", "goolm", "-o", binary, "../viaduc")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the server: %v\n%s", err, out)
		return 1
	}
	return run()
}
