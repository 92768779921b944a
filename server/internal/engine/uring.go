package engine

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/uring"
	"golang.org/x/sys/unix"
)

// Options are the choices for an engine. The zero value is the default.
type Options struct {
	Increment    int           // bytes by which receive memory grows
	MaxReceive   int           // the most bytes of receive memory
	Spin         time.Duration // the longest look for work before sleeping; 0 never
	PlainBuffers bool          // no incremental buffers
	BufferSize   int           // of a receive buffer; 0 for the group's choice
	SingleShot   bool          // no multishot receive
	HoldP        func() bool   // whether others have a P while a loop that sleeps keeps its own; nil: they have not
	BeforeSleep  func()        // called when a wait is about to block; nil for nothing
}

const (
	maxPerTurn = 256      // completions between two flushes
	shotCap    = 64 << 10 // bytes of one shot: a flooding peer must not take a large buffer alone

	// receiveTotal is the number of bytes after which a receive ends, to be armed again by the loop when it has dealt with them. The
	// kernel would put up to 2 MiB of one connection into buffers at once, more than the loop decodes in a turn: all that is beyond
	// would have to be copied, and held meanwhile. (64, 128 and 512 KiB were tried, and cost more CPU at 1 MiB.)
	receiveTotal = 256 << 10
	maxSend      = 1 << 30 // a result has 32 bits

	// dryGrow is how many receives may find no buffer, between two Trims, before the group grows although buffers are back by the
	// time that their completions are seen.
	dryGrow = 64

	// blockingEnter is the number of bytes to send from which an enter tells Go's scheduler that it may take long: the copying
	// happens within it.
	blockingEnter = 1 << 20

	closeTries, closeWait = 8, 50 * time.Millisecond // signals end a wait early

	wakeToken = Token(1) << 63 // of the read on the eventfd: no slot reaches so far
)

// URing is the engine on io_uring.
type URing struct {
	sockets
	ring   *uring.Ring
	group  *buffers.Group
	waker  *waker
	wakeIn []byte // what the read on the eventfd writes to; mapped memory
	spin   spinner
	hold   holder
	opts   Options
	shot   int // the cap of a shot, or 0 where the kernel has none
	total  int // the bytes after which a receive ends, or 0 likewise

	first, second []uring.CQE // completions of this turn, in two parts
	next          int

	gathers []*uring.Gather // by slot; in use while its send is in flight
	free    []*uring.Gather
	queued  int // bytes of sends that the next enter copies
	prompts prompts

	dry      int // receives that found no buffer since the group has grown, or the last Trim
	counters Counters
	err      error // of a submission within a turn, for the next Wait
}

// URingUsable returns why the kernel, or its configuration, does not let URing work, or nil.
func URingUsable() error {
	features := uring.Probe()
	for _, err := range []error{features.BufRing, features.MultishotAccept, features.MultishotRecv} {
		if err != nil {
			return err
		}
	}
	return nil
}

// NewURing makes the engine on the calling goroutine, which must be locked to its thread. The error is an *uring.SetupError or
// satisfies errors.Is(err, uring.ErrNotSupported) where this kernel or its configuration is the reason.
func NewURing(opts Options) (*URing, error) {
	if err := URingUsable(); err != nil {
		return nil, err
	}
	features := uring.Probe()
	ring, err := uring.New(uring.Options{})
	if err != nil {
		return nil, err
	}
	e := &URing{ring: ring, opts: opts, sockets: newSockets(), spin: spinner{limit: opts.Spin}, hold: holder{may: opts.HoldP}}
	e.prompts.usable = features.PromptSend == nil
	if features.ShotCap == nil {
		e.shot = shotCap
	}
	if features.ReceiveTotal == nil {
		e.total = receiveTotal
	}
	e.group, err = buffers.NewGroup(ring, 0, buffers.GroupConfig{
		Increment:   opts.Increment,
		Max:         opts.MaxReceive,
		BufferSize:  opts.BufferSize,
		Incremental: !opts.PlainBuffers && features.IncrementalBuffers == nil,
		TrimIdle:    ring.Setup.Deferred(),
	})
	if err == nil {
		e.wakeIn, err = unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	}
	if err == nil {
		e.waker, err = newWaker()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("io_uring engine: %w", err), e.release())
	}
	e.armWake()
	return e, nil
}

