package e2e

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// jsFiles is the program that speaks with matrix-js-sdk. Its lock file names
// versions and hashes, and no registry.
//
//go:embed jsclient/package.json jsclient/package-lock.json jsclient/*.mjs
var jsFiles embed.FS

// TestJavaScriptConversation is the encrypted conversation with matrix-js-sdk.
func TestJavaScriptConversation(t *testing.T) { javaScript(t, newWorld(t, ""), "script.mjs") }

// TestJavaScriptFeatures is what people do in rooms, with matrix-js-sdk.
func TestJavaScriptFeatures(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) { javaScript(t, w, "features.mjs") })
}

// javaScript runs a program of jsclient with two servers.
func javaScript(t *testing.T, w *world, program string) {
	t.Helper()
	node, npm := tool(t, "node"), tool(t, "npm")
	dir := jsProgram(t, npm)
	servers := w.start("localhost", "127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	script := exec.CommandContext(ctx, node, filepath.Join(dir, program), servers[0].base, servers[1].base)
	script.SysProcAttr = dieWithParent()
	out, err := script.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// tool finds a program, or ends the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err == nil {
		return file
	}
	if os.Getenv("VIADUC_TEST_REQUIRE_NODE") == "1" {
		t.Fatalf("there is no %s", name)
	}
	t.Skipf("there is no %s (VIADUC_TEST_REQUIRE_NODE=1 makes this a failure)", name)
	return ""
}

// jsProgram lays the program and its packages into the user's cache, once for each
// content, and gives the folder.
func jsProgram(t *testing.T, npm string) string {
	t.Helper()
	hash := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json", "common.mjs", "script.mjs", "features.mjs"} {
		text, err := jsFiles.ReadFile("jsclient/" + name)
		must(t, err)
		files[name] = text
		if filepath.Ext(name) == ".json" {
			hash.Write(text)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "viaduc-e2e", "jsclient-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	must(t, os.MkdirAll(dir, 0o755))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	ready := filepath.Join(dir, "node_modules", ".package-lock.json")
	if _, err := os.Stat(ready); err == nil {
		return dir
	}
	install := exec.CommandContext(t.Context(), npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}
