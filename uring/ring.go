// Package uring submits operations to one io_uring of the kernel and takes their completions. It is the only place of this
// module with unsafe code and raw system calls on rings, and knows nothing of connections.
//
// A [Ring] follows the kernel's words: an operation is prepared in an [SQE], handed over by [Ring.Submit] or
// [Ring.SubmitAndWait], and its end is read from a [CQE]. A [BufRing] is a ring of provided buffers
// (IORING_REGISTER_PBUF_RING), from which the kernel takes memory at the moment when data is there.
//
// What a kernel can do is found out by doing it: see [Probe]. Errors of set-up say what a person can do about them: see
// [SetupError].
package uring

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options are the choices for a ring. The zero value is good for a server's loop.
type Options struct {
	// Entries is the size of the submission queue, rounded up to a power of two. If zero, 256.
	Entries int
	// CQEntries is the size of the completion queue, likewise. If zero, 4096.
	CQEntries int
	// NoRestrict leaves out the restriction of the ring to the operations of this package. The restriction (Linux 5.10) is a
	// second fence behind a fault in this process; where the kernel refuses it, the ring does without.
	NoRestrict bool
}

func (o Options) withDefaults() Options {
	if o.Entries <= 0 {
		o.Entries = 256
	}
	if o.CQEntries <= 0 {
		o.CQEntries = 4096
	}
	o.Entries = min(o.Entries, maxSQEntries)
	o.CQEntries = min(max(o.CQEntries, o.Entries), maxCQEntries)
	return o
}

// A Ring is one io_uring. It belongs to one goroutine that is locked to its thread (runtime.LockOSThread) before New is called:
// the kernel accepts submissions from the thread that made the ring, and from no other.
type Ring struct {
	fd         int     // -1 when closed
	enterFD    int     // fd, or the index of the registered ring
	enterFlags uintptr // enterRegisteredRing, or zero

	sqHead, sqTail, sqFlags *uint32 // in memory shared with the kernel: head and flags are its own, tail is ours
	sqMask, sqEntries       uint32
	sqes                    []SQE
	tail                    uint32 // the next SQE to prepare; what lies before it and behind *sqTail is not published yet
	head                    uint32 // *sqHead as of the last enter: only an enter moves it

	cqHead, cqTail, cqOverflow *uint32 // head is ours, tail and overflow are the kernel's
	cqMask                     uint32
	cqes                       []CQE

	rings, sqeMem []byte // the mappings
	arg           *waitArg
	argMem        []byte

	Setup Setup    // what the kernel granted
	Stats Counters // of this ring's life
}

// Setup is what the kernel granted at set-up.
type Setup struct {
	Flags      uint32 // IORING_SETUP_…
	Features   uint32 // IORING_FEAT_…
	SQEntries  int
	CQEntries  int
	Restricted bool
	Registered bool // the ring's own descriptor is registered
}

// Deferred says that completions are produced within an enter of the ring's own thread, and nowhere else (DEFER_TASKRUN).
func (s Setup) Deferred() bool { return s.Flags&setupDeferTaskrun != 0 }

// Counters count what crossed the border to the kernel.
type Counters struct {
	Enters   uint64 // calls of io_uring_enter
	SQEs     uint64 // SQEs that the kernel took
	CQEs     uint64 // CQEs that were seen by the user
	Overflow uint64 // times at which the CQ was found overflown
}

// waitArg is what a waiting enter points to. It is mapped, so that its address holds.
type waitArg struct {
	ext getEventsArg
	ts  [2]int64 // a kernel timespec: seconds, nanoseconds
}

// New makes a ring with the best set of flags that the kernel grants. The calling goroutine must be locked to its thread.
// The error is a [*SetupError] where the kernel refuses a ring at all.
func New(opts Options) (*Ring, error) { return newRing(opts, ladder) }

func newRing(opts Options, ladder []uint32) (*Ring, error) {
	opts = opts.withDefaults()
	p, fd, err := setup(opts, ladder)
	if err != nil {
		return nil, err
	}
	r := &Ring{fd: fd, enterFD: fd}
	r.Setup = Setup{Flags: p.flags, Features: p.features, SQEntries: int(p.sqEntries), CQEntries: int(p.cqEntries)}
	if err := r.mmap(p); err != nil {
		r.Close()
		return nil, newSetupError(err)
	}
	if err := r.enable(opts); err != nil {
		r.Close()
		return nil, newSetupError(err)
	}
	r.registerFD()
	return r, nil
}