func (e *URing) armWake() {
	sqe := e.sqe()
	sqe.PrepareRead(e.waker.fd, e.wakeIn[:8])
	sqe.UserData = uint64(wakeToken)
}

// sqe returns a free SQE, handing over what is prepared when the queue is full.
func (e *URing) sqe() *uring.SQE {
	for {
		if sqe := e.ring.SQE(); sqe != nil {
			return sqe
		}
		if err := e.submit(); err != nil && e.err == nil {
			e.err = err
		}
	}
}

// submit enters the kernel without waiting.
func (e *URing) submit() error {
	var err error
	if e.queued >= blockingEnter {
		err = e.ring.SubmitAndWait(0, -1)
	} else {
		err = e.ring.Submit()
	}
	e.queued = 0
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) {
		time.Sleep(time.Millisecond) // the kernel has no memory for requests; they stay queued
		return nil
	}
	if errors.Is(err, unix.EBADR) {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return err
}

func (e *URing) Accept(t Token, fd int) {
	sqe := e.sqe()
	sqe.PrepareAcceptMultishot(fd, unix.SOCK_CLOEXEC)
	sqe.UserData = uint64(t)
}

func (e *URing) Receive(t Token, fd int) {
	e.group.Publish()
	sqe := e.sqe()
	if e.opts.SingleShot {
		sqe.PrepareRecv(fd, e.group.ID())
	} else {
		sqe.PrepareRecvMultishot(fd, e.group.ID(), e.shot, e.total)
	}
	sqe.UserData = uint64(t)
}

// sendFlags: WAITALL lets the kernel go on by itself when the socket was full.
const sendFlags = unix.MSG_WAITALL | unix.MSG_NOSIGNAL

func (e *URing) Send(t Token, fd int, segs [][]byte, awaited bool) {
	if len(segs) == 1 {
		b := segs[0][:min(len(segs[0]), maxSend)]
		sqe := e.sqe()
		sqe.PrepareSend(fd, b, sendFlags)
		e.prepared(sqe, t, len(b), awaited)
		return
	}
	g, err := e.gather(t.Slot())
	if err != nil { // no memory for the vector: a short send is right as well
		e.Send(t, fd, segs[:1], true)
		return
	}
	for _, s := range segs {
		if s = s[:min(len(s), maxSend-g.Len())]; len(s) == 0 || !g.Add(s) {
			break
		}
	}
	sqe := e.sqe()
	sqe.PrepareSendmsg(fd, g, sendFlags)
	e.prepared(sqe, t, g.Len(), awaited)
}

// prepared finishes the SQE of a send of size bytes.
func (e *URing) prepared(sqe *uring.SQE, t Token, size int, awaited bool) {
	sqe.UserData = uint64(t)
	e.queued += size
	if !awaited && e.prompts.may(t, size) {
		sqe.PreparePrompt()
		e.prompts.tried(t, size, e.ring.Stats.SQEs+uint64(e.ring.Pending()))
	}
}

func (e *URing) gather(slot uint32) (*uring.Gather, error) {
	for int(slot) >= len(e.gathers) {
		e.gathers = append(e.gathers, nil)
	}
	if n := len(e.free); n > 0 {
		e.gathers[slot], e.free = e.free[n-1], e.free[:n-1]
		e.gathers[slot].Reset()
		return e.gathers[slot], nil
	}
	g, err := uring.NewGather()
	e.gathers[slot] = g
	return g, err
}

func (e *URing) Cancel(t Token) {
	sqe := e.sqe()
	sqe.PrepareCancel(uint64(t))
	sqe.Flags |= uring.SQECQESkipSuccess
}

