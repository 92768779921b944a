package uring

import (
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSetupLadder(t *testing.T) {
	const unknown = 1 << 31 // no kernel has this flag
	for _, c := range []struct {
		name   string
		ladder []uint32
		flags  uint32
	}{
		{"6.6", ladder[0:1], ladder[0]},
		{"6.1", ladder[1:2], ladder[1]},
		{"6.0", ladder[2:3], ladder[2]},
		{"5.19", ladder[3:4], ladder[3]},
		{"one rung down", []uint32{unknown, ladder[1]}, ladder[1]},
		{"all rungs down", []uint32{unknown, unknown | ladder[0], ladder[3]}, ladder[3]},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, peer := socketpair(t, unix.SOCK_STREAM)
			mem := mapped(t, 64)
			onThread(t, func() {
				r, err := newRing(Options{Entries: 8, CQEntries: 16}, c.ladder)
				require.NoError(t, err)
				require.Equal(t, c.flags|setupCQSize|setupClamp, r.Setup.Flags)
				require.True(t, r.Setup.Registered)
				require.True(t, r.Setup.Restricted)
				x := &rig{T: t, Ring: r}
				for i := range 40 { // several times around both queues
					x.sqe((*SQE).PrepareNop, uint64(i))
					require.EqualValues(t, i, x.next().UserData)
				}
				b, err := r.RegisterBufRing(1, 1, false)
				require.NoError(t, err)
				b.Add(9, mem)
				b.Advance()
				x.sqe(func(s *SQE) { s.PrepareRecv(ours, 1) }, 99)
				x.none()
				write(t, peer, []byte("hello"))
				c := x.next()
				require.EqualValues(t, 5, c.Res)
				require.Equal(t, "hello", string(mem[:5]))
				require.NoError(t, b.Close())
				require.NoError(t, r.Close())
			})
		})
	}
	t.Run("no rung", func(t *testing.T) {
		_, err := newRing(Options{}, []uint32{unknown})
		var setup *SetupError
		require.ErrorAs(t, err, &setup)
		require.ErrorIs(t, err, unix.EINVAL)
		require.ErrorIs(t, err, ErrNotSupported)
		require.Contains(t, setup.Cause, "too old")
	})
}

// TestSetupNoSQArray: the offset of the array says whether the kernel took the flag for what it is.
func TestSetupNoSQArray(t *testing.T) {
	for _, flags := range []uint32{0, setupNoSQArray} {
		p := params{flags: flags}
		fd, _, err := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p)), 0)
		require.Zero(t, err)
		require.NoError(t, unix.Close(int(fd)))
		require.Equal(t, flags != 0, p.sqOff.array == 0)
	}
}

func TestQueueSizes(t *testing.T) {
	for _, c := range []struct{ entries, cqEntries, sq, cq int }{
		{0, 0, 256, 4096},
		{1, 1, 1, 1},
		{5, 100, 8, 128},
		{64, 1, 64, 64},
		{8, 1 << 32, 8, maxCQEntries},
		{maxSQEntries, maxCQEntries, maxSQEntries, maxCQEntries},
		{math.MaxInt, math.MaxInt, maxSQEntries, maxCQEntries},
	} {
		t.Run(fmt.Sprint(c.entries, "/", c.cqEntries), func(t *testing.T) {
			onRing(t, Options{Entries: c.entries, CQEntries: c.cqEntries}, func(x *rig) {
				require.Equal(x, c.sq, x.Setup.SQEntries)
				require.Equal(x, c.cq, x.Setup.CQEntries)
			})
		})
	}
	// The kernel's bounds are ours: without CLAMP, one more is refused.
	for _, p := range []params{{}, {flags: setupCQSize, cqEntries: maxCQEntries + 1}} {
		entries := uintptr(maxSQEntries + 1)
		if p.flags != 0 {
			entries = 1
		}
		_, _, err := unix.Syscall(unix.SYS_IO_URING_SETUP, entries, uintptr(unsafe.Pointer(&p)), 0)
		require.Equal(t, unix.EINVAL, err)
	}
}

