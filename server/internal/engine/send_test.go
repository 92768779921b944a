package engine

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

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
					d.e.Send(tok, fd, segs, true)
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

// More than 2^31 bytes through one connection, of one mapping many times over, each send asking for all that is left: no result may
// exceed 32 bits.
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
			const size = 3 << 30
			total := 0
			for total < size {
				var segs [][]byte
				for n := size - total; n > 0; n -= min(n, len(mem)) {
					segs = append(segs, mem[:min(n, len(mem))])
				}
				d.e.Send(tok, pair[0], segs, true)
				c := d.get(tok)
				require.Zero(d, c.Err)
				require.Positive(d, c.Res)
				require.LessOrEqual(d, c.Res, maxSend)
				total += c.Res
			}
			require.Equal(d, size, total)
			d.e.EndOutput(pair[0])
			require.Equal(d, total, <-done)
			d.e.CloseSocket(pair[0])
			unix.Close(pair[1])
		})
	}
}

func TestProgress(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpSend)
		before := d.e.Progress(fd)
		d.e.Send(tok, fd, [][]byte{pattern(1000)}, true)
		require.Equal(d, 1000, d.get(tok).Res)
		_, err := io.ReadFull(client, make([]byte, 1000))
		require.NoError(d, err)
		require.Eventually(d, func() bool { return d.e.Progress(fd) != before }, time.Second, time.Millisecond)
		d.e.CloseSocket(fd)
	})
}

// The offset in the kernel's struct is that of a number which grows by what the peer has acknowledged.
func TestMultipathAcked(t *testing.T) {
	accepted := func(multipath bool) (conn, client *net.TCPConn) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(multipath)
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		var d net.Dialer
		d.SetMultipathTCP(multipath)
		c, err := d.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		a, err := ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { a.Close() })
		return a.(*net.TCPConn), c.(*net.TCPConn)
	}
	acked := func(conn *net.TCPConn) (sequence uint64, ok bool) {
		raw, err := conn.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { sequence, ok = multipathAcked(int(fd)) }))
		return sequence, ok
	}
	plain, _ := accepted(false)
	_, ok := acked(plain)
	require.False(t, ok)

	conn, client := accepted(true)
	if multipath, err := conn.MultipathTCP(); err != nil || !multipath {
		t.Skipf("the kernel makes no connections with several paths (sysctl net.mptcp.enabled): %v", err)
	}
	before, ok := acked(conn)
	require.True(t, ok)
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	sent, chunk := 0, make([]byte, 1<<20)
	require.NoError(t, raw.Write(func(fd uintptr) bool {
		for err == nil {
			var n int
			n, err = unix.Write(int(fd), chunk)
			sent += max(n, 0)
		}
		return true
	}))
	require.ErrorIs(t, err, unix.EAGAIN, "it is full")
	now, _ := acked(conn)
	require.Less(t, now-before, uint64(sent), "the rest waits in the socket")
	_, err = io.CopyN(io.Discard, client, int64(sent))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		now, _ := acked(conn)
		return now-before == uint64(sent)
	}, patience, time.Millisecond)
}

// A send whose completion nobody awaits does not end the wait: an answer and the wait for the next request are one enter.
func TestOneEnterForEach(t *testing.T) {
	d := newDesk(t, openURing, Options{})
	fd, client := d.pair()
	in, out := d.tokens()
	d.e.Receive(in, fd)
	const trips = 1000
	go func() {
		b := make([]byte, 64)
		for range trips {
			_, _ = client.Write(b)
			_, _ = io.ReadFull(client, b)
		}
		client.Close()
	}()
	before := d.e.Counters()
	received, sent := 0, 0
	for ended := false; !ended; {
		d.turn(patience)
		for _, c := range d.done {
			require.Zero(d, c.Err)
			if c.Token == out {
				sent++
				continue
			}
			ended = c.Res == 0
			if received += c.Res; received%64 == 0 && !ended {
				d.e.Send(out, fd, [][]byte{c.View}, false)
			}
		}
		d.done = d.done[:0]
	}
	after := d.e.Counters()
	require.Equal(d, trips, sent)
	require.Less(d, after.Enters-before.Enters, uint64(trips*12/10), "%+v", after) // signals end some of them early
	d.e.CloseSocket(fd)
}

// A send that is not awaited and finds the socket full is told of, and the next one waits for room, without holding up others.
func TestPromptSendToFullSocket(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpSend)
		other, peer, in := d.armed()
		var all, piece []byte
		for n := 0; ; n++ {
			require.Less(d, n, 10_000)
			piece = pattern(maxPrompt)
			d.e.Send(tok, fd, [][]byte{piece}, false)
			d.turn(0)
			if len(d.done) == 0 { // it waits for room, as epoll's do at once
				break
			}
			c := d.get(tok)
			if c.Err == unix.EAGAIN {
				continue // the next one waits for room
			}
			require.Zero(d, c.Err)
			all = append(all, piece[:c.Res]...)
		}
		for range 3 {
			_, err := peer.Write([]byte("hello"))
			require.NoError(d, err)
			c := d.get(in)
			require.Equal(d, "hello", string(c.View))
			if !c.More {
				d.e.Receive(in, other)
			}
		}
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(client)
			got <- b
		}()
		c := d.get(tok)
		require.Zero(d, c.Err)
		all = append(all, piece[:c.Res]...)
		d.e.EndOutput(fd)
		require.True(d, bytes.Equal(all, <-got))
		d.e.Cancel(in)
		d.get(in)
		d.e.CloseSocket(fd)
		d.e.CloseSocket(other)
	})
}
