package server_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkSpin is the time of a round trip with and without Config.Spin, beside goroutines of the same process that compute all the time.
// Server on CPU 0, clients on CPU 1.
func BenchmarkSpin(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("one CPU: nothing spins")
	}
	for _, conns := range []int{1, 2} {
		for _, procs := range []int{2, 4, 8} {
			for _, busy := range []int{0, 1, 2, 4} {
				for _, spin := range []time.Duration{0, -1} {
					b.Run(fmt.Sprintf("conns=%d/procs=%d/busy=%d/spin=%v", conns, procs, busy, spin == 0), func(b *testing.B) {
						c := spawn(b, plan{Setup: setup{Engine: server.EngineURing, Loops: 1}, Echo: true, Procs: procs, Busy: busy,
							Config: server.Config{Spin: spin}})
						c.pin(0)
						roundTrips(b, c, conns)
						c.finish()
					})
				}
			}
		}
	}
}

func only(cpu int) *unix.CPUSet {
	var set unix.CPUSet
	set.Set(cpu)
	return &set
}

// pin binds all threads of the child to one CPU, after it has counted those of the machine.
func (c *child) pin(cpu int) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.cmd.Process.Pid))
	require.NoError(c.t, err)
	for _, th := range threads {
		tid, err := strconv.Atoi(th.Name())
		require.NoError(c.t, err)
		require.NoError(c.t, unix.SchedSetaffinity(tid, only(cpu)))
	}
}

// roundTrips has each of some connections do its part of b.N round trips, from CPU 1.
func roundTrips(b *testing.B, c *child, conns int) {
	clients := make([]*client, conns)
	for i := range clients {
		clients[i] = c.dial()
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for i, cl := range clients {
		wg.Go(func() {
			runtime.LockOSThread() // not unlocked: the thread ends with the goroutine, and its affinity with it
			if err := unix.SchedSetaffinity(0, only(1)); err != nil {
				b.Error(err)
				return
			}
			msg := append(bytes.Repeat([]byte("x"), 63), '\n')
			f, err := cl.Conn.(*net.TCPConn).File() // which blocks, without Go's poller
			if err != nil {
				b.Error(err)
				return
			}
			defer f.Close()
			fd := int(f.Fd())
			for range (b.N + conns - 1 - i) / conns {
				if _, err := unix.Write(fd, msg); err != nil {
					b.Error(err)
					return
				}
				if n, err := unix.Read(fd, msg); err != nil || n != len(msg) {
					b.Error(n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	for _, cl := range clients {
		require.NoError(b, cl.Close())
	}
}
