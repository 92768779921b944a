package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/engine"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

// A rig is a server on the scripted engine, of one loop unless Config says otherwise. The test's goroutine is that of each loop, and takes
// them from turn to turn.
type rig struct {
	t      testing.TB
	srv    *Server
	loops  []*loop
	l      *loop // the first one, which accepts
	e      *enginetest.Engine
	within []bool // loops that are in a turn
	ln     *listener
	fd     int // the listening descriptor
	ended  bool
	log    *bytes.Buffer
	before func() // called before each turn

	closeLog func()
}

const rigTurns = 3_000_000 // more than any test needs: a loop that never rests

func newRig[R reactor.Reactor[codec.Frame, codec.Frame]](t testing.TB, ec enginetest.Config, cfg Config, lc ListenConfig,
	connect func(reactor.Peer[codec.Frame]) R) *rig {
	r := &rig{t: t, log: &bytes.Buffer{}}
	cfg.Loops = max(cfg.Loops, 1)
	cfg.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	srv, err := New(cfg)
	require.NoError(t, err)
	r.srv = srv
	srv.log = newLogger(cfg.Logger)
	r.closeLog = sync.OnceFunc(srv.log.close)
	t.Cleanup(r.closeLog)
	_, srv.stop = context.WithCancelCause(t.Context())
	r.e = enginetest.New(t, ec)
	for i := range cfg.Loops {
		e := r.e
		if i > 0 {
			e = r.e.Sibling()
		}
		l := newLoop(srv, i)
		l.begin(e)
		r.loops = append(r.loops, l)
	}
	srv.loops, r.l, r.within = r.loops, r.loops[0], make([]bool, cfg.Loops)
	r.ln, err = newListener(srv, "tcp", connect)
	require.NoError(t, err)
	r.ln.cfg, err = lc.withDefaults()
	require.NoError(t, err)
	r.ln.addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	r.ln.shared = make([]reactor.Config, cfg.Loops)
	r.fd = r.e.Listen()
	for _, l := range r.loops {
		l.share(r.ln)
	}
	r.l.post(note{do: func() { r.l.listen(r.ln, r.fd) }})
	r.quiet()
	return r
}

// engineOf returns the engine of a loop.
func engineOf(l *loop) *enginetest.Engine { return l.engine.(*enginetest.Engine) }

// turn takes one turn of each loop, and reports false when all have ended.
func (r *rig) turn() bool {
	r.ended = true
	for _, l := range r.loops {
		if r.step(l) {
			r.ended = false
		}
	}
	return !r.ended
}

// step takes one turn of a loop, and reports false when it has ended.
func (r *rig) step(l *loop) (lives bool) {
	engineOf(l).On(func() {
		if l.finished() {
			engineOf(l).Leave()
			return
		}
		if r.before != nil {
			r.before()
		}
		r.within[l.index] = true
		if err := l.step(); err != nil || l.stats.Stale > 0 {
			r.t.Fatalf("turn of loop %d: %v, %d completions reached nobody", l.index, err, l.stats.Stale)
		}
		r.within[l.index] = false
		lives = true
	})
	return lives
}

// tell has all loops do something.
func (r *rig) tell(do func(*loop)) {
	for _, l := range r.loops {
		l.post(note{do: func() { do(l) }})
	}
}

// quiet takes turns until the loops sleep without end, as far as the engine's horizon goes.
func (r *rig) quiet() {
	for n := 0; r.turn(); n++ {
		if r.e.Idle {
			for _, l := range r.loops {
				require.False(r.t, l.pending(), "loop %d sleeps with work to do", l.index)
			}
			return
		}
		if n > rigTurns {
			r.describe()
			r.t.Fatalf("the loops do not come to rest")
		}
	}
}

// describe logs what there is.
func (r *rig) describe() {
	for _, c := range r.conns() {
		r.t.Logf("%+v; status %v accepts %v queued %d output %d", c, c.session.Status(), c.session.Accepts(), c.session.Queued(), c.session.Output().Len())
	}
	for _, l := range r.loops {
		r.t.Logf("loop %d: %+v; %d ready, %d starved, %d dirty", l.index, l.stats, len(l.ready), len(l.starved), len(l.dirty))
	}
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) {
	r.e.Horizon = max(r.e.Horizon, r.e.Now()) + int64(d)
	r.quiet()
}

// dial connects a peer and lets the server see it.
func (r *rig) dial() *enginetest.Peer {
	r.t.Helper()
	p := r.e.Dial(r.fd)
	require.NotNil(r.t, p)
	r.quiet()
	return p
}

