package engine

import (
	"errors"
	"os"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/uring"
	"golang.org/x/sys/unix"
)

const (
	epollEvents = 128      // descriptors of one epoll_wait
	readBuffer  = 64 << 10 // the one buffer of the loop, which stays in the cache

	acceptPerTurn = 16
)

// Checked builds read into many buffers in turn: a view that is kept too long shows that it is dead, and not the next one's bytes.
const (
	checkedBuffer  = 16 << 10
	checkedBuffers = 64
)

// Epoll is the engine on epoll(7), with the behaviour of URing: where rings are refused, and to show that readiness fits behind
// Engine as well as completion does. Each ready descriptor is read once a turn, into one buffer, when the loop takes that
// completion.
type Epoll struct {
	sockets
	fd     int
	waker  *waker
	spin   spinner
	hold   holder
	held   bool // the last sleep kept the P, and found work
	gather *uring.Gather
	buffer []byte // mapped
	at     int    // of the part of it that is read into; not zero in checked builds only

	socks  pages[epollSocket] // by slot
	listen map[uint32]*epollSocket
	waits  []*epollSend // not in use
	events []unix.EpollEvent
	ready  []unix.EpollEvent // of this turn, not yet handled
	done   []Completion      // of operations that ended at once
	taken  int               // of done
	passed bool              // the last Wait did not look at descriptors

	accepting struct { // the listener that this turn still accepts from
		st   *epollSocket
		left int
	}
	counters    Counters
	beforeSleep func()
}

// epollSocket is the state of one descriptor.
type epollSocket struct {
	mask uint32     // what epoll looks for; 0: not registered
	fd   int32      // as long as there is an operation
	in   Token      // the accept or receive that is armed; 0: none
	out  *epollSend // that waits for room; nil: none
}

// epollSend is a send that waits for room.
type epollSend struct {
	token Token
	segs  [][]byte
}

// The kinds of descriptors, in the upper half of an event's data; the lower half is the slot.
const (
	isSocket int32 = iota
	isListener
	isWaker
)

// NewEpoll makes the engine on the calling goroutine, which must be locked to its thread.
func NewEpoll(opts Options) (*Epoll, error) {
	e := &Epoll{beforeSleep: opts.BeforeSleep, sockets: newSockets(), spin: spinner{limit: opts.Spin}, hold: holder{may: opts.HoldP},
		fd: -1}
	var err error
	if e.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if e.waker, err = newWaker(); err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(e.waker.fd, true))
	}
	if err == nil {
		size := readBuffer
		if buffers.Checked {
			size = checkedBuffer * checkedBuffers
		}
		e.buffer, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	}
	if err == nil {
		e.gather, err = uring.NewGather()
	}
	if err == nil {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Pad: isWaker}
		err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, e.waker.fd, &ev))
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.events = make([]unix.EpollEvent, epollEvents)
	return e, nil
}

// state returns the state of the descriptor that a token's operation is on.
func (e *Epoll) state(t Token) *epollSocket {
	if t.Op() == OpAccept {
		return e.listen[t.Slot()]
	}
	return e.socks.at(int(t.Slot()))
}

// watch tells epoll what the descriptor's operations wait for. A descriptor without any is not registered: errors and hang-ups
// are reported whether one asks or not, and would end every wait.
func (e *Epoll) watch(st *epollSocket, slot uint32) {
	var mask uint32
	if st.in != 0 {
		mask |= unix.EPOLLIN
	}
	if st.out != nil {
		mask |= unix.EPOLLOUT
	}
	if mask == st.mask {
		return
	}
	op := unix.EPOLL_CTL_MOD
	switch {
	case st.mask == 0:
		op = unix.EPOLL_CTL_ADD
	case mask == 0:
		op = unix.EPOLL_CTL_DEL
	}
	e.counters.SQEs++
	ev := unix.EpollEvent{Events: mask, Fd: int32(slot), Pad: isSocket}
	if st.in.Op() == OpAccept {
		ev.Pad = isListener
	}
	if err := unix.EpollCtl(e.fd, op, int(st.fd), &ev); err != nil {
		e.fail(st, errnoOf(err)) // ENOMEM, ENOSPC: the operations cannot be waited for
		return
	}
	st.mask = mask
}

// errnoOf returns the number of an error that a system call of x/sys has returned.
func errnoOf(err error) (errno unix.Errno) {
	errors.As(err, &errno)
	return errno
}

func (e *Epoll) fail(st *epollSocket, errno unix.Errno) {
	if st.in != 0 {
		e.done = append(e.done, Completion{Token: st.in, Err: errno})
	}
	if st.out != nil {
		e.done = append(e.done, Completion{Token: st.out.token, Err: errno})
		e.freeSend(st)
	}
	st.in, st.mask = 0, 0
}