func TestQueuesWrapAround(t *testing.T) {
	onRing(t, Options{Entries: 4, CQEntries: 8}, func(x *rig) {
		var sent, seen uint64
		wrapped := 0
		for range 200 {
			for range 3 {
				x.sqe((*SQE).PrepareNop, sent)
				sent++
			}
			require.NoError(x, x.SubmitAndWait(3, patience))
			first, second := x.CQEs()
			require.Len(x, slices.Concat(first, second), 3)
			require.Equal(x, 3, x.Ready())
			if len(second) > 0 {
				wrapped++
			}
			for _, c := range slices.Concat(first, second) {
				require.Equal(x, seen, c.UserData)
				seen++
			}
			x.Seen(3)
			require.Zero(x, x.Ready())
		}
		require.Equal(x, sent, seen)
		require.Positive(x, wrapped)
		require.Equal(x, Counters{Enters: 200, SQEs: 600, CQEs: 600}, x.Stats)
	})
}

// The positions are 32 bits wide and run over after 4 billion entries; no test gets there with a kernel.
func TestPositionsRunOver(t *testing.T) {
	for _, c := range []struct {
		head, tail    uint32
		first, second []uint64
	}{
		{math.MaxUint32, math.MaxUint32, nil, nil},
		{math.MaxUint32, 0, []uint64{3}, nil},
		{math.MaxUint32 - 1, 2, []uint64{2, 3}, []uint64{0, 1}},
		{math.MaxUint32 - 2, 0, []uint64{1, 2, 3}, nil},
		{0, 4, []uint64{0, 1, 2, 3}, nil},
		{6, 10, []uint64{2, 3}, []uint64{0, 1}},
	} {
		head, tail := c.head, c.tail
		r := &Ring{cqHead: &head, cqTail: &tail, cqMask: 3, cqes: []CQE{{UserData: 0}, {UserData: 1}, {UserData: 2}, {UserData: 3}}}
		first, second := r.CQEs()
		for i, part := range [][]CQE{first, second} {
			var ids []uint64
			for _, c := range part {
				ids = append(ids, c.UserData)
			}
			require.Equal(t, [][]uint64{c.first, c.second}[i], ids)
		}
		require.Equal(t, len(first)+len(second), r.Ready())
		r.Seen(r.Ready())
		require.Equal(t, tail, head)
	}
	r := &Ring{head: math.MaxUint32 - 1, tail: math.MaxUint32 - 1, sqMask: 3, sqEntries: 4, sqes: make([]SQE, 4)}
	for i := range 4 {
		require.Equal(t, i, r.Pending())
		require.Same(t, &r.sqes[(2+i)%4], r.SQE())
	}
	require.Nil(t, r.SQE())
	require.Equal(t, 4, r.Pending())
}

func TestSQFull(t *testing.T) {
	onRing(t, Options{Entries: 4, CQEntries: 16}, func(x *rig) {
		for round := range 3 {
			for i := range 4 {
				require.Equal(x, i, x.Pending())
				x.sqe((*SQE).PrepareNop, uint64(round*4+i))
			}
			require.Nil(x, x.SQE())
			require.Equal(x, 4, x.Pending())
			require.NoError(x, x.Submit())
			require.Zero(x, x.Pending())
		}
		for i := range 12 {
			require.EqualValues(x, i, x.next().UserData)
		}
	})
}

func TestSQEIsZeroed(t *testing.T) {
	onRing(t, Options{Entries: 2, CQEntries: 8}, func(x *rig) {
		for i := range 6 {
			sqe := x.SQE()
			require.Equal(x, SQE{}, *sqe)
			all := unsafe.Slice((*byte)(unsafe.Pointer(sqe)), sqeSize)
			require.Equal(x, make([]byte, sqeSize), all)
			sqe.UserData = uint64(i)
			require.EqualValues(x, i, x.next().UserData)
			for j := range all {
				all[j] = 0xff
			}
		}
	})
}

