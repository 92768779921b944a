package server

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

// A soak is a run of a server against random peers, senders and faults, and a model of what each connection must have seen.
type soak struct {
	*rig
	rand  *rand.Rand
	actor []*actor
	over  bool // nothing new is begun
	most  int  // connections
	peers []*enginetest.Peer
}

// An actor is both sides of a connection: the reactor, and the model of it.
type actor struct {
	codec.Line
	s    *soak
	id   int
	loop int
	send sender
	out  outbound

	peer     *enginetest.Peer
	wrote    int    // requests that the peer wrote
	seen     int    // requests that the reactor got
	expected []byte // what was encoded, in order
	looked   int    // bytes of it that the peer was seen to have
	ended    bool   // the peer has ended its side

	queued  int // batches and functions that the Sender took
	next    int // message of the Sender to come
	sent    int // messages that the Sender took
	done    int // batches and functions that were finished
	paused  bool
	wakes   int // functions on their way that end the pause
	room    int // bytes left of a large reply
	hard    bool
	closed  bool
	err     error
	drained bool
}

func (a *actor) alive(what string) {
	if a.closed {
		a.s.t.Fatalf("%s after OnClose", what)
	}
	if !engineOf(a.s.loops[a.loop]).OnThread() {
		a.s.t.Fatalf("%s off the loop", what)
	}
}

// Encode records what is encoded.
func (a *actor) Encode(dst []byte, m frame) []byte {
	n := len(dst)
	dst = a.Line.Encode(dst, m)
	a.expected = append(a.expected, dst[n:]...)
	return dst
}

func (a *actor) status() reactor.Status {
	switch n := a.s.rand.IntN(400); {
	case a.s.over || n > 30:
		return reactor.Continue
	case n > 8:
		a.paused = true
		return reactor.Pause
	case n > 3:
		a.drained = true
		return reactor.Drain
	case n > 1:
		a.hard = true
		return reactor.Close
	case n == 1:
		a.hard = true
		panic("on purpose")
	}
	return reactor.Continue
}

func (a *actor) OnOpen(out outbound) reactor.Status {
	a.alive("OnOpen")
	a.out = out
	a.next = 0
	if a.s.rand.IntN(10) == 0 {
		out.Send(frame("welcome"))
		return a.status()
	}
	return reactor.Continue
}

func (a *actor) OnInbound(m *frame, out outbound) reactor.Status {
	a.alive("OnInbound")
	if a.paused {
		a.s.t.Fatalf("OnInbound of a paused connection")
	}
	if out.Len() >= a.s.ln.cfg.MaxOutbound {
		a.s.t.Fatalf("OnInbound with %d bytes of output", out.Len())
	}
	if want := request(a.seen); !bytes.Equal(*m, want) {
		a.s.t.Fatalf("connection %d: request %d is %q instead of %q", a.id, a.seen, *m, want)
	}
	a.seen++
	switch a.s.rand.IntN(20) {
	case 0: // a large reply, piece by piece
		a.room += a.s.rand.IntN(20_000)
		a.produce(out)
	case 1: // one that is larger than a block
		out.Send(bytes.Repeat([]byte("L"), a.s.rand.IntN(100_000)))
	case 2: // later
		a.message(1 + a.s.rand.IntN(3))
	case 3:
	default:
		out.Send(*m)
	}
	return a.status()
}

func (a *actor) produce(out outbound) {
	for a.room > 0 && out.Room() > 0 {
		n := min(a.room, 1+a.s.rand.IntN(500))
		out.Send(bytes.Repeat([]byte("p"), n))
		a.room -= n
	}
}

func (a *actor) OnRoom(out outbound) reactor.Status {
	a.alive("OnRoom")
	a.produce(out)
	return a.status()
}

func (a *actor) OnEnd(out outbound) reactor.Status {
	a.alive("OnEnd")
	if a.room > 0 { // OnRoom comes
		if a.s.rand.IntN(2) == 0 {
			a.room = 0
			a.drained = true
			return reactor.Drain
		}
		a.room = 0
	}
	a.drained = true
	return reactor.Drain
}

func (a *actor) OnDrain(out outbound) reactor.Status {
	a.alive("OnDrain")
	a.drained = true
	return reactor.Drain
}

func (a *actor) OnOutbound(m *frame) {
	a.alive("OnOutbound")
	var n, last int
	if _, err := fmt.Sscanf(string(*m), "sender %d %d", &n, &last); err != nil || n != a.next {
		a.s.t.Fatalf("connection %d: message %q of the Sender instead of number %d", a.id, *m, a.next)
	}
	a.next++
	a.done += last
}

func (a *actor) OnClose(err error) {
	a.alive("OnClose")
	a.closed, a.err = true, err
	if a.s.rand.IntN(10) == 0 { // to a neighbour
		if b := a.s.any(); b != nil {
			b.message(1)
		}
	}
}

