package load

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/uring"
	"golang.org/x/sys/unix"
)

// A worker is one thread of the load, with a ring and its part of the connections. It belongs to one goroutine, locked to its thread.
// A turn: issue what is due, hand it over with one send for each connection, take what has come and count it.
type worker struct {
	run   *run
	index int
	rng   *rand.Rand

	ring    *uring.Ring
	bufs    *uring.BufRing
	mem     []byte // of the receive buffers; mapped
	bufSize int
	gathers []*uring.Gather // of no connection now
	using   map[*conn]*uring.Gather
	conns   []*conn
	dirty   []*conn // that may have something to send
	alive   int     // connections that have not failed
	dials   chan dialed
	dialing int

	schedule *schedule // nil: a closed loop
	churn    *schedule // nil: none
	turn     int       // of the connections: who has the next request of an open loop
	leaver   int       // who leaves next

	lastWord int64 // when a reply last came
	inFlight int   // requests that have no reply
	replies  int64 // since the start
	full     bool  // true exactly while requests are due that wait for a connection with room
	fullAt   int64 // when that was last seen
	polled   int64 // nanoseconds spent on waiting for the next request's time
	tally
	published published
}

const (
	stallTimeout = 10 * time.Second // without any reply
	graceTimeout = 2 * time.Second  // after the measured time, for what was due in it
	waitStep     = 50 * time.Millisecond
	dialStep     = time.Millisecond // while a connection is on its way

	// A sleep ends late by up to this much, so the rest of the time until a request is due is waited for by looking at the clock.
	sleepMargin = 250 * time.Microsecond

	minBuffer, maxBuffer   = 4 << 10, 64 << 10 // bytes of a receive buffer
	minBuffers, maxBuffers = 64, 4096

	sendFlags = unix.MSG_WAITALL | unix.MSG_NOSIGNAL
)

// What a completion is of: the lowest bit of its user data. The rest is the connection.
const (
	opReceive = 0
	opSend    = 1
)

