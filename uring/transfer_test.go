package uring

import (
	"bytes"
	"io"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// group registers a group of count buffers of size bytes; their IDs start at base.
func (x *rig) group(count, size int, base uint16, incremental bool) (*BufRing, []byte) {
	x.Helper()
	b, err := x.RegisterBufRing(11, count, incremental)
	require.NoError(x, err)
	require.EqualValues(x, 11, b.Group())
	require.Equal(x, count, b.Entries())
	mem := mapped(x, count*size)
	for i := range count {
		b.Add(base+uint16(i), mem[i*size:][:size])
	}
	b.Advance()
	return b, mem
}

func requireFeature(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Skip(err)
	}
}

func TestRecvMultishot(t *testing.T) {
	requireFeature(t, Probe().MultishotRecv)
	onRing(t, Options{}, func(x *rig) {
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		b, mem := x.group(8, 16, 100, false)
		x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, b.Group(), 0, 0) }, 1)
		x.none()
		text := probeText(0, 40)
		write(x, peer, text[:10])
		write(x, peer, text[10:12]) // joins the first: nobody looked yet
		c := x.next()
		id, ok := c.BufferID()
		require.True(x, ok)
		require.EqualValues(x, 100, id)
		require.EqualValues(x, 12, c.Res)
		require.True(x, c.More())
		write(x, peer, text[12:]) // 28 bytes: one and three quarters of a buffer
		for i, n := range []int{16, 12} {
			c = x.next()
			id, ok = c.BufferID()
			require.True(x, ok)
			require.EqualValues(x, 101+i, id)
			require.EqualValues(x, n, c.Res)
			require.True(x, c.More())
			require.Equal(x, n == 16, c.Flags&CQESockMore != 0)
			require.Zero(x, c.Flags&CQEBufMore)
		}
		require.Equal(x, text, bytes.Join([][]byte{mem[:12], mem[16:32], mem[32:44]}, nil))

		require.NoError(x, unix.Shutdown(peer, unix.SHUT_WR))
		c = x.next()
		require.Zero(x, c.Res)
		require.False(x, c.More())
		x.none()
		require.NoError(x, b.Close())
	})
}

// TestRecvIncremental: two connections consume the same buffers piece by piece.
func TestRecvIncremental(t *testing.T) {
	requireFeature(t, Probe().IncrementalBuffers)
	onRing(t, Options{}, func(x *rig) {
		const size = 32
		var ours, peer [2]int
		b, mem := x.group(4, size, 0, true)
		for i := range ours {
			ours[i], peer[i] = socketpair(x, unix.SOCK_STREAM)
			x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours[i], b.Group(), 0, 0) }, uint64(i))
		}
		x.none()
		at := 0
		for i, c := range []struct {
			n      int
			pieces []int
		}{
			{8, []int{8}}, {16, []int{16}}, {12, []int{8, 4}}, {28, []int{28}}, {32, []int{32}}, {20, []int{20}}, {12, []int{12}},
		} {
			write(x, peer[i%2], probeText(at, c.n))
			for _, n := range c.pieces {
				cqe := x.next()
				id, ok := cqe.BufferID()
				require.True(x, ok)
				require.EqualValues(x, i%2, cqe.UserData)
				require.EqualValues(x, n, cqe.Res)
				require.EqualValues(x, at/size, id)
				require.True(x, cqe.More())
				at += n
				require.Equal(x, at%size != 0, cqe.Flags&CQEBufMore != 0, "at %d", at)
				require.Equal(x, probeText(at-n, n), mem[at-n:at])
			}
		}
		require.Equal(x, 4*size, at)
		// All are used up. A buffer that comes back starts at its beginning.
		write(x, peer[0], probeText(at, 5))
		c := x.next()
		require.Equal(x, unix.ENOBUFS, errno(c.Res))
		require.False(x, c.More())
		b.Add(2, mem[2*size:3*size])
		b.Advance()
		x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours[0], b.Group(), 0, 0) }, 0)
		c = x.next()
		id, _ := c.BufferID()
		require.EqualValues(x, 2, id)
		require.EqualValues(x, 5, c.Res)
		require.Equal(x, probeText(at, 5), mem[2*size:][:5])

		// The end of input takes nothing from the buffer in use: the other connection goes on behind the 5 bytes.
		require.NoError(x, unix.Shutdown(peer[0], unix.SHUT_WR))
		c = x.next()
		require.Zero(x, c.Res)
		require.False(x, c.More())
		if _, ok := c.BufferID(); ok {
			require.NotZero(x, c.Flags&CQEBufMore)
		}
		write(x, peer[1], probeText(0, 7))
		c = x.next()
		require.EqualValues(x, 7, c.Res)
		require.Equal(x, probeText(0, 7), mem[2*size+5:][:7])

		x.sqe((*SQE).PrepareCancelAll, 9)
		c = x.until(1)
		require.Equal(x, unix.ECANCELED, errno(c.Res))
		require.False(x, c.More())
		require.NoError(x, b.Close())
	})
}

