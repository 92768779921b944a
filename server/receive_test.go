package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

// Memory to receive into grows when a burst finds it dry, up to its bound, loses nothing, and goes back to one increment when the burst is
// over. The buffers are in use from when the kernel fills them until the loop has come to them: so the loop is held up while all write.
func TestReceiveMemoryGrowsAndShrinks(t *testing.T) {
	setups := []setup{{Engine: server.EngineURing, Loops: 1}, {Engine: server.EngineURing, Loops: 1, Plain: true}}
	over(t, setups, func(t *testing.T, s setup) {
		t.Parallel() // what is waited for is time
		const increment, most = 256 << 10, 4 * 256 << 10
		x := build(t, s, func(c *server.Config) { c.BufferAllocationIncrement, c.MaxReceive = increment, most })
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{ReceiveBuffer: 200 << 10})
		x.serve()
		holds := x.dial()
		holds.echo("ready")
		until(t, func() bool { return x.Stats().ReceiveMem == increment }, "the first increment")

		const conns, lines = 200, 4
		line := strings.Repeat("x", 60_000)
		clients := make([]*client, conns)
		for i := range clients {
			clients[i] = x.dial()
			clients[i].echo("ready")
		}
		holds.say("block")
		until(t, func() bool { return x.book.gate.waiting() == 1 }, "the loop at the gate")
		var begun, done sync.WaitGroup
		for i, c := range clients {
			begun.Add(1)
			done.Go(func() {
				for k := range lines {
					_, err := fmt.Fprintf(c, "%d %d %s\n", i, k, line)
					if k == 0 {
						begun.Done()
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		begun.Wait()
		x.book.gate.open()
		require.Equal(t, "unblocked", holds.line())
		for k := range lines {
			for i, c := range clients {
				require.True(t, c.line() == fmt.Sprintf("%d %d %s", i, k, line), "message %d of %d", k, i)
			}
		}
		done.Wait()
		until(t, func() bool { return x.Stats().Messages == conns*(lines+1)+2 }, "the counts")
		high := x.Stats()
		t.Logf("%d KiB, %d receives found no buffer", high.ReceiveMem>>10, high.NoBufs)
		require.Greater(t, high.ReceiveMem, uint64(increment))
		require.LessOrEqual(t, high.ReceiveMem, uint64(most))

		// An increment goes once its buffers have come back, so a little has to be received.
		until(t, func() bool {
			holds.say("%s", line)
			require.True(t, holds.line() == line)
			stillFor(t, pollEvery)
			return x.Stats().ReceiveMem == increment
		}, "one increment; there are %d bytes", x.Stats().ReceiveMem)
		for _, c := range clients {
			c.echo("and on it goes")
		}
		x.finish()
	})
}
