package server_test

import (
	"fmt"
	"testing"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

const slack = 32 << 20 // of peak memory, for all that has no bound of its own: the process itself, to begin with

func skipChecked(t *testing.T) {
	if buffers.Checked {
		t.Skip("checked builds hold memory back on purpose, and the race detector has as much again: ordinary builds are measured")
	}
}

// Peers that ask for much and read nothing for long cannot make a server's memory exceed its bounds: neither those that stay, nor those that
// end their side, nor those that reset. It is read from outside, VmHWM, and is that of the whole process.
func TestPeakMemoryOfSlowReaders(t *testing.T) {
	skipChecked(t)
	const size, maxOutbound = 64 << 20, 64 << 10
	for _, way := range []string{"stay", "half-close", "reset"} {
		for _, readers := range []int{1, fewer(1000, 200)} {
			t.Run(fmt.Sprintf("%s-%d", way, readers), func(t *testing.T) {
				over(t, engines(), func(t *testing.T, s setup) {
					c := spawn(t, plan{Setup: s, Listen: server.ListenConfig{MaxOutbound: maxOutbound, SendBuffer: 64 << 10}})
					base, held := c.memory("status", "VmHWM"), uint64(0)
					rounds := 1
					if way == "reset" {
						rounds = 3
					}
					for range rounds {
						clients := slowReaders(c, readers, size)
						if way == "half-close" {
							for _, cl := range clients {
								cl.halfClose()
							}
						}
						still2(t, c)
						held = max(held, c.Stats.Memory)
						for i, cl := range clients {
							switch {
							case way == "reset": // each somewhere else
								cl.pattern(0, i*7919%(256<<10))
								cl.reset()
							case i == 0: // all of one
								cl.pattern(0, size)
								if way == "half-close" {
									require.Empty(t, cl.end())
								}
							default: // some of each
								cl.pattern(0, 256<<10)
							}
						}
						if way == "reset" {
							until(t, func() bool { return c.ask("stats").Stats.Conns == 0 }, "all ends")
						}
					}
					peak := c.memory("status", "VmHWM")
					bound := readers*(maxOutbound+kitChunk) + s.Loops*(1<<20) + slack
					t.Logf("VmHWM %d KiB at first, %d KiB at most, bound %d KiB; held %d KiB when all waited", base>>10, peak>>10, bound>>10, held>>10)
					require.LessOrEqual(t, peak, bound)
					if readers > 1 {
						c.allServed()
					}
				})
			})
		}
	}
}

// slowReaders are clients that have asked for size bytes each, and read nothing.
func slowReaders(c *child, n, size int) []*client {
	c.t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dialWith(c.t, slow(), c.tcp())
		clients[i].say("get %d", size)
	}
	return clients
}

// still2 waits until a child sends no more.
func still2(t testing.TB, c *child) {
	t.Helper()
	still(t, func() uint64 { return c.ask("stats").Stats.BytesOut })
}

// MaxMemory bounds the process, not only each connection: those that hold most are paused and at last closed, with a reason.
func TestMaxMemory(t *testing.T) {
	skipChecked(t)
	over(t, engines(), func(t *testing.T, s setup) {
		const most, readers = 32 << 20, 300
		p := plan{Setup: s, Config: server.Config{MaxMemory: most}, Listen: server.ListenConfig{MaxOutbound: 1 << 20, SendBuffer: 64 << 10}}
		c := spawn(t, p)
		base := c.memory("status", "VmHWM")
		slowReaders(c, readers, 64<<20)
		until(t, func() bool { return c.ask("stats").Stats.Accepted == readers }, "all connections")
		still2(t, c)
		peak := c.memory("status", "VmHWM")
		t.Logf("VmHWM %d KiB at first, %d KiB at most; %d connections closed for memory, %d KiB held", base>>10, peak>>10, c.Stats.Shed, c.Stats.Memory>>10)
		require.LessOrEqual(t, peak, most+slack)
		require.NotZero(t, c.Stats.Shed)
		require.Contains(t, c.Log, "MaxMemory is reached")
		d := c.dial()
		d.echo("others are served")
		c.allServed()
	})
}

