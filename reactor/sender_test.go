package reactor_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
	"github.com/stretchr/testify/require"
)

func frames(words ...string) (fs []frame) {
	for _, w := range words {
		fs = append(fs, frame(w))
	}
	return fs
}

func TestSenderIsBounded(t *testing.T) {
	s, host := newSession(t, &lines{}, nil)
	snd := s.Sender()
	require.NoError(t, snd.Send())
	require.Zero(t, s.Queued())
	require.NoError(t, snd.Send(frames(strings.Split(strings.Repeat("b", 20), "")...)...), "an empty queue takes any batch")
	for range 3 {
		require.NoError(t, snd.Send(frame("m")))
	}
	require.Equal(t, 4, s.Queued(), "a batch counts as one")
	require.ErrorIs(t, snd.Send(frames("x", "y")...), reactor.ErrFull)
	require.ErrorIs(t, snd.Do(func(*outbound) reactor.Status { t.Error("runs"); return reactor.Close }), reactor.ErrFull)
	require.Equal(t, 1, host.wakes, "one for empty to not empty")
	require.Zero(t, s.Output().Len())

	s.Pump() // as far as there is room: 32 bytes
	require.Equal(t, strings.Repeat("b\n", 16), output(s))
	require.Equal(t, 4, s.Queued(), "the batch is not done")
	require.ErrorIs(t, snd.Send(frame("x")), reactor.ErrFull)
	s.Sent(16)
	require.Zero(t, s.Queued())
	require.Equal(t, strings.Repeat("b\n", 12)+"m\nm\nm\n", output(s), "what was refused was not sent in part")
	require.Equal(t, 1, host.wakes)
	require.NoError(t, snd.Send(frame("x")))
	require.Equal(t, 2, host.wakes)
}

func TestDoIsInOrder(t *testing.T) {
	h := &hooked{}
	s, _ := newSession(t, h, nil)
	do := func(name string) func(*outbound) reactor.Status {
		return func(out *outbound) reactor.Status {
			h.log = append(h.log, name)
			out.Send(frame(name))
			return reactor.Continue
		}
	}
	require.NoError(t, s.Sender().Send(frame("1")))
	require.NoError(t, s.Sender().Do(do("2")))
	require.NoError(t, s.Sender().Send(frame("3")))
	require.NoError(t, s.Sender().Do(do("4")))
	s.Pump()
	require.Equal(t, "1\n2\n3\n4\n", output(s))
	require.Equal(t, []string{"out 1", "2", "out 3", "4"}, h.log)
}

// Functions produce output too: the bound is the limit and what one call produces.
func TestDoWaitsForRoom(t *testing.T) {
	s, _ := newSession(t, &lines{}, nil)
	for range 4 {
		require.NoError(t, s.Sender().Do(func(out *outbound) reactor.Status {
			out.Send(frame(strings.Repeat("x", 39)))
			return reactor.Continue
		}))
	}
	s.Pump()
	for left := 3; left >= 0; left-- {
		require.Equal(t, 40, s.Output().Len())
		require.Equal(t, left, s.Queued())
		s.Sent(40)
	}
	require.Zero(t, s.Output().Len())
}

func TestSenderAfterTheEnd(t *testing.T) {
	s, host := newSession(t, &lines{}, nil)
	require.NoError(t, s.Sender().Send(frame("before")))
	s.Finish(reactor.Drain)
	require.ErrorIs(t, s.Sender().Send(frame("x")), reactor.ErrClosed)
	require.ErrorIs(t, s.Sender().SendContext(t.Context(), frame("x")), reactor.ErrClosed)
	require.ErrorIs(t, s.Sender().Do(nil), reactor.ErrClosed)
	s.Pump()
	require.Equal(t, "before\n", output(s), "what was queued is sent")
	require.NoError(t, s.Sender().Close(), "a drain can still be cut short")
	require.Equal(t, 2, host.wakes)
	s.Pump()
	require.Equal(t, reactor.Close, s.Status())
	s.Closed(nil)
	require.ErrorIs(t, s.Sender().Close(), reactor.ErrClosed)
	require.Equal(t, 2, host.wakes)
}

