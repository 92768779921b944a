package server_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A drain with time enough ends by itself when all is sent.
func TestDrainSendsWhatIsPending(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s, func(c *server.Config) { c.DrainTimeout = time.Hour })
		size := fewer(8<<20, 2<<20)
		clients := x.spread(3*s.Loops, slow())
		for i, c := range clients {
			c.say("%s %d", []string{"get", "send"}[i%2], size)
		}
		until(t, func() bool { return x.Stats().Messages == uint64(len(clients)) }, "all requests")
		x.stop()
		for _, c := range clients {
			c.pattern(0, size)
			require.Empty(t, c.end())
			c.Close()
		}
		require.NoError(t, x.wait())
		require.Zero(t, x.Stats().CutOff)
		for _, err := range x.book.closes(len(clients)) {
			require.NoError(t, err)
		}
	})
}

// A drain whose deadline decides says how many it cut off. Their peers see an end.
func TestDrainDeadline(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s, func(c *server.Config) { c.DrainTimeout = 30 * time.Millisecond })
		const stuck = 3
		var clients []*client
		for range stuck {
			c := x.dialWith(slow())
			c.say("send %d", 16<<20)
			clients = append(clients, c)
		}
		for _, c := range x.spread(3, &net.Dialer{}) { // they take part: nothing of theirs is cut off
			c.echo("here")
			clients = append(clients, c)
		}
		until(t, func() bool { return x.Stats().Messages == uint64(len(clients)) }, "all requests")
		for _, c := range clients[stuck:] {
			go c.broken() // reads to the end, and closes
		}
		x.stop()
		var cut *server.DrainError
		require.ErrorAs(t, x.wait(), &cut)
		require.ErrorIs(t, x.wait(), server.ErrDrainTimeout)
		require.Equal(t, stuck, cut.Cut)
		require.Equal(t, uint64(stuck), x.Stats().CutOff)
		failed := 0
		for _, err := range x.book.closes(len(clients)) {
			var unsent *reactor.UnsentError
			if errors.As(err, &unsent) {
				require.ErrorIs(t, err, server.ErrDrainTimeout)
				failed++
			}
		}
		require.Equal(t, stuck, failed)
		for _, c := range clients[:stuck] {
			_ = c.broken()
		}
	})
}

// Connections that wait in the backlog when a drain begins are taken and ended well: none is reset.
func TestDrainBacklog(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s)
		x.allServed() // those that stand do not say what they count
		for range 20 * s.Loops {
			x.dial().say("block")
		}
		until(t, func() bool { // all loops that accept stand
			for i := range s.Loops {
				if _, stands := x.book.stands.Load(i); !stands && (i == 0 || s.Accept == server.AcceptPerLoop) {
					return false
				}
			}
			return true
		}, "loops that stand")
		clients := make([]*client, 50)
		for i := range clients {
			clients[i] = x.dial()
			if i%2 == 0 {
				clients[i].say("a request")
			}
		}
		x.stop()
		x.book.gate.open()
		for i, c := range clients {
			got := string(c.end()) // fails where it was reset
			require.Contains(t, []string{"", "a request\n"}, got, "connection %d", i)
			c.Close()
		}
		x.finish()
	})
}

// leaver has a word for its peers when the server goes down.
type leaver struct{ answerer }

func (leaver) OnDrain(out *outbound) status {
	out.Send(frame("goodbye\n"))
	return reactor.Drain
}

func TestOnDrainGoodbye(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(peer) leaver { return leaver{} })
		clients := x.spread(4*s.Loops, &net.Dialer{})
		for _, c := range clients {
			c.echo("hello")
		}
		until(t, func() bool { return x.Stats().Messages == uint64(len(clients)) }, "all greetings")
		x.stop()
		for _, c := range clients {
			require.Equal(t, "goodbye\n", string(c.end()))
			c.Close()
		}
		require.NoError(t, x.wait())
	})
}

// asker wants time when the server goes down, and ends by itself after one more message.
type asker struct {
	answerer
	draining bool
}

func (a *asker) OnInbound(line *frame, out *outbound) status {
	a.answerer.OnInbound(line, out)
	if a.draining {
		return reactor.Drain
	}
	return reactor.Continue
}

