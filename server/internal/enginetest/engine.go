// Package enginetest is an engine without a kernel, for tests of what stands above: sockets, peers and time are memory, and all that
// happens is a function of a seed. It does on purpose what a kernel rarely does: short sends, receives that end without a word,
// cancels that come too late, completions that are delayed or come in another order, waits that return for nothing. And it looks
// at the contract of package engine from the other side: a loop that breaks it fails the test.
package enginetest

import (
	"fmt"
	"hash/crc32"
	"math/bits"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// Seed returns the seed of PROTORING_SEED, or def.
func Seed(def uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("PROTORING_SEED"), 0, 64); err == nil {
		return n
	}
	return def
}

// TB is what an Engine needs of a test.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Faults are the probabilities of misbehaviour. The zero value behaves.
type Faults struct {
	Short    float64 // a send takes less than there is room for
	Delay    float64 // an operation that could complete does not, this time
	NoMore   float64 // a receive or an accept ends though nothing is wrong
	NoBufs   float64 // a receive finds no memory though there is some
	Retry    float64 // an operation ends with EINTR or EAGAIN
	Late     float64 // a cancelled operation completes as it would have
	Spurious float64 // a wait returns for nothing
	Abort    float64 // an accept reports ECONNABORTED or EPROTO
	Split    float64 // a receive takes a part of what is there
	World    float64 // something happens elsewhere in the middle of a turn
}

// RandomFaults draws probabilities.
func RandomFaults(r *rand.Rand) (f Faults) {
	for _, p := range []*float64{&f.Short, &f.Delay, &f.NoMore, &f.NoBufs, &f.Retry, &f.Late, &f.Spurious, &f.Abort, &f.Split, &f.World} {
		switch r.IntN(4) {
		case 0: // never
		case 1:
			*p = 0.02
		case 2:
			*p = 0.2
		case 3:
			*p = 0.5
		}
	}
	return f
}

// Config are the choices for an Engine.
type Config struct {
	Seed       uint64
	Faults     Faults
	Buffers    int // receives for which there is memory; if zero, 64
	BufferSize int // bytes; if zero, 4 KiB
	MaxFiles   int // descriptors beyond which accepting fails with EMFILE; if zero, none
}

// An Engine is the scripted engine. It, its sockets and its peers belong to one goroutine, but for Wake, OnThread and Now.
type Engine struct {
	// Horizon is the time that no wait goes beyond. A wait that would, ends with Idle set.
	Horizon int64
	// Idle says that the last wait found nothing to do, nor any that the time until Horizon brings.
	Idle bool
	// World is called within waits, and now and then within other calls: whatever another goroutine may do, it may.
	World func()

	tb       TB
	cfg      Config
	rand     *rand.Rand
	now      int64
	woken    bool
	world    bool // in World
	socks    []*socket
	freed    []int
	open     int
	ops      []*op
	done     []entry
	free     [][]byte
	views    map[*byte]bool // handed out and not recycled
	closed   bool
	trace    uint64
	counters engine.Counters

	// Attempts is the number of accepts that failed for want of a descriptor.
	Attempts int
	// Sends are the sizes of the sends that completed, in bytes.
	Sends []int
	// Armed counts calls of Receive.
	Armed int
}

const (
	firstFD    = 1000
	turnMost   = 256 // completions of a turn
	shotsMost  = 32  // of one receive: the kernel's own limit for a multishot operation is the same
	startOfDay = int64(time.Hour)
)

type entry struct {
	op   *op
	comp engine.Completion
}

// An op is in flight from the call until its completion without More was taken by Next.
type op struct {
	token     engine.Token
	sock      *socket
	segs      [][]byte // of a send
	sum       uint32
	len       int
	taken     int // bytes of a send that the socket has
	cancelled bool
	ended     bool // its last completion is in the queue
	waiting   int  // its completions in the queue
}

// New returns an engine. Its clock begins at an hour.
func New(tb TB, cfg Config) *Engine {
	if cfg.Buffers == 0 {
		cfg.Buffers = 64
	}
	if cfg.BufferSize == 0 {
		cfg.BufferSize = 4 << 10
	}
	e := &Engine{tb: tb, cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)), now: startOfDay, Horizon: startOfDay,
		views: map[*byte]bool{}, trace: 1}
	for range cfg.Buffers {
		e.free = append(e.free, make([]byte, cfg.BufferSize))
	}
	return e
}

