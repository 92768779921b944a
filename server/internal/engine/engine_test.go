package engine

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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

// engines are what each behaviour is tested on.
var engines = []struct {
	name string
	opts Options
	open func(Options) (Engine, error)
}{
	{"io_uring", Options{}, openURing},
	{"io_uring plain", Options{PlainBuffers: true}, openURing},
	{"io_uring single shot", Options{SingleShot: true}, openURing},
	{"epoll", Options{}, func(o Options) (Engine, error) { return NewEpoll(o) }},
}

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
	deadline := time.Now().Add(10 * time.Second)
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

func TestAccept(t *testing.T) {
	kernels(t, func(d *desk) {
		ln, addr := d.listen()
		tok := MakeToken(0, 0, OpAccept)
		d.e.Accept(tok, ln)
		for range 3 {
			var clients []*net.TCPConn
			for range 40 { // more than a turn of epoll takes
				clients = append(clients, d.dial(addr))
			}
			seen := map[string]bool{}
			for range clients {
				c := d.get(tok)
				require.Zero(d, c.Err)
				require.True(d, c.More)
				local, remote := d.e.Names(c.Res, nil)
				require.Equal(d, addr.String(), local.String())
				seen[remote.String()] = true
				fl, err := unix.FcntlInt(uintptr(c.Res), unix.F_GETFD, 0)
				require.NoError(d, err)
				require.NotZero(d, fl&unix.FD_CLOEXEC)
				d.e.CloseSocket(c.Res)
			}
			for _, c := range clients {
				require.True(d, seen[c.LocalAddr().String()])
				_, err := c.Read(make([]byte, 1))
				require.ErrorIs(d, err, io.EOF)
			}
		}
		d.e.Cancel(tok)
		c := d.get(tok)
		require.Equal(d, unix.ECANCELED, c.Err)
		require.False(d, c.More)
		// What waits is not lost.
		client := d.dial(addr)
		d.none(tok)
		fd, ok := d.e.TakeQueued(ln)
		require.True(d, ok)
		d.e.CloseSocket(fd)
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(d, err, io.EOF)
		_, ok = d.e.TakeQueued(ln)
		require.False(d, ok)
		d.e.CloseSocket(ln)
	})
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	kernels(t, func(d *desk) {
		ln, addr := d.listen()
		tok := MakeToken(0, 0, OpAccept)
		client := d.dial(addr)
		var was unix.Rlimit
		require.NoError(d, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
		require.NoError(d, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}))
		d.e.Accept(tok, ln)
		c := d.get(tok)
		require.NoError(d, unix.Setrlimit(unix.RLIMIT_NOFILE, &was))
		require.Equal(d, unix.EMFILE, c.Err)
		require.False(d, c.More)
		d.e.Accept(tok, ln)
		c = d.get(tok)
		require.Zero(d, c.Err)
		d.e.CloseSocket(c.Res)
		client.Close()
		d.e.Cancel(tok)
		require.Equal(d, unix.ECANCELED, d.get(tok).Err)
		d.e.CloseSocket(ln)
	})
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

func TestReceive(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpReceive)
		armed := false
		for _, n := range []int{1, 100, 5000, 3 << 20} {
			b := pattern(n)
			go client.Write(b)
			require.True(d, bytes.Equal(b, d.receive(tok, fd, n, &armed)))
		}
		require.NoError(d, client.CloseWrite())
		if !armed {
			d.e.Receive(tok, fd)
		}
		c := d.get(tok)
		require.Zero(d, c.Err)
		require.Zero(d, c.Res)
		require.False(d, c.More)
		d.e.CloseSocket(fd)
	})
}

func TestReceiveReset(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpReceive)
		d.e.Receive(tok, fd)
		d.turn(0)
		require.NoError(d, client.SetLinger(0))
		client.Close()
		c := d.get(tok)
		require.Equal(d, unix.ECONNRESET, c.Err)
		require.False(d, c.More)
		s := d.token(OpSend)
		d.e.Send(s, fd, [][]byte{[]byte("x")})
		require.Equal(d, unix.EPIPE, d.get(s).Err)
		d.e.CloseSocket(fd)
	})
}