func TestWait(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		start := time.Now()
		require.NoError(x, x.SubmitAndWait(1, 0))
		require.Less(x, time.Since(start), time.Second)
		require.Zero(x, x.Ready())

		const timeout = 1100 * time.Millisecond / 50
		for range 2 {
			start = time.Now()
			require.NoError(x, x.SubmitAndWait(1, timeout))
			require.GreaterOrEqual(x, time.Since(start), timeout)
			require.Zero(x, x.Ready())
		}

		// With something to submit, the kernel answers the number of SQEs and not ETIME.
		ours, peer := socketpair(x, unix.SOCK_STREAM)
		b, err := x.RegisterBufRing(0, 1, false)
		require.NoError(x, err)
		b.Add(0, mapped(x, 16))
		b.Advance()
		x.sqe(func(s *SQE) { s.PrepareRecv(ours, 0) }, 1)
		require.NoError(x, x.SubmitAndWait(1, time.Millisecond))
		require.Zero(x, x.Pending())
		require.Zero(x, x.Ready())

		// A negative timeout has no end; two completions are waited for where one is there.
		x.sqe((*SQE).PrepareNop, 2)
		timer := time.AfterFunc(10*time.Millisecond, func() { _, _ = unix.Write(peer, []byte("x")) })
		require.NoError(x, x.SubmitAndWait(2, -1))
		require.False(x, timer.Stop())
		require.Equal(x, 2, x.Ready())
		require.NoError(x, b.Close())
	})
	onRing(t, Options{}, func(x *rig) { // more than a second: seconds and nanoseconds are not mixed up
		start := time.Now()
		timer := time.AfterFunc(100*time.Millisecond, func() {})
		defer timer.Stop()
		x.sqe((*SQE).PrepareNop, 1)
		require.NoError(x, x.SubmitAndWait(1, 3*time.Second+5))
		require.Less(x, time.Since(start), time.Second)
		require.Equal(x, [2]int64{3, 5}, x.arg.ts)
	})
}

// TestSignals: Go's runtime interrupts threads with SIGURG to preempt goroutines; a blocking enter may end with EINTR at any time.
func TestSignals(t *testing.T) {
	const signals, messages, size = 5000, 20000, 8
	ours, peer := socketpair(t, unix.SOCK_STREAM)
	onRing(t, Options{Entries: 16, CQEntries: 64}, func(x *rig) {
		b, err := x.RegisterBufRing(3, 16, false)
		require.NoError(x, err)
		const bufSize = 256
		mem := mapped(x, 16*bufSize)
		for id := range 16 {
			b.Add(uint16(id), mem[id*bufSize:][:bufSize])
		}
		b.Advance()

		var others sync.WaitGroup
		tid := unix.Gettid()
		stop := make(chan struct{})
		others.Go(func() {
			for range signals {
				select {
				case <-stop:
					return
				default:
					_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
					time.Sleep(20 * time.Microsecond) // the rate
				}
			}
		})
		others.Go(func() {
			msg := make([]byte, size)
			for i := range uint64(messages) {
				msg[0], msg[1], msg[2] = byte(i), byte(i>>8), byte(i>>16)
				if n, err := unix.Write(peer, msg); n != size || err != nil {
					return // the reader misses it
				}
				if i%64 == 0 {
					time.Sleep(100 * time.Microsecond) // lets the ring go to sleep
				}
			}
		})
		defer others.Wait()
		defer close(stop)

		arm := func() { x.sqe(func(s *SQE) { s.PrepareRecvMultishot(ours, 3, 0, 0) }, 1<<32) }
		arm()
		var nopSent, nopSeen uint64
		var text []byte
		for len(text) < messages*size || nopSeen < nopSent {
			if len(text) < messages*size && nopSent-nopSeen < 4 {
				x.sqe((*SQE).PrepareNop, nopSent)
				nopSent++
			}
			c := x.next()
			if c.UserData != 1<<32 {
				require.Equal(x, nopSeen, c.UserData, "a NOP is lost or came twice")
				nopSeen++
				continue
			}
			if c.Res > 0 {
				id, ok := c.BufferID()
				require.True(x, ok)
				part := mem[int(id)*bufSize:][:bufSize]
				text = append(text, part[:c.Res]...)
				b.Add(id, part)
				b.Advance()
			} else {
				require.Equal(x, unix.ENOBUFS, errno(c.Res))
			}
			if !c.More() {
				arm()
			}
		}
		for i := range messages {
			require.Equal(x, []byte{byte(i), byte(i >> 8), byte(i >> 16)}, text[i*size:][:3], "message %d", i)
		}
		x.sqe((*SQE).PrepareCancelAll, 5)
		require.Equal(x, unix.ECANCELED, errno(x.until(1<<32).Res))
		require.NoError(x, b.Close())
	})
}

