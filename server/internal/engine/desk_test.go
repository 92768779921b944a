package engine

import (
	"bytes"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const patience = 10 * time.Second // how long a test waits for what must come

// engines are what each behaviour is tested on.
var engines = []struct {
	name string
	opts Options
	open func(Options) (Engine, error)
}{
	{"io_uring", Options{}, openURing},
	{"io_uring plain", Options{PlainBuffers: true}, openURing},
	{"io_uring single shot", Options{SingleShot: true}, openURing},
	{"epoll", Options{}, openEpoll},
	{"io_uring, P held", Options{HoldP: always}, openURing},
	{"epoll, P held", Options{HoldP: always}, openEpoll},
}

func always() bool { return true }

func openEpoll(o Options) (Engine, error) { return NewEpoll(o) }

func openURing(o Options) (Engine, error) { return NewURing(o) }

// kernels runs a test on each engine.
func kernels(t *testing.T, f func(d *desk)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			f(newDesk(t, e.open, e.opts))
		})
	}
}

// A desk is a loop's side of an engine.
type desk struct {
	testing.TB
	e     Engine
	slots uint32
	done  []Completion // with views copied
	over  bool
}

func newDesk(t testing.TB, open func(Options) (Engine, error), opts Options) *desk {
	runtime.LockOSThread()
	e, err := open(opts)
	require.NoError(t, err)
	d := &desk{TB: t, e: e}
	t.Cleanup(func() {
		d.close()
		runtime.UnlockOSThread()
	})
	return d
}

func (d *desk) close() {
	if !d.over {
		d.over = true
		require.NoError(d, d.e.Close())
	}
}

// turn waits once and takes what has completed.
func (d *desk) turn(timeout time.Duration) (n int) {
	d.Helper()
	require.NoError(d, d.e.Wait(timeout))
	var c Completion
	for d.e.Next(&c) {
		n++
		d.keep(c)
	}
	return n
}

func (d *desk) keep(c Completion) {
	view := bytes.Clone(c.View)
	d.e.Recycle(&c)
	c.View = view
	d.done = append(d.done, c)
}

// get returns the next completion of an operation.
func (d *desk) get(t Token) Completion {
	d.Helper()
	deadline := time.Now().Add(patience)
	for {
		for i, c := range d.done {
			if c.Token == t {
				d.done = append(d.done[:i], d.done[i+1:]...)
				return c
			}
		}
		require.True(d, time.Now().Before(deadline), "no completion of %x; others: %v", uint64(t), d.done)
		d.turn(time.Second)
	}
}

// none checks that an operation has no completion.
func (d *desk) none(t Token) {
	d.Helper()
	d.turn(20 * time.Millisecond)
	d.turn(0)
	for _, c := range d.done {
		require.NotEqual(d, t, c.Token, "%+v", c)
	}
}

func (d *desk) token(op Op) Token {
	d.slots++
	return MakeToken(d.slots, 7, op)
}

// tokens returns those of the two operations on one descriptor, which have its slot.
func (d *desk) tokens() (in, out Token) {
	in = d.token(OpReceive)
	return in, MakeToken(in.Slot(), in.Generation(), OpSend)
}

// pair returns the server's descriptor of a TCP connection, and the client.
func (d *desk) pair() (int, *net.TCPConn) {
	d.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(d, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(d, err)
	conn, err := ln.Accept()
	require.NoError(d, err)
	f, err := conn.(*net.TCPConn).File()
	require.NoError(d, err)
	conn.Close()
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(d, err)
	require.NoError(d, unix.SetNonblock(fd, false)) // as accepted sockets are
	d.Cleanup(func() { client.Close() })
	return fd, client.(*net.TCPConn)
}

// armed returns a pair with a receive in flight.
func (d *desk) armed() (int, *net.TCPConn, Token) {
	d.Helper()
	fd, client := d.pair()
	tok := d.token(OpReceive)
	d.e.Receive(tok, fd)
	d.turn(0)
	return fd, client, tok
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// listen returns a listening descriptor and its address.
func (d *desk) listen() (int, *net.TCPAddr) {
	d.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(d, err)
	require.NoError(d, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	require.NoError(d, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(d, unix.Listen(fd, 1024))
	sa, err := unix.Getsockname(fd)
	require.NoError(d, err)
	return fd, Addr(sa).(*net.TCPAddr)
}

func (d *desk) dial(a *net.TCPAddr) *net.TCPConn {
	d.Helper()
	c, err := net.DialTCP("tcp", nil, a)
	require.NoError(d, err)
	d.Cleanup(func() { c.Close() })
	return c
}

// receive takes n bytes, arming again where the receive has ended.
func (d *desk) receive(tok Token, fd, n int, armed *bool) []byte {
	d.Helper()
	var got []byte
	for len(got) < n {
		if !*armed {
			d.e.Receive(tok, fd)
			*armed = true
		}
		c := d.get(tok)
		if !c.More {
			*armed = false
		}
		if c.Err != unix.ENOBUFS {
			require.Zero(d, c.Err)
			require.NotZero(d, c.Res, "after %d bytes", len(got))
			require.Len(d, c.View, c.Res)
		}
		got = append(got, c.View...)
	}
	return got
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16 ^ i>>8*7 ^ i)
	}
	return b
}