// ladder is tried from the best to the least: the kernel answers EINVAL to a flag that it does not know.
var ladder = []uint32{
	setupSingleIssuer | setupDeferTaskrun | setupTaskrunFlag | setupSubmitAll | setupRDisabled | setupNoSQArray, // 6.6
	setupSingleIssuer | setupDeferTaskrun | setupTaskrunFlag | setupSubmitAll | setupRDisabled,                  // 6.1
	setupSingleIssuer | setupCoopTaskrun | setupTaskrunFlag | setupSubmitAll | setupRDisabled,                   // 6.0
	setupCoopTaskrun | setupTaskrunFlag | setupSubmitAll | setupRDisabled,                                       // 5.19
}

func setup(opts Options, ladder []uint32) (*params, int, error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, -1, &SetupError{Cause: "this machine is big-endian", Remedy: "use the epoll engine", Err: ErrNotSupported}
	}
	var errno unix.Errno
	for _, flags := range ladder {
		p := &params{flags: flags | setupCQSize | setupClamp, cqEntries: uint32(opts.CQEntries)}
		var fd uintptr
		fd, _, errno = unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(opts.Entries), uintptr(unsafe.Pointer(p)), 0)
		if errno == 0 {
			const need = featSingleMmap | featNodrop | featSubmitStable | featFastPoll | featExtArg
			if p.features&need != need {
				unix.Close(int(fd))
				return nil, -1, newSetupError(unix.EINVAL)
			}
			return p, int(fd), nil
		}
		if errno != unix.EINVAL {
			break
		}
	}
	return nil, -1, newSetupError(os.NewSyscallError("io_uring_setup", errno))
}

// mmap maps the queues. With NO_SQARRAY the array of indices is absent; without it, it is filled once with the identity.
func (r *Ring) mmap(p *params) error {
	size := int(p.cqOff.cqes) + int(p.cqEntries)*int(unsafe.Sizeof(CQE{}))
	if p.flags&setupNoSQArray == 0 {
		size = max(size, int(p.sqOff.array)+int(p.sqEntries)*4)
	}
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	var err error
	if r.rings, err = unix.Mmap(r.fd, offSQRing, size, prot, flags); err != nil {
		return os.NewSyscallError("mmap of the rings", err)
	}
	if r.sqeMem, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*sqeSize, prot, flags); err != nil {
		return os.NewSyscallError("mmap of the SQEs", err)
	}
	if r.argMem, err = unix.Mmap(-1, 0, os.Getpagesize(), prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	// A child must not share the queues with its parent. Refused advice changes nothing for this process.
	for _, m := range [][]byte{r.rings, r.sqeMem} {
		_ = unix.Madvise(m, unix.MADV_DONTFORK)
	}

	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off])) }
	r.sqHead, r.sqTail, r.sqFlags = word(p.sqOff.head), word(p.sqOff.tail), word(p.sqOff.flags)
	r.sqMask, r.sqEntries = *word(p.sqOff.ringMask), p.sqEntries
	r.cqHead, r.cqTail, r.cqOverflow = word(p.cqOff.head), word(p.cqOff.tail), word(p.cqOff.overflow)
	r.cqMask = *word(p.cqOff.ringMask)
	r.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&r.sqeMem[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*CQE)(unsafe.Pointer(&r.rings[p.cqOff.cqes])), p.cqEntries)
	r.arg = (*waitArg)(unsafe.Pointer(&r.argMem[0]))
	r.arg.ext.ts = uint64(uintptr(unsafe.Pointer(&r.arg.ts)))
	if p.flags&setupNoSQArray == 0 {
		for i, array := uint32(0), unsafe.Slice(word(p.sqOff.array), p.sqEntries); i < p.sqEntries; i++ {
			array[i] = i
		}
	}
	return nil
}

// enable restricts the ring, if the kernel lets it, and starts it. From here on the ring is bound to this thread.
func (r *Ring) enable(opts Options) error {
	if !opts.NoRestrict {
		r.Setup.Restricted = r.restrict() == nil
	}
	if _, errno := r.register(registerEnableRings, nil, 0); errno != 0 {
		return os.NewSyscallError("io_uring_register (ENABLE_RINGS)", errno)
	}
	return nil
}

