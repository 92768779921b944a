package server_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// rounds echoes a message on each client, again and again, without allocating much.
func rounds(t *testing.T, clients []*client, count int) {
	t.Helper()
	message := []byte("a message of some length, as they come\n")
	answer := make([]byte, len(message))
	for range count {
		for _, c := range clients {
			if _, err := c.Conn.Write(message); err != nil {
				require.NoError(t, err)
			}
		}
		for _, c := range clients {
			for n := 0; n < len(answer); {
				m, err := c.Conn.Read(answer[n:])
				if err != nil {
					require.NoError(t, err)
				}
				n += m
			}
			if !bytes.Equal(answer, message) {
				require.Equal(t, message, answer)
			}
		}
	}
}

// Echo allocates nothing in steady state, in the whole server process, whatever the engine.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if buffers.Checked {
		t.Skip("the race detector, and the quarantine of checked builds, allocate")
	}
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		c := spawn(t, plan{Setup: s, Echo: true})
		clients := make([]*client, 50)
		for i := range clients {
			clients[i] = c.dial()
		}
		rounds(t, clients, 100)
		c.ask("gc")
		before := *c.ask("stats")
		idle := c.ask("stats").Mallocs - before.Mallocs // what asking costs
		before = *c.ask("stats")
		rounds(t, clients, 400)
		after := c.ask("stats")
		messages := after.Stats.Messages - before.Stats.Messages
		require.InDelta(t, 400*len(clients), int(messages), float64(len(clients)))
		allocs := int(after.Mallocs-before.Mallocs) - int(idle)
		t.Logf("%d allocations for %d messages", allocs, messages)
		require.Less(t, allocs, 100, "more than the collector and the scheduler take now and then")
		c.allServed()
	})
}

// In steady state there is no worker thread of the kernel, and none that polls: neither with many connections nor with large
// sends to slow readers.
func TestNoKernelThreads(t *testing.T) {
	for _, s := range kinds()[:3] {
		t.Run(s.String(), func(t *testing.T) {
			c := spawn(t, plan{Setup: s})
			looks := 0
			none := func() {
				looks++
				for _, name := range threads(t, c.pid()) {
					require.False(t, strings.HasPrefix(name, "iou-"), "%s after %d looks", name, looks)
				}
			}
			clients := make([]*client, 300)
			for i := range clients {
				clients[i] = c.dial()
			}
			for range 20 {
				rounds(t, clients, 2)
				none()
			}
			slow := make([]*client, 20)
			for i := range slow {
				slow[i] = dialWith(t, &slowDialer, c.tcp())
				slow[i].say("send %d", 4<<20)
			}
			still(t, func() uint64 { none(); return c.ask("stats").Stats.BytesOut })
			for _, cl := range slow {
				cl.pattern(0, 4<<20)
				none()
			}
			for _, cl := range append(clients, slow...) {
				cl.Close()
			}
			none()
			c.finish()
		})
	}
}

var slowDialer = *slow()

// The statistics agree with what strace counts from outside.
func TestStatsAgreeWithStrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: CI must have it", err)
		}
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	t.Run("io_uring", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "counts")
		c := spawn(t, plan{Setup: setup{Engine: server.EngineURing, Loops: 2}, Echo: true}, strace, "-f", "-c", "-e", "trace=io_uring_enter", "-o", file)
		rep, b := traced(t, c, fewer(8000, 4000), file) // beside which the probes at the start, some 50 calls, are few
		// % time, seconds, usecs/call, calls, errors if there were any, name
		m := regexp.MustCompile(`(?m)^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*io_uring_enter$`).FindSubmatch(b)
		require.NotNil(t, m, "%s", b)
		agree(t, string(m[1]), rep.Stats.Enters)
	})
	t.Run("epoll", func(t *testing.T) { // by descriptor: Go's own poller calls epoll_pwait too
		file := filepath.Join(t.TempDir(), "trace")
		c := spawn(t, plan{Setup: setup{Engine: server.EngineEpoll, Loops: 2}, Echo: true}, strace, "-f", "-e", "trace=epoll_wait,epoll_pwait,recvfrom,sendto", "-e", "signal=none", "-o", file)
		rep, b := traced(t, c, fewer(2000, 500), file)
		waits, sends := map[string]int{}, 0
		for _, m := range regexp.MustCompile(`(?m)^\d+ +(epoll_wait|epoll_pwait|sendto)\((\d+),(.*)$`).FindAllSubmatch(b, -1) {
			if string(m[1]) == "sendto" {
				sends++
			} else {
				waits[string(m[2])]++
			}
		}
		// Those of the loops are waited on by system calls of this package with room for 128; the runtime's own has 64 or 128
		// too, and is the one that the loops' descriptors are not: the first that the process made.
		total, own := 0, 1<<30
		for fd, n := range waits {
			total += n
			k, _ := strconv.Atoi(fd)
			own = min(own, k)
		}
		if len(waits) > 2 {
			total -= waits[strconv.Itoa(own)]
		}
		agree(t, strconv.Itoa(total), rep.Stats.Enters)
		agree(t, strconv.Itoa(sends), rep.Stats.Sends)
	})
}

// traced gives a child something to do, and returns its last word and what strace has written.
func traced(t *testing.T, c *child, count int, file string) (*report, []byte) {
	t.Helper()
	clients := []*client{c.dial(), c.dial(), c.dial(), c.dial()}
	rounds(t, clients, count)
	for _, cl := range clients {
		cl.Close()
	}
	rep := c.finish()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return rep, b
}

func agree(t *testing.T, outside string, inside uint64) {
	t.Helper()
	n, err := strconv.Atoi(outside)
	require.NoError(t, err)
	t.Logf("outside %d, inside %d", n, inside)
	require.InEpsilon(t, n, inside, 0.01)
}

// Signals that interrupt waits at a high rate, as the runtime's own do, lose nothing and double nothing.
func TestSignals(t *testing.T) {
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		x := start(t, s)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			pid := os.Getpid()
			tids := map[int]bool{}
			for {
				select {
				case <-stop:
					return
				default:
				}
				x.book.mu.Lock()
				for _, k := range x.book.kits {
					tids[k.thread] = true
				}
				x.book.mu.Unlock()
				for tid := range tids {
					_ = unix.Tgkill(pid, tid, unix.SIGURG)
				}
				stillFor(t, pollEvery)
			}
		})
		clients := make([]*client, 8)
		for i := range clients {
			clients[i] = x.dialWith(slow())
		}
		for i := range fewer(300, 60) {
			for k, c := range clients {
				c.say("message %d of %d", i, k)
			}
			for k, c := range clients {
				require.Equal(t, fmt.Sprintf("message %d of %d", i, k), c.line())
			}
		}
		for _, c := range clients {
			c.say("get %d", 2<<20)
		}
		for _, c := range clients {
			c.pattern(0, 2<<20)
		}
		close(stop)
		wg.Wait()
		x.finish()
	})
}