func (e *Epoll) Accept(t Token, fd int) {
	_ = unix.SetNonblock(fd, true) // fails for no descriptor that is one
	if e.listen == nil {
		e.listen = map[uint32]*epollSocket{}
	}
	st := e.listen[t.Slot()]
	if st == nil {
		st = &epollSocket{}
		e.listen[t.Slot()] = st
	}
	st.fd, st.in = int32(fd), t
	e.watch(st, t.Slot())
}

func (e *Epoll) Receive(t Token, fd int) {
	st := e.state(t)
	st.fd, st.in = int32(fd), t
	e.watch(st, t.Slot())
}

// Send tries at once: nearly always there is room.
func (e *Epoll) Send(t Token, fd int, segs [][]byte, _ bool) {
	n, errno := e.send(fd, segs)
	if errno == unix.EAGAIN {
		w := &epollSend{}
		if last := len(e.waits) - 1; last >= 0 {
			w, e.waits = e.waits[last], e.waits[:last]
		}
		w.token, w.segs = t, append(w.segs, segs...)
		st := e.state(t)
		st.fd, st.out = int32(fd), w
		e.watch(st, t.Slot())
		return
	}
	e.done = append(e.done, Completion{Token: t, Res: n, Err: errno})
}

func (e *Epoll) freeSend(st *epollSocket) {
	w := st.out
	st.out = nil
	clear(w.segs)
	w.segs = w.segs[:0]
	if len(e.waits) < epollEvents {
		e.waits = append(e.waits, w)
	}
}

