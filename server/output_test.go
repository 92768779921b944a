package server_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// 64 MiB to a peer that reads nothing for long, and then in small pieces, arrive in order.
func TestLargeReplyToSlowReader(t *testing.T) {
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		size := fewer(64<<20, 8<<20)
		x := start(t, s)
		for _, command := range []string{"get", "send"} {
			c := x.dialWith(slow())
			before := x.Stats().BytesOut
			c.say("%s %d", command, size)
			still(t, func() uint64 { return x.Stats().BytesOut }) // the sockets are full
			require.Less(t, x.Stats().BytesOut-before, uint64(size))
			c.pattern(0, size)
			c.echo("and on it goes")
			c.Close()
		}
		x.finish()
		require.NotZero(t, x.Stats().ShortSends+x.Stats().Sends)
	})
}

// R4, F8: the peer ends its side after its request, and still gets all of the reply, then the end.
func TestR4HalfClose(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s)
		for i, size := range []int{1, 100_000, fewer(16<<20, 4<<20)} {
			c := x.dialWith(slow())
			c.say("get %d", size)
			c.halfClose()
			c.pattern(0, size)
			require.Empty(t, c.end())
			require.NoError(t, x.book.closes(i + 1)[i])
		}
		x.allServed()
		x.finish()
	})
}

// The full size, once for each engine.
func TestR4HalfCloseLarge(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		size := fewer(64<<20, 8<<20)
		x := start(t, s)
		c := x.dial()
		c.say("send %d", size)
		c.halfClose()
		c.pattern(0, size)
		require.Empty(t, c.end())
		x.finish()
	})
}

// R3, F7: a large reply and Drain at once: every byte arrives, then the end.
func TestR3DrainSendsAll(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		size := fewer(16<<20, 4<<20)
		x := start(t, s)
		for i, command := range []string{"send-drain", "get-drain"} {
			c := x.dialWith(slow())
			c.say("%s %d", command, size)
			c.say("this is not read") // unread input must not reset the connection
			c.pattern(0, size)
			require.Empty(t, c.end())
			c.Close()
			require.NoError(t, x.book.closes(i + 1)[i])
		}
		x.finish()
	})
}

// A peer that resets at any byte of a reply: its end is reported, once, with what was not sent.
func TestResetAtAnyByte(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		const size = 64 << 20
		const socketsHold = 40 << 20 // at most: what is so near the end may be sent already, and then nothing of it is left
		x := start(t, s)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		count := fewer(40, 10)
		for i := range count {
			c := x.dial()
			command := []string{"get", "send"}[i%2]
			c.say("%s %d", command, size)
			at := random.IntN(1 << uint(random.IntN(22))) // mostly early: the first sends are in flight there
			if i%10 >= 8 {                                // one of either command
				at = random.IntN(size)
			}
			c.pattern(0, at)
			c.reset()
			end := x.book.closes(i + 1)[i]
			require.Error(t, end)
			var unsent *reactor.UnsentError
			if errors.As(end, &unsent) {
				require.Positive(t, unsent.Bytes)
				require.LessOrEqual(t, unsent.Bytes, size-at)
			} else {
				require.Greater(t, at, size-socketsHold, "%v", end)
			}
			require.True(t, errors.Is(end, unix.ECONNRESET) || errors.Is(end, unix.EPIPE), "%v", end)
		}
		c := x.dial()
		c.echo("others are served")
		x.finish()
		require.Len(t, x.logs.lines("connection ended"), count)
	})
}

// F6: what a connection may hold is bounded, whatever its peer asks for and does not read: it is not received any more.
func TestF6BoundedOutput(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		const most, reply = 64 << 10, 10_000
		x := build(t, s)
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{MaxOutbound: most})
		x.serve()
		c := x.dialWith(slow())
		// As many requests as the server and the sockets take.
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
		piece := []byte(strings.Repeat(fmt.Sprintf("send %d\n", reply), 1000))
		for {
			if _, err := c.Write(piece); err != nil {
				break
			}
		}
		still(t, func() uint64 { return x.Stats().BytesOut + x.Stats().BytesIn })
		st := x.Stats()
		t.Logf("in %d, held %d", st.BytesIn, st.Memory-st.ReceiveMem)
		if !buffers.Checked { // which hold memory back
			require.Less(t, st.Memory-st.ReceiveMem, uint64(most+reply)+3*st.BytesIn+(64<<10), "output, a carry, and what the carry left behind when it grew")
		}
		require.Less(t, st.BytesIn, uint64(2<<20), "it goes on receiving")
		other := x.dial()
		other.echo("others are served")
		for range 100 {
			c.pattern(0, reply)
		}
	})
}

// R6: a large reply on a unix socket, whose kernel takes little at a time.
func TestR6UnixSlowPeer(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := build(t, s)
		addr := x.listen("unix", filepath.Join(t.TempDir(), "s"), server.ListenConfig{})
		x.serve()
		c := x.to(addr)
		size := fewer(33_500_000, 5_000_000)
		for _, command := range []string{"send", "get"} {
			c.say("%s %d", command, size)
			still(t, func() uint64 { return x.Stats().BytesOut })
			c.pattern(0, size)
		}
		c.halfClose()
		require.Empty(t, c.end())
		x.finish()
	})
}

