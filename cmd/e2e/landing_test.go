package e2e

import (
	"context"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLandingPage: a browser shows the page at /, in both widths of people's screens.
func TestLandingPage(t *testing.T) {
	browser := chromium(t)
	s := newWorld(t, "").start("localhost")[0]
	for name, size := range map[string]string{"wide": "1280,800", "narrow": "390,844"} {
		t.Run(name, func(t *testing.T) {
			picture := filepath.Join(t.TempDir(), "landing.png")
			if dir := artifacts(); dir != "" {
				must(t, os.MkdirAll(dir, 0o755))
				picture = filepath.Join(dir, "landing-"+name+".png")
			}
			browse(t, browser, "--window-size="+size, "--screenshot="+picture, s.base+"/")
			f, err := os.Open(picture)
			must(t, err)
			defer f.Close()
			img, err := png.Decode(f)
			must(t, err)
			colours := map[[3]uint32]bool{}
			for y := 0; y < img.Bounds().Dy(); y += 3 {
				for x := 0; x < img.Bounds().Dx(); x += 3 {
					r, g, b, _ := img.At(x, y).RGBA()
					colours[[3]uint32{r, g, b}] = true
				}
			}
			if len(colours) < 5 {
				t.Errorf("the picture has %d colours: the page is empty", len(colours))
			}
		})
	}
	for language, word := range map[string]string{"de": "<html lang=\"de\"", "en": "<html lang=\"en\""} {
		dom := browse(t, browser, "--accept-lang="+language, "--dump-dom", s.base+"/")
		if !strings.Contains(dom, word) || !strings.Contains(dom, s.base) {
			t.Errorf("the page for %s is %s", language, dom)
		}
	}
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	t.Skip("there is no Chromium")
	return ""
}

// browse runs the browser once, without a window.
func browse(t *testing.T, browser string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args = append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir=" + t.TempDir()}, args...)
	cmd := exec.CommandContext(ctx, browser, args...)
	cmd.SysProcAttr = dieWithParent()
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errors.String())
	}
	return string(out)
}