// until takes completions up to the first with the user data given.
func (x *rig) until(userData uint64) CQE {
	x.Helper()
	for {
		if c := x.next(); c.UserData == userData {
			return c
		}
	}
}

// TestEINTR makes sure that enters are interrupted at all, and that this is no error.
func TestEINTR(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		tid := unix.Gettid()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
					time.Sleep(100 * time.Microsecond)
				}
			}
		}()
		start := time.Now()
		require.NoError(x, x.SubmitAndWait(1, patience))
		require.Less(x, time.Since(start), patience, "the wait was not interrupted")
		require.Zero(x, x.Ready())
		close(stop)
		<-done
	})
}

func TestCQOverflow(t *testing.T) {
	const total = 256
	onRing(t, Options{Entries: 8, CQEntries: 8}, func(x *rig) {
		for i := range total {
			if x.SQE() == nil {
				require.NoError(x, x.Submit())
				x.sqe((*SQE).PrepareNop, uint64(i))
				continue
			}
			x.sqes[(x.tail-1)&x.sqMask].UserData = uint64(i)
		}
		require.NoError(x, x.Submit())
		require.Equal(x, 8, x.Ready())
		require.Positive(x, x.Stats.Overflow)
		require.True(x, x.TaskrunPending(), "an enter brings the rest")
		for i := range total {
			require.EqualValues(x, i, x.next().UserData)
		}
		x.none()
		require.False(x, x.TaskrunPending())
		require.Zero(x, x.Lost())
		require.EqualValues(x, total, x.Stats.CQEs)
		require.EqualValues(x, total, x.Stats.SQEs)
	})
}

func TestTaskrunPending(t *testing.T) {
	ours, peer := socketpair(t, unix.SOCK_STREAM)
	onRing(t, Options{}, func(x *rig) {
		if x.Setup.Flags&setupDeferTaskrun == 0 {
			x.Skip("this kernel has no DEFER_TASKRUN (6.1)")
		}
		b, err := x.RegisterBufRing(0, 1, false)
		require.NoError(x, err)
		b.Add(0, mapped(x, 16))
		b.Advance()
		x.sqe(func(s *SQE) { s.PrepareRecv(ours, 0) }, 1)
		x.none()
		require.False(x, x.TaskrunPending())
		write(x, peer, []byte("x"))
		require.True(x, x.TaskrunPending())
		require.Zero(x, x.Ready())
		require.NoError(x, x.Submit()) // a Submit with nothing to submit runs it
		require.False(x, x.TaskrunPending())
		require.Equal(x, 1, x.Ready())
		require.NoError(x, b.Close())
	})
}

const (
	opShutdown      Op    = 34 // IORING_OP_SHUTDOWN, which always goes to a worker
	sqeAsync        uint8 = 1 << 4
	registerEventFD       = 4
)

