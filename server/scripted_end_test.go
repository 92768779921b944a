package server

import (
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

// A connection ends whatever it is doing when the server drains, or closes.
func TestScriptedEndInAllStates(t *testing.T) {
	stuck := func(r *rig, p *enginetest.Peer, _ *probe) {
		p.Window, p.Slow = 100, true
		p.Write(lines(100, 100))
		r.quiet()
	}
	states := map[string]struct {
		limit int
		set   func(p *probe)
		do    func(r *rig, p *enginetest.Peer, pr *probe)
		cut   int // by the deadline
	}{
		"idle":        {do: func(r *rig, p *enginetest.Peer, pr *probe) {}},
		"half a line": {do: func(r *rig, p *enginetest.Peer, pr *probe) { p.Write([]byte("half")); r.quiet() }},
		"paused": {
			set: func(p *probe) { p.in = func([]byte, outbound) reactor.Status { return reactor.Pause } },
			do:  func(r *rig, p *enginetest.Peer, pr *probe) { p.Write(lines(100, 10)); r.quiet() },
		},
		"asks for time": {
			set: func(p *probe) { p.drain = func(outbound) reactor.Status { return reactor.Continue } },
			do:  func(r *rig, p *enginetest.Peer, pr *probe) {},
			cut: 1,
		},
		"output for a peer that reads": {do: func(r *rig, p *enginetest.Peer, pr *probe) { p.Window = 100; p.Write(lines(100, 100)) }},
		"output for a peer that does not": {
			do:  stuck,
			cut: 1,
		},
		"at the limit": {
			limit: 1000,
			do:    stuck,
			cut:   1,
		},
		"the peer has ended": {
			set: func(p *probe) { p.end = func(outbound) reactor.Status { return reactor.Continue } },
			do:  func(r *rig, p *enginetest.Peer, pr *probe) { p.End(); r.quiet() },
		},
		"the peer has reset": {do: func(r *rig, p *enginetest.Peer, pr *probe) { p.Reset() }},
		"lingering": {
			set: func(p *probe) { p.in = func([]byte, outbound) reactor.Status { return reactor.Drain } },
			do:  func(r *rig, p *enginetest.Peer, pr *probe) { p.Write([]byte("bye\n")); r.quiet() },
		},
		"panicked in OnDrain": {
			set: func(p *probe) { p.drain = func(outbound) reactor.Status { panic("no") } },
			do:  func(r *rig, p *enginetest.Peer, pr *probe) {},
		},
		"more than one turn": {do: func(r *rig, p *enginetest.Peer, pr *probe) { p.Write(lines(5000, 10)); r.turn(); r.turn() }},
		"in the queue":       {do: func(r *rig, p *enginetest.Peer, pr *probe) { r.e.Dial(r.fd); r.e.Dial(r.fd) }},
		"messages in the Sender": {
			do: func(r *rig, p *enginetest.Peer, pr *probe) {
				for range 10 {
					require.NoError(r.t, pr.peer.Sender.Send(frame("hello")))
				}
			},
		},
	}
	for name, s := range states {
		for _, how := range []string{"drain", "close", "fail"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				n := 0
				r, probe := probes(t, enginetest.Config{}, Config{DrainTimeout: 5 * time.Second}, ListenConfig{MaxOutbound: s.limit}, func(i int, p *probe) {
					n++
					if s.set != nil {
						s.set(p)
					}
				})
				p := r.dial()
				s.do(r, p, probe(0))
				start := r.e.Now()
				switch how {
				case "drain":
					r.stop()
					require.Equal(t, uint64(s.cut), r.l.stats.CutOff)
					require.Equal(t, int64(s.cut), r.srv.cut.Load())
					if s.cut > 0 {
						require.ErrorIs(t, probe(0).err, ErrDrainTimeout)
					}
					require.LessOrEqual(t, r.e.Now()-start, int64(7*time.Second))
				case "close":
					r.kill()
				case "fail":
					r.e.Fail()
					r.l.abandon(ErrClosed)
					require.Zero(t, r.l.pool.Used())
					require.Zero(t, r.l.stats.Conns)
				}
				for i := range n {
					require.Equal(t, 1, probe(i).closed, "OnClose of connection %d", i)
				}
			})
		}
	}
}

// A drain waits for a peer that reads slowly, and loses nothing.
func TestScriptedDrainWithASlowPeer(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{DrainTimeout: time.Hour}, ListenConfig{MaxOutbound: 1 << 20}, nil)
	p := r.dial()
	p.Slow, p.Window = true, 4<<10
	requests := lines(20_000, 32)
	p.Write(requests)
	r.quiet()
	r.l.post(note{do: r.l.drain})
	r.quiet()
	for !p.EOF() {
		p.Read(3 << 10)
		r.pass(30 * time.Millisecond)
	}
	require.Equal(t, requests, p.Got, "everything that was decoded before")
	r.pass(3 * time.Second)
	require.True(t, r.ended)
	require.NoError(t, probe(0).err)
	require.Zero(t, r.l.stats.CutOff)
	r.check()
}

func TestScriptedDrainDeadlineCount(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{DrainTimeout: 3 * time.Second}, ListenConfig{}, func(i int, p *probe) {
		if i%2 == 0 {
			p.drain = func(outbound) reactor.Status { return reactor.Continue }
		}
	})
	var peers []*enginetest.Peer
	for range 9 {
		peers = append(peers, r.dial())
	}
	peers[0].End() // this one drains
	r.quiet()
	r.stop()
	require.Equal(t, int64(4), r.srv.cut.Load())
	require.Equal(t, uint64(4), r.l.stats.CutOff)
	for i := range 9 {
		if i%2 == 0 && i > 0 {
			require.ErrorIs(t, probe(i).err, ErrDrainTimeout)
		} else {
			require.NoError(t, probe(i).err)
		}
	}
}

// The peer is told that all was sent, and its end is waited for, but not for ever.
func TestScriptedLinger(t *testing.T) {
	for _, ends := range []bool{true, false} {
		r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{}, func(_ int, p *probe) {
			p.in = func(m []byte, out outbound) reactor.Status {
				out.Send(m)
				return reactor.Drain
			}
		})
		p := r.dial()
		p.Write(lines(2, 10))
		r.quiet()
		require.Equal(t, lines(1, 10), p.Got)
		require.True(t, p.EOF())
		require.False(t, p.Closed())
		p.Write(lines(100, 10)) // is dropped
		r.quiet()
		require.Zero(t, p.Pending())
		if ends {
			p.End()
			r.quiet()
		} else {
			r.pass(time.Duration(lingerTime) - 10*time.Millisecond)
			require.False(t, p.Closed())
			r.pass(20 * time.Millisecond)
		}
		require.True(t, p.Closed())
		require.False(t, p.WasReset())
		require.Equal(t, 1, probe(0).closed)
		require.NoError(t, probe(0).err)
		require.Equal(t, 1, probe(0).inbounds)
		r.stop()
	}
}
