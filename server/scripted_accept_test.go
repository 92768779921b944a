package server

import (
	"testing"
	"time"

	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

func TestScriptedMaxConns(t *testing.T) {
	r, _ := probes(t, enginetest.Config{}, Config{MaxConns: 3}, ListenConfig{}, nil)
	var peers []*enginetest.Peer
	for range 10 {
		peers = append(peers, r.e.Dial(r.fd))
	}
	r.quiet()
	require.Equal(t, uint64(3), r.stats().Conns)
	sqes := r.stats().SQEs
	r.pass(10 * time.Second)
	require.Equal(t, sqes, r.stats().SQEs, "nothing is tried while it is full")
	for i := range 10 {
		peers[i].Write([]byte("hello\n"))
		r.quiet()
		require.Equal(t, "hello\n", string(peers[i].Got), "connection %d", i)
		require.LessOrEqual(t, r.stats().Conns, uint64(3))
		peers[i].End()
		r.quiet() // without time going by: the end of one lets in the next
	}
	r.stop()
	require.Equal(t, uint64(10), r.l.stats.Accepted)
}

func TestScriptedNoDescriptors(t *testing.T) {
	r, _ := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, nil)
	live := r.dial()
	r.e.SetMaxFiles(2)
	waits := r.dial()
	require.Equal(t, 1, r.e.Attempts)
	for range 100 {
		r.pass(100 * time.Millisecond)
		live.Write([]byte("x\n"))
	}
	require.LessOrEqual(t, r.e.Attempts, 17, "10 s: 10 ms, doubled up to 1 s")
	require.GreaterOrEqual(t, r.e.Attempts, 12)
	require.Len(t, live.Got, 2*99)
	before := r.e.Attempts
	live.End()
	waits.Write([]byte("hello\n"))
	r.quiet() // at once
	require.Equal(t, "hello\n", string(waits.Got))
	require.Equal(t, before, r.e.Attempts)
	waits.End()
	r.stop()
	require.Contains(t, r.logged(), "accepting pauses")
	require.Equal(t, uint64(before), r.l.stats.AcceptErrs)
}

func TestScriptedGenerations(t *testing.T) {
	was := firstGeneration
	firstGeneration = 1<<32 - 3
	defer func() { firstGeneration = was }()
	r, probe := probes(t, enginetest.Config{Seed: 7, Faults: enginetest.Faults{Late: 0.5, Delay: 0.5, Split: 0.5}}, Config{}, ListenConfig{}, nil)
	seen := map[uint32]bool{}
	for i := range 20 {
		p := r.dial()
		c := r.conns()[0]
		seen[c.generation] = true
		id := lines(i+1, 10)[10*i:]
		p.Write(id)
		r.quiet()
		require.Equal(t, id, p.Got)
		p.Write(id)
		if i%2 == 0 {
			p.Reset()
		} else {
			require.NoError(t, probe(i).peer.Sender.Close())
		}
		r.quiet()
		require.Equal(t, 1, probe(i).closed)
		require.Nil(t, r.l.find(c.token(1)))
	}
	require.Len(t, r.l.slots, 1)
	require.Len(t, seen, 20)
	require.True(t, seen[0] && seen[1<<32-1])
	r.stop()
}