func TestRestriction(t *testing.T) {
	for _, restricted := range []bool{true, false} {
		t.Run(fmt.Sprintf("restricted %t", restricted), func(t *testing.T) {
			refused := map[bool]unix.Errno{true: unix.EACCES, false: unix.EBADF}[restricted]
			onRing(t, Options{NoRestrict: !restricted}, func(x *rig) {
				require.Equal(x, restricted, x.Setup.Restricted)
				x.sqe(func(s *SQE) { s.Opcode, s.Fd = opShutdown, -1 }, 1)
				require.Equal(x, refused, errno(x.next().Res), "opcode")
				x.sqe(func(s *SQE) { s.PrepareNop(); s.Flags = sqeAsync }, 2)
				require.Equal(x, map[bool]unix.Errno{true: unix.EACCES}[restricted], errno(x.next().Res), "flag of an SQE")
				fd := int32(-1)
				_, err := x.register(registerEventFD, unsafe.Pointer(&fd), 1)
				require.Equal(x, refused, err, "registration")
				for _, op := range []Op{OpNop, OpPollAdd, OpSendmsg, OpAccept, OpAsyncCancel, OpRead, OpSend, OpRecv, OpMsgRing} {
					x.sqe(func(s *SQE) { s.Opcode, s.Fd = op, -1 }, uint64(op))
					require.NotEqual(x, unix.EACCES, errno(x.next().Res), "opcode %d", op)
				}
				x.sqe(func(s *SQE) { s.PrepareNop(); s.Flags = SQECQESkipSuccess }, 3)
				x.none()
			})
		})
	}
}

// TestOpcodesKnown asks the kernel whether it knows the operations that a restricted ring allows.
func TestOpcodesKnown(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		p := new(probe)
		_, errno := x.register(registerProbe, unsafe.Pointer(p), probeOps)
		require.Zero(x, errno)
		require.LessOrEqual(x, int(p.opsLen), probeOps)
		require.Greater(x, p.opsLen, uint8(OpMsgRing))
		for _, op := range []Op{OpNop, OpPollAdd, OpSendmsg, OpAccept, OpAsyncCancel, OpRead, OpSend, OpRecv, OpMsgRing} {
			require.EqualValues(x, op, p.ops[op].op)
			require.Equal(x, uint16(probeOpSupported), p.ops[op].flags&probeOpSupported, "opcode %d", op)
		}
		require.Zero(x, p.ops[p.lastOp].flags&^probeOpSupported)
	})
	// One more than the kernel's array of 256 is refused.
	onRing(t, Options{}, func(x *rig) {
		mem := mapped(x, sizeofProbe+(probeOps+1)*sizeofProbeOp)
		_, errno := x.register(registerProbe, unsafe.Pointer(&mem[0]), probeOps+1)
		if errno != 0 { // up to 6.11; later ones answer with what fits
			require.Equal(x, unix.EINVAL, errno)
		}
	})
}

func TestRegisteredFD(t *testing.T) {
	onThread(t, func() {
		before := openFDs()
		var rings [3]*Ring
		for i := range rings { // each gets an index of its own in the thread's table
			r, err := New(Options{})
			require.NoError(t, err)
			require.True(t, r.Setup.Registered)
			require.Equal(t, i, r.enterFD)
			require.EqualValues(t, enterRegisteredRing, r.enterFlags)
			rings[i] = r
		}
		require.NoError(t, rings[1].Close())
		again, err := New(Options{})
		require.NoError(t, err)
		require.Equal(t, 1, again.enterFD, "the index was given back")
		rings[1] = again
		for _, r := range rings {
			x := &rig{T: t, Ring: r}
			x.sqe((*SQE).PrepareNop, 7)
			require.EqualValues(t, 7, x.next().UserData)
			require.Positive(t, r.FD())
			require.NoError(t, r.Close())
			require.NoError(t, r.Close(), "a second Close does nothing")
			require.Equal(t, -1, r.FD())
			require.Nil(t, r.SQE())
		}
		require.Equal(t, before, openFDs())
	})
}

