package server

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// 10,000 requests in one write, to a peer that reads: not more than one send for each turn that decodes.
func TestScriptedSendsOfAPipeline(t *testing.T) {
	for _, s := range []struct {
		buffer int
		sends  uint64
	}{{4 << 10, 3}, {64 << 10, 10}} { // 32 receives a turn; 1024 messages of one receive
		r, _ := probes(t, enginetest.Config{BufferSize: s.buffer}, Config{}, ListenConfig{}, nil)
		p := r.dial()
		requests := lines(10_000, 32)
		p.Write(requests)
		r.quiet()
		require.Equal(t, requests, p.Got)
		require.Equal(t, s.sends, r.stats().Sends)
		require.Equal(t, uint64(10_000), r.stats().Messages)
		p.End()
		r.stop()
	}
}

// A connection that floods its loop has its share of a turn, and then its neighbours have theirs.
func TestScriptedFairness(t *testing.T) {
	var order []int
	var input [8]int
	var turns [8]map[uint32]int
	var r *rig
	r, _ = probes(t, enginetest.Config{Buffers: 256, BufferSize: 16 << 10}, Config{}, ListenConfig{MaxOutbound: 8 << 20}, func(i int, p *probe) {
		turns[i] = map[uint32]int{}
		p.in = func(m []byte, out outbound) reactor.Status {
			turns[i][r.l.turn] += len(m) + 1
			if len(order) == 0 || order[len(order)-1] != i {
				order = append(order, i)
			}
			input[i] += len(m) + 1
			return reactor.Continue
		}
	})
	var peers []*enginetest.Peer
	for range 8 {
		peers = append(peers, r.dial())
	}
	flood := bytes.Repeat(append(bytes.Repeat([]byte("x"), 8<<10-1), '\n'), 2048) // 16 MiB
	peers[0].Write(flood)
	seen := [8]int{}
	for n := range 40 {
		for _, p := range peers[1:] {
			p.Write([]byte("hello\n"))
		}
		flooded := input[0]
		require.True(t, r.turn())
		for i := 1; i < 8; i++ {
			seen[i] += 6
			require.Equal(t, seen[i], input[i], "turn %d: the flood had %d bytes", n, input[0]-flooded)
		}
	}
	r.quiet()
	require.Equal(t, len(flood), input[0])
	most := 0
	for _, n := range turns[0] {
		most = max(most, n)
	}
	require.LessOrEqual(t, most, turnBytes+16<<10, "bytes of a turn")
	require.Greater(t, len(turns[0]), 16<<20/(turnBytes+16<<10))
	for _, p := range peers {
		p.End()
	}
	r.stop()
}

// A stash of large messages is decoded in shares too.
func TestScriptedShareOfAStash(t *testing.T) {
	var per = map[uint32]int{}
	var r *rig
	paused := true
	r, probe := probes(t, enginetest.Config{Buffers: 512, BufferSize: 16 << 10}, Config{}, ListenConfig{MaxBufferLength: 4 << 20}, func(_ int, p *probe) {
		p.in = func(m []byte, out outbound) reactor.Status {
			per[r.l.turn] += len(m) + 1
			if paused {
				return reactor.Pause
			}
			return reactor.Continue
		}
	})
	p := r.dial()
	line := append(bytes.Repeat([]byte("x"), 64<<10-1), '\n')
	p.Write(bytes.Repeat(line, 64))
	p.Write(append(bytes.Repeat([]byte("y"), 3<<20), '\n'))
	r.quiet()
	paused = false
	require.NoError(t, probe(0).peer.Sender.Do(func(outbound) reactor.Status { return reactor.Continue }))
	r.quiet()
	require.Equal(t, 65, probe(0).inbounds)
	large := 0
	for _, n := range per {
		if n > 3<<20 {
			large++
			n -= 3<<20 + 1
		}
		require.LessOrEqual(t, n, turnBytes+64<<10)
	}
	require.Equal(t, 1, large)
	p.End()
	r.stop()
}

func TestScriptedCuts(t *testing.T) {
	text := []byte("a\n\nlonger line with some words\r\nx\n" + string(bytes.Repeat([]byte("z"), 700)) + "\nend\n")
	want := bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	for cut := 0; cut <= len(text); cut++ {
		for size := range 3 {
			r, _ := probes(t, enginetest.Config{Seed: uint64(cut), BufferSize: []int{4096, 16, 1}[size], Buffers: 16}, Config{}, ListenConfig{}, nil)
			p := r.dial()
			p.Write(text[:cut])
			r.quiet()
			p.Write(text[cut:])
			r.quiet()
			require.Equal(t, want, p.Got)
			p.End()
			r.kill()
			if size > 0 && cut%97 != 0 {
				break
			}
		}
	}
}