// Trace is a number that is the same for runs that were the same.
func (e *Engine) Trace() uint64 { return e.trace }

func (e *Engine) note(words ...uint64) {
	for _, w := range words {
		hi, lo := bits.Mul64(e.trace^w, 0x9e3779b97f4a7c15)
		e.trace = bits.RotateLeft64(e.trace, 23) ^ hi ^ lo
	}
}

func (e *Engine) fail(format string, args ...any) {
	e.tb.Helper()
	e.tb.Fatalf("PROTORING_SEED=%d at %v: %s", e.cfg.Seed, time.Duration(e.now-startOfDay), fmt.Sprintf(format, args...))
}

func (e *Engine) chance(p float64) bool { return p > 0 && e.rand.Float64() < p }

// elsewhere lets something happen in the middle of a turn.
func (e *Engine) elsewhere() {
	if e.World != nil && !e.world && e.chance(e.cfg.Faults.World) {
		e.callWorld()
	}
}

func (e *Engine) callWorld() {
	e.world = true
	e.World()
	e.world = false
}

// Elsewhere runs f as another goroutine would.
func (e *Engine) Elsewhere(f func()) {
	was := e.world
	e.world = true
	f()
	e.world = was
}

func (e *Engine) sock(fd int, what string) *socket {
	if fd < firstFD || fd-firstFD >= len(e.socks) || e.socks[fd-firstFD] == nil {
		e.fail("%s on descriptor %d, which is closed", what, fd)
	}
	return e.socks[fd-firstFD]
}

func (e *Engine) start(t engine.Token, s *socket) *op {
	for _, o := range e.ops {
		if o.token == t {
			e.fail("operation %x is started while it is in flight", uint64(t))
		}
		if o.sock == s && o.token.Op() == t.Op() {
			e.fail("a second operation %d on descriptor %d", t.Op(), s.fd)
		}
	}
	o := &op{token: t, sock: s}
	e.ops = append(e.ops, o)
	e.counters.SQEs++
	return o
}

// Accept is of engine.Engine.
func (e *Engine) Accept(t engine.Token, fd int) {
	s := e.sock(fd, "accept")
	if !s.listener || t.Op() != engine.OpAccept {
		e.fail("accept on descriptor %d with token %x", fd, uint64(t))
	}
	e.start(t, s)
	e.elsewhere()
}

// Receive is of engine.Engine.
func (e *Engine) Receive(t engine.Token, fd int) {
	s := e.sock(fd, "receive")
	if t.Op() != engine.OpReceive {
		e.fail("receive with token %x", uint64(t))
	}
	if s.ended {
		e.fail("receive on descriptor %d after its end was told", fd)
	}
	e.Armed++
	e.start(t, s)
	e.elsewhere()
}

// Send is of engine.Engine.
func (e *Engine) Send(t engine.Token, fd int, segs [][]byte) {
	s := e.sock(fd, "send")
	if t.Op() != engine.OpSend || len(segs) == 0 {
		e.fail("send of %d segments with token %x", len(segs), uint64(t))
	}
	if s.outEnd {
		e.fail("send on descriptor %d after EndOutput", fd)
	}
	o := e.start(t, s)
	for _, seg := range segs {
		if len(seg) == 0 {
			e.fail("send of an empty segment")
		}
		o.segs = append(o.segs, seg)
		o.len += len(seg)
	}
	o.sum = o.checksum()
	e.elsewhere()
}

func (o *op) checksum() (sum uint32) {
	const most = 1024 // of a segment's bytes, at either end: large sends that are short many times take too long otherwise
	for _, seg := range o.segs {
		sum = crc32.Update(sum, crc32.IEEETable, seg[:min(len(seg), most)])
		sum = crc32.Update(sum, crc32.IEEETable, seg[max(0, len(seg)-most):])
	}
	return sum
}

