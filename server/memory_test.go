package server_test

import (
	"fmt"
	"testing"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

const slack = 32 << 20 // of peak memory, for all that has no bound of its own

func skipChecked(t *testing.T) {
	if buffers.Checked {
		t.Skip("checked builds hold memory back on purpose, and the race detector has as much again: ordinary builds are measured")
	}
}

// Readers that read nothing for long cannot make a server's memory exceed its bounds. It is read from outside: VmHWM.
func TestPeakMemoryOfSlowReaders(t *testing.T) {
	skipChecked(t)
	const size, maxOutbound = 64 << 20, 64 << 10
	for _, readers := range []int{1, fewer(1000, 200)} {
		over(t, engines(), func(t *testing.T, s setup) {
			t.Run(fmt.Sprint(readers), func(t *testing.T) {
				p := plan{Setup: s, Listen: server.ListenConfig{MaxOutbound: maxOutbound, SendBuffer: 64 << 10}}
				c := spawn(t, p)
				base := c.memory("status", "VmHWM")
				clients := make([]*client, readers)
				for i := range clients {
					clients[i] = dialWith(t, slow(), c.tcp())
					clients[i].say("get %d", size)
				}
				still2(t, c)
				held := c.Stats.Memory
				for i, cl := range clients { // all of one, some of each
					cl.pattern(0, map[bool]int{true: size, false: 256 << 10}[i == 0])
				}
				peak := c.memory("status", "VmHWM")
				bound := base + readers*(maxOutbound+kitChunk) + s.Loops*(1<<20) + slack
				t.Logf("%d slow readers: VmHWM %d KiB at first, %d KiB at most, bound %d KiB; held %d KiB when all waited",
					readers, base>>10, peak>>10, bound>>10, held>>10)
				require.LessOrEqual(t, peak, bound)
			})
		})
	}
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
		clients := make([]*client, readers)
		for i := range clients {
			clients[i] = dialWith(t, slow(), c.tcp())
			clients[i].say("get %d", 64<<20)
		}
		until(t, func() bool { return c.ask("stats").Stats.Accepted == readers }, "all connections")
		still2(t, c)
		peak := c.memory("status", "VmHWM")
		t.Logf("VmHWM %d KiB at first, %d KiB at most; %d connections closed for memory, %d KiB held", base>>10, peak>>10, c.Stats.Shed, c.Stats.Memory>>10)
		require.LessOrEqual(t, peak, base+most+slack)
		require.NotZero(t, c.Stats.Shed)
		require.Contains(t, c.Log, "MaxMemory is reached")
		d := c.dial()
		d.echo("others are served")
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
		require.LessOrEqual(t, peak, base+most+slack)
		require.NotZero(t, c.Stats.Shed)
		d := c.dial()
		d.echo("others are served")
	})
}

// Connections without anything to do hold no memory to receive into, and little else.
func TestIdleConnections(t *testing.T) {
	over(t, []setup{{Engine: server.EngineURing, Loops: 1}, {Engine: server.EngineEpoll, Loops: 1}}, func(t *testing.T, s setup) {
		conns := fewer(9000, 1000) // this process's descriptors bound it, and TestMain's are among them
		heap := idle(t, s, conns)
		if !raceEnabled {
			require.Less(t, heap, 1024.0)
		}
	})
}

func BenchmarkIdleConnection(b *testing.B) {
	for _, s := range []setup{{Engine: server.EngineURing, Loops: 1}, {Engine: server.EngineEpoll, Loops: 1}} {
		b.Run(s.String(), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(idle(b, s, 9000), "heap-B/conn")
			}
		})
	}
}

// idle opens connections, uses each once, and returns the bytes of Go heap that each takes.
func idle(t testing.TB, s setup, conns int) float64 {
	t.Helper()
	c := spawn(t, plan{Setup: s, Echo: true, Config: server.Config{MaxConns: 1 << 20}})
	warm := dial(t, c.tcp())
	warm.echo("ready")
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
	perHeap := per(int(after.HeapAlloc) - int(heap))
	t.Logf("%d idle connections: %.0f bytes of heap each, RSS %.0f, PSS %.0f; %d KiB to receive into in all",
		conns, perHeap, per(c.memory("smaps_rollup", "Rss")-rss), per(c.memory("smaps_rollup", "Pss")-pss), after.Stats.ReceiveMem>>10)
	require.Equal(t, uint64(conns+1), after.Stats.Conns)
	require.LessOrEqual(t, after.Stats.ReceiveMem, uint64(1<<20), "idle connections hold memory to receive into")
	require.Zero(t, after.Stats.NoBufs)
	for _, cl := range clients {
		cl.Close()
	}
	return perHeap
}