// TestCloseEndsTheRing: while the thread that had the ring lives on, the port of a listener whose accept was armed is free
// again, and nothing is mapped. (A ring that stays registered keeps both.)
func TestCloseEndsTheRing(t *testing.T) {
	for _, canceled := range []bool{true, false} {
		t.Run(fmt.Sprintf("canceled %t", canceled), func(t *testing.T) {
			onThread(t, func() {
				fds := openFDs()
				maps := ringMappings()
				l, port := listen(t, 0)
				r, err := New(Options{})
				require.NoError(t, err)
				require.Equal(t, maps+2, ringMappings())
				x := &rig{T: t, Ring: r}
				x.sqe(func(s *SQE) { s.PrepareAcceptMultishot(l, unix.SOCK_CLOEXEC) }, 1)
				x.none()
				if canceled {
					x.sqe(func(s *SQE) { s.PrepareCancel(1) }, 2)
					x.until(1)
				}
				require.NoError(t, unix.Close(l))
				require.NoError(t, r.Close())
				require.Equal(t, fds, openFDs())
				require.Equal(t, maps, ringMappings())
				// The kernel ends a ring, and what is armed on it, on a thread of its own.
				require.Eventually(t, func() bool {
					l, err := tryListen(port)
					if err == nil {
						require.NoError(t, unix.Close(l))
					}
					return err == nil
				}, patience, time.Millisecond, "the port stays bound")
			})
		})
	}
}

func tryListen(port int) (int, error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		unix.Close(l)
		return -1, err
	}
	if err := unix.Listen(l, 64); err != nil {
		unix.Close(l)
		return -1, err
	}
	return l, nil
}

func listen(t *testing.T, port int) (fd, gotPort int) {
	t.Helper()
	l, err := tryListen(port)
	require.NoError(t, err)
	addr, err := unix.Getsockname(l)
	require.NoError(t, err)
	return l, addr.(*unix.SockaddrInet4).Port
}

// TestWrongThread: with SINGLE_ISSUER, only the thread that made the ring may submit.
func TestWrongThread(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		if x.Setup.Flags&setupSingleIssuer == 0 {
			x.Skip("this kernel has no SINGLE_ISSUER (6.0)")
		}
		x.sqe((*SQE).PrepareNop, 1)
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(x.fd), 1, 0, enterGetEvents, 0, 0)
			done <- errno
		}()
		require.Equal(x, unix.EEXIST, <-done)
		require.EqualValues(x, 1, x.next().UserData)
	})
}

func TestMsgRing(t *testing.T) {
	const messages = 100
	target := make(chan int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		onRing(t, Options{Entries: 4, CQEntries: 8}, func(x *rig) {
			target <- x.FD()
			for i := range messages {
				c := x.next()
				require.Equal(x, CQE{UserData: 1000 + uint64(i), Res: int32(i)}, c)
			}
			<-target // the other has its completions
		})
	}()
	onRing(t, Options{}, func(x *rig) {
		fd := <-target
		for i := range messages {
			x.sqe(func(s *SQE) { s.PrepareMsgRing(fd, int32(i), 1000+uint64(i)) }, uint64(i))
			c := x.next()
			require.EqualValues(x, i, c.UserData)
			require.Zero(x, c.Res, errno(c.Res))
		}
		target <- 0
	})
	<-done
}

