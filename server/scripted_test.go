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

// A connection ends whatever it is doing when the server drains, or closes.
func TestScriptedEndInAllStates(t *testing.T) {
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
			do: func(r *rig, p *enginetest.Peer, pr *probe) {
				p.Window, p.Slow = 100, true
				p.Write(lines(100, 100))
				r.quiet()
			},
			cut: 1,
		},
		"at the limit": {
			limit: 1000,
			do: func(r *rig, p *enginetest.Peer, pr *probe) {
				p.Window, p.Slow = 100, true
				p.Write(lines(100, 100))
				r.quiet()
			},
			cut: 1,
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

func TestScriptedIdleTimeout(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{IdleTimeout: time.Minute}, nil)
	busy, idle := r.dial(), r.dial()
	for range 10 {
		r.pass(30 * time.Second)
		busy.Write([]byte("hello\n"))
	}
	require.Equal(t, 1, probe(1).closed)
	require.ErrorIs(t, probe(1).err, ErrIdleTimeout)
	require.True(t, idle.Closed())
	require.Zero(t, probe(0).closed)
	r.pass(59 * time.Second)
	require.Zero(t, probe(0).closed)
	r.pass(1100 * time.Millisecond)
	require.Equal(t, 1, probe(0).closed)
	require.Equal(t, uint64(2), r.stats().TimedOut)
	require.Less(t, r.stats().Turns, uint64(100), "timers do not make turns")
	r.stop()
}

func TestScriptedWriteTimeout(t *testing.T) {
	for _, idle := range []time.Duration{0, 30 * time.Second, 200 * time.Second} {
		r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{WriteTimeout: time.Minute, IdleTimeout: idle}, nil)
		slow, stuck := r.dial(), r.dial()
		for _, p := range []*enginetest.Peer{slow, stuck} {
			p.Slow, p.Window = true, 1000
			p.Write(lines(1000, 100))
		}
		start := r.e.Now()
		var closed time.Duration
		for range 400 {
			r.pass(time.Second)
			slow.Read(1) // any progress counts
			if probe(1).closed > 0 && closed == 0 {
				closed = time.Duration(r.e.Now() - start)
			}
		}
		want := time.Minute
		if idle > 0 {
			want = min(want, idle)
		}
		require.GreaterOrEqual(t, closed, want)
		require.LessOrEqual(t, closed, want*2)
		if want == time.Minute {
			require.ErrorIs(t, probe(1).err, ErrWriteTimeout)
		} else {
			require.ErrorIs(t, probe(1).err, ErrIdleTimeout)
		}
		var unsent *reactor.UnsentError
		require.ErrorAs(t, probe(1).err, &unsent)
		require.Equal(t, 100_000-1000, unsent.Bytes, "the kernel has taken a window")
		require.Zero(t, probe(0).closed, "a slow peer lives")
		require.Less(t, r.stats().Turns, uint64(2500), "timers do not make turns")
		r.kill()
	}
}

func TestScriptedWriteTimeoutOffAndIdleOn(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{WriteTimeout: -1, IdleTimeout: time.Minute, MaxOutbound: 1 << 20}, nil)
	slow := r.dial()
	slow.Slow, slow.Window = true, 1000
	slow.Write(lines(1000, 100))
	for range 300 {
		r.pass(time.Second)
		slow.Read(10)
	}
	require.Zero(t, probe(0).closed, "bytes move")
	r.kill()
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

func TestScriptedPanics(t *testing.T) {
	where := map[string]func(p *probe){
		"OnOpen":     func(p *probe) { p.open = func(outbound) reactor.Status { panic("no") } },
		"OnInbound":  func(p *probe) { p.in = func([]byte, outbound) reactor.Status { panic("no") } },
		"OnEnd":      func(p *probe) { p.end = func(outbound) reactor.Status { panic("no") } },
		"OnRoom":     func(p *probe) { p.room = func(outbound) reactor.Status { panic("no") } },
		"OnOutbound": func(p *probe) { p.outbound = func(*frame) { panic("no") } },
		"Do": func(p *probe) {
			p.open = func(outbound) reactor.Status {
				_ = p.peer.Sender.Do(func(outbound) reactor.Status { panic("no") })
				return reactor.Continue
			}
		},
		"OnClose": func(p *probe) { p.onClose = func(error) { panic("no") } },
		"status":  func(p *probe) { p.in = func([]byte, outbound) reactor.Status { return 77 } },
	}
	for name, set := range where {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []PanicPolicy{PanicCloses, PanicCrashes} {
				r, probe := probes(t, enginetest.Config{}, Config{OnPanic: policy}, ListenConfig{MaxOutbound: 100}, func(i int, p *probe) {
					if i == 1 {
						set(p)
					}
				})
				run := func() (v any) {
					defer func() { v = recover() }()
					other, p := r.dial(), r.e.Dial(r.fd)
					p.Window = 10
					r.quiet()
					p.Write(lines(20, 10))
					r.quiet()
					_ = probe(1).peer.Sender.Send(frame("hello"))
					r.quiet()
					p.End()
					r.quiet()
					other.Write([]byte("hello\n"))
					r.quiet()
					require.Equal(t, "hello\n", string(other.Got))
					return nil
				}
				v := run()
				if policy == PanicCrashes {
					require.NotNil(t, v)
					continue
				}
				require.Nil(t, v)
				require.Equal(t, 1, probe(1).closed)
				if name != "OnClose" {
					require.ErrorIs(t, probe(1).err, ErrPanic)
				}
				require.Equal(t, uint64(1), r.stats().Panics)
				r.stop()
				require.Contains(t, r.logged(), "scripted_test.go", "the stack is logged")
			}
		})
	}
}

func TestScriptedPanicInConnect(t *testing.T) {
	var kept sender
	r := newRig(t, enginetest.Config{}, Config{}, ListenConfig{}, func(p reactor.Peer[frame]) *probe {
		kept = p.Sender
		panic("no")
	})
	p := r.dial()
	require.True(t, p.Closed())
	require.ErrorIs(t, kept.Send(frame("x")), reactor.ErrClosed)
	require.Equal(t, uint64(1), r.stats().Panics)
	r.l.stats.Closed++ // of a connection that never was
	r.stop()
}

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