func TestCancel(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		in, out := d.token(OpReceive), d.token(OpSend)
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
		d.e.Send(out, fd, [][]byte{big})
		var sent int
		for range 10 { // epoll completes what there is room for, and then waits for more
			d.turn(10 * time.Millisecond)
			for len(d.done) > 0 {
				c := d.get(out)
				require.Zero(d, c.Err)
				sent += c.Res
				d.e.Send(out, fd, [][]byte{big[sent:]})
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

func TestSendSegments(t *testing.T) {
	kernels(t, func(d *desk) {
		for _, count := range []int{1, 2, 63, 64, 65, 200} {
			for _, size := range []int{1, 1000, 20_000} {
				fd, client := d.pair()
				tok := d.token(OpSend)
				all := pattern(count * size)
				got := make(chan []byte)
				go func() {
					b, _ := io.ReadAll(client)
					got <- b
				}()
				for rest := all; len(rest) > 0; {
					var segs [][]byte
					for b := rest; len(b) > 0; {
						n := min(size, len(b))
						segs = append(segs, b[:n])
						b = b[n:]
					}
					d.e.Send(tok, fd, segs)
					c := d.get(tok)
					require.Zero(d, c.Err)
					require.Positive(d, c.Res)
					rest = rest[c.Res:]
				}
				d.e.EndOutput(fd)
				require.True(d, bytes.Equal(all, <-got), "%d segments of %d", count, size)
				d.e.CloseSocket(fd)
			}
		}
	})
}

// Three GiB through one path, of one mapping many times over: no result may exceed 32 bits.
func TestSendBeyondOneGiB(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 3 GiB")
	}
	mem, err := unix.Mmap(-1, 0, 512<<20, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	for _, e := range []int{0, 3} {
		t.Run(engines[e].name, func(t *testing.T) {
			d := newDesk(t, engines[e].open, engines[e].opts)
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(d, err)
			done := make(chan int)
			go func() { // reads without looking
				buf := make([]byte, 1<<20)
				total := 0
				for {
					n, err := unix.Read(pair[1], buf)
					if err == unix.EINTR {
						continue
					}
					if n <= 0 {
						done <- total
						return
					}
					total += n
				}
			}()
			tok := d.token(OpSend)
			segs := [][]byte{mem, mem, mem, mem, mem, mem} // 3 GiB
			total := 0
			start := time.Now()
			for total < 3<<29 && time.Since(start) < 3*time.Second { // all of it takes too long: what matters is that it asks for more than 1 GiB
				d.e.Send(tok, pair[0], segs)
				c := d.get(tok)
				require.Zero(d, c.Err)
				require.Positive(d, c.Res)
				require.LessOrEqual(d, c.Res, maxSend)
				total += c.Res
			}
			d.e.EndOutput(pair[0])
			require.Equal(d, total, <-done)
			d.e.CloseSocket(pair[0])
			unix.Close(pair[1])
		})
	}
}

func TestNoBuffers(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			d := newDesk(t, openURing, Options{PlainBuffers: plain, Increment: 16 << 10, MaxReceive: 16 << 10, BufferSize: 4 << 10})
			const conns = 16
			var fds [conns]int
			var toks [conns]Token
			var want, got [conns]int
			for i := range conns {
				fd, client := d.pair()
				fds[i], toks[i], want[i] = fd, d.token(OpReceive), 50_000
				_, err := client.Write(pattern(want[i]))
				require.NoError(d, err)
				client.CloseWrite()
			}
			for i := range conns {
				d.e.Receive(toks[i], fds[i])
			}
			noBufs, ended := 0, 0
			starved := []int{}
			for n := 0; ended < conns; n++ {
				require.Less(d, n, 10_000)
				require.NoError(d, d.e.Wait(time.Second))
				var c Completion
				for d.e.Next(&c) {
					i := int(c.Token.Slot()) - 1
					require.Equal(d, pattern(want[i])[got[i]:got[i]+max(c.Res, 0)], append([]byte{}, c.View...))
					got[i] += len(c.View)
					d.e.Recycle(&c)
					switch {
					case c.Err == unix.ENOBUFS:
						require.False(d, c.More)
						noBufs++
						starved = append(starved, i)
					case c.Err == 0 && c.Res == 0:
						ended++
					default:
						require.Zero(d, c.Err)
						if !c.More {
							starved = append(starved, i)
						}
					}
				}
				k := min(len(starved), d.e.Buffers())
				for _, i := range starved[:k] {
					d.e.Receive(toks[i], fds[i])
				}
				starved = starved[k:]
			}
			require.Equal(d, want, got)
			require.Positive(d, noBufs)
			require.Equal(d, uint64(noBufs), d.e.Counters().NoBufs)
			for _, fd := range fds {
				d.e.CloseSocket(fd)
			}
		})
	}
}