func TestRecvShotCap(t *testing.T) {
	f := Probe()
	requireFeature(t, f.ShotCap)
	for _, incremental := range []bool{false, true} {
		if incremental && f.IncrementalBuffers != nil {
			continue
		}
		onRing(t, Options{}, func(x *rig) {
			ours, peer := socketpair(x, unix.SOCK_STREAM)
			b, _ := x.group(16, 64, 0, incremental)
			x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, b.Group(), 10, 0) }, 1)
			x.none()
			write(x, peer, probeText(0, 95))
			for got := 0; got < 95; {
				c := x.next()
				require.Positive(x, c.Res)
				require.LessOrEqual(x, c.Res, int32(10))
				require.True(x, c.More())
				got += int(c.Res)
			}
			x.sqe((*SQE).PrepareCancelAll, 2)
			x.until(1)
			require.NoError(x, b.Close())
		})
	}
}

func TestRecvTotal(t *testing.T) {
	f := Probe()
	requireFeature(t, f.ReceiveTotal)
	for _, incremental := range []bool{false, true} {
		if incremental && f.IncrementalBuffers != nil {
			continue
		}
		onRing(t, Options{}, func(x *rig) {
			ours, peer := socketpair(x, unix.SOCK_STREAM)
			b, _ := x.group(16, 64, 0, incremental)
			write(x, peer, probeText(0, 95))
			for _, want := range []int{60, 35} { // the first operation ends with a whole shot; the second lives on when all has come
				x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, b.Group(), 20, 50) }, 1)
				for got := 0; got < want; {
					c := x.next()
					require.Positive(x, c.Res)
					got += int(c.Res)
					require.Equal(x, got < 50, c.More())
				}
				x.none()
			}
			x.sqe((*SQE).PrepareCancelAll, 2)
			x.until(1)
			require.NoError(x, b.Close())
		})
	}
}

func TestNoBuffers(t *testing.T) {
	for _, incremental := range []bool{false, true} {
		if incremental && Probe().IncrementalBuffers != nil {
			continue
		}
		onRing(t, Options{}, func(x *rig) {
			ours, peer := socketpair(x, unix.SOCK_STREAM)
			b, mem := x.group(1, 8, 5, incremental)
			arm := func() { x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, b.Group(), 0, 0) }, 1) }
			arm()
			x.none()
			write(x, peer, []byte("the first is longer"))
			var got []byte
			for range 3 {
				c := x.next()
				require.Positive(x, c.Res)
				require.True(x, c.More())
				id, _ := c.BufferID()
				require.EqualValues(x, 5, id)
				got = append(got, mem[:c.Res]...)
				if len(got) == 19 {
					break
				}
				// Only now is it known that the group is empty.
				c = x.next()
				require.EqualValues(x, -105, c.Res)
				require.False(x, c.More())
				_, ok := c.BufferID()
				require.False(x, ok)
				arm()
				c = x.next() // armed on an empty group, with data there: it fails at once
				require.EqualValues(x, -105, c.Res)
				b.Add(5, mem)
				b.Advance()
				arm()
			}
			require.Equal(x, "the first is longer", string(got))
			x.sqe((*SQE).PrepareCancelAll, 2)
			x.until(1)
			require.NoError(x, b.Close())
		})
	}
}