func TestCloseJumpsTheQueue(t *testing.T) {
	s, host := newSession(t, &lines{}, nil)
	require.NoError(t, s.Sender().Do(func(*outbound) reactor.Status { t.Error("runs"); return reactor.Continue }))
	require.NoError(t, s.Sender().Send(frame("x")))
	require.NoError(t, s.Sender().Close())
	require.Equal(t, 2, host.wakes, "the ring may be waiting for room")
	s.Pump()
	require.Equal(t, reactor.Close, s.Status())
	require.Zero(t, s.Output().Len())
	require.Equal(t, 2, s.Queued())
}

func TestSendContext(t *testing.T) {
	s, _ := newSession(t, &lines{}, nil)
	snd := s.Sender()
	full := func() {
		for snd.Send(frame("m")) == nil {
		}
	}
	full()
	send := func(ctx context.Context) <-chan error {
		res := make(chan error)
		go func() { res <- snd.SendContext(ctx, frame("late"), frame("later")) }()
		return res
	}
	t.Run("waits", func(t *testing.T) {
		first, second := send(t.Context()), send(t.Context())
		select {
		case <-first:
			t.Fatal("did not wait")
		case <-second:
			t.Fatal("did not wait")
		case <-time.After(5 * time.Millisecond):
		}
		s.Pump()
		require.NoError(t, <-first)
		require.NoError(t, <-second)
		s.Pump()
		require.Equal(t, "m\nm\nm\nm\nlate\nlater\nlate\nlater\n", output(s))
		s.Sent(s.Output().Len())
	})
	t.Run("cancel", func(t *testing.T) {
		full()
		ctx, cancel := context.WithCancel(t.Context())
		res := send(ctx)
		cancel()
		require.ErrorIs(t, <-res, context.Canceled)
		require.ErrorIs(t, snd.SendContext(ctx, frame("x")), context.Canceled)
		require.NoError(t, snd.SendContext(ctx), "nothing to send")
		require.Equal(t, 4, s.Queued())
	})
	t.Run("closed", func(t *testing.T) {
		res := send(t.Context())
		s.Closed(nil)
		require.ErrorIs(t, <-res, reactor.ErrClosed)
	})
}

func TestFullSenderOnItsOwnRing(t *testing.T) {
	h := &hooked{}
	s, host := newSession(t, h, nil)
	host.ring = true
	for i := range 15 { // 11 fill the output, of 32 bytes, and 4 the queue
		require.NoError(t, s.Sender().Send(frame(fmt.Sprintf("%02d", i))))
	}
	require.Equal(t, 3, host.wakes, "one for each time that it was empty")
	require.ErrorIs(t, s.Sender().Send(frame("x")), reactor.ErrFull)
	require.ErrorIs(t, s.Sender().SendContext(t.Context(), frame("x")), reactor.ErrFull, "a ring must not wait")
	require.Equal(t, "00\n01\n02\n03\n04\n05\n06\n07\n08\n09\n10\n", output(s))
	s.Sent(s.Output().Len())
	require.Equal(t, "11\n12\n13\n14\n", output(s))

	for range 3 {
		require.NoError(t, s.Sender().Send(frame("a")))
	}
	require.NoError(t, s.Sender().Do(func(*outbound) reactor.Status { h.log = append(h.log, "do"); return reactor.Continue }))
	require.NoError(t, s.Sender().Send(frame("b")))
	for range 2 {
		require.NoError(t, s.Sender().Send(frame("c")))
	}
	require.ErrorIs(t, s.Sender().Send(frame("d")), reactor.ErrFull, "a function is not called by what may be the reactor")
	require.NotContains(t, h.log, "do")
	s.Pump()
	require.Contains(t, h.log, "do")
	require.Equal(t, "11\n12\n13\n14\na\na\na\nb\nc\nc\n", output(s))
}

