package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// thrower panics where its connection's first line says.
type thrower struct {
	lineRaw
	book  *book
	where string
	peer  peer
}

func (p *thrower) at(where string) {
	if p.where == where {
		p.where = ""
		panic("thrown in " + where)
	}
}

func (p *thrower) Decode(b []byte, m *frame) (int, error) {
	p.at("Decode")
	return p.lineRaw.Decode(b, m)
}

func (p *thrower) Encode(dst []byte, m frame) []byte {
	p.at("Encode")
	return p.lineRaw.Encode(dst, m)
}

func (p *thrower) Size(m frame) int {
	p.at("Size")
	return len(m)
}

func (p *thrower) OnInbound(line *frame, out *outbound) status {
	if p.where == "" {
		p.where = string(*line)
	}
	p.at("OnInbound")
	switch p.where {
	case "OnOutbound":
		_ = p.peer.Sender.Send(frame("hello\n"))
		return reactor.Continue
	case "Do":
		_ = p.peer.Sender.Do(func(*outbound) status { p.at("Do"); return reactor.Continue })
		return reactor.Continue
	case "OnRoom":
		for out.Room() > 0 {
			out.Send(patternOf(100_000))
		}
		return reactor.Continue
	case "status":
		return 77
	}
	out.Send(append(*line, '\n'))
	return reactor.Continue
}

func (p *thrower) OnRoom(*outbound) status  { p.at("OnRoom"); return reactor.Continue }
func (p *thrower) OnEnd(*outbound) status   { p.at("OnEnd"); return reactor.Drain }
func (p *thrower) OnDrain(*outbound) status { p.at("OnDrain"); return reactor.Drain }
func (p *thrower) OnOutbound(*frame)        { p.at("OnOutbound") }
func (p *thrower) OnClose(err error) {
	p.book.closedWith(&kit{closed: 1}, err)
	p.at("OnClose")
}

// throwers is a server of throwers.
func throwers(t *testing.T, s setup) *rig {
	t.Helper()
	x := build(t, s)
	listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(p peer) *thrower { return &thrower{book: x.book, peer: p} })
	return x.serve()
}

// F12: a panic in a reactor or its codec, wherever, ends that connection only. It is counted, and logged with its stack.
func TestF12Panic(t *testing.T) {
	places := []string{"OnInbound", "Decode", "Encode", "Size", "OnOutbound", "Do", "OnRoom", "OnEnd", "OnClose", "status"}
	over(t, engines(), func(t *testing.T, s setup) {
		x := throwers(t, s)
		neighbours := []*client{x.dial(), x.dial(), x.dial(), x.dial()}
		for i, where := range places {
			c := x.dial()
			c.say("%s", where)
			switch where {
			case "Decode", "OnEnd", "OnClose", "Encode", "Size":
				if where != "Encode" && where != "Size" {
					require.Equal(t, where, c.line())
				}
				if where == "Decode" {
					c.say("again")
				}
				c.halfClose()
			}
			_ = c.broken()
			c.Close()
			end := x.book.closes(i + 1)[i]
			if where == "OnClose" {
				require.NoError(t, end)
			} else {
				require.ErrorIs(t, end, server.ErrPanic, where)
			}
			until(t, func() bool { return x.Stats().Panics == uint64(i+1) }, "the count of %s", where)
			text := "thrown in " + where
			if where == "status" {
				text = "returned Status(77)"
			}
			line := x.logs.wait(t, "panic: the connection is closed", text)
			require.Contains(t, line, "server_test.thrower")
			if where != "status" { // which is not the reactor's own panic
				require.Contains(t, line, "server_test.(*thrower).at", "the stack")
			}
			for _, n := range neighbours {
				n.echo("unharmed")
			}
		}
		require.Len(t, x.logs.lines("panic: the connection is closed"), len(places))
		for _, n := range neighbours {
			n.Close()
		}
		x.finish()
	})
}

// opener panics at its beginning.
type opener struct{ lineRaw }

func (opener) OnInbound(*frame, *outbound) status { return reactor.Continue }
func (opener) OnOpen(*outbound) status            { panic("thrown in OnOpen") }

func TestF12PanicAtTheBeginning(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := build(t, s)
		x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		connects := listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(peer) bounce { panic("thrown in connect") })
		opens := listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(peer) opener { return opener{} })
		nothing, err := server.Listen[frame, frame](x.Server, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(peer) reactor.Reactor[frame, frame] { return nil })
		require.NoError(t, err)
		x.serve()
		neighbour := x.dial()
		for range 3 {
			_ = x.to(connects).broken()
			_ = x.to(opens).broken()
			_ = x.to(nothing).broken()
			neighbour.echo("unharmed")
		}
		until(t, func() bool { return x.Stats().Conns == 1 }, "their ends")
		x.logs.wait(t, "panic", "thrown in connect")
		x.logs.wait(t, "panic", "thrown in OnOpen")
		require.GreaterOrEqual(t, x.Stats().Panics, uint64(6))
		neighbour.Close()
		x.finish()
	})
}

// A panic in OnDrain does not hold up the drain.
func TestF12PanicInDrain(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := throwers(t, s)
		x.allServed()
		c := x.dial()
		c.say("OnDrain")
		require.Equal(t, "OnDrain", c.line())
		x.stop()
		_ = c.broken()
		require.NoError(t, x.wait())
		require.Equal(t, uint64(1), x.Stats().Panics)
	})
}