func TestScriptedBackpressure(t *testing.T) {
	const limit = 8 << 10
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{MaxOutbound: limit}, nil)
	p := r.dial()
	p.Slow, p.Window = true, 1000
	requests := lines(4000, 10)
	p.Write(requests)
	r.quiet()
	stopped := probe(0).inbounds
	require.Equal(t, (limit+9)/10, stopped, "OnInbound is not called at the limit")
	c := r.conns()[0]
	p.Write([]byte("00"))
	r.quiet()
	require.False(t, c.receiving, "the receive is cancelled by the next bytes")
	require.Equal(t, 1, r.e.InFlight()-1, "only the send, and the accept")
	armed := r.e.Armed
	p.Write(lines(4000, 10)[2:])
	r.quiet()
	require.Equal(t, stopped, probe(0).inbounds)
	require.Equal(t, armed, r.e.Armed)
	require.Positive(t, p.Pending(), "what comes waits in the socket")
	for p.Read(500) > 0 {
		before := c.session.Output().Len()
		r.quiet()
		require.LessOrEqual(t, c.session.Output().Len(), limit+10, "before %d", before)
	}
	require.Equal(t, append(requests, lines(4000, 10)...), p.Got)
	require.Equal(t, 8000, probe(0).inbounds)
	require.True(t, c.receiving)
	p.End()
	r.stop()
}

// A send is awaited where something follows from its completion, and only there: the loop may sleep before it sees the others.
func TestScriptedAwaited(t *testing.T) {
	const limit = 8 << 10
	for _, c := range []struct {
		request string
		want    []bool
		status  reactor.Status
		size    int
	}{
		{"answer", []bool{false}, reactor.Continue, 10},
		{"the reactor pauses", []bool{true}, reactor.Pause, 10},
		{"the connection ends", []bool{true}, reactor.Drain, 10},
		{"the output is at its limit", []bool{true}, reactor.Continue, limit},
	} {
		t.Run(c.request, func(t *testing.T) {
			r, _ := probes(t, enginetest.Config{}, Config{}, ListenConfig{MaxOutbound: limit}, func(_ int, p *probe) {
				p.in = func(_ []byte, out outbound) reactor.Status {
					out.Send(frame(strings.Repeat("x", c.size-1)))
					return c.status
				}
			})
			p := r.dial()
			p.Write([]byte(c.request + "\n"))
			r.quiet()
			require.Len(t, p.Got, c.size)
			require.Equal(t, c.want, r.e.Awaited)
			p.Reset()
			r.stop()
		})
	}
}

func TestScriptedResetAmidPause(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, func(_ int, p *probe) {
		p.in = func([]byte, outbound) reactor.Status { return reactor.Pause }
	})
	gone, there := r.dial(), r.dial()
	for _, p := range []*enginetest.Peer{gone, there} {
		p.Write([]byte("one\n"))
		r.quiet()
		p.Write([]byte("two\n"))
		r.quiet()
	}
	require.False(t, r.conns()[0].receiving, "the next bytes end the receive")
	gone.Reset()
	r.pass(3 * time.Second)
	require.Equal(t, 1, probe(0).closed)
	require.ErrorIs(t, probe(0).err, unix.ECONNRESET)
	r.pass(time.Minute)
	require.Zero(t, probe(1).closed)
	require.Less(t, r.stats().Turns, uint64(100), "a look each two seconds")
	r.stop()
}

func TestScriptedPause(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, func(_ int, p *probe) {
		p.in = func(m []byte, out outbound) reactor.Status {
			out.Send(m)
			if string(m) == "pause" {
				return reactor.Pause
			}
			return reactor.Continue
		}
	})
	p := r.dial()
	p.Write([]byte("one\npause\ntwo\nthr"))
	r.quiet()
	require.Equal(t, "one\npause\n", string(p.Got))
	p.Write([]byte("e"))
	r.quiet()
	require.False(t, r.conns()[0].receiving, "the next bytes end the receive")
	p.Write([]byte("e\n"))
	p.End()
	r.quiet()
	require.Equal(t, 2, p.Pending())
	require.NoError(t, probe(0).peer.Sender.Do(func(out outbound) reactor.Status {
		out.Send(frame("still"))
		return reactor.Pause
	}))
	r.quiet()
	require.Equal(t, "one\npause\nstill\n", string(p.Got))
	require.NoError(t, probe(0).peer.Sender.Do(func(out outbound) reactor.Status { return reactor.Continue }))
	r.quiet()
	require.Equal(t, "one\npause\nstill\ntwo\nthree\n", string(p.Got))
	require.True(t, p.EOF())
	require.Equal(t, 1, probe(0).closed)
	require.NoError(t, probe(0).err)
	r.stop()
}