// Large messages that never become whole, from many connections, are within MaxMemory too.
func TestMaxMemoryOfCutMessages(t *testing.T) {
	skipChecked(t)
	over(t, engines(), func(t *testing.T, s setup) {
		const most, writers = 32 << 20, 40
		c := spawn(t, plan{Setup: s, Config: server.Config{MaxMemory: most}})
		base := c.memory("status", "VmHWM")
		piece := make([]byte, 64<<10) // no line ends in it
		ended := 0
		for range writers {
			w := c.dial()
			for range 32 { // 2 MiB each
				if _, err := w.Write(piece); err != nil {
					ended++
					break
				}
			}
		}
		still(t, func() uint64 { return c.ask("stats").Stats.BytesIn })
		peak := c.memory("status", "VmHWM")
		t.Logf("VmHWM %d KiB at first, %d KiB at most; %d closed for memory (%d writers saw it)", base>>10, peak>>10, c.Stats.Shed, ended)
		require.LessOrEqual(t, peak, most+slack)
		require.NotZero(t, c.Stats.Shed)
		d := c.dial()
		d.echo("others are served")
	})
}

// Connections without anything to do hold no memory to receive into, and little else.
func TestIdleConnections(t *testing.T) {
	over(t, idleSetups(), func(t *testing.T, s setup) {
		heap, _ := idle(t, s, fewer(idleConns, 1000))
		if !raceEnabled {
			require.Less(t, heap, 1024.0)
		}
	})
}

// BenchmarkIdleConnections prints the memory of an idle connection: B/conn is what the server keeps for it on Go's heap, rss-B/conn is by how
// much the whole process has grown. What the kernel keeps for a socket is in neither.
func BenchmarkIdleConnections(b *testing.B) {
	for _, s := range idleSetups() {
		b.Run(s.String(), func(b *testing.B) {
			var heap, rss float64
			for range b.N {
				h, r := idle(b, s, idleConns)
				heap, rss = heap+h, rss+r
			}
			b.ReportMetric(heap/float64(b.N), "B/conn")
			b.ReportMetric(rss/float64(b.N), "rss-B/conn")
		})
	}
}

const idleConns = 10_000 // descriptors in this process, and as many in the server's

func idleSetups() []setup {
	return []setup{{Engine: server.EngineURing, Loops: 1}, {Engine: server.EngineEpoll, Loops: 1}}
}

// idle opens connections to a server in a process of its own, uses each once, and returns the bytes that each takes, of Go's heap and
// of the resident memory.
func idle(t testing.TB, s setup, conns int) (heapEach, rssEach float64) {
	t.Helper()
	c := spawn(t, plan{Setup: s, Echo: true, Config: server.Config{MaxConns: 1 << 20}})
	warm := c.dial()
	warm.echo("ready")
	warm.Close()
	until(t, func() bool { return c.ask("stats").Stats.Conns == 0 }, "the end of the first")
	heap := c.ask("gc").HeapAlloc
	rss, pss := c.memory("smaps_rollup", "Rss"), c.memory("smaps_rollup", "Pss")
	clients := make([]*client, conns)
	for i := range clients {
		clients[i] = dialRaw(t, c.tcp())
	}
	for _, cl := range clients {
		cl.echo("hello")
	}
	until(t, func() bool { return c.ask("stats").Stats.Memory == c.Stats.ReceiveMem || buffers.Checked }, "memory that is given back")
	after := c.ask("gc")
	per := func(n int) float64 { return float64(n) / float64(conns) }
	heapEach, rssEach = per(int(after.HeapAlloc)-int(heap)), per(c.memory("smaps_rollup", "Rss")-rss)
	t.Logf("%d idle connections: %.0f bytes of heap each, RSS %.0f, PSS %.0f; %d KiB to receive into in all",
		conns, heapEach, rssEach, per(c.memory("smaps_rollup", "Pss")-pss), after.Stats.ReceiveMem>>10)
	require.Equal(t, uint64(conns), after.Stats.Conns)
	require.LessOrEqual(t, after.Stats.ReceiveMem, uint64(1<<20), "idle connections hold memory to receive into")
	require.Zero(t, after.Stats.NoBufs)
	for _, cl := range clients {
		cl.Close()
	}
	c.finish() // the next one's peers find their addresses free
	return heapEach, rssEach
}