// setUp makes the ring and the connections.
func (w *worker) setUp() error {
	cfg := &w.run.cfg
	if len(cfg.Pin) > 0 {
		var set unix.CPUSet
		cpu := cfg.Pin[w.index%len(cfg.Pin)]
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("bind to CPU %d: %w", cpu, err)
		}
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // refused: sleeps end a little later, and the clock is looked at instead
	w.rng = rand.New(rand.NewPCG(uint64(w.index), 2))
	for i := w.index; i < cfg.Conns; i += cfg.Threads {
		fd, err := w.run.dial()
		if err != nil {
			return err
		}
		w.conns = append(w.conns, &conn{fd: fd, index: len(w.conns), session: w.run.proto.Session(i, w.rng)})
	}
	w.alive = len(w.conns)
	w.dials = make(chan dialed, len(w.conns))
	w.using = map[*conn]*uring.Gather{}
	if cfg.Rate > 0 {
		w.schedule = newSchedule(cfg.Rate, w.index, cfg.Threads, cfg.Arrival, w.rng)
		w.lag = result.NewHistogram()
	}
	if cfg.Churn > 0 {
		w.churn = newSchedule(cfg.Churn, w.index, cfg.Threads, Constant, nil)
		w.connects = result.NewHistogram()
	}
	w.latency = result.NewHistogram()
	w.errors = map[string]int64{}
	for range w.run.parts {
		w.intervals = append(w.intervals, result.NewHistogram())
	}
	var err error
	if w.ring, err = uring.New(uring.Options{Entries: 1024, CQEntries: min(4*len(w.conns), 1<<16)}); err != nil {
		return err
	}
	w.bufSize = powerOfTwo(min(cfg.Depth, 64)*2*cfg.Size, minBuffer, maxBuffer)
	n := powerOfTwo(2*len(w.conns), minBuffers, maxBuffers)
	if w.mem, err = unix.Mmap(-1, 0, n*w.bufSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if w.bufs, err = w.ring.RegisterBufRing(0, n, false); err != nil {
		return err
	}
	for id := range n {
		w.bufs.Add(uint16(id), w.buffer(uint16(id)))
	}
	w.bufs.Advance()
	return nil
}

// powerOfTwo returns the least one that is not below n, within bounds.
func powerOfTwo(n, least, most int) int {
	return min(max(1<<bits.Len(uint(n-1)), least), most)
}

func (w *worker) buffer(id uint16) []byte { return w.mem[int(id)*w.bufSize:][:w.bufSize] }

// work is the load, from the common start on.
func (w *worker) work() error {
	for _, c := range w.conns {
		if err := w.arm(c); err != nil {
			return err
		}
		w.mark(c)
	}
	w.lastWord = w.run.now()
	for {
		now := w.run.now()
		end := w.run.end.Load()
		done := w.inFlight == 0 && (w.schedule == nil || w.schedule.next >= end)
		if now >= end && (done || now >= end+int64(graceTimeout)) {
			break
		}
		if err := w.oneTurn(now, end); err != nil {
			return err
		}
		if w.alive == 0 {
			break
		}
		w.published.ops.Store(w.replies)
	}
	w.conclude()
	return nil
}

func (w *worker) oneTurn(now, end int64) error {
	if w.schedule != nil {
		w.issueDue(now, end) // also after the end what was due before it
	}
	if w.churn != nil && now < end {
		if err := w.churnDue(now); err != nil {
			return err
		}
	}
	if err := w.flush(now < end); err != nil {
		return err
	}
	if err := w.wait(now, end); err != nil {
		return err
	}
	now = w.run.now()
	first, second := w.ring.CQEs()
	for _, cqes := range [2][]uring.CQE{first, second} {
		for i := range cqes {
			if err := w.complete(&cqes[i], now); err != nil {
				return err
			}
		}
	}
	if n := len(first) + len(second); n > 0 {
		w.ring.Seen(n)
		w.bufs.Advance()
	}
	if w.dialing > 0 {
		if err := w.takeDialed(now); err != nil {
			return err
		}
	}
	if w.inFlight > 0 && now-w.lastWord > int64(stallTimeout) {
		return fmt.Errorf("the server has not answered for %v, with %d requests in flight", stallTimeout, w.inFlight)
	}
	return nil
}

// issueDue issues the requests that are due, each on the next connection that has room.
func (w *worker) issueDue(now, end int64) {
	for w.schedule.next <= now && w.schedule.next < end {
		c := w.nextRoom()
		if c == nil {
			if w.lag != nil && !w.full {
				w.countLate(now, end)
			}
			w.full, w.fullAt = true, now
			return // they stay due, and their latency counts from when they were
		}
		w.issue(c, w.schedule.next, now)
		w.schedule.advance()
	}
	w.full = false
}

// countLate counts the lag of what came due since the last turn and finds no room. As all that was due before had been issued, this turn
// was to come with the first of these requests: what they are late until now is no fault of the server. Those of a Poisson process are
// taken for equally distant.
func (w *worker) countLate(now, end int64) {
	for i := 0.0; ; i++ {
		due := w.schedule.next + int64(i*w.schedule.gap)
		if due > now || due >= end {
			return
		}
		if w.run.measured(due) {
			result.Record(w.lag, now-due)
		}
	}
}

func (w *worker) nextRoom() *conn {
	for range w.conns {
		c := w.conns[w.turn]
		if w.turn++; w.turn == len(w.conns) {
			w.turn = 0
		}
		if c.state == live && c.asked.n < w.run.cfg.Depth {
			return c
		}
	}
	return nil
}

// issue appends a request that was due at some time.
func (w *worker) issue(c *conn, due, now int64) {
	before := len(c.fill.bytes)
	b, rest, tag := c.session.Next(c.fill.bytes)
	c.fill.bytes = b
	if rest != nil {
		c.fill.bodies = append(c.fill.bodies, body{at: len(b), bytes: rest})
	}
	n := len(b) - before + len(rest)
	c.fill.size += n
	c.asked.push(asked{due: due, tag: tag})
	w.inFlight++
	if w.run.measured(due) {
		w.due++
		if w.lag != nil && due > w.fullAt {
			result.Record(w.lag, now-due)
		}
	}
	if w.run.measured(now) {
		w.sent += int64(n)
	}
	w.mark(c)
}

func (w *worker) mark(c *conn) {
	if !c.marked {
		c.marked = true
		w.dirty = append(w.dirty, c)
	}
}

// flush issues what a closed loop has room for, and hands everything over. There is one send in flight on a connection at a time.
func (w *worker) flush(issuing bool) error {
	if len(w.dirty) == 0 {
		return nil
	}
	closed := w.schedule == nil && issuing
	depth := w.run.cfg.Depth
	now := w.run.now()
	for i := 0; i < len(w.dirty); i++ { // issuing marks, but only what is marked
		c := w.dirty[i]
		if closed && c.state == live {
			for c.asked.n < depth {
				w.issue(c, now, now)
			}
		}
		c.marked = false
		if c.sending || c.state > leaving || (c.flight.sent == c.flight.size && c.fill.size == 0) {
			continue
		}
		if c.flight.sent == c.flight.size {
			c.flight.reset()
			c.fill, c.flight = c.flight, c.fill
		}
		if err := w.send(c, closed && depth == 1); err != nil {
			return err
		}
	}
	w.dirty = w.dirty[:0]
	return nil
}

// send hands over what is in flight of a connection. With quiet there is no completion: the reply says that the request was sent.
func (w *worker) send(c *conn, quiet bool) error {
	sqe, err := w.sqe()
	if err != nil {
		return err
	}
	if f := &c.flight; len(f.bodies) == 0 {
		sqe.PrepareSend(c.fd, f.bytes[f.sent:], sendFlags)
	} else {
		g := w.using[c]
		if g == nil {
			if g, err = w.gather(); err != nil {
				return err
			}
			w.using[c] = g
		}
		g.Reset()
		f.segments(g.Add)
		sqe.PrepareSendmsg(c.fd, g, sendFlags)
		quiet = false
	}
	sqe.UserData = uint64(c.index)<<1 | opSend
	if quiet {
		sqe.Flags |= uring.SQECQESkipSuccess
		c.flight.sent = c.flight.size
		return nil
	}
	c.sending = true
	return nil
}

func (w *worker) gather() (*uring.Gather, error) {
	if last := len(w.gathers) - 1; last >= 0 {
		g := w.gathers[last]
		w.gathers = w.gathers[:last]
		return g, nil
	}
	return uring.NewGather()
}

// sqe returns a free SQE.
func (w *worker) sqe() (*uring.SQE, error) {
	for tries := 0; ; tries++ {
		if sqe := w.ring.SQE(); sqe != nil {
			return sqe, nil
		}
		w.enters++
		if err := w.ring.Submit(); err != nil && !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		if tries > 1<<20 {
			return nil, errors.New("the kernel takes no requests")
		}
	}
}

// arm starts receiving on a connection.
func (w *worker) arm(c *conn) error {
	sqe, err := w.sqe()
	if err != nil {
		return err
	}
	sqe.PrepareRecvMultishot(c.fd, w.bufs.Group(), 0, 0)
	sqe.UserData = uint64(c.index)<<1 | opReceive
	c.receiving = true
	return nil
}

// wait hands over what is prepared. When nothing comes of it, it waits until something does or something is due.
func (w *worker) wait(now, end int64) error {
	var err error
	if w.ring.Pending() > 0 || w.ring.TaskrunPending() {
		w.enters++
		err = w.ring.Submit()
	}
	if err != nil || w.ring.Ready() > 0 {
		return ignoreAgain(err)
	}
	until := now + int64(waitStep)
	if now < end {
		until = min(until, end)
		if w.schedule != nil && w.schedule.next > now {
			until = min(until, w.schedule.next)
		}
		if w.churn != nil {
			until = min(until, max(w.churn.next, now))
		}
	}
	if w.dialing > 0 {
		until = min(until, now+int64(dialStep))
	}
	exact := w.schedule != nil && now < end && until == w.schedule.next && w.run.spare
	sleep := until - w.run.now()
	if exact {
		sleep -= int64(sleepMargin)
	}
	if sleep > 0 {
		w.enters++
		if err := w.ring.SubmitAndWait(1, time.Duration(sleep)); err != nil {
			return ignoreAgain(err)
		}
	}
	if !exact {
		return nil
	}
	start := w.run.now()
	for now = start; now < until && w.ring.Ready() == 0; now = w.run.now() {
		if w.ring.TaskrunPending() {
			w.enters++
			if err := w.ring.Submit(); err != nil {
				return ignoreAgain(err)
			}
		}
	}
	if w.run.measured(start) {
		w.polled += now - start
	}
	return nil
}

// ignoreAgain drops EAGAIN: the kernel has no memory just now, and the next turn tries again.
func ignoreAgain(err error) error {
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}

// close gives everything back. The ring goes first: operations in flight hold the sockets.
func (w *worker) close() error {
	var errs []error
	for _, c := range w.conns {
		if c.fd >= 0 {
			_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
		}
	}
	if w.ring != nil {
		errs = append(errs, w.ring.Close())
	}
	for _, c := range w.conns {
		if c.fd >= 0 {
			errs = append(errs, unix.Close(c.fd))
		}
	}
	for w.dialing > 0 {
		if d := <-w.dials; d.err == nil {
			errs = append(errs, unix.Close(d.fd))
		}
		w.dialing--
	}
	runtime.KeepAlive(w.using)
	return errors.Join(errs...) // the receive memory goes with the process: the kernel may still write to it
}
