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

// A rig is a server of one loop on the scripted engine. The test's goroutine is the loop's, and takes it from turn to turn.
type rig struct {
	t      testing.TB
	srv    *Server
	l      *loop
	e      *enginetest.Engine
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
	cfg.Loops = 1
	cfg.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	srv, err := New(cfg)
	require.NoError(t, err)
	r.srv = srv
	srv.log = newLogger(cfg.Logger)
	r.closeLog = sync.OnceFunc(srv.log.close)
	t.Cleanup(r.closeLog)
	_, srv.stop = context.WithCancelCause(t.Context())
	r.e = enginetest.New(t, ec)
	r.l = newLoop(srv, 0)
	srv.loops = []*loop{r.l}
	r.l.begin(r.e)
	r.ln, err = newListener(srv, "tcp", connect)
	require.NoError(t, err)
	r.ln.cfg, err = lc.withDefaults()
	require.NoError(t, err)
	r.ln.addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	r.ln.shared = make([]reactor.Config, 1)
	r.fd = r.e.Listen()
	r.l.share(r.ln)
	r.l.post(note{do: func() { r.l.listen(r.ln, r.fd) }})
	r.quiet()
	return r
}

// turn takes one turn, and reports false when the loop has ended.
func (r *rig) turn() bool {
	if r.ended || r.l.finished() {
		r.ended = true
		return false
	}
	if r.before != nil {
		r.before()
	}
	if err := r.l.step(); err != nil || r.l.stats.Stale > 0 {
		r.t.Fatalf("turn: %v, %d completions reached nobody", err, r.l.stats.Stale)
	}
	return true
}

// quiet takes turns until the loop sleeps without end, as far as the engine's horizon goes.
func (r *rig) quiet() {
	for n := 0; r.turn(); n++ {
		if r.e.Idle {
			require.False(r.t, r.l.pending(), "the loop sleeps with work to do")
			return
		}
		if n > rigTurns {
			for _, c := range r.conns() {
				r.t.Logf("%+v; status %v accepts %v queued %d output %d", c, c.session.Status(), c.session.Accepts(), c.session.Queued(), c.session.Output().Len())
			}
			r.t.Fatalf("the loop does not come to rest: %+v; %d ready, %d starved, %d dirty", r.l.stats, len(r.l.ready), len(r.l.starved), len(r.l.dirty))
		}
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
	r.l.post(note{do: r.l.drain})
	for n := 0; !r.ended; n++ {
		r.pass(time.Second)
		require.Less(r.t, n, 1000, "the drain does not end")
	}
	r.check()
}

// kill closes the server and checks that nothing is left of it.
func (r *rig) kill() {
	r.t.Helper()
	r.l.post(note{do: r.l.close})
	r.quiet()
	require.True(r.t, r.ended, "close does not end the loop")
	r.check()
}

// check looks for leaks in a loop that has ended.
func (r *rig) check() {
	r.t.Helper()
	l := r.l
	l.abandon(nil)
	require.Zero(r.t, l.pool.Used(), "blocks of the pool")
	require.Zero(r.t, l.load.Load())
	require.Zero(r.t, r.srv.conns.Load())
	require.Equal(r.t, len(l.slots), l.free.len(), "slots")
	for i := range l.slots {
		require.Nil(r.t, l.slots[i].conn)
	}
	require.Empty(r.t, l.held)
	require.Zero(r.t, l.stats.Conns)
	require.Equal(r.t, l.stats.Accepted, l.stats.Closed)
	require.NoError(r.t, r.e.Close())
	l.pool.Close()
	r.closeLog()
}

// logged returns what was logged, when all is over.
func (r *rig) logged() string { return r.log.String() }

func (r *rig) stats() *Stats {
	r.l.publishStats()
	return &r.l.stats
}

// conns returns the connections, by slot.
func (r *rig) conns() (cs []*conn) {
	r.l.each(func(c *conn) { cs = append(cs, c) })
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
