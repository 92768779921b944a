package server_test

import (
	"net"
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A connection without traffic is closed, one with traffic is not.
func TestIdleTimeout(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := build(t, s)
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{IdleTimeout: 60 * time.Millisecond})
		never := x.listen("tcp", "127.0.0.1:0", server.ListenConfig{IdleTimeout: -1})
		x.serve()
		patient := x.to(never)
		patient.echo("hello")
		idle, silent, cut := x.dial(), x.dial(), x.dial()
		idle.echo("hello")
		_, err := cut.Write([]byte("within a mess"))
		require.NoError(t, err)
		for _, c := range []*client{idle, silent, cut} {
			_ = c.broken()
		}
		for _, err := range x.book.closes(3) {
			require.ErrorIs(t, err, server.ErrIdleTimeout)
		}
		until(t, func() bool { return x.Stats().TimedOut == 3 }, "the count")
		until(t, func() bool { return len(x.logs.lines("idle timeout")) == 3 }, "their lines")
		patient.echo("still here")
		patient.Close()
		x.finish()
	})
}

// Traffic in either direction keeps a connection. How long it is kept is measured by that of another.
func TestIdleTimeoutAndTraffic(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := startKits(t, s, server.ListenConfig{IdleTimeout: 500 * time.Millisecond})
		in := x.dial()
		in.echo("hello")
		out := x.dial()
		out.echo("hello")
		sender := x.book.last(2).peer.Sender
		idle := x.dial()
		ended := make(chan error, 1)
		go func() { ended <- idle.broken() }()
		rounds := 0
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for done := 0; done < 2; rounds++ {
			in.echo("in")
			require.NoError(t, sender.Send(frame("out\n")))
			require.Equal(t, "out", out.line())
			select {
			case <-ended: // a second one follows
				if done++; done < 2 {
					next := x.dial()
					go func() { ended <- next.broken() }()
				}
			case <-tick.C:
			}
		}
		in.echo("still here")
		until(t, func() bool { return x.Stats().TimedOut == 2 }, "the count")
	})
}

// A peer that takes nothing of its output is closed; what was not sent is told. One that takes it slowly is not.
func TestWriteTimeout(t *testing.T) {
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		x := startKits(t, s, server.ListenConfig{WriteTimeout: 100 * time.Millisecond, SendBuffer: 64 << 10})
		const size = 16 << 20
		stuck := x.dialWith(slow())
		stuck.say("send %d", size)
		end := x.book.closes(1)[0]
		require.ErrorIs(t, end, server.ErrWriteTimeout)
		var unsent *reactor.UnsentError
		require.ErrorAs(t, end, &unsent)
		require.Greater(t, unsent.Bytes, size/2)
		until(t, func() bool { return x.Stats().TimedOut == 1 }, "the count")
		x.logs.wait(t, "write timeout")
		_ = stuck.broken()
		x.finish()
	})
}

// A peer that takes little by little is not closed, and one beside it that takes nothing is.
func TestWriteTimeoutAndProgress(t *testing.T) {
	cfg := server.ListenConfig{WriteTimeout: 400 * time.Millisecond, SendBuffer: 64 << 10}
	t.Run("one path", func(t *testing.T) {
		over(t, engines(), func(t *testing.T, s setup) { takingAndStuck(t, startKits(t, s, cfg), slow()) })
	})
	t.Run("several paths", func(t *testing.T) {
		over(t, engines(), func(t *testing.T, s setup) {
			x := build(t, s)
			x.listenOn(givenListener(netListen(t, "tcp", "127.0.0.1:0", true)), cfg)
			d := &net.Dialer{Control: control(func(fd int) error { // less than this, and the kernel waits for timers of its own
				return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 256<<10)
			})}
			d.SetMultipathTCP(true)
			takingAndStuck(t, x.serve(), d)
		})
	})
}

func takingAndStuck(t *testing.T, x *rig, d *net.Dialer) {
	const size, step = 8 << 20, 128 << 10
	taking := x.dialWith(d)
	taking.say("send %d", size)
	stuck := x.dialWith(d)
	stuck.say("send %d", size)
	pos := 0
	for x.Stats().TimedOut == 0 && pos < size/2 { // until the other has had its time
		taking.pattern(pos, step)
		pos += step
		stillFor(t, 10*time.Millisecond)
	}
	until(t, func() bool { return x.Stats().TimedOut > 0 }, "the other's end")
	taking.pattern(pos, size-pos)
	taking.echo("still here")
	until(t, func() bool { return x.Stats().TimedOut == 1 }, "the count")
}

// stillFor lets a little time go by between two pieces of a load: nothing depends on how much.
func stillFor(t testing.TB, d time.Duration) {
	t.Helper()
	<-time.After(d)
}

// An unlimited IdleTimeout, and a connection that ends by itself, leave no timer that hits the next one in its slot.
func TestTimersAndSlots(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := build(t, s)
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{IdleTimeout: 30 * time.Millisecond})
		never := x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		x.serve()
		for range 20 {
			c := x.dial()
			c.echo("short")
			c.Close()
		}
		x.book.closes(20)
		until(t, func() bool { return x.Stats().Conns == 0 }, "free slots")
		var heirs []*client
		for range 20 {
			heirs = append(heirs, x.to(never))
		}
		last := x.dial()
		_ = last.broken() // by its own timer, later than the others would have been
		for _, c := range heirs {
			c.echo("unharmed")
			c.Close()
		}
		x.finish()
	})
}