// No wake is lost: each of them is answered before the next, 100,000 times.
func TestWakes(t *testing.T) {
	for _, spin := range []time.Duration{0, 20 * time.Microsecond} {
		for _, e := range []int{0, 3} {
			t.Run(fmt.Sprint(engines[e].name, spin), func(t *testing.T) {
				d := newDesk(t, engines[e].open, Options{Spin: spin})
				var asked, answered atomic.Int64
				n := int64(100_000)
				if testing.Short() {
					n /= 10
				}
				deadline := time.Now().Add(time.Second)
				var wg sync.WaitGroup
				wg.Go(func() {
					for i := int64(1); i <= n; i++ {
						asked.Store(i)
						d.e.Wake()
						for answered.Load() < i {
							runtime.Gosched()
						}
						if i%1000 == 0 && time.Now().After(deadline) { // a slow machine
							break
						}
					}
					asked.Store(-1)
					d.e.Wake()
				})
				for lost := 0; ; {
					start := time.Now()
					require.NoError(d, d.e.Wait(5*time.Second))
					if time.Since(start) > 4*time.Second {
						lost++
					}
					var c Completion
					require.False(d, d.e.Next(&c))
					if !d.e.Woken() {
						continue
					}
					require.Zero(d, lost, "a wake was lost")
					a := asked.Load()
					if a < 0 {
						break
					}
					answered.Store(a)
				}
				wg.Wait()
				t.Logf("%d wakes, %+v", answered.Load(), d.e.Counters())
			})
		}
	}
}

// A storm of signals loses nothing and brings nothing twice.
func TestSignals(t *testing.T) {
	kernels(t, func(d *desk) {
		pid, tid := unix.Getpid(), unix.Gettid()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(stop)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = unix.Tgkill(pid, tid, unix.SIGURG)
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
		fd, client := d.pair()
		defer client.Close()
		wg.Go(func() { _, _ = io.Copy(client, client) }) // echo
		in, out := d.token(OpReceive), d.token(OpSend)
		all := pattern(4 << 20)
		var got []byte
		sent, armed, sending := 0, false, false
		start := time.Now()
		for len(got) < len(all) {
			if !armed {
				d.e.Receive(in, fd)
				armed = true
			}
			if !sending && sent < len(all) {
				n := min(len(all)-sent, 10_000)
				d.e.Send(out, fd, [][]byte{all[sent : sent+n/2], all[sent+n/2 : sent+n]})
				sending = true
			}
			d.turn(time.Second)
			for _, c := range d.done {
				require.Contains(d, []unix.Errno{0, unix.EINTR, unix.ENOBUFS, unix.EAGAIN}, c.Err)
				if c.Token == in {
					armed = c.More
					got = append(got, c.View...)
				} else {
					sending = false
					sent += c.Res
				}
			}
			d.done = d.done[:0]
			require.Less(d, time.Since(start), 20*time.Second)
		}
		require.True(d, bytes.Equal(all, got))
		if armed {
			d.e.Cancel(in)
			d.get(in)
		}
		d.e.CloseSocket(fd)
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
			d.e.Send(out[i], fds[i], [][]byte{{1}, {2}})
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

// A connection on which nothing is armed does not end waits, whatever its peer does.
func TestPausedAndReset(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpReceive)
		d.e.Receive(tok, fd)
		d.turn(0)
		d.e.Cancel(tok)
		require.Equal(d, unix.ECANCELED, d.get(tok).Err)
		require.NoError(d, client.SetLinger(0))
		client.Close()
		time.Sleep(5 * time.Millisecond)
		enters := d.e.Counters().Enters
		start := time.Now()
		for time.Since(start) < 100*time.Millisecond {
			require.Zero(d, d.turn(50*time.Millisecond))
		}
		require.Less(d, d.e.Counters().Enters-enters, uint64(12))
		d.e.Receive(tok, fd)
		require.Equal(d, unix.ECONNRESET, d.get(tok).Err)
		d.e.CloseSocket(fd)
	})
}