func (r *Ring) restrict() error {
	var rs []restriction
	for _, op := range []Op{OpNop, OpPollAdd, OpSendmsg, OpAccept, OpAsyncCancel, OpRead, OpSend, OpRecv, OpMsgRing} {
		rs = append(rs, restriction{opcode: restrictionSQEOp, arg: uint8(op)})
	}
	rs = append(rs, restriction{opcode: restrictionSQEFlags, arg: SQEBufferSelect | SQECQESkipSuccess})
	for _, op := range []uint8{registerProbe, registerRingFDs, unregisterRingFDs, registerPbufRing, unregisterPbufRing} {
		rs = append(rs, restriction{opcode: restrictionRegisterOp, arg: op})
	}
	if _, errno := r.register(registerRestrictions, unsafe.Pointer(&rs[0]), len(rs)); errno != 0 {
		return errno
	}
	return nil
}

// registerFD spares the kernel the look-up of the descriptor at each enter (about 18 ns). A refusal costs only that.
func (r *Ring) registerFD() {
	up := rsrcUpdate{offset: ringFDAny, data: uint64(r.fd)}
	if n, errno := r.register(registerRingFDs, unsafe.Pointer(&up), 1); errno == 0 && n == 1 {
		r.enterFD, r.enterFlags, r.Setup.Registered = int(up.offset), enterRegisteredRing, true
	}
}

// unregisterFD must run on the ring's thread: the table of registered rings is the thread's. While a ring is in it, closing
// its descriptor does not end the ring.
func (r *Ring) unregisterFD() error {
	if !r.Setup.Registered {
		return nil
	}
	up := rsrcUpdate{offset: uint32(r.enterFD)}
	n, errno := r.register(unregisterRingFDs, unsafe.Pointer(&up), 1)
	r.enterFD, r.enterFlags, r.Setup.Registered = r.fd, 0, false
	if errno != 0 {
		return os.NewSyscallError("io_uring_register (UNREGISTER_RING_FDS)", errno)
	}
	if n != 1 {
		return fmt.Errorf("io_uring_register (UNREGISTER_RING_FDS): %d rings instead of one", n)
	}
	return nil
}

func (r *Ring) register(op uintptr, arg unsafe.Pointer, n int) (int, unix.Errno) {
	for {
		res, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), op, uintptr(arg), uintptr(n), 0, 0)
		if errno != unix.EINTR {
			return int(res), errno
		}
	}
}

// FD returns the ring's descriptor, which [SQE.PrepareMsgRing] of another ring names, or -1 after Close.
func (r *Ring) FD() int { return r.fd }

// Close ends the ring. It is called on the ring's thread, after all operations have completed: one that is in flight keeps
// its socket open, and may still write to its memory, for some milliseconds after Close.
func (r *Ring) Close() error {
	if r.fd < 0 {
		return nil
	}
	err := r.unregisterFD()
	for _, m := range [][]byte{r.rings, r.sqeMem, r.argMem} {
		if m != nil {
			_ = unix.Munmap(m) // cannot fail for a mapping of ours
		}
	}
	if cerr := unix.Close(r.fd); err == nil && cerr != nil {
		err = os.NewSyscallError("close", cerr)
	}
	*r = Ring{fd: -1, Setup: r.Setup, Stats: r.Stats}
	return err
}

// SQE returns the next free entry, all zero, or nil when the queue is full: then Submit makes room. What is prepared in it
// goes to the kernel with the next Submit or SubmitAndWait.
func (r *Ring) SQE() *SQE {
	if r.tail-r.head == r.sqEntries {
		return nil
	}
	sqe := &r.sqes[r.tail&r.sqMask]
	*sqe = SQE{} // a field of the slot's last use would be read as an option of this one
	r.tail++
	return sqe
}

// Pending returns the number of prepared SQEs that the kernel has not taken.
func (r *Ring) Pending() int { return int(r.tail - r.head) }

// Ready returns the number of CQEs that can be taken without a system call.
func (r *Ring) Ready() int { return int(atomic.LoadUint32(r.cqTail) - *r.cqHead) }

// TaskrunPending says that the kernel has work for this thread that only an enter does: completions will come of it. (With
// DEFER_TASKRUN, 6.1. Without it completions come by themselves.)
func (r *Ring) TaskrunPending() bool {
	return atomic.LoadUint32(r.sqFlags)&(sqTaskrun|sqCQOverflow) != 0
}