// With PanicCrashes it ends the process.
func TestPanicCrashes(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		c := spawn(t, plan{Setup: s, Config: server.Config{OnPanic: server.PanicCrashes}})
		cl := c.dial()
		cl.say("panic the test")
		_ = cl.broken()
		c.exit()
		require.Equal(t, 2, c.cmd.ProcessState.ExitCode())
		require.Contains(t, c.stderr.String(), "panic: asked for by the test")
	})
}

// F4: a reactor that does not come back is named, with its stack, and the loop goes on when it does.
func TestF4Stall(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := start(t, s, func(c *server.Config) { c.StallTimeout = 20 * time.Millisecond })
		c := x.dial()
		c.say("block")
		line := x.logs.wait(t, "a loop is stalled")
		require.Contains(t, line, "server_test.(*kit).OnInbound")
		require.Contains(t, line, "level=ERROR")
		x.book.gate.open()
		require.Equal(t, "unblocked", c.line())
		c.echo("on it goes")
		x.finish()
		require.Len(t, x.logs.lines("a loop is stalled"), 1, "once for a stall")
	})
}

// A log that blocks holds up no loop, and not the end.
func TestBlockedLog(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		r, w, err := os.Pipe() // nobody reads
		require.NoError(t, err)
		defer r.Close()
		x := start(t, s, func(c *server.Config) { c.Logger = slog.New(slog.NewTextHandler(w, nil)) })
		for range 300 { // with a stack each: far more than a pipe takes
			c := x.dial()
			c.say("panic the log")
			_ = c.broken()
			c.Close()
		}
		until(t, func() bool { return x.Stats().Panics == 300 }, "all panics")
		c := x.dial()
		for range 100 {
			c.echo("on it goes")
		}
		x.finish()
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, r)
		}()
		// The logger's goroutine writes what it has, and ends; what it writes to a closed pipe fails.
		require.NoError(t, w.Close())
		<-read
	})
}

// R8, F3, F11: all calls of a connection's reactor come on one thread: kits note a fault where they do not. Timers too.
func TestR8OneThread(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := startKits(t, s, server.ListenConfig{IdleTimeout: 100 * time.Millisecond})
		conns := 0
		for conns < 4*s.Loops || x.idle(x.LoopStats()) >= 0 {
			require.Less(t, conns, rigTries)
			c := x.dial()
			conns++
			c.say("get %d", 1<<20)
			c.pattern(0, 1<<20)
			k := x.book.last(conns)
			_ = k.peer.Sender.Do(func(*outbound) status { k.here(); return reactor.Continue }) // unless its time has come
		}
		for _, err := range x.book.closes(conns) {
			require.ErrorIs(t, err, server.ErrIdleTimeout)
		}
		x.Close()
		require.Empty(t, x.book.faults())
	})
}

// R11: loops are bound to their CPUs, on the threads that they keep.
func TestCPUs(t *testing.T) {
	var allowed unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &allowed))
	var cpus []int
	for i := range 1 << 10 {
		if allowed.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	slices.Reverse(cpus)
	over(t, engines(), func(t *testing.T, s setup) {
		s.Loops = 3
		masks := make(chan string, 100)
		x := startAs(t, s, server.ListenConfig{}, func(p peer) bounce {
			var set unix.CPUSet
			err := unix.SchedGetaffinity(0, &set)
			masks <- fmt.Sprint(p.Loop, set.Count(), set.IsSet(cpus[p.Loop%len(cpus)]), err)
			return bounce{}
		}, func(c *server.Config) { c.CPUs = cpus })
		for range 12 {
			x.dial().echo("hello")
			mask := <-masks
			require.True(t, strings.HasSuffix(mask, "1 true <nil>"), mask)
		}
		x.finish()
		var after unix.CPUSet
		require.NoError(t, unix.SchedGetaffinity(0, &after))
		require.Equal(t, allowed, after, "the mask of a thread that is not a loop's")
	})
}

// R15: nothing of this module hides from the race detector.
func TestR15NothingIsNorace(t *testing.T) {
	root := os.DirFS("..")
	err := walk(root, func(path string, b []byte) {
		for _, pragma := range []string{"//go:" + "norace", "// +build " + "!race"} {
			require.NotContains(t, string(b), pragma, path)
		}
	})
	require.NoError(t, err)
}

// An interface as reactor type is looked at for each connection: a method that is no hook is refused with a line.
type misnamed struct{ bounce }

func (misnamed) OnOpened(*outbound) status { return reactor.Continue }

func TestMisnamedHook(t *testing.T) {
	x := build(t, setup{Loops: 1})
	_, err := server.Listen(x.Server, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(peer) misnamed { return misnamed{} })
	require.ErrorContains(t, err, "OnOpened")
	listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(peer) reactor.Reactor[frame, frame] { return misnamed{} })
	x.serve()
	c := x.dial()
	_ = c.broken()
	x.logs.wait(t, "OnOpened")
	x.finish()
}

// nothing is left of a server that is dropped before it serves.
func TestNewWithoutServe(t *testing.T) {
	x := build(t, setup{Loops: 2})
	require.Empty(t, x.LoopStats())
	require.Equal(t, server.Stats{}, x.Stats())
	require.Equal(t, 2, x.Loops())
	require.NoError(t, x.Close())
	require.ErrorIs(t, x.Serve(context.Background()), server.ErrClosed)
}