func TestRecvOnce(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		b, mem := x.group(4, 16, 7, false)
		for _, text := range []string{"one", "two", ""} {
			x.sqe(func(s *SQE) { s.PrepareRecv(ours, b.Group()) }, 1)
			x.none()
			if text == "" {
				require.NoError(x, unix.Shutdown(peer, unix.SHUT_WR))
			} else {
				write(x, peer, []byte(text))
			}
			c := x.next()
			require.EqualValues(x, len(text), c.Res)
			require.False(x, c.More())
			if text != "" {
				id, ok := c.BufferID()
				require.True(x, ok)
				require.Equal(x, text, string(mem[int(id-7)*16:][:len(text)]))
			}
		}
		require.NoError(x, b.Close())
	})
}

// TestBufRingWraps adds more buffers than 16 bits count; each piece must come in the buffer whose turn it is.
func TestBufRingWraps(t *testing.T) {
	const entries, size, total = 8, 16, 1<<16 + 1000
	onRing(t, Options{}, func(x *rig) {
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		b, err := x.RegisterBufRing(2, entries, false)
		require.NoError(x, err)
		mem := mapped(x, entries*size)
		added := 0
		add := func() {
			b.Add(uint16(added*7), mem[added%entries*size:][:size]) // 7 is odd: no ID comes twice within 65536
			added++
		}
		for range entries {
			add()
		}
		b.Advance()
		x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, 2, 0, 0) }, 1)
		x.none()
		text := make([]byte, (entries-1)*size) // one buffer stays: an empty group would end the multishot
		for seen := 0; seen < total; {
			for i := range text {
				text[i] = byte(seen + i/size)
			}
			write(x, peer, text)
			for range entries - 1 {
				c := x.next()
				id, ok := c.BufferID()
				if !ok || !c.More() || c.Res != size || id != uint16(seen*7) || mem[seen%entries*size] != byte(seen) {
					require.FailNow(x, "wrong buffer", "piece %d: %+v, byte %d", seen, c, mem[seen%entries*size])
				}
				seen++
				add()
				if seen%3 == 0 { // several at once, and alone
					b.Advance()
				}
			}
			b.Advance()
		}
		x.sqe((*SQE).PrepareCancelAll, 2)
		x.until(1)
		require.NoError(x, b.Close())
	})
}

// TestBufRingTail: the tail is in entry 0, next to its buffer ID, and both are written with one store.
func TestBufRingTail(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		b, err := x.RegisterBufRing(2, 4, false)
		require.NoError(x, err)
		mem := mapped(x, 4*16)
		tail := func() uint16 { return uint16(b.mem[bufRingTailOffset]) | uint16(b.mem[bufRingTailOffset+1])<<8 }
		for i := range 4 {
			b.Add(0xabc0+uint16(i), mem[i*16:][:16])
			require.EqualValues(x, i, tail(), "not published yet")
			b.Advance()
			require.EqualValues(x, i+1, tail())
			require.EqualValues(x, 0xabc0, b.bufs[0].bid)
		}
		b.Advance() // with nothing added
		require.EqualValues(x, 4, tail())
		for i := range b.bufs {
			require.EqualValues(x, 0xabc0+i, b.bufs[i].bid)
			require.EqualValues(x, 16, b.bufs[i].len)
		}
		require.NoError(x, b.Close())
		require.Error(x, b.Close(), "the group is gone")
	})
}

func TestBufRingEntries(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		for _, n := range []int{-1, 0, 3, 6, maxBufRingEntries + 1, 2 * maxBufRingEntries} {
			_, err := x.RegisterBufRing(0, n, false)
			require.ErrorContains(x, err, "not a power of two", "%d", n)
		}
		b, err := x.RegisterBufRing(0, maxBufRingEntries, false)
		require.NoError(x, err)
		_, err = x.RegisterBufRing(0, 1, false)
		require.ErrorIs(x, err, unix.EEXIST)
		require.NoError(x, b.Close())

		// The kernel's bound is ours.
		mem := mapped(x, 2*maxBufRingEntries*sizeofBuf)
		require.Equal(x, unix.EINVAL, registerRaw(x.Ring, mem, 2*maxBufRingEntries))

		require.NoError(x, x.Close())
		_, err = x.RegisterBufRing(0, 1, false)
		require.Error(x, err)
	})
}

