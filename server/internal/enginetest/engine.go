// Package enginetest is an engine without a kernel, for tests of what stands above: sockets, peers and time are memory, and all that
// happens is a function of a seed. It does on purpose what a kernel rarely does: short sends, receives that end without a word,
// cancels that come too late, completions that are delayed, come in another order or find the queue full, waits that return for nothing. And it looks
// at the contract of package engine from the other side: a loop that breaks it fails the test.
package enginetest

import (
	"hash/crc32"
	"math/rand/v2"
	"net"
	"slices"

	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// An Engine is the scripted engine. It, its sockets and its peers belong to one goroutine, but for Wake, OnThread and Now.
type Engine struct {
	*kernel

	// Sends are the sizes of the sends that completed, in bytes.
	Sends []int
	// Awaited says of each send that was asked for whether its completion was awaited.
	Awaited []bool
	// Armed counts calls of Receive.
	Armed int

	index    int
	woken    bool
	world    bool  // in World, called from here
	asleep   bool  // the last wait found nothing
	wakeAt   int64 // when that one would have ended
	gone     bool  // its loop has ended
	ops      []*op
	done     []entry
	late     []entry // completions that found the queue full, in order
	free     [][]byte
	views    map[*byte]bool // handed out and not recycled
	closed   bool
	counters engine.Counters
}

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
	k := &kernel{tb: tb, cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)), now: startOfDay, Horizon: startOfDay, trace: 1}
	k.current = k.engine()
	return k.current
}

// Sibling returns another engine on the same kernel: a descriptor may go from one to the other, while nothing of it is in flight.
func (e *Engine) Sibling() *Engine { return e.engine() }

func (k *kernel) engine() *Engine {
	e := &Engine{kernel: k, index: len(k.engines), views: map[*byte]bool{}}
	k.engines = append(k.engines, e)
	for range k.cfg.Buffers {
		e.free = append(e.free, make([]byte, k.cfg.BufferSize))
	}
	return e
}

// Leave says that the engine's loop has ended: nothing waits for it any more.
func (e *Engine) Leave() { e.gone = true }

// elsewhere lets something happen in the middle of a turn.
func (e *Engine) elsewhere() {
	if e.World != nil && !e.world && e.chance(e.cfg.Faults.World) {
		e.callWorld()
	}
}

func (e *Engine) callWorld() {
	e.world = true
	e.Elsewhere(e.World)
	e.world = false
}

func (e *Engine) start(t engine.Token, s *socket) *op {
	for _, o := range e.ops {
		if o.token == t {
			e.fail("operation %x is started while it is in flight", uint64(t))
		}
	}
	if e.busy(s, t.Op()) != nil {
		e.fail("a second operation %d on descriptor %d", t.Op(), s.fd)
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
func (e *Engine) Send(t engine.Token, fd int, segs [][]byte, awaited bool) {
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
	e.Awaited = append(e.Awaited, awaited)
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
	e.note(uint64(e.index), uint64(d.comp.Token), uint64(d.comp.Res), uint64(d.comp.Err), uint64(e.now))
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

// OnThread is of engine.Engine: no World runs, and no turn of another engine.
func (e *Engine) OnThread() bool { return e.current == e }

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

// Failed is of engine.Engine.
func (e *Engine) Failed(fd int) error {
	if e.sock(fd, "failed").reset {
		return unix.ECONNRESET
	}
	return nil
}

// EndOutput is of engine.Engine.
func (e *Engine) EndOutput(fd int) {
	s := e.sock(fd, "shutdown")
	if e.busy(s, engine.OpSend) != nil {
		e.fail("shutdown with a send in flight")
	}
	s.outEnd = true
}

// TakeQueued is of engine.Engine.
func (e *Engine) TakeQueued(fd int) (int, bool) {
	s := e.sock(fd, "accept")
	if e.busy(s, 0) != nil {
		e.fail("the queue is taken with an accept in flight")
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
	if o := e.busy(s, 0); o != nil {
		e.fail("descriptor %d is closed with operation %d in flight", fd, o.token.Op())
	}
	s.close()
	e.socks[fd-firstFD] = nil
	e.freed = append(e.freed, fd) // its number comes again as soon as can be
	e.open--
	e.note(uint64(fd))
}

// Counters is of engine.Engine.
func (e *Engine) Counters() engine.Counters { return e.counters }

// Close is of engine.Engine. The last one that is closed looks for descriptors.
func (e *Engine) Close() error {
	e.closed = true
	if len(e.ops) > 0 || len(e.views) > 0 {
		e.fail("Close with %d operations, %d views", len(e.ops), len(e.views))
	}
	if e.open > 0 && !slices.ContainsFunc(e.engines, func(e *Engine) bool { return !e.closed }) {
		e.fail("Close with %d descriptors", e.open)
	}
	return nil
}

// Fail makes the engine one that has failed: what is in flight has no completions.
func (e *Engine) Fail() {
	for _, d := range append(e.done, e.late...) {
		e.Recycle(&d.comp)
	}
	e.ops, e.done, e.late = nil, nil, nil
}

// InFlight returns the number of operations in flight.
func (e *Engine) InFlight() int { return len(e.ops) }