func (e *Epoll) send(fd int, segs [][]byte) (int, unix.Errno) {
	e.counters.SQEs++
	for {
		var n int
		var errno unix.Errno
		if len(segs) == 1 {
			n, errno = send(fd, segs[0][:min(len(segs[0]), maxSend)])
		} else {
			e.gather.Reset()
			for _, s := range segs {
				if s = s[:min(len(s), maxSend-e.gather.Len())]; len(s) == 0 || !e.gather.Add(s) {
					break
				}
			}
			n, errno = e.gather.Sendmsg(fd, unix.MSG_NOSIGNAL)
		}
		if errno == 0 {
			return n, 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func (e *Epoll) Cancel(t Token) {
	st := e.state(t)
	switch {
	case st == nil:
		return
	case st.in == t:
		st.in = 0
	case st.out != nil && st.out.token == t:
		e.freeSend(st)
	default:
		return
	}
	e.done = append(e.done, Completion{Token: t, Err: unix.ECANCELED})
	e.watch(st, t.Slot())
}

func (e *Epoll) Wait(timeout time.Duration) error {
	if len(e.done) > 0 && !e.passed {
		e.passed = true // once, so that operations that end at once, turn after turn, do not keep the others from being seen
		return nil
	}
	e.passed = false
	if len(e.done) > 0 {
		timeout = 0
	}
	var n int
	var err error
	if !e.held || timeout == 0 { // after a sleep that was not told of, the next one is as cheap as a look
		n, err = e.peek()
	}
	e.held = false
	if n == 0 && err == nil && timeout != 0 {
		n, err = e.idle(timeout)
	}
	if err != nil && err != unix.EINTR {
		return os.NewSyscallError("epoll_wait", err)
	}
	e.ready = e.events[:max(n, 0)]
	return nil
}

func (e *Epoll) idle(timeout time.Duration) (n int, err error) {
	found := e.spin.wanted() && e.spin.look(e.Now, func() bool {
		n, err = e.peek()
		return n != 0 || err != nil || e.waker.woken.Load()
	})
	if found {
		e.counters.Spins++
		return n, err
	}
	if e.beforeSleep != nil {
		e.beforeSleep()
	}
	if !e.waker.sleep() {
		return 0, nil
	}
	defer e.waker.awake()
	e.counters.Sleeps++
	e.counters.Enters++
	if !e.hold.wanted() {
		return unix.EpollWait(e.fd, e.events, milliseconds(timeout))
	}
	e.counters.Held++
	limit := holdLimit
	if timeout >= 0 {
		limit = min(limit, timeout)
	}
	n, err = epollHoldingP(e.fd, e.events, milliseconds(limit))
	e.held = n > 0
	e.hold.learn(e.held)
	return n, err
}

// milliseconds rounds up: a wait that ends before its time would be followed by one that does not wait. Negative is for ever.
func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(min((d+time.Millisecond-1)/time.Millisecond, time.Hour/time.Millisecond))
}

// peek does not block, so the scheduler is not told.
func (e *Epoll) peek() (int, error) {
	e.counters.Enters++
	return epollHoldingP(e.fd, e.events, 0)
}

func (e *Epoll) Next(c *Completion) bool {
	for {
		switch {
		case e.taken < len(e.done):
			*c = e.done[e.taken]
			e.taken++
			e.counters.CQEs++
			return true
		case e.accepting.left > 0:
			if e.accept(c) {
				e.counters.CQEs++
				return true
			}
		case len(e.ready) > 0:
			if len(e.done) > 0 {
				e.done, e.taken = e.done[:0], 0
			}
			ev := e.ready[0]
			e.ready = e.ready[1:]
			e.handle(&ev, c)
			if c.Token != 0 {
				e.counters.CQEs++
				return true
			}
		default:
			e.done, e.taken = e.done[:0], 0
			return false
		}
	}
}

// handle leaves c.Token zero when there is nothing to tell.
func (e *Epoll) handle(ev *unix.EpollEvent, c *Completion) {
	*c = Completion{}
	switch ev.Pad {
	case isWaker:
		var b [8]byte
		_, _ = unix.Read(e.waker.fd, b[:]) // EAGAIN: read already
		return
	case isListener:
		if st := e.listen[uint32(ev.Fd)]; st != nil && st.in != 0 {
			e.accepting.st, e.accepting.left = st, acceptPerTurn
		}
		return
	}
	st := e.socks.at(int(ev.Fd))
	if st.out != nil && ev.Events&^unix.EPOLLIN != 0 {
		if n, errno := e.send(int(st.fd), st.out.segs); errno != unix.EAGAIN {
			e.done = append(e.done, Completion{Token: st.out.token, Res: n, Err: errno})
			e.freeSend(st)
			e.watch(st, uint32(ev.Fd))
		}
	}
	if st.in != 0 && ev.Events&^unix.EPOLLOUT != 0 {
		e.receive(st, c)
	}
}

func (e *Epoll) receive(st *epollSocket, c *Completion) {
	e.counters.SQEs++
	n, errno := recv(int(st.fd), e.readInto())
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno == 0 && n > 0:
		e.spin.active(st.in.Slot())
		*c = Completion{Token: st.in, Res: n, More: true, View: e.buffer[e.at : e.at+n : e.at+n]}
	default:
		*c = Completion{Token: st.in, Err: errno}
		st.in = 0
		e.watch(st, c.Token.Slot())
	}
}

// readInto returns the buffer to read into: the one of the loop, or, in checked builds, the one whose last view is longest dead.
func (e *Epoll) readInto() []byte {
	if buffers.Checked {
		e.at = (e.at + checkedBuffer) % len(e.buffer)
		return e.buffer[e.at : e.at+checkedBuffer]
	}
	return e.buffer
}

// accept reports whether it has a completion.
func (e *Epoll) accept(c *Completion) bool {
	st := e.accepting.st
	if e.accepting.left--; st.in == 0 {
		e.accepting.left = 0
		return false
	}
	e.counters.SQEs++
	conn, _, err := unix.Accept4(int(st.fd), unix.SOCK_CLOEXEC)
	switch err {
	case nil:
		*c = Completion{Token: st.in, Res: conn, More: true}
		return true
	case unix.EAGAIN:
		e.accepting.left = 0
		return false
	case unix.EINTR:
		return false
	}
	e.accepting.left = 0
	*c = Completion{Token: st.in, Err: errnoOf(err)}
	st.in = 0
	e.watch(st, c.Token.Slot())
	return true
}

func (e *Epoll) Recycle(c *Completion) {
	if buffers.Checked && c.View != nil {
		buffers.Overwrite(c.View)
	}
	c.View = nil
}

func (e *Epoll) Buffers() int { return 1 << 20 } // a read needs none of its own
func (e *Epoll) Memory() int  { return len(e.buffer) }
func (e *Epoll) Trim() bool   { return false }
func (e *Epoll) Wake()        { e.waker.wake() }
func (e *Epoll) Woken() bool  { return e.waker.take() }

func (e *Epoll) CloseSocket(fd int) {
	for slot, st := range e.listen {
		if int(st.fd) == fd {
			delete(e.listen, slot)
		}
	}
	closeFD(fd) // nothing is in flight on it, so epoll does not look at it
}

func (e *Epoll) Counters() Counters {
	c := e.counters
	c.Wakes = e.waker.wakes.Load()
	return c
}

// Close gives back what there is, also of an engine that is half made.
func (e *Epoll) Close() error {
	errs := []error{unix.Close(e.fd)}
	if e.waker != nil {
		errs = append(errs, e.waker.close())
	}
	if e.gather != nil {
		errs = append(errs, e.gather.Close())
	}
	if e.buffer != nil {
		errs = append(errs, unix.Munmap(e.buffer))
	}
	return errors.Join(errs...)
}

// Missed is never true: what is there is told again and again.
func (e *Epoll) Missed(int) bool { return false }
