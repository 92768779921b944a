// Package runtest builds an example and runs it as a process, as a user would.
package runtest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds what a test waits for: the machine may be busy.
const patience = 30 * time.Second

// Build builds the program in a folder and returns its path.
func Build(t testing.TB, folder string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "example")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// A Process is a running example.
type Process struct {
	Addr   string // that it listens on
	Engine string
	t      testing.TB
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended

	mu  sync.Mutex
	log strings.Builder
}

var listens = regexp.MustCompile(`msg="\w+ listens" addr=(\S+) engine=(\S+) loops=\d+`)

// Start runs the program until it says that it listens. It is ended with the test.
func Start(t testing.TB, bin string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(bin, args...), done: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			if m := listens.FindStringSubmatch(lines.Text()); m != nil {
				p.Addr, p.Engine = m[1], m[2]
				close(ready)
			}
		}
		_ = p.cmd.Wait() // the state tells
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // or it has ended
		<-p.done
	})
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("ended with status %d:\n%s", p.cmd.ProcessState.ExitCode(), p.Log())
	case <-time.After(patience):
		t.Fatalf("does not listen after %v:\n%s", patience, p.Log())
	}
	return p
}

// Log returns what it has logged.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Signal sends it a signal.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// Wait returns its exit status.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("has not ended after %v:\n%s", patience, p.Log())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Tool returns the path of a program that a test needs, by the first of its names that there is: distributions rename some. The test is
// skipped where there is none, but not in CI.
func Tool(t testing.TB, names ...string) (path string) {
	t.Helper()
	var err error
	for _, name := range names {
		if path, err = exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%v: CI must have it", err)
	}
	t.Skip(err)
	return ""
}
