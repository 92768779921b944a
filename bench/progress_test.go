package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo-terminal: what a program writes to tty comes out of screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { screen.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { tty.Close() })
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 100}))
	return screen, tty
}

// onTerminal runs the program with a terminal as its standard error, and returns what it wrote there.
func onTerminal(t *testing.T, args ...string) string {
	screen, tty := terminal(t)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = tty
	require.NoError(t, cmd.Start())
	tty.Close()
	shown := make(chan string)
	go func() {
		b, _ := io.ReadAll(screen) // EIO at the end, when nobody has it open
		shown <- string(b)
	}()
	err = cmd.Wait()
	text := <-shown
	require.NoError(t, err, text)
	return text
}

// A long load shows on a terminal how far it has come, in one line that is written again and again and is gone at the end.
func TestProgress(t *testing.T) {
	addr := serve(t, echo)
	long := []string{"--addr", addr, "--conns", "2", "--rate", "200", "--duration", "2s", "--warmup", "1500ms", "--allow-invalid"}
	run := append([]string{"run"}, long...)
	t.Run("terminal", func(t *testing.T) {
		t.Parallel()
		text := onTerminal(t, run...)
		require.Contains(t, text, "warming up, 1 of 3 s")
		require.Regexp(t, `measuring, 2 of 3 s, \d\d+ replies`, text)
		require.NotContains(t, text, "\n", "it is one line")
		require.GreaterOrEqual(t, strings.Count(text, "\r"), 3, "it is written again")
		require.Empty(t, visible(text), "it is gone at the end")
	})
	t.Run("rounds", func(t *testing.T) {
		t.Parallel()
		text := onTerminal(t, append(run[:len(run):len(run)], "--rounds", "2")...)
		require.Contains(t, text, "round 1 of 2, measuring, 2 of 3 s")
		require.Contains(t, text, "round 2 of 2, measuring, 2 of 3 s")
		require.NotContains(t, text, "\n")
	})
	t.Run("sweep", func(t *testing.T) {
		t.Parallel()
		sweep := append([]string{"sweep", "--rates", "200"}, append(long[:4:4], long[6:]...)...)
		text := onTerminal(t, sweep...)
		require.Contains(t, text, "1 of 1, measuring, 2 of 3 s")
		require.Contains(t, visible(text), "200/s offered", "what stays")
		require.NotContains(t, visible(text), "measuring")
	})
	t.Run("compare", func(t *testing.T) {
		t.Parallel()
		exe, err := os.Executable()
		require.NoError(t, err)
		run := fmt.Sprintf("env -u %s %s=0 %s {port}", asProgram, asServer, exe)
		spec := filepath.Join(t.TempDir(), "spec.yaml")
		require.NoError(t, os.WriteFile(spec, fmt.Appendf(nil, compareSpec, run, run), 0o600))
		args := []string{"compare", spec, "--rounds", "2", "--duration", "300ms", "--warmup", "10ms"}
		text := onTerminal(t, args...)
		for done, server := range []string{"one", "other", "other", "one"} { // and a last step, so that the bar stays until all is done
			require.Regexp(t, fmt.Sprintf(`little %s\s+\d+%% \|[^|]*\| \(%d/5\)`, server, done), text)
		}
		require.NotContains(t, visible(text), "little", "it is gone at the end")
		status, _, errs := bench(t, args...)
		require.Equal(t, statusOK, status, errs)
		require.NotContains(t, errs, "/5")
	})
	t.Run("quiet", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, onTerminal(t, append(run[:len(run):len(run)], "--quiet")...))
	})
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, onTerminal(t, "run", "--addr", addr, "--conns", "2", "--rate", "200", "--duration", "500ms", "--warmup", "0s", "--allow-invalid"))
	})
	t.Run("pipe", func(t *testing.T) {
		t.Parallel()
		status, _, errs := bench(t, run...)
		require.Equal(t, statusOK, status)
		require.Empty(t, errs)
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		file, err := os.Create(filepath.Join(t.TempDir(), "errors"))
		require.NoError(t, err)
		defer file.Close()
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(exe, run...)
		cmd.Env, cmd.Stderr = append(os.Environ(), asProgram+"=1"), file
		began := time.Now()
		require.NoError(t, cmd.Run())
		require.GreaterOrEqual(t, time.Since(began), barFrom)
		said, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		require.Empty(t, string(said))
	})
}

const compareSpec = `
servers:
  one: {run: %q}
  other: {run: %q}
defaults:
  load: {proto: echo, conns: 1, rate: 200, size: 32}
  servers: [one, other]
  reference: one
cases:
  - name: little
`

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// visible is what stands on a terminal in the end: a carriage return goes back to where the line is written anew.
func visible(text string) string {
	var lines []string
	for l := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		var line []rune
		at := 0
		for _, c := range escapes.ReplaceAllString(l, "") {
			if c == '\r' {
				at = 0
				continue
			}
			if at == len(line) {
				line = append(line, c)
			} else {
				line[at] = c
			}
			at++
		}
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