// message sends a batch through the Sender, from wherever it is called.
func (a *actor) message(n int) {
	var batch []frame
	for i := range n {
		batch = append(batch, fmt.Appendf(nil, "sender %d %d", a.sent+i, boolInt(i == n-1)))
	}
	was := a.sent
	a.sent += n // first: it may be encoded at once
	switch err := a.send.Send(batch...); {
	case err == nil:
		a.queued++
	case errors.Is(err, reactor.ErrFull) || errors.Is(err, reactor.ErrClosed):
		if a.sent == was+n {
			a.sent = was
		} else {
			a.s.t.Fatalf("nested sends")
		}
	default:
		a.s.t.Fatalf("Send: %v", err)
	}
}

// goOn ends a pause.
func (a *actor) goOn() {
	err := a.send.Do(func(out outbound) reactor.Status {
		a.alive("Do")
		a.wakes--
		a.done++
		a.paused = false
		if a.s.rand.IntN(3) == 0 {
			out.Send(frame("went on"))
		}
		return reactor.Continue
	})
	if err == nil {
		a.queued++
		a.wakes++
	}
}

// request is the request with a number, and a size that follows from it.
func request(n int) []byte {
	size := n * 7919 % 60
	if n%41 == 7 {
		size = n * 104729 % 9000
	}
	return fmt.Appendf(nil, "request %d %s", n, bytes.Repeat([]byte("r"), size))
}

// any returns a connection that lives, or nil.
func (s *soak) any() *actor {
	if len(s.actor) == 0 {
		return nil
	}
	for range 4 {
		if a := s.actor[s.rand.IntN(len(s.actor))]; !a.closed {
			return a
		}
	}
	return nil
}

// world is what goes on elsewhere: peers and Senders, and, in the middle of one loop's turn, turns of another.
func (s *soak) world() {
	for range s.rand.IntN(3) {
		s.act()
	}
	if l := s.loops[s.rand.IntN(len(s.loops))]; !s.within[l.index] && s.rand.IntN(4) == 0 {
		s.step(l)
	}
}

func (s *soak) act() {
	if s.over {
		return
	}
	a := s.any()
	n := s.rand.IntN(100)
	if a == nil || (n < 10 && len(s.actor) < s.most) {
		if len(s.actor) < s.most {
			if p := s.e.Dial(s.fd); p != nil {
				p.Slow = s.rand.IntN(3) == 0
				p.Window = []int{0, 1, 100, 5000}[s.rand.IntN(4)]
				if p.Window == 1 {
					p.Window += 20 // a byte at a time takes for ever
				}
				s.peers = append(s.peers, p)
			}
		}
		return
	}
	switch {
	case n < 40:
		var b []byte
		for range 1 + s.rand.IntN(30) {
			if !a.ended {
				b = append(append(b, request(a.wrote)...), '\n')
				a.wrote++
			}
		}
		if n < 12 && len(b) > 3 { // in two parts
			cut := s.rand.IntN(len(b))
			a.peer.Write(b[:cut])
			b = b[cut:]
		}
		a.peer.Write(b)
	case n < 60:
		a.peer.Read(s.rand.IntN(10_000))
	case n < 75:
		a.message(1 + s.rand.IntN(4))
	case n < 80:
		a.goOn()
	case n < 82:
		a.ended = true
		a.peer.End()
	case n < 83:
		a.hard = true
		a.peer.Reset()
	case n < 84:
		a.hard = true
		_ = a.send.Close()
	case n < 86:
		s.e.SetMaxFiles([]int{0, 0, 5, 10}[s.rand.IntN(4)])
	case n < 95:
		s.e.Horizon = max(s.e.Horizon, s.e.Now()) + s.rand.Int64N(int64(200*time.Millisecond))
	}
}

// A run is what a soak came to.
type run struct {
	loops     int
	trace     uint64
	overflows uint64
}