func (a *asker) OnDrain(out *outbound) status {
	a.draining = true
	out.Send(frame("one more\n"))
	return reactor.Continue
}

func TestOnDrainAsksForTime(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(peer) *asker { return &asker{} }, func(c *server.Config) { c.DrainTimeout = time.Hour })
		clients := x.spread(1, &net.Dialer{})
		for _, c := range clients {
			c.echo("hello")
		}
		until(t, func() bool { return x.Stats().Messages == uint64(len(clients)) }, "all greetings")
		x.stop()
		for _, c := range clients {
			require.Equal(t, "one more", c.line())
			c.echo("the last")
			require.Empty(t, c.end())
			c.Close()
		}
		require.NoError(t, x.wait())
	})
}

// Close ends everything, whatever is pending, and says so.
func TestCloseDuringLoad(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s)
		var wg sync.WaitGroup
		clients := x.spread(20, &net.Dialer{})
		for i, c := range clients {
			if i%4 == 0 {
				c.say("get %d", 1<<30)
				wg.Go(func() { _ = c.broken() })
				continue
			}
			wg.Go(func() {
				for c.alive() {
				}
			})
		}
		until(t, func() bool { return x.Stats().Messages > 200 && x.idle(x.LoopStats()) < 0 }, "a load")
		require.NoError(t, x.Close())
		require.ErrorIs(t, x.wait(), server.ErrClosed)
		wg.Wait()
		require.NoError(t, x.Close(), "again")
		for _, err := range x.book.closes(len(clients)) {
			require.ErrorIs(t, err, server.ErrClosed)
		}
	})
}

// Close ends a drain that takes its time.
func TestCloseDuringDrain(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := start(t, s, func(c *server.Config) { c.DrainTimeout = -1 })
		clients := x.spread(1, slow())
		for _, c := range clients {
			c.say("send %d", 64<<20)
		}
		until(t, func() bool { return x.Stats().Messages == uint64(len(clients)) }, "the requests")
		x.stop()
		require.NoError(t, x.Close())
		require.ErrorIs(t, x.wait(), server.ErrClosed)
		for _, c := range clients {
			_ = c.broken()
		}
	})
}

func TestServeTwice(t *testing.T) {
	x := start(t, engines()[0])
	x.dial().echo("it serves")
	require.ErrorIs(t, x.Serve(context.Background()), server.ErrClosed)
	x.dial().echo("it serves still")
	x.finish()
	require.ErrorIs(t, x.Serve(context.Background()), server.ErrClosed)
	_, err := server.Listen(x.Server, "tcp", "127.0.0.1:0", server.ListenConfig{}, newBounce)
	require.ErrorIs(t, err, server.ErrClosed)
}

// Close before Serve gives the port, and the path, back.
func TestCloseBeforeServe(t *testing.T) {
	for _, accept := range []server.AcceptMode{server.AcceptBalanced, server.AcceptPerLoop} {
		x := build(t, setup{Loops: 2, Accept: accept})
		path := filepath.Join(t.TempDir(), "s")
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		x.listen("unix", path, server.ListenConfig{})
		require.NoError(t, x.Close())
		require.NoError(t, x.Close(), "again")
		require.ErrorIs(t, x.Serve(context.Background()), server.ErrClosed)
		_, err := os.Stat(path)
		require.ErrorIs(t, err, os.ErrNotExist)
		y := build(t, setup{Loops: 1})
		y.listen("tcp", x.addr.String(), server.ListenConfig{})
		require.NoError(t, y.Close())
	}
}

// F13: Serve returns nil only after a stop that was asked for. A context that is done before is such a stop.
func TestServeOfAContextThatIsDone(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := build(t, s)
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, x.Serve(ctx))
	})
}

// A loop whose CPU does not exist ends Serve with an error, and nothing is left.
func TestF13ServeFails(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := build(t, s, func(c *server.Config) { c.CPUs = []int{0, 1000} })
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		err := x.Serve(context.Background())
		require.ErrorIs(t, err, unix.EINVAL)
		require.ErrorContains(t, err, "CPU 1000")
	})
}