// A descriptor's number that comes again is another connection.
func TestNumberComesAgain(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		other, second := d.pair()
		tok := d.token(OpReceive)
		d.e.Receive(tok, fd)
		d.turn(0)
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

func TestTimeouts(t *testing.T) {
	kernels(t, func(d *desk) {
		for _, timeout := range []time.Duration{0, time.Microsecond, 3 * time.Millisecond, 20 * time.Millisecond} {
			start, waits := d.e.Now(), 0
			for took := time.Duration(0); took < timeout || waits == 0; waits++ { // a signal ends a wait early
				d.turn(timeout - took)
				took = time.Duration(d.e.Now() - start)
				require.Less(d, took, timeout+time.Second)
			}
			require.Less(d, waits, 10)
		}
		d.e.Wake()
		d.turn(-1)
		require.True(d, d.e.Woken())
		require.False(d, d.e.Woken())
		require.True(d, d.e.OnThread())
		off := make(chan bool)
		go func() { off <- d.e.OnThread() }()
		require.False(d, <-off)
	})
}

// Operations that end at once, turn after turn, do not keep epoll from looking at the other descriptors.
func TestEpollLooksAtOthers(t *testing.T) {
	d := newDesk(t, engines[3].open, Options{})
	fd, client := d.pair()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	other, peer := d.pair()
	in, out := d.token(OpReceive), d.token(OpSend)
	d.e.Receive(in, other)
	_, _ = peer.Write([]byte("hello"))
	time.Sleep(time.Millisecond)
	for n := 0; ; n++ {
		require.Less(t, n, 5)
		d.e.Send(out, fd, [][]byte{[]byte("x")})
		d.turn(-1)
		seen := false
		for _, c := range d.done {
			seen = seen || c.Token == in
		}
		d.done = d.done[:0]
		if seen {
			break
		}
	}
	d.e.Cancel(in)
	d.get(in)
	d.e.CloseSocket(fd)
	d.e.CloseSocket(other)
}

func TestEpollAcceptsInShares(t *testing.T) {
	d := newDesk(t, engines[3].open, Options{})
	ln, addr := d.listen()
	tok := MakeToken(0, 0, OpAccept)
	d.e.Accept(tok, ln)
	for range 3 * acceptPerTurn {
		d.dial(addr)
	}
	total := 0
	for turns := 0; total < 3*acceptPerTurn; turns++ {
		n := d.turn(time.Second)
		require.LessOrEqual(t, n, acceptPerTurn)
		total += n
		require.Less(t, turns, 10)
	}
	for _, c := range d.done {
		d.e.CloseSocket(c.Res)
	}
	d.e.Cancel(tok)
	d.done = nil
	d.get(tok)
	d.e.CloseSocket(ln)
}

func TestProgress(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpSend)
		before := d.e.Progress(fd)
		d.e.Send(tok, fd, [][]byte{pattern(1000)})
		require.Equal(d, 1000, d.get(tok).Res)
		_, err := io.ReadFull(client, make([]byte, 1000))
		require.NoError(d, err)
		require.Eventually(d, func() bool { return d.e.Progress(fd) != before }, time.Second, time.Millisecond)
		d.e.CloseSocket(fd)
	})
}
