package server_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

// owner answers with what its own connection has said, and nothing else: each payload carries its identity.
type owner struct {
	answerer
	name  string
	live  *atomic.Int64
	wrong *atomic.Int64
}

func (o *owner) OnInbound(line *frame, out *outbound) status {
	name, _, _ := strings.Cut(string(*line), " ")
	if o.name == "" {
		o.name = name
	}
	if name != o.name {
		o.wrong.Add(1)
	}
	return o.answerer.OnInbound(line, out)
}

func (o *owner) OnClose(error) { o.live.Add(-1) }

// F10, F17, R14: connections come and go, with collections forced and generations that begin near their end. Nothing leaks, and nobody
// gets another's bytes. In a checked build the first setup has 50,000 of them.
func TestChurn(t *testing.T) {
	setups := []setup{
		{Engine: server.EngineURing, Loops: 2}, {Engine: server.EngineEpoll, Loops: 2}, {Engine: server.EngineEpoll, Loops: 1},
		{Engine: server.EngineURing, Loops: 4, Accept: server.AcceptPerLoop}, {Engine: server.EngineEpoll, Loops: 4, Accept: server.AcceptPerLoop},
		{Engine: server.EngineURing, Loops: 1, Single: true, Plain: true},
	}
	over(t, setups, func(t *testing.T, s setup) {
		total := fewer(2_000, 1_000)
		if buffers.Checked && s == setups[0] {
			total = fewer(50_000, 1_000)
		}
		server.StartGenerations(t, 1<<32-5) // each slot is used more often than that
		var live, wrong, ended atomic.Int64
		x := startAs(t, s, server.ListenConfig{}, func(peer) *owner {
			live.Add(1)
			return &owner{live: &live, wrong: &wrong}
		})
		until(t, func() bool { return len(x.LoopStates()) == s.Loops }, "the loops")
		start := x.LoopStates() // nothing was received yet: all buffers are there
		warm := x.dial()
		warm.echo("warm and ready")
		warm.Close()
		until(t, func() bool { return live.Load() == 0 && x.Stats().Conns == 0 }, "the first end")
		fds, goroutines, memory := len(openFDs()), runtime.NumGoroutine(), x.Stats().ReceiveMem
		const clients = 8
		var wg sync.WaitGroup
		var failure atomic.Pointer[error]
		for w := range clients {
			random := rand.New(rand.NewPCG(uint64(w), 7))
			wg.Go(func() {
				// Addresses of their own: the ports of one are too few for all that wait in TIME_WAIT.
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(os.Getpid()), byte(w+1))}}
				for i := range total / clients {
					if err := visit(&d, x.addr, fmt.Sprintf("%d.%d", w, i), random); err != nil {
						failure.CompareAndSwap(nil, &err)
						return
					}
					if n := ended.Add(1); n%500 == 0 {
						runtime.GC()
					}
				}
			})
		}
		wg.Wait()
		if err := failure.Load(); err != nil {
			require.NoError(t, *err)
		}
		until(t, func() bool { return live.Load() == 0 && x.Stats().Conns == 0 }, "all ends; %d live", live.Load())
		require.Zero(t, wrong.Load(), "messages of other connections")
		require.Equal(t, fds, len(openFDs()), "%v", openFDs())
		until(t, func() bool { return runtime.NumGoroutine() <= goroutines }, "goroutines that go")
		require.Equal(t, uint64(total/clients*clients+1), x.Stats().Accepted)
		for i, l := range x.LoopStates() {
			t.Logf("loop %d: %+v, at first %d buffers", i, l, start[i].Buffers)
			require.Equal(t, l.Slots, l.Free, "slots")
			require.Less(t, l.Slots, churnSlots, "slots are not used again")
			require.Positive(t, l.Wrapped, "no generation has begun anew")
			require.Zero(t, l.Blocks, "bytes of carries and outputs")
			if buffers.Checked { // which hold some back: the loss of more shows
				l.Buffers += churnHeldBack
			}
			require.GreaterOrEqual(t, l.Buffers, start[i].Buffers, "buffers to receive into")
		}
		require.Equal(t, memory, x.Stats().ReceiveMem)
		if !buffers.Checked { // which hold memory back
			until(t, func() bool { st := x.Stats(); return st.Memory == st.ReceiveMem }, "memory that is given back: %+v", x.Stats())
		}
		x.allServed()
		x.finish()
	})
}

const (
	churnSlots    = 200 // of a loop: there are 8 connections at a time, and some whose end the loop has yet to see
	churnHeldBack = 64  // the buffers that a checked build holds back
)

// visit connects, says something, and goes in one of several ways.
func visit(d *net.Dialer, addr net.Addr, name string, random *rand.Rand) error {
	c, err := d.Dial("tcp", addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	message := fmt.Sprintf("%s %s\n", name, strings.Repeat("x", random.IntN(1<<random.IntN(14))))
	way := random.IntN(6)
	if way > 1 {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	if way == 5 { // without a word, or within one
		_, err := io.WriteString(c, message[:random.IntN(len(message))])
		return err
	}
	if _, err := io.WriteString(c, message); err != nil {
		return err
	}
	if way == 4 { // not waiting for the answer
		return nil
	}
	b := make([]byte, len(message))
	if _, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("answer of %s: %w", name, err)
	}
	if string(b) != message {
		return fmt.Errorf("%s was told %.40q", name, b)
	}
	if way == 1 {
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		if n, err := c.Read(b); n != 0 || err != io.EOF {
			return errors.New("no end after the half close")
		}
	}
	return nil
}

// A peer's bytes and its reset that come at once: the end is seen in any case, though nothing is ever sent to it.
func TestResetRightAfterBytes(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		var live atomic.Int64
		x := startAs(t, s, server.ListenConfig{}, func(peer) *owner {
			live.Add(1)
			return &owner{live: &live, wrong: new(atomic.Int64)}
		})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range fewer(800, 100) {
					c, err := net.Dial("tcp", x.addr.String())
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(c, "within a mess")
					_ = c.(*net.TCPConn).SetLinger(0)
					c.Close()
				}
			})
		}
		wg.Wait()
		until(t, func() bool { return live.Load() == 0 && x.Stats().Conns == 0 }, "all ends")
		x.finish()
	})
}