// Cancel is of engine.Engine.
func (e *Engine) Cancel(t engine.Token) {
	e.counters.SQEs++
	for _, o := range e.ops {
		if o.token == t {
			o.cancelled = true
		}
	}
	e.elsewhere()
}

// Wait is of engine.Engine.
func (e *Engine) Wait(timeout time.Duration) error {
	if e.closed {
		e.fail("wait after Close")
	}
	if len(e.done) > 0 {
		e.fail("wait with %d completions not taken", len(e.done))
	}
	e.counters.Enters++
	e.Idle = false
	if e.World != nil {
		e.callWorld()
	}
	if e.chance(e.cfg.Faults.Spurious) {
		return nil
	}
	e.complete(false)
	e.elsewhere()
	if len(e.done) > 0 || e.woken || timeout == 0 {
		return nil
	}
	e.counters.Sleeps++
	if e.complete(true); len(e.done) > 0 {
		return nil
	}
	if e.elsewhere(); e.woken { // between the last look and the sleep
		e.counters.Wakes++
		return nil
	}
	if timeout >= 0 && e.now+int64(timeout) <= e.Horizon {
		e.now += int64(timeout)
		return nil
	}
	e.now = max(e.now, e.Horizon)
	e.Idle = true
	return nil
}

// complete moves operations on, in any order. With force set there are no delays.
func (e *Engine) complete(force bool) {
	ops := slices.Clone(e.ops)
	e.rand.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	for _, o := range ops {
		if len(e.done) >= turnMost {
			return
		}
		if !force && e.chance(e.cfg.Faults.Delay) {
			continue
		}
		if o.ended {
			continue
		}
		switch o.token.Op() {
		case engine.OpAccept:
			e.accept(o, force)
		case engine.OpReceive:
			e.receive(o, force)
		default:
			e.send(o, force)
		}
	}
}

// finish puts a completion into the queue.
func (e *Engine) finish(o *op, c engine.Completion) {
	c.Token = o.token
	o.ended = !c.More
	o.waiting++
	e.done = append(e.done, entry{o, c})
}

func (e *Engine) accept(o *op, force bool) {
	s := o.sock
	for !o.ended && len(e.done) < turnMost {
		if o.cancelled && (len(s.queue) == 0 || !e.chance(e.cfg.Faults.Late)) {
			e.finish(o, engine.Completion{Err: unix.ECANCELED})
			return
		}
		if len(s.queue) == 0 {
			return
		}
		switch {
		case e.cfg.MaxFiles > 0 && e.open >= e.cfg.MaxFiles:
			e.Attempts++
			e.finish(o, engine.Completion{Err: unix.EMFILE})
			return
		case e.chance(e.cfg.Faults.Abort):
			e.finish(o, engine.Completion{Err: []unix.Errno{unix.ECONNABORTED, unix.EPROTO}[e.rand.IntN(2)]})
			return
		case e.chance(e.cfg.Faults.Retry):
			e.finish(o, engine.Completion{Err: unix.EINTR})
			return
		}
		conn := s.queue[0]
		s.queue = s.queue[1:]
		e.admit(conn)
		e.finish(o, engine.Completion{Res: conn.fd, More: !o.cancelled && !e.chance(e.cfg.Faults.NoMore)})
		if !force && e.chance(e.cfg.Faults.Delay) {
			return
		}
	}
}

