package load

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/protoring/protoring/uring"
	"golang.org/x/sys/unix"
)

// A generator is one load. It belongs to one goroutine, locked to its thread. A turn: take what has come, count it, issue the
// requests that take its place, and hand them over with one send for each connection.
type generator struct {
	cfg   Config
	proto *protocol

	ring    *uring.Ring
	bufs    *uring.BufRing
	mem     []byte // of the receive buffers; mapped
	bufSize int
	conns   []conn
	dirty   []*conn // that may have something to send

	start    time.Time
	phase    phase
	phaseEnd int64 // when the next phase begins
	lastWord int64 // when a reply last came
	inFlight int   // requests that have no reply
	ops      int64 // replies in the measured time
	latency  *hdrhistogram.Histogram
	begun    usage // at the start of the measured time
	syscalls *syscallCounter
	result   Result
}

type phase uint8

const (
	warmup   phase = iota
	measured       // replies count
	ending         // nothing is issued any more; what is in flight must still come
)

// A conn keeps depth requests in flight. Requests are numbered; request n lies in slot n modulo depth until its reply has come.
type conn struct {
	fd       int
	index    int
	slots    []byte  // depth requests
	issuedAt []int64 // by slot
	issued   int64   // requests
	handed   int64   // of them, to the kernel
	replied  int64   // of them, by the server
	pos      int     // bytes of the next reply that have come
	sending  bool    // true exactly while a send is in flight whose completion was not handled
	marked   bool    // in generator.dirty
}

const (
	stallTimeout = 10 * time.Second // without any reply
	waitStep     = 50 * time.Millisecond
	maxLatency   = int64(time.Minute)
	digits       = 3 // of a latency

	minBuffer, maxBuffer   = 4 << 10, 64 << 10 // bytes of a receive buffer
	minBuffers, maxBuffers = 64, 4096

	sendFlags = unix.MSG_WAITALL | unix.MSG_NOSIGNAL
)

// What a completion is of: the lowest bit of its user data. The rest is the connection.
const (
	opReceive = 0
	opSend    = 1
)

