package reactortest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
	"github.com/stretchr/testify/require"
)

// TestMain fails on leaked goroutines.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	// A goroutine that ends is not always gone when its test is.
	for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); code == 0 && n > before {
		fmt.Printf("leaked goroutines: before %d, after %d\n", before, n)
		code = 1
	}
	os.Exit(code)
}

type frame = codec.Frame

func open(t *testing.T, cfg reactortest.Config) *reactortest.Conn[frame] {
	return reactortest.New(t, func(reactor.Peer[frame]) echo { return echo{} }, cfg)
}

func TestCutMessages(t *testing.T) {
	const wire = "hello\nworld\n"
	for cut := range len(wire) {
		c := open(t, reactortest.Config{})
		n, err := c.Write([]byte(wire[:cut]))
		require.NoError(t, err)
		require.Equal(t, cut, n)
		require.Equal(t, cut%6, c.Unread())
		_, err = io.WriteString(c, wire[cut:])
		require.NoError(t, err)
		require.Equal(t, wire, string(c.Output()))
		require.Equal(t, wire, string(c.Take()))
		require.Empty(t, c.Output())
	}
	c := open(t, reactortest.Config{})
	require.NoError(t, c.WriteEach([]byte(wire)))
	require.Equal(t, wire, string(c.Take()))
	require.Zero(t, c.Unread())
}

// A peer that does not read holds the reactor up, and nothing is lost.
func TestSocketBuffer(t *testing.T) {
	c := open(t, reactortest.Config{MaxOutbound: 20, SocketBuffer: 7})
	var wire strings.Builder
	for i := range 30 {
		fmt.Fprintf(&wire, "line %d\n", i)
	}
	_, err := io.WriteString(c, wire.String())
	require.NoError(t, err)
	require.Len(t, c.Output(), 7)
	require.Less(t, c.Pending(), 20+8)
	require.Positive(t, c.Unread())
	_, err = io.WriteString(c, "last\n")
	require.NoError(t, err)
	c.PeerEnd()
	closed, _ := c.Closed()
	require.False(t, closed)
	var got strings.Builder
	for b := c.Take(); len(b) > 0; b = c.Take() {
		require.LessOrEqual(t, len(b), 7)
		got.Write(b)
	}
	require.Equal(t, wire.String()+"last\n", got.String())
	closed, err = c.Closed()
	require.True(t, closed)
	require.NoError(t, err)
	_, err = c.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Error(t, c.WriteEach([]byte("x")))
}

func TestMaxMessages(t *testing.T) {
	c := open(t, reactortest.Config{MaxMessages: 1})
	_, err := io.WriteString(c, strings.Repeat("a\n", 50))
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("a\n", 50), string(c.Output()))
}

func TestSendersOfOtherGoroutines(t *testing.T) {
	c := open(t, reactortest.Config{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				require.NoError(t, c.Sender().SendContext(t.Context(), frame(fmt.Sprint(g, " ", i))))
			}
		})
	}
	next := [4]int{}
	for sum := 0; sum < 400; {
		c.WaitFor("\n")
		for _, line := range strings.Split(strings.TrimSuffix(string(c.Take()), "\n"), "\n") {
			var g, i int
			_, err := fmt.Sscan(line, &g, &i)
			require.NoError(t, err)
			require.Equal(t, next[g], i)
			next[g]++
			sum++
		}
	}
	wg.Wait()

	// The test's own goroutine is not the ring's, but within the reactor.
	for range 128 {
		require.NoError(t, c.Sender().Send(frame("x")))
	}
	require.ErrorIs(t, c.Sender().Send(frame("x")), reactor.ErrFull)
	c.Pump()
	require.NoError(t, c.Sender().Send(frame("x")))
	require.NoError(t, c.Sender().Close())
	c.Pump()
	closed, err := c.Closed()
	require.True(t, closed)
	var unsent *reactor.UnsentError
	require.ErrorAs(t, err, &unsent)
	require.Equal(t, 1, unsent.Messages)
	c.WaitFor("what never comes")
	c.Pump()
	c.Drain()
	c.PeerEnd()
	c.Close(nil)
}

type busy struct{ echo }

func (busy) OnOpen(out *reactor.Outbound[frame]) reactor.Status { return busy{}.OnRoom(out) }
func (busy) OnRoom(out *reactor.Outbound[frame]) reactor.Status {
	for out.Room() > 0 {
		out.Send(frame("more"))
	}
	return reactor.Continue
}

// A reactor that never has done does not keep its test.
func TestEndlessReactor(t *testing.T) {
	c := reactortest.New(t, func(reactor.Peer[frame]) busy { return busy{} }, reactortest.Config{MaxOutbound: 50})
	n := len(c.Take())
	require.Positive(t, n)
	require.Positive(t, len(c.Take()))
}

func TestErrors(t *testing.T) {
	t.Run("decoder", func(t *testing.T) {
		c := open(t, reactortest.Config{MaxBufferLength: 4})
		_, err := io.WriteString(c, "a\nbcdefg\n")
		require.NoError(t, err)
		closed, err := c.Closed()
		require.True(t, closed)
		require.ErrorIs(t, err, reactor.ErrTooLong)
		require.Equal(t, reactor.Close, c.Status())
	})
	t.Run("socket", func(t *testing.T) {
		c := open(t, reactortest.Config{SocketBuffer: 1})
		_, err := io.WriteString(c, "abc\n")
		require.NoError(t, err)
		broken := errors.New("broken")
		c.Close(broken)
		_, err = c.Closed()
		require.ErrorIs(t, err, broken)
		require.EqualError(t, err, "closed with 3 bytes and 0 queued messages unsent: broken")
	})
	t.Run("hook", func(t *testing.T) {
		fatal := ""
		func() {
			defer func() { _ = recover() }()
			reactortest.New(fails{t, &fatal}, func(reactor.Peer[frame]) misnamed { return misnamed{} }, reactortest.Config{})
		}()
		require.Contains(t, fatal, "OnClosed is no hook")
		fatal = ""
		func() {
			defer func() { _ = recover() }()
			reactortest.New(fails{t, &fatal}, func(reactor.Peer[frame]) reactor.Reactor[frame, frame] { return misnamed{} }, reactortest.Config{})
		}()
		require.Contains(t, fatal, "OnClosed is no hook")
	})
}

type misnamed struct{ echo }

func (misnamed) OnClosed(error) {}

type fails struct {
	testing.TB
	text *string
}

func (f fails) Fatal(args ...any) { *f.text = fmt.Sprint(args...); panic(f) }

func TestPeer(t *testing.T) {
	var got []reactor.Peer[frame]
	connect := func(p reactor.Peer[frame]) echo { got = append(got, p); return echo{} }
	c := reactortest.New(t, connect, reactortest.Config{})
	require.Same(t, c.Sender(), got[0].Sender)
	require.Equal(t, "127.0.0.1:9000", got[0].Local.String())
	require.Equal(t, "127.0.0.1:40000", got[0].Remote.String())
	remote := &net.UnixAddr{Name: "x", Net: "unix"}
	reactortest.New(t, connect, reactortest.Config{Remote: remote})
	require.Equal(t, remote, got[1].Remote)
}
