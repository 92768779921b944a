package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

// Senders act at every point at which a goroutine may: before, in the middle of, and after each call of the engine. Nothing is lost,
// nothing comes twice, and each sender's order is kept.
func TestScriptedSenderStorm(t *testing.T) {
	const senders, messages, conns = 4, 200, 3
	seeds := uint64(45)
	if buffers.Checked {
		seeds = 18
	}
	for seed := range seeds {
		faults := enginetest.Faults{World: 0.4, Delay: float64(seed%3) * 0.3, Short: float64(seed%2) * 0.3, Spurious: float64(seed%5) * 0.1}
		lc := ListenConfig{MaxQueuedOutboundMessages: []int{1, 2, 128}[seed%3], MaxOutbound: []int{1, 300, 0}[seed/3%3]}
		r, probe := probes(t, enginetest.Config{Seed: seed, Faults: faults}, Config{}, lc, func(_ int, p *probe) {
			p.in = func(m []byte, out outbound) reactor.Status { // a sender on the ring is one of them
				out.Send(m)
				_ = p.peer.Sender.Send(frame("ring"))
				return reactor.Continue
			}
		})
		var peers [conns]*enginetest.Peer
		for i := range peers {
			peers[i] = r.dial()
		}
		var next [conns][senders]int
		full, todo := 0, conns*senders*messages
		r.e.World = func() {
			for range r.e.Rand().IntN(4) {
				i, s := r.e.Rand().IntN(conns), r.e.Rand().IntN(senders)
				if next[i][s] == messages {
					continue
				}
				switch err := probe(i).peer.Sender.Send(fmt.Appendf(nil, "%d %d", s, next[i][s])); {
				case err == nil:
					next[i][s]++
					todo--
				case errors.Is(err, reactor.ErrFull):
					full++
				default:
					t.Fatal(err)
				}
			}
		}
		for n := 0; todo > 0; n++ {
			if n%10 == 0 {
				peers[n/10%conns].Write([]byte("hello\n"))
			}
			require.True(t, r.turn())
			require.Less(t, n, 100_000, "PROTORING_SEED=%d: %d messages find no room", seed, todo)
		}
		r.e.World = nil
		r.quiet()
		for i, p := range peers {
			var seen [senders]int
			for line := range strings.Lines(string(p.Got)) {
				var s, k int
				if n, _ := fmt.Sscanf(line, "%d %d\n", &s, &k); n == 2 {
					require.Equal(t, seen[s], k, "PROTORING_SEED=%d: connection %d, sender %d", seed, i, s)
					seen[s]++
				}
			}
			for s := range seen {
				require.Equal(t, messages, seen[s], "PROTORING_SEED=%d: connection %d, sender %d", seed, i, s)
			}
			p.End()
		}
		if seed%3 < 2 {
			require.Positive(t, full)
		}
		r.stop()
	}
}

// Every end says what it has left unsent: the bytes that the kernel has not taken, and the messages that wait in the Sender.
func TestScriptedUnsent(t *testing.T) {
	const window, limit, waiting = 300, 1000, 3
	ends := map[string]struct {
		end  func(r *rig, p *enginetest.Peer, pr *probe)
		err  error
		less int // messages that the end itself took from the queue
	}{
		"Sender.Close": {end: func(r *rig, _ *enginetest.Peer, pr *probe) { require.NoError(r.t, pr.peer.Sender.Close()) }},
		"peer reset":   {end: func(_ *rig, p *enginetest.Peer, _ *probe) { p.Reset() }, err: errAny},
		"write timeout": {end: func(r *rig, _ *enginetest.Peer, _ *probe) { r.pass(2 * time.Minute) },
			err: ErrWriteTimeout},
		"server closed": {end: func(r *rig, _ *enginetest.Peer, _ *probe) { r.l.post(note{do: r.l.close}) }, err: ErrClosed},
		"drain deadline": {end: func(r *rig, _ *enginetest.Peer, _ *probe) {
			r.l.post(note{do: r.l.drain})
			r.pass(11 * time.Second)
		}, err: ErrDrainTimeout},
		"out of memory": {end: func(r *rig, _ *enginetest.Peer, _ *probe) {
			c := r.conns()[0]
			c.terminate(ErrMemory)
			r.l.post(note{do: func() {}})
		}, err: ErrMemory},
	}
	for name, e := range ends {
		t.Run(name, func(t *testing.T) {
			r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{MaxOutbound: limit}, nil)
			p := r.dial()
			p.Slow, p.Window = true, window
			p.Write(lines(100, 20))
			r.quiet()
			for range waiting {
				require.NoError(t, probe(0).peer.Sender.Send(frame("waits")))
			}
			r.quiet()
			e.end(r, p, probe(0))
			r.quiet()
			require.Equal(t, 1, probe(0).closed)
			var unsent *reactor.UnsentError
			require.ErrorAs(t, probe(0).err, &unsent)
			require.Equal(t, waiting, unsent.Messages)
			require.Equal(t, limit-window, unsent.Bytes)
			switch {
			case e.err == nil:
				require.NoError(t, unsent.Err)
			case e.err != errAny:
				require.ErrorIs(t, unsent, e.err)
			default:
				require.Error(t, unsent.Err)
			}
			require.ErrorIs(t, probe(0).peer.Sender.Send(frame("late")), reactor.ErrClosed)
			r.kill()
		})
	}
}

var errAny = errors.New("any")

// A message that was cut by the peer's end is reported.
func TestScriptedCutByTheEnd(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, nil)
	p := r.dial()
	p.Write([]byte("whole\nhal"))
	r.quiet()
	p.End()
	r.quiet()
	require.Equal(t, "whole\n", string(p.Got))
	require.ErrorContains(t, probe(0).err, "unexpected EOF")
	r.stop()
}

// What a reactor sends to another connection as it ends leaves in the same turn.
func TestScriptedOutputOfAnEnd(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{MaxQueuedOutboundMessages: 1}, nil)
	a, b := r.dial(), r.dial()
	probe(0).onClose = func(error) {
		for i := range 5 {
			require.NoError(t, probe(1).peer.Sender.Send(fmt.Appendf(nil, "gone %d", i)))
		}
	}
	for _, how := range []func(){a.Reset} {
		how()
		r.quiet()
	}
	require.Equal(t, "gone 0\ngone 1\ngone 2\ngone 3\ngone 4\n", string(b.Got))
	r.stop()
}

// A wait that is woken at the last moment does not sleep; the engine asserts it, with each interleaving of its own.
func TestScriptedLastMoment(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, nil)
	p := r.dial()
	sent := false
	r.e.SetFaults(enginetest.Faults{World: 1})
	calls := 0
	for at := range 40 { // the number of the call in which it happens
		calls, sent = 0, false
		r.e.World = func() {
			if calls++; calls == at+1 && !sent {
				sent = true
				require.NoError(t, probe(0).peer.Sender.Send(frame("now")))
			}
		}
		p.Write([]byte("x\n"))
		r.quiet()
		if !sent {
			break
		}
		r.quiet()
		require.Contains(t, string(p.Got), "now\n", "call %d", at)
		p.Got = nil
	}
	require.False(t, sent, "all calls of a turn were tried")
	r.e.World = nil
	r.stop()
}
