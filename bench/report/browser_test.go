package report_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

// browser returns a browser, or skips the test. In CI there must be one.
func browser(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	text := "no browser to open a report in: install one of " + strings.Join(names, ", ")
	if os.Getenv("CI") != "" {
		require.FailNow(t, text)
	}
	t.Skip(text)
	return ""
}

const (
	browserPatience = 90 * time.Second
	windowWidth     = 1100
	windowHeight    = 3000
)

// open opens a page and returns what the browser says on standard output.
func open(t *testing.T, page string, flags ...string) string {
	t.Helper()
	program := browser(t)
	// Not t.TempDir: the browser's own processes may still write for a moment.
	dir, err := os.MkdirTemp("", "report-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "report.html")
	require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), browserPatience)
	defer cancel()
	args := append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir=" + filepath.Join(dir, "profile"), "--virtual-time-budget=5000",
		fmt.Sprintf("--window-size=%d,%d", windowWidth, windowHeight)}, flags...)
	cmd := exec.CommandContext(ctx, program, append(args, "file://"+file)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	return out.String()
}

// TestBrowser opens reports in a real browser: no script error, every chart is drawn, and the script has come to its end.
func TestBrowser(t *testing.T) {
	for name, r := range map[string]*result.Report{"run": resulttest.Run(1), "sweep": resulttest.Sweep(1), "comparison": resulttest.Compare(1, 3),
		"sweeps": resulttest.Sweep(1, resulttest.Servers()...), "hostile": hostile(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			page := write(t, r)
			want := len(charts(t, page))
			dom := open(t, page, "--dump-dom")
			root := regexp.MustCompile(`<html[^>]*>`).FindString(dom)
			require.NotContains(t, root, "data-script-error", "window.onerror was called")
			require.NotContains(t, root, "data-owned", "a text from the data was run")
			require.Contains(t, root, fmt.Sprintf(`data-charts="%d"`, want), "the script's end")
			require.Equal(t, want, strings.Count(dom, "<canvas"))
			require.Equal(t, want, strings.Count(dom, `data-drawn="yes"`))
		})
	}
}

// TestBrowserTellsErrors breaks the page, so that the test above is known to see it.
func TestBrowserTellsErrors(t *testing.T) {
	page := write(t, resulttest.Run(1))
	broken := strings.Replace(page, `document.querySelectorAll("figure.chart")`, `document.nothing("figure.chart")`, 1)
	require.NotEqual(t, page, broken)
	root := regexp.MustCompile(`<html[^>]*>`).FindString(open(t, broken, "--dump-dom"))
	require.Contains(t, root, "data-script-error")
	require.NotContains(t, root, "data-charts")
}

// TestScreenshot looks at the pixels: lines have the colours of the mode that the reader's system asks for. With REPORT_SCREENSHOTS set to a
// folder, pictures are kept there.
func TestScreenshot(t *testing.T) {
	for _, tt := range []struct {
		mode  string
		flags []string
		page  color.RGBA
		line  color.RGBA // the first server's
	}{
		{"light", []string{"--blink-settings=preferredColorScheme=1"}, color.RGBA{0xfb, 0xfb, 0xfa, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}},
		{"dark", []string{"--blink-settings=preferredColorScheme=0"}, color.RGBA{0x11, 0x14, 0x17, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff}},
	} {
		for name, r := range map[string]*result.Report{"comparison": resulttest.Compare(1, 5), "sweep": resulttest.Sweep(1, resulttest.Servers()[:3]...), "run": resulttest.Run(1)} {
			t.Run(name+" "+tt.mode, func(t *testing.T) {
				dir := t.TempDir()
				if keep := os.Getenv("REPORT_SCREENSHOTS"); keep != "" {
					dir = keep
				}
				file := filepath.Join(dir, name+"-"+tt.mode+".png")
				open(t, write(t, r), append(tt.flags, "--screenshot="+file)...)
				f, err := os.Open(file)
				require.NoError(t, err)
				defer f.Close()
				picture, err := png.Decode(f)
				require.NoError(t, err)
				require.Equal(t, image.Pt(windowWidth, windowHeight), picture.Bounds().Size())
				require.Greater(t, count(picture, tt.page), windowWidth*windowHeight/10, "the page's colour")
				require.Greater(t, count(picture, tt.line), 300, "a line's colour")
			})
		}
	}
}

func count(picture image.Image, want color.RGBA) (n int) {
	r, g, b, _ := want.RGBA()
	for y := range windowHeight {
		for x := range windowWidth {
			if pr, pg, pb, _ := picture.At(x, y).RGBA(); pr == r && pg == g && pb == b {
				n++
			}
		}
	}
	return n
}