// reuser sends one slice again and again, with other content.
type reuser struct {
	lineRaw
	buf []byte
}

func (r *reuser) OnInbound(line *frame, out *outbound) status {
	for i := range 100 {
		r.buf = fmt.Appendf(r.buf[:0], "%s %d\n", *line, i)
		out.Send(r.buf)
	}
	return reactor.Continue
}

// R5, F2: a message is encoded when Send returns; its memory is the caller's again.
func TestR5SliceIsFree(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(peer) *reuser { return &reuser{} })
		c := x.dial()
		for range 20 {
			c.say("message")
			for i := range 100 {
				require.Equal(t, fmt.Sprintf("message %d", i), c.line())
			}
		}
	})
}

// R7, F15: output that comes while a send is in flight follows it. It neither overwrites nor overtakes it.
func TestR7WakeKeepsOutput(t *testing.T) {
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		x := start(t, s)
		c := x.dialWith(slow())
		c.say("send %d", 8<<20)
		sender := x.book.last(1).peer.Sender
		still(t, func() uint64 { return x.Stats().BytesOut })
		for i := range 100 {
			require.NoError(t, sender.Send(frame(fmt.Sprintf("message %d\n", i))))
		}
		c.pattern(0, 8<<20)
		for i := range 100 {
			require.Equal(t, fmt.Sprintf("message %d", i), c.line())
		}
	})
}

// 10,000 requests in one write are answered with few sends.
func TestPipelineFewSends(t *testing.T) {
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		t.Parallel() // what is waited for is time: counts are up to a second late
		const requests = 10_000
		x := startAs(t, s, server.ListenConfig{}, newBounce)
		c := x.dial()
		c.echo("ready")
		until(t, func() bool { return x.Stats().BytesOut == 6 }, "the counts")
		before := x.Stats()
		b := []byte(strings.Repeat("request\n", requests))
		_, err := c.Write(b)
		require.NoError(t, err)
		for range requests {
			require.Equal(t, "request", c.line())
		}
		until(t, func() bool { return x.Stats().BytesOut-before.BytesOut == uint64(len(b)) }, "the counts")
		after := x.Stats()
		require.Equal(t, uint64(requests), after.Messages-before.Messages)
		sends, receives := after.Sends-before.Sends, after.Receives-before.Receives
		t.Logf("%d sends, %d receives", sends, receives)
		require.LessOrEqual(t, sends, uint64(40))
	})
}

// One connection that floods does not keep its neighbours from being served.
func TestFloodLeavesRoom(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, newBounce)
		flood := x.dial()
		require.NoError(t, flood.SetDeadline(time.Time{}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := []byte(strings.Repeat("flood\n", 40_000))
			for {
				if _, err := flood.Write(b); err != nil {
					return
				}
			}
		}()
		read := make(chan struct{})
		go func() {
			defer close(read)
			var b [64 << 10]byte
			for {
				if _, err := flood.r.Read(b[:]); err != nil {
					return
				}
			}
		}()
		c := x.dial()
		flooding := func() uint64 { return x.Stats().BytesIn }
		for range fewer(20, 5) {
			before := flooding()
			until(t, func() bool { return flooding() > before+1<<20 }, "the flood")
			c.echo("here")
		}
		flood.Close()
		<-done
		<-read
	})
}

// Messages that come whole are decoded where they lie. (The end of an incremental buffer cuts the message that lies across it.)
func TestUncutIsNotCopied(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, newBounce)
		for range 4 * s.Loops {
			c := x.dial()
			for i := range 50 {
				c.echo(fmt.Sprintf("message %d", i))
			}
		}
		x.allServed()
		x.Close()
		cuts := uint64(0)
		if s.Engine == server.EngineURing && !s.Plain {
			const smallest = 4 << 10 // bytes of a buffer, in checked builds
			cuts = x.Stats().BytesIn / smallest
		}
		require.LessOrEqual(t, x.Stats().Carried, cuts*uint64(len("message 49\n")))
		require.ErrorIs(t, x.wait(), server.ErrClosed)
	})
}

// Connections that take all provided buffers neither starve others nor lose bytes. The loops are held up until all have written: so
// there is more to receive than there are buffers. A multishot receive takes them all by itself; a single shot takes one, so that one greedy
// connection of that kind has to do with a group of one buffer.
func TestBuffersExhausted(t *testing.T) {
	var setups []setup
	for _, loops := range []int{1, 2} {
		for _, plain := range []bool{false, true} {
			for _, single := range []bool{false, true} {
				setups = append(setups, setup{Engine: server.EngineURing, Loops: loops, Plain: plain, Single: single})
			}
		}
	}
	over(t, setups, func(t *testing.T, s setup) {
		for _, greedy := range []int{1, 4 * s.Loops} {
			t.Run(fmt.Sprintf("%d greedy", greedy), func(t *testing.T) { exhaustBuffers(t, s, greedy) })
		}
	})
}

