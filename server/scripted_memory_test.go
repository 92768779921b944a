package server

import (
	"bytes"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

// Receives that find no memory come again in their order, and not more of them than there are buffers.
func TestScriptedStarved(t *testing.T) {
	const n = 50
	var order []int
	r, _ := probes(t, enginetest.Config{Buffers: 2, BufferSize: 64}, Config{}, ListenConfig{}, func(i int, p *probe) {
		p.in = func([]byte, outbound) reactor.Status {
			order = append(order, i)
			return reactor.Continue
		}
	})
	var peers []*enginetest.Peer
	for range n {
		peers = append(peers, r.dial())
	}
	order = nil
	for _, p := range peers {
		p.Write([]byte("hello\n"))
	}
	r.turn() // two are served, the others starve
	require.Len(t, r.l.starved, n-2-2, "two are armed again")
	var queue []int
	for _, c := range r.l.starved {
		for i, p := range r.conns() {
			if p == c {
				queue = append(queue, i)
			}
		}
	}
	order = nil
	armed := r.e.Armed
	for turns := 0; len(order) < n-2; turns++ {
		require.True(t, r.turn())
		require.LessOrEqual(t, r.e.Armed-armed, 2, "re-arms of a turn")
		armed = r.e.Armed
		require.Less(t, turns, 2*n)
	}
	require.ElementsMatch(t, queue, order[2:])
	for i := 0; i+1 < len(queue); i += 2 { // two of a turn complete in any order
		require.ElementsMatch(t, queue[i:i+2], order[2+i:4+i])
	}
	require.Equal(t, uint64(n), r.stats().Messages)
	r.stop()
}

// Starved receives of silent peers do not keep others from being armed.
func TestScriptedStarvedAndSilent(t *testing.T) {
	r, _ := probes(t, enginetest.Config{Buffers: 2, BufferSize: 64}, Config{}, ListenConfig{}, nil)
	var peers []*enginetest.Peer
	for range 20 {
		peers = append(peers, r.dial())
	}
	for _, c := range r.conns() { // as if all had been armed on an empty group, which fails at once
		c.stop()
		c.held = true
	}
	r.quiet()
	for _, c := range r.conns() {
		c.held, c.starved = false, true
		r.l.starved = append(r.l.starved, c)
	}
	r.conns()[3].dead = false
	r.quiet()
	require.Empty(t, r.l.starved)
	peers[19].Write([]byte("hello\n"))
	r.quiet()
	require.Equal(t, "hello\n", string(peers[19].Got))
	r.stop()
}

func TestScriptedMemory(t *testing.T) {
	const bound = 16 << 20
	r, probe := probes(t, enginetest.Config{Buffers: 64, BufferSize: 16 << 10}, Config{MaxMemory: bound},
		ListenConfig{MaxBufferLength: 64 << 20}, nil)
	greedy, other := r.dial(), r.dial()
	hold, closed := false, false
	for sent := 0; sent < 40<<20 && !closed; sent += 64 << 10 {
		greedy.Write(bytes.Repeat([]byte("x"), 64<<10))
		r.pass(time.Millisecond)
		hold = hold || r.conns()[0].held
		closed = probe(0).closed > 0
		require.LessOrEqual(t, r.l.pool.Used()+r.e.Memory(), bound+2<<20)
		if sent%(1<<20) == 0 {
			other.Write([]byte("hello\n"))
			if !closed && hold {
				r.pass(50 * time.Millisecond)
			}
		}
	}
	require.True(t, hold, "it is held first")
	r.pass(3 * time.Second)
	require.Equal(t, 1, probe(0).closed)
	require.ErrorIs(t, probe(0).err, ErrMemory)
	require.Zero(t, probe(1).closed)
	require.Empty(t, r.l.held)
	require.Equal(t, uint64(1), r.stats().Shed)
	other.Write([]byte("hello\n"))
	r.quiet()
	require.Equal(t, 6*probe(1).inbounds, len(other.Got))
	require.Positive(t, probe(1).inbounds)
	r.stop()
}

// A connection that was held goes on when there is memory again.
func TestScriptedMemoryComesBack(t *testing.T) {
	if buffers.Checked {
		t.Skip("a checked build keeps what is freed in quarantine, resident")
	}
	r, probe := probes(t, enginetest.Config{Buffers: 64, BufferSize: 16 << 10}, Config{MaxMemory: 16 << 20},
		ListenConfig{MaxBufferLength: 64 << 20}, nil)
	a, b := r.dial(), r.dial()
	a.Write(bytes.Repeat([]byte("a"), 5<<20))
	r.quiet()
	b.Write(bytes.Repeat([]byte("b"), 9<<20))
	r.pass(100 * time.Millisecond)
	held := r.conns()[1]
	for n := 0; !held.held; n++ {
		a.Write(bytes.Repeat([]byte("a"), 64<<10))
		r.pass(10 * time.Millisecond)
		require.Less(t, n, 200)
	}
	a.Reset()
	r.pass(100 * time.Millisecond)
	require.False(t, held.held, "used %d resident %d receive %d, conn %+v, held %v", r.l.pool.Used(), r.l.pool.Resident(), r.e.Memory(), held, r.l.held)
	b.Write([]byte("b\n"))
	r.pass(100 * time.Millisecond)
	require.Equal(t, 1, probe(1).inbounds)
	r.kill()
}
