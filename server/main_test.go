package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain fails on leaked descriptors, mappings of rings, and goroutines. As a child of a test it is the server that the test
// loads from outside.
func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		os.Exit(childMain(arg))
	}
	// The runtime's poller opens descriptors at its first use, and keeps them.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	fds, goroutines := openFDs(), runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settled(fds, goroutines) {
		code = 1
	}
	os.Exit(code)
}

// settled waits until the process has what it had: a goroutine or a ring that ends is not always gone when its test is.
func settled(fds []string, goroutines int) bool {
	leaks := func() (what []string) {
		if now := openFDs(); !slices.Equal(now, fds) {
			what = append(what, fmt.Sprintf("leaked descriptors: before %v, after %v", fds, now))
		}
		if maps, _ := os.ReadFile("/proc/self/maps"); strings.Contains(string(maps), "[io_uring]") {
			what = append(what, "leaked mappings of rings")
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			buf := make([]byte, 1<<20)
			what = append(what, fmt.Sprintf("leaked goroutines: before %d, after %d\n%s", goroutines, n, buf[:runtime.Stack(buf, true)]))
		}
		return what
	}
	deadline := time.Now().Add(5 * time.Second)
	for len(leaks()) > 0 && time.Now().Before(deadline) {
		time.Sleep(pollEvery)
	}
	for _, what := range leaks() {
		fmt.Println(what)
	}
	return len(leaks()) == 0
}

// openFDs lists the open descriptors with what they refer to.
func openFDs() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var fds []string
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil { // the directory's own descriptor
			continue
		}
		fds = append(fds, e.Name()+"="+to)
	}
	slices.Sort(fds)
	return fds
}