func TestSend(t *testing.T) {
	const total = 1 << 20
	text := probeText(0, total)
	for _, c := range []struct {
		name  string
		flags uint32
	}{{"short", unix.MSG_NOSIGNAL}, {"wait for all", unix.MSG_NOSIGNAL | unix.MSG_WAITALL}} {
		t.Run(c.name, func(t *testing.T) {
			onRing(t, Options{}, func(x *rig) {
				ours, peer := socketpair(x, unix.SOCK_STREAM)
				require.NoError(x, unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10))
				x.sqe(func(s *SQE) { s.PrepareSend(ours, text, c.flags) }, 1)
				require.NoError(x, x.Submit())
				if c.flags&unix.MSG_WAITALL == 0 {
					cqe := x.next()
					require.Positive(x, cqe.Res)
					require.Less(x, cqe.Res, int32(total))
					got := make([]byte, cqe.Res)
					_, err := io.ReadFull(fdReader(peer), got)
					require.NoError(x, err)
					require.Equal(x, text[:cqe.Res], got)
					return
				}
				require.Zero(x, x.Ready(), "it waits in the kernel")
				got := make(chan []byte)
				go func() {
					b := make([]byte, total)
					n, _ := io.ReadFull(fdReader(peer), b)
					got <- b[:n]
				}()
				cqe := x.next()
				require.EqualValues(x, total, cqe.Res)
				require.True(x, bytes.Equal(text, <-got))
				require.Zero(x, iouWorkers(x))
			})
		})
	}
	t.Run("to nobody", func(t *testing.T) {
		onRing(t, Options{}, func(x *rig) {
			ours, peer := socketpair(x, unix.SOCK_STREAM)
			require.NoError(x, unix.Shutdown(peer, unix.SHUT_RD))
			x.sqe(func(s *SQE) { s.PrepareSend(ours, text[:1], unix.MSG_NOSIGNAL) }, 1)
			require.Equal(x, unix.EPIPE, errno(x.next().Res))
		})
	})
}

type fdReader int

func (fd fdReader) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), b)
		switch {
		case err == unix.EINTR:
		case n == 0 && err == nil:
			return 0, io.EOF
		default:
			return n, err
		}
	}
}

// TestSendFromStack: what is sent must not be on the goroutine's stack, which moves when it grows.
func TestSendFromStack(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		var b [64]byte
		x.SQE().PrepareSend(ours, b[:], unix.MSG_WAITALL) // not in a closure, which alone would bring b to the heap
		grow(200)
		for i := range b { // goes where b is now; the kernel must look there
			b[i] = byte(i)
		}
		require.EqualValues(x, len(b), x.next().Res)
		got := make([]byte, len(b))
		_, err := io.ReadFull(fdReader(peer), got)
		require.NoError(x, err)
		for i := range b {
			require.Equal(x, byte(i), got[i])
		}
	})
}

// grow makes the stack move, and writes over it.
func grow(depth int) byte {
	var frame [1024]byte
	for i := range frame {
		frame[i] = 0xee
	}
	if depth == 0 {
		return frame[0]
	}
	return grow(depth-1) + frame[depth]
}

func TestGather(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		g, err := NewGather()
		require.NoError(x, err)
		for _, n := range []int{1, 3, GatherMax} {
			g.Reset()
			require.Zero(x, g.Len())
			var want []byte
			var parts [GatherMax][]byte // the gather does not keep them alive
			for i := range n {
				part := probeText(i*100, i%7+1)
				parts[i] = part
				want = append(want, part...)
				require.True(x, g.Add(part))
			}
			require.Equal(x, len(want), g.Len())
			if n == GatherMax {
				require.False(x, g.Add([]byte("one too many")))
				require.Equal(x, len(want), g.Len())
			}
			x.sqe(func(s *SQE) { s.PrepareSendmsg(ours, g, unix.MSG_WAITALL|unix.MSG_NOSIGNAL) }, 1)
			require.EqualValues(x, len(want), x.next().Res)
			got := make([]byte, len(want))
			_, err := io.ReadFull(fdReader(peer), got)
			require.NoError(x, err)
			require.Equal(x, want, got)

			sent, errno := g.Sendmsg(ours, unix.MSG_NOSIGNAL) // the same without a ring
			require.Zero(x, errno)
			require.Equal(x, len(want), sent)
			_, err = io.ReadFull(fdReader(peer), got)
			require.NoError(x, err)
			require.Equal(x, want, got)
			runtime.KeepAlive(parts)
		}
		require.NoError(x, unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096))
		for full := unix.Errno(0); full != unix.EAGAIN; { // it does not wait
			_, full = g.Sendmsg(ours, unix.MSG_NOSIGNAL)
		}
		require.NoError(x, g.Close())
	})
}