// A reactor may use its own Sender, in each of its methods.
func TestSendFromWithin(t *testing.T) {
	h := &hooked{}
	var c *reactortest.Conn[frame]
	h.hook = func(name string, out *outbound) {
		if c != nil && name != "x" {
			for i := range 5 {
				require.NoError(t, c.Sender().Send(frame(fmt.Sprintf("%s %d", name, i))))
			}
			out.Send(frame(name + " direct"))
		}
	}
	c = newHooked(t, h, reactortest.Config{MaxQueuedOutboundMessages: 2})
	fmt.Fprint(c, "a\n")
	require.Equal(t, "in a 0\nin a 1\nin a 2\nin a 3\nin a direct\nin a 4\n", string(c.Take()))

	// In a function, what has been done does not count any more.
	require.NoError(t, c.Sender().Do(func(out *outbound) reactor.Status {
		require.NoError(t, c.Sender().Send(frame("1")))
		require.NoError(t, c.Sender().Do(func(out *outbound) reactor.Status {
			out.Send(frame("2"))
			return reactor.Continue
		}))
		require.ErrorIs(t, c.Sender().Send(frame("3")), reactor.ErrFull)
		out.Send(frame("0"))
		return reactor.Continue
	}))
	c.Pump()
	require.Equal(t, "0\n1\n2\n", string(c.Take()))
}

// A function that queues itself has its turn, and the other connections theirs.
func TestPumpEnds(t *testing.T) {
	s, host := newSession(t, &lines{}, nil)
	n := 0
	var f func(*outbound) reactor.Status
	f = func(*outbound) reactor.Status {
		n++
		require.NoError(t, s.Sender().Do(f))
		return reactor.Continue
	}
	require.NoError(t, s.Sender().Do(f))
	for i := 1; i <= 10; i++ {
		require.Equal(t, i, host.wakes)
		s.Pump()
		require.Equal(t, i, n)
	}
}

func TestConnectMayUseTheSender(t *testing.T) {
	c := reactortest.New(t, func(p peer) *lines {
		require.NoError(t, p.Sender.Send(frame("hello")))
		require.ErrorIs(t, p.Sender.Send(frame("hello")), reactor.ErrFull) // and not a call of a reactor that is not there
		return &lines{}
	}, reactortest.Config{MaxQueuedOutboundMessages: 1})
	require.Equal(t, "hello\n", string(c.Output()))

	s := reactor.NewSession[frame, frame](&host{ring: true}, &reactor.Config{Pool: buffers.NewPool(), MaxOutbound: 9, MaxQueued: 1}, new(frame))
	require.NoError(t, s.Sender().Send(frame("hello")))
	require.ErrorIs(t, s.Sender().Send(frame("hello")), reactor.ErrFull)
}

// A pumpHost is a loop with one connection: it pumps when it was woken, and not otherwise.
type pumpHost struct {
	woken atomic.Int64
	wake  chan struct{}
}

