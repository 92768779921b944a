package engine

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close() // Go's own poller has two, from now on
	}
	before := openFiles()
	code := m.Run()
	for n := 0; code == 0 && openFiles() > before; n++ {
		if n == 200 {
			fmt.Printf("leaked descriptors: %d before, %d after\n", before, openFiles())
			code = 1
			break
		}
		time.Sleep(10 * time.Millisecond) // of a thread that ends
	}
	os.Exit(code)
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "pipe:") { // io.Copy keeps pipes
			n++
		}
	}
	return n
}

func TestCancel(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		in, out := d.tokens()
		d.e.Cancel(in) // of none
		for range 3 {
			d.e.Receive(in, fd)
			d.turn(0)
			d.e.Cancel(in)
			c := d.get(in)
			require.Equal(d, unix.ECANCELED, c.Err)
			require.False(d, c.More)
			d.none(in)
		}
		d.e.Receive(in, fd) // within one turn
		d.e.Cancel(in)
		require.Equal(d, unix.ECANCELED, d.get(in).Err)

		big := make([]byte, 64<<20)
		d.e.Send(out, fd, [][]byte{big}, true)
		var sent int
		for range 10 { // epoll completes what there is room for, and then waits for more
			d.turn(10 * time.Millisecond)
			for len(d.done) > 0 {
				c := d.get(out)
				require.Zero(d, c.Err)
				sent += c.Res
				d.e.Send(out, fd, [][]byte{big[sent:]}, true)
			}
		}
		d.e.Cancel(out)
		c := d.get(out)
		if c.Err != 0 {
			require.Equal(d, unix.ECANCELED, c.Err)
		}
		sent += c.Res
		require.NotEqual(d, len(big), sent)
		d.none(out)
		d.e.CloseSocket(fd)
		n, err := io.Copy(io.Discard, client)
		require.NoError(d, err)
		require.Equal(d, int64(sent), n, "what a cancelled send says was sent, was")
	})
}

// More operations and completions than fit a queue or a turn.
func TestManyInOneTurn(t *testing.T) {
	kernels(t, func(d *desk) {
		const conns = 700
		var fds [conns]int
		var in, out [conns]Token
		for i := range conns {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(d, err)
			fds[i] = pair[0]
			d.Cleanup(func() { unix.Close(pair[1]) })
			in[i], out[i] = MakeToken(uint32(i), 1, OpReceive), MakeToken(uint32(i), 1, OpSend)
			_, err = unix.Write(pair[1], []byte{byte(i), byte(i >> 8)})
			require.NoError(d, err)
		}
		for i := range conns {
			d.e.Receive(in[i], fds[i])
			d.e.Send(out[i], fds[i], [][]byte{{1}, {2}}, true)
		}
		most := 0
		for len(d.done) < 2*conns {
			most = max(most, d.turn(time.Second))
			kept := d.done[:0]
			for _, c := range d.done {
				if c.Err == unix.ENOBUFS { // more receives than plain buffers: the group has grown
					d.e.Receive(c.Token, fds[c.Token.Slot()])
				} else {
					kept = append(kept, c)
				}
			}
			d.done = kept
		}
		if _, ok := d.e.(*URing); ok {
			require.LessOrEqual(d, most, maxPerTurn)
			require.Greater(d, most, maxPerTurn/2)
		}
		for i := range conns {
			c := d.get(in[i])
			require.Equal(d, []byte{byte(i), byte(i >> 8)}, c.View)
			require.Equal(d, 2, d.get(out[i]).Res)
			d.e.Cancel(in[i])
		}
		for i := range conns {
			if _, ok := d.e.(*URing); !ok || !d.e.(*URing).opts.SingleShot {
				require.Equal(d, unix.ECANCELED, d.get(in[i]).Err)
			}
			d.e.CloseSocket(fds[i])
		}
		require.Zero(d, d.e.Counters().Overflows)
	})
}

// Close leaves no descriptor and no port behind.
func TestClose(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			before := openFiles()
			for range 20 {
				d := newDesk(t, e.open, e.opts)
				ln, addr := d.listen()
				d.e.Accept(MakeToken(0, 0, OpAccept), ln)
				d.turn(0)
				d.close() // with the accept in flight, though a loop does not do that
				unix.Close(ln)
				again, err := net.ListenTCP("tcp", addr)
				require.NoError(t, err)
				again.Close()
			}
			require.LessOrEqual(t, openFiles(), before)
		})
	}
}

// A descriptor's number that comes again is another connection.
func TestNumberComesAgain(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client, tok := d.armed()
		other, second := d.pair()
		_, _ = client.Write([]byte("old"))
		d.e.Cancel(tok)
		for c := d.get(tok); c.More; c = d.get(tok) {
		}
		d.e.CloseSocket(fd)
		require.NoError(d, unix.Dup3(other, fd, unix.O_CLOEXEC))
		unix.Close(other)
		next := d.token(OpReceive)
		d.e.Receive(next, fd)
		d.none(next)
		_, _ = second.Write([]byte("new"))
		c := d.get(next)
		require.Equal(d, "new", string(c.View))
		second.Close()
		for c.Res > 0 {
			if !c.More {
				d.e.Receive(next, fd)
			}
			c = d.get(next)
		}
		d.e.CloseSocket(fd)
	})
}