// Overflowing says that completions wait outside the queue, which was full. An enter brings them, once there is room.
func (r *Ring) Overflowing() bool { return atomic.LoadUint32(r.sqFlags)&sqCQOverflow != 0 }

// CQEs returns the completions that are there, in two parts where they wrap around the end of the queue. They are valid until
// Seen.
func (r *Ring) CQEs() (first, second []CQE) {
	head := *r.cqHead
	n := atomic.LoadUint32(r.cqTail) - head
	i := head & r.cqMask
	if end := i + n; end > uint32(len(r.cqes)) {
		return r.cqes[i:], r.cqes[:end-uint32(len(r.cqes))]
	}
	return r.cqes[i : i+n], nil
}

// Seen gives the first n completions back to the kernel.
func (r *Ring) Seen(n int) {
	r.Stats.CQEs += uint64(n)
	atomic.StoreUint32(r.cqHead, *r.cqHead+uint32(n))
}

// Submit hands all prepared SQEs to the kernel, lets it run what it has pending for this thread, and does not wait. It keeps its
// P: see SubmitAndWait for why that is right only for calls that cannot block.
//
// The errors are those of SubmitAndWait.
func (r *Ring) Submit() error {
	atomic.StoreUint32(r.sqTail, r.tail)
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFD), uintptr(r.Pending()), 0,
		enterGetEvents|r.enterFlags, 0, 0)
	return r.entered(errno)
}

// SubmitAndWait hands all prepared SQEs to the kernel and waits for minComplete completions, not longer than timeout. A negative
// timeout waits without end. It tells Go's scheduler that the thread may block: a thread that blocks in a raw system call
// keeps its P, and where no other is free a collection was seen to take 80 ms behind it.
//
// A timeout, a signal, or a full completion queue is no error: the caller looks at what is there and calls again. EAGAIN
// (the kernel had no memory for a request; nothing is lost, call again later) and EBADR (a completion was lost: this ring
// cannot be trusted any more) are errors.
func (r *Ring) SubmitAndWait(minComplete int, timeout time.Duration) error {
	flags, arg, size := r.beginWait(timeout)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFD), uintptr(r.Pending()), uintptr(minComplete),
		flags, arg, size)
	runtime.KeepAlive(r)
	return r.entered(errno)
}

// SubmitAndWaitHoldingP is SubmitAndWait that does not tell Go's scheduler, for a wait that is likely to be short, by a thread that
// is not the only one with a P. A wait that is told of has Go's monitor thread awake, every 20 to 100 µs, to take the P away:
// that was 8 % of the CPU time of a server with 60,000 requests a second. The signal by which the scheduler stops a goroutine
// ends this wait; timeout bounds it where that signal is switched off (GODEBUG=asyncpreemptoff=1), and is not negative.
func (r *Ring) SubmitAndWaitHoldingP(minComplete int, timeout time.Duration) error {
	flags, arg, size := r.beginWait(timeout)
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFD), uintptr(r.Pending()), uintptr(minComplete),
		flags, arg, size)
	runtime.KeepAlive(r)
	return r.entered(errno)
}

// beginWait publishes the prepared SQEs and returns the last arguments of a waiting enter.
func (r *Ring) beginWait(timeout time.Duration) (flags, arg, size uintptr) {
	atomic.StoreUint32(r.sqTail, r.tail)
	flags = enterGetEvents | r.enterFlags
	if timeout >= 0 {
		r.arg.ts = [2]int64{int64(timeout / time.Second), int64(timeout % time.Second)}
		flags |= enterExtArg
		arg, size = uintptr(unsafe.Pointer(&r.arg.ext)), sizeofGetEventsArg
	}
	return flags, arg, size
}

// entered keeps the books after an enter. The kernel's head says what it took, whatever the wait came to.
func (r *Ring) entered(errno unix.Errno) error {
	r.Stats.Enters++
	head := atomic.LoadUint32(r.sqHead)
	r.Stats.SQEs += uint64(head - r.head)
	r.head = head
	if overflow := atomic.LoadUint32(r.sqFlags)&sqCQOverflow != 0; overflow {
		r.Stats.Overflow++
	}
	switch errno {
	case 0, unix.ETIME, unix.EINTR, unix.EBUSY:
		return nil
	}
	return os.NewSyscallError("io_uring_enter", errno)
}

// Lost returns the number of completions that the kernel could not deliver at all.
func (r *Ring) Lost() int { return int(min(atomic.LoadUint32(r.cqOverflow), math.MaxInt32)) }