func (h *pumpHost) Dirty()       {}
func (h *pumpHost) OnRing() bool { return false }
func (h *pumpHost) Wake() {
	h.woken.Add(1)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Goroutines send while the ring sends and pumps: each one's messages leave in order, none is lost, and none twice.
func TestConcurrentSenders(t *testing.T) {
	const goroutines, each = 8, 400
	h := &pumpHost{wake: make(chan struct{}, 1)}
	cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 64, MaxOutbound: 64, MaxQueued: 4, MaxMessages: 16}
	defer cfg.Pool.Close()
	s := reactor.NewSession[frame, frame](h, cfg, new(frame))
	s.Bind(&hooked{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				var err error
				switch m := frame(fmt.Sprintf("%d:%d", g, i)); i % 3 {
				case 0:
					for err = s.Sender().Send(m); err == reactor.ErrFull; err = s.Sender().Send(m) {
						time.Sleep(time.Microsecond)
					}
				case 1:
					err = s.Sender().SendContext(context.Background(), m)
				case 2:
					f := func(out *outbound) reactor.Status { out.Send(m); return reactor.Continue }
					for err = s.Sender().Do(f); err == reactor.ErrFull; err = s.Sender().Do(f) {
						time.Sleep(time.Microsecond)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := make([]int, goroutines)
	for got := 0; got < goroutines*each; {
		if s.Output().Len() == 0 {
			select {
			case <-h.wake:
			case <-time.After(5 * time.Second):
				t.Fatalf("a wake-up is lost: %d messages of %d, %d queued", got, goroutines*each, s.Queued())
			}
		}
		s.Pump()
		require.LessOrEqual(t, s.Output().Len(), 64+8)
		out := output(s)
		n := strings.LastIndexByte(out[:len(out)-len(out)/3], '\n') + 1 // the kernel takes some
		if n == 0 {
			n = len(out)
		}
		for _, line := range strings.Fields(out[:n]) {
			var g, i int
			_, err := fmt.Sscanf(line, "%d:%d", &g, &i)
			require.NoError(t, err)
			require.Equal(t, next[g], i, "of goroutine %d", g)
			next[g]++
			got++
		}
		s.Flushed()
		s.Sent(n)
	}
	wg.Wait()
	require.Zero(t, s.Queued())
	s.Closed(nil)
}

// No wake-up is lost: whenever nothing is left for the ring to do, nothing is queued that could be sent.
func TestNoWakeUpIsLost(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		h := &hooked{}
		s, host := newSession(t, h, func(c *reactor.Config) { c.MaxQueued, c.MaxOutbound = 1+r.IntN(4), 1+r.IntN(40) })
		snd := s.Sender()
		queued, done, wakes := 0, 0, 0
		message := func() frame { return frame(strings.Repeat("m", r.IntN(12))) }
		var do func(out *outbound) reactor.Status
		inside := func(out *outbound) {
			host.ring = true
			defer func() { host.ring = false }()
			switch r.IntN(6) {
			case 0:
				out.Send(message())
			case 1:
				out.Room()
			case 2:
				if snd.Send(message()) == nil {
					queued++
				}
			case 3:
				if r.IntN(2) == 0 && snd.Do(do) == nil {
					queued++
				}
			}
		}
		do = func(out *outbound) reactor.Status { done++; inside(out); return reactor.Continue }
		h.hook = func(_ string, out *outbound) { inside(out) }
		pump := func() {
			for host.wakes > wakes {
				wakes++
				s.Pump()
			}
		}
		for range 60 {
			switch r.IntN(5) {
			case 0, 1:
				batch := []frame{message(), message()}[:1+r.IntN(2)]
				if snd.Send(batch...) == nil {
					queued++
				}
			case 2:
				if snd.Do(do) == nil {
					queued++
				}
			case 3:
				if host.wakes > wakes {
					wakes++
					s.Pump()
				}
			case 4:
				if n := s.Output().Len(); n > 0 {
					s.Sent(1 + r.IntN(n))
				}
				_, _, err := s.Inbound([]byte("x\n"))
				require.NoError(t, err)
			}
		}
		for i := 0; s.Output().Len() > 0 || host.wakes > wakes; i++ {
			require.Less(t, i, 10_000)
			pump()
			if n := s.Output().Len(); n > 0 {
				s.Sent(n)
			}
			if i == 20 {
				h.hook, do = nil, func(*outbound) reactor.Status { return reactor.Continue }
			}
		}
		require.Zero(t, s.Queued(), "seed %d: queued, and the ring does not know", seed)
		s.Closed(io.EOF)
		require.Equal(t, io.EOF, h.closed)
	}
}

// Nothing is allocated for a message that comes in, is answered and sent, by either way.
func TestNoAllocations(t *testing.T) {
	r := &echoer{}
	h := &host{}
	cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 1 << 20, MaxOutbound: 1 << 20, MaxQueued: 128, MaxMessages: 1000}
	defer cfg.Pool.Close()
	s := reactor.NewSession[frame, frame](h, cfg, new(frame))
	s.Bind(r)
	wire := []byte(strings.Repeat("0123456789\n", 100))
	m := frame("0123456789")
	if buffers.Checked {
		t.Skip("checked builds keep freed blocks back, in a list that grows")
	}
	cycle := func() {
		if used, _, err := s.Inbound(wire); used != len(wire) || err != nil {
			t.Fatal(used, err)
		}
		for range 50 {
			if err := s.Sender().Send(m); err != nil {
				t.Fatal(err)
			}
		}
		s.Pump()
		s.Flushed()
		s.Sent(s.Output().Len())
	}
	cycle()
	cycle()
	require.Zero(t, testing.AllocsPerRun(100, cycle))
}

// An echoer sends each line back.
type echoer struct{ codec.Line }

func (*echoer) OnInbound(m *codec.Frame, out *outbound) reactor.Status {
	out.Send(*m)
	return reactor.Continue
}