func (e *Engine) receive(o *op, force bool) {
	s := o.sock
	late := false
	for shots := 0; !o.ended && len(e.done) < turnMost && shots < shotsMost; shots++ {
		ready := len(s.in) > 0 || s.inEnd || s.reset
		if o.cancelled && (!ready || late || !e.chance(e.cfg.Faults.Late)) {
			e.finish(o, engine.Completion{Err: unix.ECANCELED})
			return
		}
		if !ready {
			return
		}
		late = o.cancelled // at most once
		switch {
		case s.reset:
			s.ended = true
			e.finish(o, engine.Completion{Err: unix.ECONNRESET})
			return
		case len(s.in) == 0:
			s.ended = true
			e.finish(o, engine.Completion{})
			return
		case !force && e.chance(e.cfg.Faults.Retry):
			e.finish(o, engine.Completion{Err: []unix.Errno{unix.EINTR, unix.EAGAIN}[e.rand.IntN(2)]})
			return
		case len(e.free) == 0 || (!force && e.chance(e.cfg.Faults.NoBufs)):
			e.counters.NoBufs++
			e.finish(o, engine.Completion{Err: unix.ENOBUFS})
			return
		}
		n := min(len(s.in), e.cfg.BufferSize)
		if e.chance(e.cfg.Faults.Split) {
			n = 1 + e.rand.IntN(n)
		}
		buf := e.free[len(e.free)-1]
		e.free = e.free[:len(e.free)-1]
		copy(buf, s.in[:n])
		s.in = s.in[n:]
		s.received += n
		view := buf[:n:n]
		e.views[&view[0]] = true
		e.finish(o, engine.Completion{Res: n, View: view, More: !e.chance(e.cfg.Faults.NoMore)})
		if !force && e.chance(e.cfg.Faults.Delay) {
			return
		}
	}
}

func (e *Engine) send(o *op, force bool) {
	s := o.sock
	switch {
	case s.reset:
		e.end(o, unix.EPIPE)
		return
	case !force && e.chance(e.cfg.Faults.Retry):
		e.end(o, []unix.Errno{unix.EINTR, unix.EAGAIN, unix.ENOMEM}[e.rand.IntN(3)])
		return
	}
	if o.cancelled && !e.chance(e.cfg.Faults.Late) {
		e.end(o, unix.ECANCELED)
		return
	}
	for n := min(o.len-o.taken, s.room()); n > 0; n = min(o.len-o.taken, s.room()) {
		if e.chance(e.cfg.Faults.Short) {
			n = 1 + e.rand.IntN(n)
			if e.chance(0.3) {
				n = 1
			}
			e.take(o, n)
			e.end(o, 0)
			return
		}
		e.take(o, n)
	}
	if o.taken == o.len || o.cancelled {
		e.end(o, unix.ECANCELED)
	}
}

// take gives the socket n bytes more of the send.
func (e *Engine) take(o *op, n int) {
	skip := o.taken
	o.taken += n
	for _, seg := range o.segs {
		if skip >= len(seg) {
			skip -= len(seg)
			continue
		}
		k := min(n, len(seg)-skip)
		o.sock.deliver(seg[skip : skip+k])
		n, skip = n-k, 0
	}
}

// end completes a send: what was taken counts, an error only where nothing was.
func (e *Engine) end(o *op, errno unix.Errno) {
	if o.taken > 0 {
		errno = 0
	}
	e.finish(o, engine.Completion{Res: o.taken, Err: errno})
}

// Next is of engine.Engine.
func (e *Engine) Next(c *engine.Completion) bool {
	e.elsewhere()
	if len(e.done) == 0 {
		return false
	}
	i := 0
	if e.chance(e.cfg.Faults.Delay) { // another connection's first
		i = e.rand.IntN(len(e.done))
		for j := range i {
			if e.done[j].op == e.done[i].op {
				i = j
				break
			}
		}
	}
	d := e.done[i]
	e.done = slices.Delete(e.done, i, i+1)
	o := d.op
	if o.waiting--; !d.comp.More {
		if o.segs != nil {
			e.Sends = append(e.Sends, d.comp.Res)
			if o.checksum() != o.sum {
				e.fail("memory of a send on descriptor %d has changed", o.sock.fd)
			}
		}
		e.ops = slices.DeleteFunc(e.ops, func(x *op) bool { return x == o })
	}
	e.counters.CQEs++
	e.note(uint64(d.comp.Token), uint64(d.comp.Res), uint64(d.comp.Err), uint64(e.now))
	*c = d.comp
	return true
}

// Recycle is of engine.Engine.
func (e *Engine) Recycle(c *engine.Completion) {
	if c.View != nil {
		if !e.views[&c.View[0]] {
			e.fail("a view is recycled twice")
		}
		delete(e.views, &c.View[0])
		buf := c.View[:cap(c.View)]
		for i := range buf {
			buf[i] = 0xCC
		}
		e.free = append(e.free, make([]byte, e.cfg.BufferSize)) // another one: the race detector and the collector see who keeps this
		c.View = nil
	}
	e.elsewhere()
}

