package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
)

func open(t *testing.T) (*reactortest.Conn[codec.Frame], *conn) {
	var c *conn
	rc := reactortest.New[codec.Frame](t, func(p reactor.Peer[codec.Frame]) *conn {
		c = connect(p)
		return c
	}, reactortest.Config{})
	return rc, c
}

func write(t *testing.T, rc *reactortest.Conn[codec.Frame], text string) {
	t.Helper()
	_, err := rc.Write([]byte(text))
	require.NoError(t, err)
}

func TestAnswersLater(t *testing.T) {
	rc, _ := open(t)
	write(t, rc, "0.5\r\n")
	require.Empty(t, rc.Output())
	write(t, rc, "0.001\n")
	rc.WaitFor("0.5 seconds")
	require.Equal(t, "0.001 seconds are over\r\n0.5 seconds are over\r\n", string(rc.Take()))
}

func TestBadInput(t *testing.T) {
	rc, c := open(t)
	for _, line := range []string{"", "x", "-1", "NaN", "Inf", "-0.1", "3601", "1e300", "1 2", strings.Repeat("x", 1000)} {
		write(t, rc, line+"\n")
		require.Contains(t, string(rc.Take()), "is not a number of seconds from 0 to 3600\r\n", line)
	}
	require.Empty(t, c.pending)
}

func TestPendingIsBounded(t *testing.T) {
	rc, c := open(t)
	write(t, rc, strings.Repeat("3600\n", maxPending))
	require.Empty(t, rc.Take())
	write(t, rc, "1\n")
	require.Equal(t, "1 has no room: wait for one of 16 answers\r\n", string(rc.Take()))
	require.Len(t, c.pending, maxPending)
	rc.Close(nil)
	for timer := range c.pending {
		require.False(t, timer.Stop(), "the end of the connection must stop its timers")
	}
}

func TestHalfClose(t *testing.T) {
	rc, _ := open(t)
	write(t, rc, "0.3\n")
	rc.PeerEnd()
	closed, _ := rc.Closed()
	require.False(t, closed)
	rc.WaitFor("over")
	require.Equal(t, "0.3 seconds are over\r\n", string(rc.Take()))
	closed, err := rc.Closed()
	require.True(t, closed)
	require.NoError(t, err)

	rc, _ = open(t)
	rc.PeerEnd()
	closed, _ = rc.Closed()
	require.True(t, closed, "nothing is pending")
}

func TestDrain(t *testing.T) {
	rc, _ := open(t)
	write(t, rc, "0.3\n")
	rc.Drain()
	require.Equal(t, "the server is going down: 1 answers are pending\r\n", string(rc.Take()))
	rc.WaitFor("over")
	require.Equal(t, "0.3 seconds are over\r\n", string(rc.Take()))
	closed, err := rc.Closed()
	require.True(t, closed)
	require.NoError(t, err)
}

func TestProcess(t *testing.T) {
	bin := runtest.Build(t, ".")
	for _, tt := range []struct {
		engine string
		stop   syscall.Signal
	}{
		{"io_uring", syscall.SIGINT},
		{"io_uring", syscall.SIGTERM},
		{"epoll", syscall.SIGINT},
		{"epoll", syscall.SIGTERM},
	} {
		t.Run(tt.engine+", "+unix.SignalName(tt.stop), func(t *testing.T) {
			p := runtest.Start(t, bin, "-listen", "127.0.0.1:0", "-engine", tt.engine)
			dial := func() *net.TCPConn {
				c, err := net.Dial("tcp", p.Addr)
				require.NoError(t, err)
				t.Cleanup(func() { c.Close() })
				require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
				return c.(*net.TCPConn)
			}
			// The peer ends its side at once, and gets all answers, in the order of their times, and then the end.
			half := dial()
			began := time.Now()
			fmt.Fprint(half, "0.3\n0.2\noops\n")
			require.NoError(t, half.CloseWrite())
			answers, err := io.ReadAll(half)
			require.NoError(t, err)
			half.Close()
			require.Equal(t, "\"oops\" is not a number of seconds from 0 to 3600\r\n0.2 seconds are over\r\n0.3 seconds are over\r\n", string(answers))
			require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)

			// A stop waits for what is pending.
			last := dial()
			fmt.Fprint(last, "nothing\n0.3\n")
			first := make([]byte, 10)
			_, err = io.ReadFull(last, first) // the lines were read
			require.NoError(t, err)
			p.Signal(tt.stop)
			answers, err = io.ReadAll(last)
			require.NoError(t, err)
			last.Close()
			require.Contains(t, string(answers), "the server is going down: 1 answers are pending\r\n0.3 seconds are over\r\n")
			require.Equal(t, 0, p.Wait(), p.Log())
		})
	}
}