func TestCancel(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		b, mem := x.group(2, 16, 0, false)
		recv := func(userData uint64) {
			x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, b.Group(), 0, 0) }, userData)
		}
		results := func(n int) map[uint64]unix.Errno {
			m := map[uint64]unix.Errno{}
			for range n {
				c := x.next()
				require.False(x, c.More())
				m[c.UserData] = errno(c.Res)
			}
			return m
		}
		// By user data, of two.
		recv(0xfedcba9876543210)
		recv(0xfedcba9876543211)
		x.none()
		x.sqe(func(s *SQE) { s.PrepareCancel(0xfedcba9876543210) }, 1)
		require.Equal(x, map[uint64]unix.Errno{1: 0, 0xfedcba9876543210: unix.ECANCELED}, results(2))
		x.sqe(func(s *SQE) { s.PrepareCancel(0xfedcba9876543210) }, 2)
		require.Equal(x, map[uint64]unix.Errno{2: unix.ENOENT}, results(1))
		// In the batch that arms it, and with no completion of its own.
		recv(7)
		x.sqe(func(s *SQE) { s.PrepareCancel(7); s.Flags = SQECQESkipSuccess }, 3)
		require.Equal(x, map[uint64]unix.Errno{7: unix.ECANCELED}, results(1))
		x.none()
		// The other one lives.
		write(x, peer, []byte("x"))
		c := x.next()
		require.EqualValues(x, uint64(0xfedcba9876543211), c.UserData)
		require.True(x, c.More())
		require.EqualValues(x, 'x', mem[0])
		// All.
		recv(8)
		recv(9)
		x.none()
		x.sqe((*SQE).PrepareCancelAll, 4)
		require.NoError(x, x.SubmitAndWait(4, time.Second))
		x.take()
		require.Len(x, x.queue, 4)
		for _, c := range x.queue {
			if c.UserData == 4 {
				require.EqualValues(x, 3, c.Res)
			} else {
				require.Equal(x, unix.ECANCELED, errno(c.Res))
			}
		}
		x.queue = nil
		require.NoError(x, b.Close())
	})
}

// registerRaw registers a buffer group without the checks of RegisterBufRing.
func registerRaw(r *Ring, mem []byte, entries int) unix.Errno {
	reg := bufReg{ringAddr: uint64(uintptr(unsafe.Pointer(&mem[0]))), ringEntries: uint32(entries), group: 99}
	_, errno := r.register(registerPbufRing, unsafe.Pointer(&reg), 1)
	return errno
}

// TestBufMoreFlag: the flag is what a piece of an incremental buffer has and a piece of a plain one has not.
func TestBufMoreFlag(t *testing.T) {
	if !kernelIs(t, 6, 12) {
		t.Skip("this kernel has no incremental buffers (6.12)")
	}
	for incremental, flags := range map[bool]uint32{false: CQEBuffer | CQEMore, true: CQEBuffer | CQEMore | CQEBufMore} {
		onRing(t, Options{}, func(x *rig) {
			ours, peer := socketpair(x, unix.SOCK_STREAM)
			b, _ := x.group(2, 64, 0, incremental)
			x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, b.Group(), 0, 0) }, 1)
			x.none()
			write(x, peer, []byte("piece"))
			c := x.next()
			require.EqualValues(x, 5, c.Res)
			require.Equal(x, flags, c.Flags, "incremental %t", incremental)
			x.sqe((*SQE).PrepareCancelAll, 2)
			x.until(1)
			require.NoError(x, b.Close())
		})
	}
}
