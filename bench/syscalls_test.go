package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

// asServer makes the test binary an echo whose number of system calls is known: a read and a write for each request, and as many more as it says.
const asServer = "PROTORING_BENCH_TEST_SERVER"

// serveKnown serves one connection after the other with blocking descriptors, past Go's poller and scheduler, and does not return. The port
// is the first argument's, or any.
func serveKnown(more string) {
	extra, err := strconv.Atoi(more)
	must(err)
	port := 0
	if len(os.Args) > 1 {
		port, err = strconv.Atoi(os.Args[1])
		must(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	must(syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	must(syscall.Listen(fd, 1))
	addr, err := syscall.Getsockname(fd)
	must(err)
	fmt.Println(net.JoinHostPort("127.0.0.1", strconv.Itoa(addr.(*syscall.SockaddrInet4).Port)))
	b := make([]byte, 64)
	for {
		conn, _, err := syscall.Accept(fd)
		must(err)
		for {
			n, err := rawCall(syscall.SYS_READ, conn, b)
			if err != 0 || n == 0 {
				break
			}
			for range extra {
				_, _, _ = syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
			}
			if _, err := rawCall(syscall.SYS_WRITE, conn, b[:n]); err != 0 {
				break
			}
		}
		must(syscall.Close(conn))
	}
}

func rawCall(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), err
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// System calls for each request are as many as the server makes. Go's monitor thread adds a hundred in a second.
func TestSyscalls(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	for _, extra := range []int{0, 3} {
		server := exec.Command(exe)
		server.Env = append(os.Environ(), asServer+"="+strconv.Itoa(extra))
		says, err := server.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, server.Start())
		t.Cleanup(func() {
			_ = server.Process.Kill()
			_ = server.Wait()
		})
		addr, err := bufio.NewReader(says).ReadString('\n')
		require.NoError(t, err)
		name := filepath.Join(t.TempDir(), "run.json")
		status, out, errs := bench(t, "run", "--addr", strings.TrimSpace(addr), "--conns", "1", "--duration", "1s", "--warmup", "200ms", "--count-syscalls",
			"--allow-invalid", "--json", name)
		if strings.Contains(errs, "count system calls: ") {
			t.Skipf("the kernel does not let one count: %s", errs)
		}
		require.Equal(t, statusOK, status, errs)
		r, err := result.Read(name)
		require.NoError(t, err)
		s := r.Cases[0].Series[0]
		require.True(t, s.Rounds[0].Server.CountedSyscalls)
		require.Equal(t, server.Process.Pid, s.Rounds[0].Server.PID, "it was found by its port")
		require.InDelta(t, 2+extra, s.Syscalls(), 0.15)
		require.Regexp(t, fmt.Sprintf(`system calls +(%d\.[01]|%d\.9)\d? per reply`, 2+extra, 1+extra), out)

		// Nothing is said of them where they were not counted.
		status, out, errs = bench(t, "run", "--addr", strings.TrimSpace(addr), "--conns", "1", "--duration", "100ms", "--warmup", "0s", "--allow-invalid")
		require.Equal(t, statusOK, status, errs)
		require.NotContains(t, out, "system calls")
	}
}