// stop drains the server and checks that nothing is left of it.
func (r *rig) stop() {
	r.t.Helper()
	r.tell((*loop).drain)
	for n := 0; !r.ended; n++ {
		r.pass(time.Second)
		require.Less(r.t, n, 1000, "the drain does not end")
	}
	r.check()
}

// kill closes the server and checks that nothing is left of it.
func (r *rig) kill() {
	r.t.Helper()
	r.tell((*loop).close)
	r.quiet()
	require.True(r.t, r.ended, "close does not end the loops")
	r.check()
}

// check looks for leaks in loops that have ended.
func (r *rig) check() {
	r.t.Helper()
	require.Zero(r.t, r.srv.conns.Load())
	for _, l := range r.loops {
		l.abandon(nil)
		require.Zero(r.t, l.pool.Used(), "blocks of the pool")
		require.Zero(r.t, l.load.Load())
		require.Equal(r.t, len(l.slots), l.free.len(), "slots")
		for i := range l.slots {
			require.Nil(r.t, l.slots[i].conn)
		}
		require.Empty(r.t, l.held)
		require.Zero(r.t, l.stats.Conns)
		require.Equal(r.t, l.stats.Accepted, l.stats.Closed)
		require.NoError(r.t, l.engine.Close())
		l.pool.Close()
	}
	r.closeLog()
}

// logged returns what was logged, when all is over.
func (r *rig) logged() string { return r.log.String() }

// stats returns the sum over all loops.
func (r *rig) stats() *Stats {
	var sum Stats
	for _, l := range r.loops {
		l.publishStats()
		sum.Add(&l.stats)
	}
	return &sum
}

// conns returns the connections, by loop and slot.
func (r *rig) conns() (cs []*conn) {
	for _, l := range r.loops {
		l.each(func(c *conn) { cs = append(cs, c) })
	}
	return cs
}

type (
	frame    = codec.Frame
	outbound = *reactor.Outbound[codec.Frame]
	sender   = *reactor.Sender[codec.Frame]
)

// A probe is a reactor with every hook, each of which a test may replace.
type probe struct {
	codec.Line
	peer     reactor.Peer[frame]
	in       func(m []byte, out outbound) reactor.Status // if nil, echo
	open     func(out outbound) reactor.Status
	room     func(out outbound) reactor.Status
	end      func(out outbound) reactor.Status // if nil, drain
	drain    func(out outbound) reactor.Status // if nil, drain
	outbound func(m *frame)
	closed   int
	err      error
	inbounds int
	onClose  func(err error)
}

func (p *probe) OnInbound(m *frame, out outbound) reactor.Status {
	p.inbounds++
	if p.in != nil {
		return p.in(*m, out)
	}
	out.Send(*m)
	return reactor.Continue
}

func (p *probe) OnOpen(out outbound) reactor.Status { return call(p.open, out, reactor.Continue) }
func (p *probe) OnRoom(out outbound) reactor.Status { return call(p.room, out, reactor.Continue) }
func (p *probe) OnEnd(out outbound) reactor.Status  { return call(p.end, out, reactor.Drain) }
func (p *probe) OnDrain(out outbound) reactor.Status {
	return call(p.drain, out, reactor.Drain)
}

func (p *probe) OnOutbound(m *frame) {
	if p.outbound != nil {
		p.outbound(m)
	}
}

func (p *probe) OnClose(err error) {
	p.closed++
	p.err = err
	if p.onClose != nil {
		p.onClose(err)
	}
}

func call(f func(outbound) reactor.Status, out outbound, def reactor.Status) reactor.Status {
	if f == nil {
		return def
	}
	return f(out)
}

// probes makes a rig whose connections have probes, and returns a function for the probe of the connection number i.
func probes(t testing.TB, ec enginetest.Config, cfg Config, lc ListenConfig, set func(i int, p *probe)) (*rig, func(i int) *probe) {
	var all []*probe
	r := newRig(t, ec, cfg, lc, func(peer reactor.Peer[frame]) *probe {
		p := &probe{peer: peer}
		all = append(all, p)
		if set != nil {
			set(len(all)-1, p)
		}
		return p
	})
	return r, func(i int) *probe { return all[i] }
}

// lines returns n lines, of which each is another.
func lines(n, size int) []byte {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, "%0*d\n", size-1, i)
	}
	return b
}

var _ engine.Engine = (*enginetest.Engine)(nil)
