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
	gather *uring.Gather
	buffer []byte // mapped
	at     int    // of the part of it that is read into; not zero in checked builds only

	fds    []epollFD // by descriptor
	owner  []int32   // descriptor of a slot's operations, by slot; -1 none. Accepts are in listen
	listen map[Token]int
	events []unix.EpollEvent
	ready  []unix.EpollEvent // of this turn, not yet handled
	done   []Completion      // of operations that ended at once
	taken  int               // of done
	passed bool              // the last Wait did not look at descriptors

	accepting struct { // the listener that this turn still accepts from
		fd, left int
	}
	counters    Counters
	beforeSleep func()
}

// epollFD is the state of one descriptor.
type epollFD struct {
	mask     uint32   // what epoll looks for; 0: not registered
	in       Token    // the accept or receive that is armed; 0: none
	out      Token    // the send that waits for room; 0: none
	segs     [][]byte // of that send
	listener bool
}

// NewEpoll makes the engine on the calling goroutine, which must be locked to its thread.
func NewEpoll(opts Options) (*Epoll, error) {
	e := &Epoll{beforeSleep: opts.BeforeSleep, sockets: newSockets(), spin: spinner{limit: opts.Spin}, fd: -1}
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
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(e.waker.fd)}
		err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, e.waker.fd, &ev))
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.events = make([]unix.EpollEvent, epollEvents)
	return e, nil
}

func (e *Epoll) state(fd int) *epollFD {
	for fd >= len(e.fds) {
		e.fds = append(e.fds, make([]epollFD, max(64, len(e.fds)))...)
	}
	return &e.fds[fd]
}

// own remembers the descriptor of a token's slot, for Cancel.
func (e *Epoll) own(t Token, fd int) {
	for int(t.Slot()) >= len(e.owner) {
		e.owner = append(e.owner, -1)
	}
	e.owner[t.Slot()] = int32(fd)
}

// watch tells epoll what the descriptor's operations wait for. A descriptor without any is not registered: errors and hang-ups
// are reported whether one asks or not, and would end every wait.
func (e *Epoll) watch(fd int, st *epollFD) {
	var mask uint32
	if st.in != 0 {
		mask |= unix.EPOLLIN
	}
	if st.out != 0 {
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
	ev := unix.EpollEvent{Events: mask, Fd: int32(fd)}
	if err := unix.EpollCtl(e.fd, op, fd, &ev); err != nil {
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

func (e *Epoll) fail(st *epollFD, errno unix.Errno) {
	if st.in != 0 {
		e.done = append(e.done, Completion{Token: st.in, Err: errno})
	}
	if st.out != 0 {
		e.done = append(e.done, Completion{Token: st.out, Err: errno})
	}
	st.in, st.out, st.segs, st.mask = 0, 0, nil, 0
}

func (e *Epoll) Accept(t Token, fd int) {
	_ = unix.SetNonblock(fd, true) // fails for no descriptor that is one
	if e.listen == nil {
		e.listen = map[Token]int{}
	}
	e.listen[t] = fd
	st := e.state(fd)
	st.in, st.listener = t, true
	e.watch(fd, st)
}

func (e *Epoll) Receive(t Token, fd int) {
	e.own(t, fd)
	st := e.state(fd)
	st.in = t
	e.watch(fd, st)
}

// Send tries at once: nearly always there is room.
func (e *Epoll) Send(t Token, fd int, segs [][]byte) {
	e.own(t, fd)
	n, errno := e.send(fd, segs)
	if errno == unix.EAGAIN {
		st := e.state(fd)
		st.out, st.segs = t, append(st.segs[:0], segs...)
		e.watch(fd, st)
		return
	}
	e.done = append(e.done, Completion{Token: t, Res: n, Err: errno})
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
	fd := -1
	if t.Op() == OpAccept {
		if l, ok := e.listen[t]; ok {
			fd = l
		}
	} else if int(t.Slot()) < len(e.owner) {
		fd = int(e.owner[t.Slot()])
	}
	if fd < 0 {
		return
	}
	st := e.state(fd)
	switch t {
	case st.in:
		st.in = 0
	case st.out:
		st.out, st.segs = 0, nil
	default:
		return
	}
	e.done = append(e.done, Completion{Token: t, Err: unix.ECANCELED})
	e.watch(fd, st)
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
	n, err := e.peek()
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
	found := e.spin.try(e.Now, func() bool {
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
	ms := -1
	if timeout >= 0 {
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, time.Hour/time.Millisecond))
	}
	e.counters.Enters++
	return unix.EpollWait(e.fd, e.events, ms)
}

// peek does not block, so the scheduler is not told.
func (e *Epoll) peek() (int, error) {
	e.counters.Enters++
	return epollPeek(e.fd, e.events)
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
			e.handle(int(ev.Fd), ev.Events, c)
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
func (e *Epoll) handle(fd int, events uint32, c *Completion) {
	*c = Completion{}
	if fd == e.waker.fd {
		var b [8]byte
		_, _ = unix.Read(fd, b[:]) // EAGAIN: read already
		return
	}
	st := e.state(fd)
	if st.out != 0 && events&^unix.EPOLLIN != 0 {
		if n, errno := e.send(fd, st.segs); errno != unix.EAGAIN {
			e.done = append(e.done, Completion{Token: st.out, Res: n, Err: errno})
			st.out = 0
			clear(st.segs)
			e.watch(fd, st)
		}
	}
	switch {
	case st.in == 0 || events&^unix.EPOLLOUT == 0:
	case st.listener:
		e.accepting.fd, e.accepting.left = fd, acceptPerTurn
	default:
		e.receive(fd, st, c)
	}
}

func (e *Epoll) receive(fd int, st *epollFD, c *Completion) {
	e.counters.SQEs++
	n, errno := recv(fd, e.readInto())
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno == 0 && n > 0:
		e.spin.active(st.in.Slot())
		*c = Completion{Token: st.in, Res: n, More: true, View: e.buffer[e.at : e.at+n : e.at+n]}
	default:
		*c = Completion{Token: st.in, Err: errno}
		st.in = 0
		e.watch(fd, st)
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
	fd := e.accepting.fd
	st := e.state(fd)
	if e.accepting.left--; st.in == 0 {
		e.accepting.left = 0
		return false
	}
	e.counters.SQEs++
	conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
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
	e.watch(fd, st)
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
	st := e.state(fd)
	if st.listener {
		for t, l := range e.listen {
			if l == fd {
				delete(e.listen, t)
			}
		}
	}
	if st.mask != 0 {
		_ = unix.EpollCtl(e.fd, unix.EPOLL_CTL_DEL, fd, nil) // closing does it too, where no copy of the descriptor is left
	}
	*st = epollFD{}
	if e.accepting.fd == fd {
		e.accepting.left = 0
	}
	closeFD(fd)
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
