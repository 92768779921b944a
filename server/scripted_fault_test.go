package server

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/engine"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// R4, F8: the peer ends its side after its requests, and reads the replies later. It gets all of them, then the end.
func TestScriptedHalfClose(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{MaxOutbound: 4 << 10}, nil)
	p := r.dial()
	p.Slow, p.Window = true, 500
	requests := lines(1000, 20)
	p.Write(requests)
	p.End()
	r.quiet()
	require.Zero(t, probe(0).closed)
	for p.Read(300) > 0 {
		r.quiet()
	}
	require.Equal(t, requests, p.Got)
	require.True(t, p.EOF())
	require.Equal(t, 1, probe(0).closed)
	require.NoError(t, probe(0).err)
	r.stop()
}

// R6: each send takes less than it was given. The next one goes on at the very byte.
func TestScriptedShortSends(t *testing.T) {
	r, _ := probes(t, enginetest.Config{Faults: enginetest.Faults{Short: 1}}, Config{}, ListenConfig{}, nil)
	p := r.dial()
	requests := lines(1000, 50)
	p.Write(requests)
	r.quiet()
	require.Equal(t, requests, p.Got)
	require.Greater(t, len(r.e.Sends), 10)
	require.Positive(t, r.stats().ShortSends)
	p.End()
	r.stop()
}

// R12, F16: each shot is the last one of its accept or receive, without an error that says so.
func TestScriptedEachShotEnds(t *testing.T) {
	r, _ := probes(t, enginetest.Config{Faults: enginetest.Faults{NoMore: 1}}, Config{}, ListenConfig{}, nil)
	for range 3 {
		p := r.dial()
		for i := range 5 {
			p.Write([]byte("hello\n"))
			r.quiet()
			require.Len(t, p.Got, 6*(i+1))
		}
		p.End()
		r.quiet()
		require.True(t, p.EOF())
	}
	require.Equal(t, uint64(3), r.stats().Accepted)
	require.Equal(t, uint64(3*5), r.stats().Rearms)
	r.stop()
}

// F10, F17: a connection has the slot and the descriptor of one that has ended. Nothing that was meant for that one reaches it.
func TestScriptedStale(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, nil)
	p := r.dial()
	was := r.conns()[0]
	p.End()
	r.quiet()
	require.Equal(t, 1, probe(0).closed)

	q := r.dial()
	is := r.conns()[0]
	require.Equal(t, [2]uint32{was.slot, uint32(was.fd)}, [2]uint32{is.slot, uint32(is.fd)}, "or the test tests nothing")
	for _, op := range []engine.Op{engine.OpReceive, engine.OpSend} {
		require.Nil(t, r.l.find(was.token(op)))
		require.Same(t, is, r.l.find(is.token(op)))
		r.l.dispatch(&engine.Completion{Token: was.token(op), Err: unix.ECONNRESET})
	}
	require.Equal(t, uint64(2), r.l.stats.Stale)
	r.l.stats.Stale = 0 // it is the rig that takes offence at them
	old := probe(0).peer.Sender
	require.ErrorIs(t, old.Send(frame("stale")), reactor.ErrClosed)
	require.ErrorIs(t, old.Do(func(outbound) reactor.Status { t.Error("runs"); return reactor.Close }), reactor.ErrClosed)
	require.ErrorIs(t, old.Close(), reactor.ErrClosed)
	was.Wake() // it may still come
	q.Write([]byte("hello\n"))
	r.quiet()
	require.Equal(t, "hello\n", string(q.Got))
	require.Zero(t, probe(1).closed)
	r.stop()
}

// Completions that find the queue full come in later turns, in order. None is lost, also at the end, and each time is counted.
func TestScriptedOverflow(t *testing.T) {
	const conns, queue = 20, 4
	r, probe := probes(t, enginetest.Config{Queue: queue, BufferSize: 16, Buffers: 1024}, Config{}, ListenConfig{}, nil)
	var peers [conns]*enginetest.Peer
	for i := range peers {
		peers[i] = r.e.Dial(r.fd)
	}
	r.quiet()
	accepts := r.stats().Overflows
	require.Equal(t, uint64(conns), r.stats().Accepted)
	require.GreaterOrEqual(t, accepts, uint64(conns/queue-1))
	requests := lines(10, 20) // 13 shots
	for _, p := range peers {
		p.Write(requests)
	}
	for n := 0; r.stats().BytesIn < uint64(conns*len(requests)); n++ {
		before := r.stats().CQEs
		require.True(t, r.turn())
		require.LessOrEqual(t, r.stats().CQEs-before, uint64(queue), "a turn takes what the queue holds")
		if r.stats().BytesIn < uint64(conns*len(requests)) {
			require.Equal(t, accepts+uint64(n+1), r.stats().Overflows, "one in each turn that leaves some")
		}
	}
	r.quiet()
	for i, p := range peers {
		require.Equal(t, requests, p.Got, "connection %d", i)
	}
	counted := r.stats().Overflows
	peers[0].Write(requests[:10])
	r.quiet()
	require.Equal(t, counted, r.stats().Overflows, "one completion finds room")
	for _, p := range peers {
		p.Write(requests)
	}
	require.True(t, r.turn())
	r.kill() // with most of them late
	for i := range peers {
		require.Equal(t, 1, probe(i).closed, "connection %d", i)
		require.ErrorIs(t, probe(i).err, ErrClosed)
	}
}

// failing is an engine that loses a completion in its fourth turn.
type failing struct {
	engine.Engine
	turns int
}

func (f *failing) Wait(time.Duration) error {
	if f.turns++; f.turns == 4 {
		return engine.ErrLost
	}
	return f.Engine.Wait(time.Millisecond)
}

// F13: a server that nobody stopped, and whose engine has failed, does not end well.
func TestServeWhenAnEngineFails(t *testing.T) {
	srv, err := New(Config{Loops: 2, Engine: EngineEpoll})
	require.NoError(t, err)
	srv.open = func(opts engine.Options) (engine.Engine, error) {
		e, err := engine.NewEpoll(opts)
		return &failing{Engine: e}, err
	}
	require.ErrorIs(t, srv.Serve(t.Context()), engine.ErrLost)
}

// R11, F18: what a thread has submitted ends with the thread, so a loop keeps its own until all is over.
func TestLoopsAreLockedToThreads(t *testing.T) {
	srv, err := New(Config{Loops: 2, Engine: EngineEpoll})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	require.Eventually(t, func() bool { return len(srv.LoopStats()) == 2 }, 5*time.Second, time.Millisecond)
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	stop()
	require.NoError(t, <-served)
	loops := 0
	for g := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(g, "server.(*loop).run(") {
			loops++
			require.Contains(t, strings.SplitN(g, "\n", 2)[0], "locked to thread")
		}
	}
	require.Equal(t, 2, loops)
}