// TestReadEventfd: a loop waits for wake-ups with a read on an eventfd in blocking mode. That must not take a worker thread.
func TestReadEventfd(t *testing.T) {
	onRing(t, Options{NoRestrict: true}, func(x *rig) {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		require.NoError(x, err)
		defer unix.Close(fd)
		mem := mapped(x, 8)
		for i := range 3 {
			x.sqe(func(s *SQE) { s.PrepareRead(fd, mem) }, uint64(i))
			x.none()
			write(x, fd, []byte{byte(i + 1), 0, 0, 0, 0, 0, 0, 0})
			c := x.next()
			require.Equal(x, CQE{UserData: uint64(i), Res: 8}, c)
			require.EqualValues(x, i+1, mem[0])
		}
		require.Zero(x, iouWorkers(x))
		// What this looks for is there when an operation does go to a worker.
		ours, _ := socketpair(x, unix.SOCK_STREAM)
		x.sqe(func(s *SQE) { s.Opcode, s.Fd = opShutdown, int32(ours) }, 9)
		require.Zero(x, x.next().Res)
		require.Positive(x, iouWorkers(x))
	})
}

func TestAcceptMultishot(t *testing.T) {
	onRing(t, Options{}, func(x *rig) {
		l, port := listen(t, 0)
		defer unix.Close(l)
		x.sqe(func(s *SQE) { s.PrepareAcceptMultishot(l, unix.SOCK_CLOEXEC) }, 1)
		x.none()
		for i := range 5 {
			peer, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			require.NoError(x, err)
			c := x.next()
			require.GreaterOrEqual(x, c.Res, int32(0), errno(c.Res))
			require.True(x, c.More())
			flags, err := unix.FcntlInt(uintptr(c.Res), unix.F_GETFD, 0)
			require.NoError(x, err)
			require.NotZero(x, flags&unix.FD_CLOEXEC)
			flags, err = unix.FcntlInt(uintptr(c.Res), unix.F_GETFL, 0)
			require.NoError(x, err)
			require.Zero(x, flags&unix.O_NONBLOCK, "operations on it wait in the ring")
			addr, err := unix.Getpeername(int(c.Res))
			require.NoError(x, err)
			require.Equal(x, peer.LocalAddr().(*net.TCPAddr).Port, addr.(*unix.SockaddrInet4).Port, "connection %d", i)
			require.NoError(x, peer.Close())
			require.NoError(x, unix.Close(int(c.Res)))
		}
		x.sqe(func(s *SQE) { s.PrepareCancel(1) }, 2)
		c := x.until(1)
		require.Equal(x, unix.ECANCELED, errno(c.Res))
		require.False(x, c.More())
	})
}

func TestNoAllocations(t *testing.T) {
	ours, peer := socketpair(t, unix.SOCK_STREAM)
	onRing(t, Options{}, func(x *rig) {
		b, err := x.RegisterBufRing(0, 4, false)
		require.NoError(x, err)
		mem := mapped(x, 4*16)
		for id := range 4 {
			b.Add(uint16(id), mem[id*16:][:16])
		}
		b.Advance()
		x.SQE().PrepareRecvMultishot(ours, 0, 0, 0)
		g, err := NewGather()
		require.NoError(x, err)
		text := []byte("message")
		failed := 0
		allocs := testing.AllocsPerRun(200, func() {
			sqe := x.SQE()
			sqe.PrepareSend(peer, text, unix.MSG_WAITALL|unix.MSG_NOSIGNAL)
			sqe.UserData = 1
			sqe.Flags = SQECQESkipSuccess
			sqe = x.SQE()
			g.Reset()
			g.Add(text)
			sqe.PrepareSendmsg(peer, g, 0)
			sqe.UserData = 2
			if x.Submit() != nil || x.SubmitAndWait(2, time.Second) != nil || x.Ready() < 2 {
				failed++
			}
			for _, part := range part2(x.CQEs()) {
				for i := range part {
					c := &part[i]
					if id, ok := c.BufferID(); ok {
						b.Add(id, mem[int(id)*16:][:16])
					}
				}
				x.Seen(len(part))
			}
			b.Advance()
		})
		require.Zero(x, allocs)
		require.Zero(x, failed)
		x.sqe((*SQE).PrepareCancelAll, 3)
		x.until(3)
		require.NoError(x, b.Close())
		require.NoError(x, g.Close())
	})
}

func part2(first, second []CQE) [2][]CQE { return [2][]CQE{first, second} }