// Wait enters once where that is enough. Where the kernel has completions pending, an enter that cannot block hands over what is
// prepared and runs them: Go's scheduler need not know of it. (This was measured against always telling it: 250,000 echoes a
// second for 226,000.) Where it has none, the enter that hands over also sleeps.
func (e *URing) Wait(timeout time.Duration) error {
	e.group.Publish()
	if err := e.err; err != nil {
		e.err = nil
		return err
	}
	idle := timeout != 0 && e.ring.Ready() == 0 && !e.ring.TaskrunPending()
	spin := idle && e.spin.wanted()
	if e.ring.TaskrunPending() || e.ring.Pending() > 0 && (!idle || spin || e.queued >= blockingEnter) {
		if err := e.submit(); err != nil {
			return err
		}
		idle = timeout != 0 && e.ring.Ready() == 0
	}
	if idle {
		if err := e.idle(timeout, spin); err != nil {
			return err
		}
	}
	if e.ring.Lost() > 0 {
		return ErrLost
	}
	e.first, e.second = e.ring.CQEs()
	if !e.ring.Overflowing() {
		e.prompts.confirm(e.ring.Stats.SQEs, e.first, e.second)
	}
	if len(e.first) > maxPerTurn {
		e.first = e.first[:maxPerTurn]
	}
	e.second = e.second[:min(len(e.second), maxPerTurn-len(e.first))]
	e.next = 0
	return nil
}

// idle waits for work: it looks for it for a while, where that has paid lately, then sleeps.
func (e *URing) idle(timeout time.Duration, spin bool) error {
	if spin && e.spin.look(e.Now, e.poll) {
		e.counters.Spins++
		if e.ring.TaskrunPending() {
			return e.submit()
		}
		return nil
	}
	if e.opts.BeforeSleep != nil {
		e.opts.BeforeSleep()
	}
	if !e.waker.sleep() {
		return e.submit()
	}
	e.counters.Sleeps++
	err := e.sleep(timeout)
	e.waker.awake()
	if errors.Is(err, unix.EBADR) {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) {
		return nil
	}
	return err
}

// sleep hands over what is prepared, and waits for a completion.
func (e *URing) sleep(timeout time.Duration) error {
	e.queued = 0
	if !e.hold.wanted() {
		return e.ring.SubmitAndWait(1, timeout)
	}
	e.counters.Held++
	limit := holdLimit
	if timeout >= 0 {
		limit = min(limit, timeout)
	}
	err := e.ring.SubmitAndWaitHoldingP(1, limit)
	e.hold.learn(e.ring.Ready() > 0)
	return err
}

// poll looks at memory only: the kernel raises a flag there when it has something for this thread.
func (e *URing) poll() bool {
	return e.ring.Ready() > 0 || e.ring.TaskrunPending() || e.waker.woken.Load()
}

func (e *URing) Next(c *Completion) bool {
	if e.prompts.next(c) {
		e.freeGather(c.Token)
		return true
	}
	for {
		if e.next == len(e.first) {
			e.ring.Seen(len(e.first))
			e.first, e.second, e.next = e.second, nil, 0
			if len(e.first) == 0 {
				return false
			}
		}
		cqe := &e.first[e.next]
		e.next++
		switch t := Token(cqe.UserData); t {
		case 0: // a cancel that found nothing
			continue
		case wakeToken:
			e.armWake()
			continue
		default:
			e.complete(c, t, cqe)
			return true
		}
	}
}

func (e *URing) complete(c *Completion, t Token, cqe *uring.CQE) {
	*c = Completion{Token: t, More: cqe.More()}
	if cqe.Res < 0 {
		c.Err = unix.Errno(-cqe.Res)
	} else {
		c.Res = int(cqe.Res)
	}
	switch t.Op() {
	case OpReceive:
		id, used := cqe.BufferID()
		switch {
		case used && c.Res > 0:
			e.spin.active(t.Slot())
			c.View, c.first, c.last = e.group.Take(id, c.Res, cqe.Flags&uring.CQEBufMore != 0), id, id
			e.extend(c)
		case used:
			e.group.Spend(id, cqe.Flags&uring.CQEBufMore != 0)
		case c.Err == unix.ENOBUFS:
			e.counters.NoBufs++
			if e.dry++; e.group.Available() == 0 || e.dry >= dryGrow {
				e.group.Grow()
				e.dry = 0
			}
		}
	case OpSend:
		e.prompts.failed(t) // which confirm has seen, unless the queue was overflowing
		e.freeGather(t)
	}
}