// Buffers is of engine.Engine.
func (e *Engine) Buffers() int { return len(e.free) }

// Memory is of engine.Engine.
func (e *Engine) Memory() int { return e.cfg.Buffers * e.cfg.BufferSize }

// Trim is of engine.Engine.
func (e *Engine) Trim() bool { return false }

// Wake is of engine.Engine.
func (e *Engine) Wake() { e.woken = true }

// Woken is of engine.Engine.
func (e *Engine) Woken() bool {
	e.elsewhere()
	was := e.woken
	e.woken = false
	e.elsewhere()
	return was
}

// OnThread says whether no World runs.
func (e *Engine) OnThread() bool { return !e.world }

// Now is of engine.Engine.
func (e *Engine) Now() int64 { return e.now }

// Advance lets time go by, without a wait: as work does.
func (e *Engine) Advance(d time.Duration) {
	e.now += int64(d)
	e.Horizon = max(e.Horizon, e.now)
}

// Names is of engine.Engine.
func (e *Engine) Names(fd int, local net.Addr) (net.Addr, net.Addr) {
	e.sock(fd, "getpeername")
	if local == nil {
		local = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	}
	return local, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: fd}
}

// Progress is of engine.Engine.
func (e *Engine) Progress(fd int) uint64 { return e.sock(fd, "progress").read }

// Missed is of engine.Engine. No completion of this engine is lost.
func (e *Engine) Missed(int) bool { return false }

// EndOutput is of engine.Engine.
func (e *Engine) EndOutput(fd int) {
	s := e.sock(fd, "shutdown")
	for _, o := range e.ops {
		if o.sock == s && o.token.Op() == engine.OpSend {
			e.fail("shutdown with a send in flight")
		}
	}
	s.outEnd = true
}

// TakeQueued is of engine.Engine.
func (e *Engine) TakeQueued(fd int) (int, bool) {
	s := e.sock(fd, "accept")
	for _, o := range e.ops {
		if o.sock == s {
			e.fail("the queue is taken with an accept in flight")
		}
	}
	if len(s.queue) == 0 || (e.cfg.MaxFiles > 0 && e.open >= e.cfg.MaxFiles) {
		return -1, false
	}
	conn := s.queue[0]
	s.queue = s.queue[1:]
	e.admit(conn)
	return conn.fd, true
}

// CloseSocket is of engine.Engine.
func (e *Engine) CloseSocket(fd int) {
	s := e.sock(fd, "close")
	for _, o := range e.ops {
		if o.sock == s {
			e.fail("descriptor %d is closed with operation %d in flight", fd, o.token.Op())
		}
	}
	s.close()
	e.socks[fd-firstFD] = nil
	e.freed = append(e.freed, fd) // its number comes again as soon as can be
	e.open--
	e.note(uint64(fd))
}

// Counters is of engine.Engine.
func (e *Engine) Counters() engine.Counters { return e.counters }

// Close is of engine.Engine.
func (e *Engine) Close() error {
	if e.open > 0 || len(e.ops) > 0 || len(e.views) > 0 {
		e.fail("Close with %d descriptors, %d operations, %d views", e.open, len(e.ops), len(e.views))
	}
	e.closed = true
	return nil
}

// Fail makes the engine one that has failed: what is in flight has no completions.
func (e *Engine) Fail() {
	for _, d := range e.done {
		e.Recycle(&d.comp)
	}
	e.ops, e.done = nil, nil
}

// Open returns the number of descriptors that are open.
func (e *Engine) Open() int { return e.open }

// InFlight returns the number of operations in flight.
func (e *Engine) InFlight() int { return len(e.ops) }

// SetFaults replaces the faults.
func (e *Engine) SetFaults(f Faults) { e.cfg.Faults = f }

// SetMaxFiles replaces the limit on descriptors.
func (e *Engine) SetMaxFiles(n int) { e.cfg.MaxFiles = n }

// Rand is the engine's source of randomness: a test that draws from it remains a function of the seed.
func (e *Engine) Rand() *rand.Rand { return e.rand }