func (g *generator) run() error {
	if err := g.connect(); err != nil {
		return err
	}
	if err := g.setUp(); err != nil {
		return err
	}
	if g.proto.store != nil {
		if err := storeKeys(g.cfg, g.proto.store); err != nil {
			return err
		}
	}
	if g.cfg.CountSyscalls {
		var err error
		if g.syscalls, err = countSyscalls(g.cfg.ServerPID); err != nil {
			return err
		}
	}
	g.start = time.Now()
	g.phaseEnd = max(0, int64(g.cfg.Warmup))
	for i := range g.conns {
		if err := g.arm(&g.conns[i]); err != nil {
			return err
		}
		g.mark(&g.conns[i])
	}
	for g.phase < ending || g.inFlight > 0 {
		if err := g.turn(); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) connect() error {
	dial, err := dialer(g.cfg.Addr)
	if err != nil {
		return err
	}
	size := len(g.proto.request)
	g.conns = make([]conn, 0, g.cfg.Conns)
	for i := range g.cfg.Conns {
		fd, err := dial()
		if err != nil {
			return err
		}
		c := conn{fd: fd, index: i, slots: make([]byte, g.cfg.Depth*size), issuedAt: make([]int64, g.cfg.Depth)}
		for at := 0; at < len(c.slots); at += size {
			copy(c.slots[at:], g.proto.request)
		}
		g.conns = append(g.conns, c)
	}
	return nil
}

func (g *generator) setUp() error {
	var err error
	g.latency = hdrhistogram.New(1, maxLatency, digits)
	g.ring, err = uring.New(uring.Options{Entries: 1024, CQEntries: 4 * g.cfg.Conns})
	if err != nil {
		return err
	}
	g.bufSize = powerOfTwo(g.cfg.Depth*len(g.proto.reply), minBuffer, maxBuffer)
	n := powerOfTwo(2*g.cfg.Conns, minBuffers, maxBuffers)
	if g.mem, err = unix.Mmap(-1, 0, n*g.bufSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if g.bufs, err = g.ring.RegisterBufRing(0, n, false); err != nil {
		return err
	}
	for id := range n {
		g.bufs.Add(uint16(id), g.buffer(uint16(id)))
	}
	g.bufs.Advance()
	return nil
}

// powerOfTwo returns the least one that is not below n, within bounds.
func powerOfTwo(n, least, most int) int {
	return min(max(1<<bits.Len(uint(n-1)), least), most)
}

func (g *generator) buffer(id uint16) []byte {
	return g.mem[int(id)*g.bufSize:][:g.bufSize]
}

func (g *generator) now() int64 { return int64(time.Since(g.start)) }

func (g *generator) mark(c *conn) {
	if !c.marked {
		c.marked = true
		g.dirty = append(g.dirty, c)
	}
}

func (g *generator) turn() error {
	if err := g.flush(); err != nil {
		return err
	}
	if err := g.wait(); err != nil {
		return err
	}
	now := g.now()
	if now >= g.phaseEnd {
		if err := g.nextPhase(now); err != nil {
			return err
		}
	}
	first, second := g.ring.CQEs()
	for _, cqes := range [2][]uring.CQE{first, second} {
		for i := range cqes {
			if err := g.complete(&cqes[i], now); err != nil {
				return err
			}
		}
	}
	if n := len(first) + len(second); n > 0 {
		g.ring.Seen(n)
		g.bufs.Advance()
	}
	if now-g.lastWord > int64(stallTimeout) {
		return fmt.Errorf("the server has not answered for %v, with %d requests in flight", stallTimeout, g.inFlight)
	}
	return nil
}

// wait hands over what is prepared, and sleeps when nothing has come of it.
func (g *generator) wait() error {
	var err error
	if g.ring.Pending() > 0 || g.ring.TaskrunPending() {
		err = g.ring.Submit()
	}
	if err == nil && g.ring.Ready() == 0 {
		err = g.ring.SubmitAndWait(1, waitStep)
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil // no memory in the kernel just now: the next turn tries again
	}
	return err
}

// nextPhase goes from the warm-up to the measured time, and from there to the end.
func (g *generator) nextPhase(now int64) error {
	use, err := readUsage(g.cfg.ServerPID)
	if err != nil {
		return err
	}
	g.phase++
	switch g.phase {
	case measured:
		g.begun = use
		g.ops = 0
		g.latency.Reset()
		if g.syscalls != nil {
			err = g.syscalls.start()
		}
		g.phaseEnd = g.now() + int64(g.cfg.Duration)
	case ending:
		var calls int64
		if g.syscalls != nil {
			calls, err = g.syscalls.stop()
		}
		g.result = g.report(use, calls)
		g.phaseEnd = now + int64(time.Hour) // nothing comes after
	}
	return err
}

// flush issues what the connections have room for, and hands it over. There is one send in flight on a connection at a time.
func (g *generator) flush() error {
	if len(g.dirty) == 0 {
		return nil
	}
	now := g.now()
	size, depth := len(g.proto.request), int64(g.cfg.Depth)
	for _, c := range g.dirty {
		c.marked = false
		if g.phase < ending {
			for ; c.issued < c.replied+depth; c.issued++ {
				at := int(c.issued % depth)
				g.proto.issue(c.slots[at*size:], uint64(c.index), uint64(c.issued))
				c.issuedAt[at] = now
				g.inFlight++
			}
		}
		if c.sending || c.handed == c.issued {
			continue
		}
		at := c.handed % depth
		n := min(c.issued-c.handed, depth-at) // up to the last slot; the send's completion looks for more
		sqe, err := g.sqe()
		if err != nil {
			return err
		}
		sqe.PrepareSend(c.fd, c.slots[int(at)*size:int(at+n)*size], sendFlags)
		sqe.UserData = uint64(c.index)<<1 | opSend
		if depth == 1 { // the reply says that the request was sent
			sqe.Flags |= uring.SQECQESkipSuccess
		} else {
			c.sending = true
		}
		c.handed += n
	}
	g.dirty = g.dirty[:0]
	return nil
}

// sqe returns a free SQE.
func (g *generator) sqe() (*uring.SQE, error) {
	for tries := 0; ; tries++ {
		if sqe := g.ring.SQE(); sqe != nil {
			return sqe, nil
		}
		if err := g.ring.Submit(); err != nil && !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		if tries > 1<<20 {
			return nil, errors.New("the kernel takes no requests")
		}
	}
}

// arm starts receiving on a connection.
func (g *generator) arm(c *conn) error {
	sqe, err := g.sqe()
	if err != nil {
		return err
	}
	sqe.PrepareRecvMultishot(c.fd, g.bufs.Group(), 0)
	sqe.UserData = uint64(c.index)<<1 | opReceive
	return nil
}

func (g *generator) complete(cqe *uring.CQE, now int64) error {
	c := &g.conns[cqe.UserData>>1]
	if cqe.UserData&1 == opSend {
		if cqe.Res < 0 {
			return fmt.Errorf("connection %d: send: %w", c.index, unix.Errno(-cqe.Res))
		}
		c.sending = false
		if c.handed < c.issued {
			g.mark(c)
		}
		return nil
	}
	var err error
	if id, used := cqe.BufferID(); used {
		if cqe.Res > 0 {
			err = g.take(c, g.buffer(id)[:cqe.Res], now)
		}
		g.bufs.Add(id, g.buffer(id))
	}
	switch {
	case err != nil:
		return fmt.Errorf("connection %d: %w", c.index, err)
	case cqe.Res == 0:
		return fmt.Errorf("connection %d: the server has closed it, with %d requests without a reply", c.index, c.issued-c.replied)
	case cqe.Res < 0 && unix.Errno(-cqe.Res) != unix.ENOBUFS:
		return fmt.Errorf("connection %d: receive: %w", c.index, unix.Errno(-cqe.Res))
	case !cqe.More():
		g.bufs.Advance()
		return g.arm(c)
	}
	return nil
}

// take looks at bytes that came.
func (g *generator) take(c *conn, b []byte, now int64) error {
	g.lastWord = now
	size, depth := len(g.proto.request), int64(g.cfg.Depth)
	for len(b) > 0 {
		if c.replied == c.issued {
			return fmt.Errorf("%d bytes came that nobody asked for: %q", len(b), excerpt(b))
		}
		at := int(c.replied % depth)
		slot := c.slots[at*size : (at+1)*size]
		n, ok := g.proto.check(b, c.pos, slot)
		if !ok {
			return g.proto.wrong(b, c.pos, slot)
		}
		b = b[n:]
		if c.pos += n; c.pos < len(g.proto.reply) {
			break
		}
		c.pos = 0
		c.replied++
		g.inFlight--
		if g.phase == measured {
			g.ops++
			_ = g.latency.RecordValue(min(max(now-c.issuedAt[at], 1), maxLatency)) // within the bounds: no error
		}
	}
	g.mark(c)
	return nil
}

// close gives everything back. The ring goes first: operations in flight hold the sockets.
func (g *generator) close() error {
	var errs []error
	if g.syscalls != nil {
		errs = append(errs, g.syscalls.close())
	}
	for _, c := range g.conns {
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // ends what is in flight; an error says that the peer was first
	}
	if g.ring != nil {
		errs = append(errs, g.ring.Close())
	}
	for _, c := range g.conns {
		errs = append(errs, unix.Close(c.fd))
	}
	return errors.Join(errs...) // the receive memory goes with the process: the kernel may still write to it
}