// runSoak is a function of the seed.
func runSoak(t testing.TB, seed uint64) run {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &soak{rand: r, most: 3 + r.IntN(20)}
	faults := enginetest.RandomFaults(r)
	defer func() {
		if t.Failed() {
			t.Logf("PROTORING_SEED=%d faults %+v", seed, faults)
		}
	}()
	cfg := Config{Loops: 1 + r.IntN(2), DrainTimeout: -1, MaxConns: []int{0, 4}[r.IntN(2)]}
	lc := ListenConfig{
		MaxOutbound:               []int{0, 1, 500, 10_000}[r.IntN(4)],
		MaxQueuedOutboundMessages: []int{0, 1, 5}[r.IntN(3)],
		IdleTimeout:               []time.Duration{0, 0, 0, 5 * time.Second}[r.IntN(4)],
		WriteTimeout:              []time.Duration{-1, -1, 3 * time.Second}[r.IntN(3)],
	}
	ec := enginetest.Config{Seed: seed, Buffers: []int{1, 2, 7, 64}[r.IntN(4)], BufferSize: []int{7, 64, 4096}[r.IntN(3)], Faults: faults,
		Queue: []int{0, 0, 1, 3, 20}[r.IntN(5)]}
	s.rig = newRig(t, ec, cfg, lc, func(p reactor.Peer[frame]) *actor {
		a := &actor{s: s, id: len(s.actor), loop: p.Loop, send: p.Sender, next: -1}
		s.actor = append(s.actor, a)
		a.peer = s.e.PeerOf(p.Remote)
		return a
	})
	s.e.World = s.world
	for range (200 + r.IntN(400)) * cfg.Loops {
		s.step(s.loops[r.IntN(cfg.Loops)])
		for _, a := range s.actor {
			s.look(a)
		}
	}
	s.over = true
	s.e.SetMaxFiles(0)
	faults.Short = min(faults.Short, 0.05) // for time's sake
	s.e.SetFaults(faults)
	early := r.IntN(2) == 0
	if early { // the drain meets whatever there is
		s.tell((*loop).drain)
	}
	// From here on everybody behaves: each connection must come to its end by itself.
	for n := 0; s.stats().Conns > 0 || s.waiting(); n++ {
		s.e.Elsewhere(func() {
			for _, p := range s.peers {
				p.End()
				p.Slow = false
				p.Read(1 << 20)
			}
			for _, a := range s.actor {
				if a.paused && !a.closed && a.wakes == 0 {
					a.goOn()
				}
			}
		})
		s.pass(50 * time.Millisecond)
		if n == 2000 {
			s.describe()
			t.Fatalf("PROTORING_SEED=%d: %d connections do not end", seed, s.stats().Conns)
		}
	}
	s.stop()
	if !early && len(s.actor) > 1 { // the balance of two has given each loop some
		for _, l := range s.loops {
			require.Positive(t, l.stats.Accepted, "connections of loop %d", l.index)
		}
	}
	for _, p := range s.peers {
		p.Read(1 << 30)
	}
	for _, a := range s.actor {
		s.final(a)
	}
	return run{cfg.Loops, s.e.Trace(), s.stats().Overflows}
}

// waiting says whether connections wait to be accepted.
func (s *soak) waiting() bool { return !s.ended && !s.l.draining && s.e.Queued(s.fd) > 0 }

// look checks what is true at any time.
func (s *soak) look(a *actor) {
	if n := len(a.peer.Got); n > len(a.expected) || !bytes.Equal(a.expected[a.looked:n], a.peer.Got[a.looked:]) {
		s.t.Fatalf("connection %d: the peer got other bytes than were sent", a.id)
	}
	a.looked = len(a.peer.Got)
	if a.seen > a.wrote {
		s.t.Fatalf("connection %d: %d requests of %d", a.id, a.seen, a.wrote)
	}
}

// final checks what is true in the end.
func (s *soak) final(a *actor) {
	s.look(a)
	require.True(s.t, a.closed, "connection %d: OnClose", a.id)
	var unsent *reactor.UnsentError
	left := 0
	if errors.As(a.err, &unsent) {
		left = unsent.Messages
	}
	require.Equal(s.t, a.queued, a.done+left, "connection %d: what the Sender took is sent or reported: %v", a.id, a.err)
	if unsent != nil {
		require.Zero(s.t, min(unsent.Bytes, 0))
		require.LessOrEqual(s.t, len(a.peer.Got), len(a.expected)-unsent.Bytes)
	}
	if a.err == nil && !a.hard && !(a.peer.Late && a.peer.WasReset()) {
		require.Equal(s.t, len(a.expected), len(a.peer.Got), "connection %d: a clean end with bytes missing (%d unread, reset %v)", a.id,
			a.peer.Pending(), a.peer.WasReset())
		require.Equal(s.t, a.sent, a.next)
	}
}

// PROTORING_SEED replays one run; PROTORING_SOAK is for how long new seeds are tried, as in 5m.
func TestScriptedSoak(t *testing.T) {
	first := enginetest.Seed(0)
	if first != 0 {
		runSoak(t, first)
		return
	}
	n := 300
	if buffers.Checked { // each run takes ten times as long
		n = 50
	}
	until := time.Now()
	if long, err := time.ParseDuration(os.Getenv("PROTORING_SOAK")); err == nil {
		until = until.Add(long)
		first = uint64(until.UnixNano()) >> 8 << 8
	}
	seed, overflows := first+1, uint64(0)
	loops := map[int]int{}
	for ; seed <= first+uint64(n) || time.Now().Before(until); seed++ {
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := runSoak(t, seed)
			loops[r.loops]++
			overflows += r.overflows
		}) {
			t.Fatalf("replay with PROTORING_SEED=%d", seed)
		}
	}
	t.Logf("%d runs with one loop, %d with two, %d overflows", loops[1], loops[2], overflows)
	require.Positive(t, overflows)
}

// Runs of one loop and of two are functions of their seeds.
func TestScriptedReplay(t *testing.T) {
	loops := map[int]int{}
	for seed := uint64(1); seed <= 8; seed++ {
		a, b := runSoak(t, seed), runSoak(t, seed)
		require.Equal(t, a, b, "seed %d", seed)
		require.NotEqual(t, a.trace, runSoak(t, seed+1000).trace)
		loops[a.loops]++
	}
	require.Positive(t, loops[1])
	require.Positive(t, loops[2])
}
