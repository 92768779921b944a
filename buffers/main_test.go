package buffers

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain fails on leaked goroutines and descriptors.
func TestMain(m *testing.M) {
	// The runtime's poller opens descriptors at its first use, and keeps them.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	goroutines, fds := runtime.NumGoroutine(), openFDs()
	code := m.Run()
	// A goroutine that ends is not always gone when its test is.
	for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); code == 0 && n > goroutines {
		buf := make([]byte, 1<<20)
		fmt.Printf("leaked goroutines: before %d, after %d\n%s\n", goroutines, n, buf[:runtime.Stack(buf, true)])
		code = 1
	}
	if n := openFDs(); code == 0 && n > fds {
		fmt.Printf("leaked descriptors: before %d, after %d\n", fds, n)
		code = 1
	}
	os.Exit(code)
}

func openFDs() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func newPool(t testing.TB) *Pool {
	p := NewPool()
	t.Cleanup(p.Close)
	return p
}

// resident returns how many bytes of mapped memory are in core.
func resident(t testing.TB, mem []byte) int {
	t.Helper()
	page := os.Getpagesize()
	vec := make([]byte, (len(mem)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)),
		uintptr(unsafe.Pointer(&vec[0])))
	require.Zero(t, errno)
	n := 0
	for _, v := range vec {
		n += int(v&1) * page
	}
	return n
}

// text is n bytes of which no two neighbourhoods are alike, from a position on.
func text(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(uint32(from+i) * 2654435761 >> 24)
	}
	return b
}