func exhaustBuffers(t *testing.T, s setup, greedy int) {
	x := build(t, s, func(c *server.Config) {
		c.BufferAllocationIncrement = 64 << 10 // 16 plain buffers
		if s.Single {
			c.BufferAllocationIncrement = 4 << 10 // one
		}
		c.MaxReceive = c.BufferAllocationIncrement
	})
	x.listen("tcp", "127.0.0.1:0", server.ListenConfig{ReceiveBuffer: 200 << 10}) // the kernel takes that much for a loop that is held up
	x.serve()
	const neighbours, lines = 50, 30
	loopOf := func(c *client) int {
		c.say("peer")
		fields := strings.Fields(c.line())
		loop, err := strconv.Atoi(fields[len(fields)-1])
		require.NoError(t, err)
		return loop
	}
	clients := make([][]*client, s.Loops) // by loop: the first holds it up
	total := 0
	for ; total < s.Loops+greedy+neighbours; total++ {
		c := x.dial()
		loop := loopOf(c)
		clients[loop] = append(clients[loop], c)
	}
	hold := make([]*client, s.Loops)
	var rest []*client // of the loops in turn
	for i := range clients {
		require.Greater(t, len(clients[i]), (s.Loops+greedy)/s.Loops, "connections are spread")
		hold[i] = clients[i][0]
	}
	for k := 1; len(rest) < total-s.Loops; k++ {
		for i := range clients {
			if k < len(clients[i]) {
				rest = append(rest, clients[i][k])
			}
		}
	}
	for i, c := range hold {
		c.say("block")
		until(t, func() bool { _, ok := x.book.stands.Load(i); return ok }, "loop %d to be held up", i)
	}
	line := strings.Repeat("x", 99_999)
	done := make(chan error, greedy)
	begun := make(chan bool, greedy)
	for _, c := range rest[:greedy] {
		go func() {
			var err error
			for i := range lines {
				if _, err = c.Write([]byte(line + "\n")); err != nil {
					break
				}
				if i == 0 {
					begun <- true // the sockets have it
				}
			}
			done <- err
		}()
	}
	for range greedy {
		<-begun
	}
	for i, c := range rest[greedy:] {
		c.say("neighbour %d", i)
	}
	x.book.gate.open()
	for _, c := range hold {
		require.Equal(t, "unblocked", c.line())
	}
	for i, c := range rest[greedy:] {
		require.Equal(t, fmt.Sprintf("neighbour %d", i), c.line())
	}
	for range 5 {
		for i, c := range rest[greedy:] {
			c.echo(fmt.Sprintf("neighbour %d again", i))
		}
	}
	for _, c := range rest[:greedy] {
		for range lines {
			require.Equal(t, line, c.line())
		}
	}
	for range greedy {
		require.NoError(t, <-done)
	}
	for i, l := range x.LoopStats() {
		t.Logf("loop %d: ENOBUFS %d, re-arms %d of %d receives", i, l.NoBufs, l.Rearms, l.Receives)
		if i < greedy { // it has a greedy one
			require.Positive(t, l.NoBufs, "buffers never ran out")
		}
	}
	x.finish()
}

// Many active connections on one increment of memory do not storm: a receive lives on.
func TestRearmsAreRare(t *testing.T) {
	for _, s := range []setup{{Engine: server.EngineURing, Loops: 1}, {Engine: server.EngineURing, Loops: 1, Plain: true}} {
		for _, conns := range []int{1000, fewer(4000, 0)} {
			if conns == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%v-%d", s, conns), func(t *testing.T) {
				x := startAs(t, s, server.ListenConfig{}, newBounce, func(c *server.Config) { c.MaxReceive = c.BufferAllocationIncrement })
				clients := make([]*client, conns)
				for i := range clients {
					clients[i] = x.dial()
				}
				clients[0].echo("ready")
				until(t, func() bool { return x.Stats().Conns == uint64(conns) && x.Stats().Messages == 1 }, "all connections")
				before := x.Stats()
				const rounds = 8
				for i := range rounds {
					message := fmt.Sprintf("%058d %d", 0, i)
					for _, c := range clients {
						c.say("%s", message)
					}
					for _, c := range clients {
						require.Equal(t, message, c.line())
					}
				}
				until(t, func() bool { return x.Stats().Messages-before.Messages == rounds*uint64(conns) }, "the counts")
				after := x.Stats()
				per := float64(after.Rearms-before.Rearms) / float64(after.Messages-before.Messages)
				t.Logf("%.4f re-arms per message, %d without buffer", per, after.NoBufs-before.NoBufs)
				require.Less(t, per, 0.1)
				require.LessOrEqual(t, after.ReceiveMem, uint64(1<<20))
			})
		}
	}
}
