package uring

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain fails on leaked descriptors, mappings of rings, and goroutines. As a child of a test it does what it was started for.
func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		os.Exit(child(mode))
	}
	// The runtime's poller opens descriptors at its first use, and keeps them.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	fds, goroutines := openFDs(), runtime.NumGoroutine()
	code := m.Run()
	if code == 0 {
		// A goroutine that ends is not always gone when its test is.
		for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if now := openFDs(); !slices.Equal(now, fds) {
			fmt.Printf("leaked descriptors: before %v, after %v\n", fds, now)
			code = 1
		}
		if n := ringMappings(); n != 0 {
			fmt.Printf("leaked %d mappings of rings\n", n)
			code = 1
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			buf := make([]byte, 1<<20)
			fmt.Printf("leaked goroutines: before %d, after %d\n%s\n", goroutines, n, buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
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

// ringMappings counts the mappings of rings in this process.
func ringMappings() int {
	maps, _ := os.ReadFile("/proc/self/maps")
	return strings.Count(string(maps), "[io_uring]")
}

// onThread runs body on a goroutine of its own that is locked to its thread. It is never unlocked: the thread ends with it.
func onThread(t testing.TB, body func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		body()
	}()
	<-done
	switch {
	case t.Failed():
		t.FailNow()
	case t.Skipped():
		t.SkipNow()
	}
}

// A rig is a ring under test, on its own thread.
type rig struct {
	*testing.T
	*Ring
	queue []CQE
}

// onRing runs body with a ring, on a thread of its own.
func onRing(t *testing.T, opts Options, body func(x *rig)) {
	t.Helper()
	onThread(t, func() {
		r, err := New(opts)
		require.NoError(t, err)
		x := &rig{T: t, Ring: r}
		defer func() {
			if !t.Failed() {
				require.NoError(t, r.Close())
			}
		}()
		body(x)
	})
}

// patience is how long a test waits for what must come.
const patience = 5 * time.Second

// sqe returns an SQE with the user data given.
func (x *rig) sqe(prepare func(*SQE), userData uint64) {
	x.Helper()
	sqe := x.SQE()
	require.NotNil(x, sqe, "the submission queue is full")
	prepare(sqe)
	sqe.UserData = userData
}

// next submits, and returns the next completion.
func (x *rig) next() CQE {
	x.Helper()
	for deadline := time.Now().Add(patience); len(x.queue) == 0; {
		left := time.Until(deadline)
		require.Positive(x, left, "the completion does not come")
		require.NoError(x, x.SubmitAndWait(1, left))
		x.take()
	}
	c := x.queue[0]
	x.queue = x.queue[1:]
	return c
}

// take moves the completions that are there to the rig's queue.
func (x *rig) take() {
	first, second := x.CQEs()
	x.queue = append(append(x.queue, first...), second...)
	x.Seen(len(first) + len(second))
}

// none submits, and fails if a completion is there.
func (x *rig) none() {
	x.Helper()
	require.NoError(x, x.Submit())
	x.take()
	require.Empty(x, x.queue)
}

func socketpair(t testing.TB, kind int) (ours, peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// mapped returns memory outside the Go heap.
func mapped(t testing.TB, size int) []byte {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	return mem
}

func write(t testing.TB, fd int, b []byte) {
	t.Helper()
	n, err := unix.Write(fd, b)
	require.NoError(t, err)
	require.Equal(t, len(b), n)
}

// iouWorkers counts the worker threads that the kernel has made for the calling thread: those of an earlier test live on for seconds.
func iouWorkers(t testing.TB) int {
	comms, err := filepath.Glob("/proc/self/task/*/comm")
	require.NoError(t, err)
	n := 0
	name := fmt.Sprintf("iou-wrk-%d", unix.Gettid())
	for _, path := range comms {
		if comm, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(comm)) == name {
			n++
		}
	}
	return n
}

func errno(res int32) unix.Errno {
	if res >= 0 {
		return 0
	}
	return unix.Errno(-res)
}