func (e *URing) freeGather(t Token) {
	if slot := int(t.Slot()); slot < len(e.gathers) && e.gathers[slot] != nil {
		e.free = append(e.free, e.gathers[slot])
		e.gathers[slot] = nil
	}
}

// extend takes the shots of the same receive that follow, and lie behind the first in memory, into one completion: the cap on a
// shot, or the end of a buffer, has cut what arrived as one.
func (e *URing) extend(c *Completion) {
	for c.More {
		cqe := e.following()
		if cqe == nil || Token(cqe.UserData) != c.Token || cqe.Res <= 0 || c.Res+int(cqe.Res) > receiveTotal {
			return
		}
		id, used := cqe.BufferID()
		if !used {
			return
		}
		both, ok := e.group.Extend(c.View, c.last, id, int(cqe.Res), cqe.Flags&uring.CQEBufMore != 0)
		if !ok {
			return
		}
		c.View, c.Res, c.last, c.More = both, len(both), id, cqe.More()
		e.next++
	}
}

// following returns the completion that Next would look at, of the first part, or nil.
func (e *URing) following() *uring.CQE {
	if e.next == len(e.first) {
		return nil
	}
	return &e.first[e.next]
}

func (e *URing) Recycle(c *Completion) {
	if c.View != nil {
		e.group.Release(c.first, c.last, c.View)
		c.View = nil
	}
}

func (e *URing) Buffers() int { return e.group.Available() }
func (e *URing) Memory() int  { return e.group.Held() }

func (e *URing) Trim() bool {
	e.dry = 0
	if e.ring.Ready() > 0 {
		return true
	}
	return e.group.Trim()
}

func (e *URing) Wake()       { e.waker.wake() }
func (e *URing) Woken() bool { return e.waker.take() }

// Missed looks at the socket. A multishot receive was seen to stay silent on Linux 6.18 when a reset came right behind the data that it
// took: the kernel counts the two wake-ups as one.
func (e *URing) Missed(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0
}

// CloseSocket closes with a plain system call: the operation would go to a kernel worker.
func (e *URing) CloseSocket(fd int) { closeFD(fd) }

func (e *URing) Counters() Counters {
	c := e.counters
	c.Enters, c.SQEs, c.CQEs, c.Overflows = e.ring.Stats.Enters, e.ring.Stats.SQEs, e.ring.Stats.CQEs, e.ring.Stats.Overflow
	c.Wakes = e.waker.wakes.Load()
	return c
}

// Close cancels what is left, waits for its completions, and closes the ring: a ring that is closed with operations in flight
// keeps their sockets, so a listener's port, for some milliseconds.
func (e *URing) Close() error {
	e.sqe().PrepareCancelAll()
	for tries, done := 0, false; !done && tries < closeTries; tries++ {
		if err := e.ring.SubmitAndWait(1, closeWait); err != nil {
			break
		}
		first, second := e.ring.CQEs()
		for _, cqes := range [][]uring.CQE{first, second} {
			for i := range cqes {
				done = done || Token(cqes[i].UserData) == wakeToken
			}
		}
		e.ring.Seen(len(first) + len(second))
	}
	return e.release()
}

// release gives back what there is, of an engine that may be half made.
func (e *URing) release() error {
	var errs []error
	if e.group != nil {
		errs = append(errs, e.group.Close())
	}
	errs = append(errs, e.ring.Close())
	if e.waker != nil {
		errs = append(errs, e.waker.close())
	}
	if e.wakeIn != nil {
		errs = append(errs, unix.Munmap(e.wakeIn))
	}
	for _, g := range append(e.free, e.gathers...) {
		if g != nil {
			errs = append(errs, g.Close())
		}
	}
	return errors.Join(errs...)
}
