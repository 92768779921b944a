package server

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/engine"
)

// A loop serves connections on one thread with one engine. Its goroutine is locked to the thread and owns everything in it, but for
// what is marked. A turn:
//
//	wait          hand over what the last turn asked for, and take what has completed
//	dispatch      completions to acceptors and connections: messages to reactors, replies into outputs
//	notes         what Senders and other loops want
//	timers        that are due
//	ready         connections that had more to do than a turn allows, or were held up and are no longer
//	arm again     receives that had found no memory
//	flush         one send for each connection with output
type loop struct {
	server *Server
	index  int
	engine engine.Engine
	pool   *buffers.Pool
	wheel  wheel
	now    int64  // the engine's time at the start of the turn
	turn   uint32 // its number

	slots []slot
	free  fifo // slots without a connection; the longest free is used first, so that generations last

	acceptors []*acceptor
	shares    []*reactor.Config
	dirty     []*conn // with output, to flush this turn
	ready     []*conn // to go on with, next turn
	spare     []*conn
	ending    []*conn           // that were terminated in this turn
	starved   []*conn           // whose receive found no memory, in that order
	held      []*conn           // that do not receive, for memory
	segs      [][]byte          // scratch for flush
	completed engine.Completion // scratch for run1; a variable of its own would be on the heap, and new each turn

	draining bool
	closing  bool
	overdue  bool  // the drain's deadline has come
	deadline timer // of the drain
	trimmer  timer
	memory   memory
	nextID   uint64
	stats    Stats
	publish  int64 // when stats are published next

	// For others.
	inbox  inbox
	public published
	load   atomic.Int64 // connections, with those on their way
	busy   atomic.Int64 // when the turn that runs has begun; 0 while the loop waits
	ended  chan struct{}
}

// A slot is where a token finds its connection.
type slot struct {
	conn       *conn
	generation uint32 // of that connection, or the next one
}

const (
	publishEvery = int64(5 * time.Millisecond)
	trimEvery    = int64(time.Second)
)

func newLoop(s *Server, index int) *loop {
	l := &loop{server: s, index: index, pool: buffers.NewPool(), ended: make(chan struct{})}
	l.deadline.owner = (*drainTimer)(l)
	l.trimmer.owner = (*trimTimer)(l)
	l.memory.timer.owner = &l.memory
	return l
}

// run is the loop's goroutine. The thread ends with it: it is never unlocked, since operations that are in flight belong to the
// thread that submitted them.
func (l *loop) run(ready chan<- error) {
	runtime.LockOSThread()
	defer close(l.ended)
	if cpus := l.server.cfg.CPUs; len(cpus) > 0 {
		if err := bindCPU(cpus[l.index%len(cpus)]); err != nil {
			ready <- err
			return
		}
	}
	cfg := &l.server.cfg
	eng, err := l.server.open(engine.Options{
		Increment:    cfg.BufferAllocationIncrement,
		MaxReceive:   cfg.MaxReceive,
		Spin:         max(cfg.Spin, 0),
		PlainBuffers: cfg.PlainBuffers,
		SingleShot:   cfg.SingleShot,
		HoldP:        l.server.mayHoldP(),
		BeforeSleep:  l.publishStats,
	})
	if err != nil {
		ready <- err
		return
	}
	l.begin(eng)
	ready <- nil

	err = l.turns()
	l.abandon(err)
	if cerr := eng.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("end of loop %d: %w", l.index, cerr)
	}
	if err != nil {
		l.server.fail(err)
	} else {
		l.pool.Close() // otherwise something may be in flight
	}
}

// turns runs until the loop is told to end and has nothing left.
func (l *loop) turns() error {
	for !l.finished() {
		if err := l.step(); err != nil {
			return fmt.Errorf("loop %d: %w", l.index, err)
		}
	}
	return nil
}

// begin gives the loop its engine.
func (l *loop) begin(eng engine.Engine) {
	l.engine = eng
	l.inbox.ring(eng)
}

// step is a turn.
func (l *loop) step() error {
	timeout := time.Duration(0)
	if !l.pending() {
		timeout = l.wheel.wait(l.now)
	}
	l.busy.Store(0)
	if err := l.engine.Wait(timeout); err != nil {
		return err
	}
	l.now = l.engine.Now()
	l.busy.Store(l.now)
	l.run1()
	return nil
}

// pending says whether there is something to do without a completion: then a wait must not block. Receives that found no memory
// are among it while there is some: those that were armed in this turn may be of peers that are silent, and nothing would come.
func (l *loop) pending() bool {
	return len(l.ready) > 0 || len(l.ending) > 0 || len(l.dirty) > 0 || (len(l.starved) > 0 && l.engine.Buffers() > 0)
}

// run1 is a turn, from dispatch on.
func (l *loop) run1() {
	l.turn++
	l.stats.Turns++
	ready := l.ready // what becomes ready in this turn has its turn in the next
	l.ready = l.spare[:0]

	worked := false
	for l.engine.Next(&l.completed) {
		l.dispatch(&l.completed)
		l.checkGrowth()
		worked = true
	}
	if l.engine.Woken() {
		l.readNotes()
	}
	l.wheel.advance(l.now)
	for _, c := range ready {
		c.queued = false
		c.resume()
	}
	clear(ready)
	l.spare = ready
	l.armStarved()
	l.checkMemory()
	l.join()
	l.flush() // last: what came before may have called reactors
	if worked && !l.trimmer.scheduled() {
		l.wheel.set(&l.trimmer, l.now+trimEvery)
	}
	if l.now >= l.publish {
		l.publishStats()
	}
}

// dispatch gives a completion to whom its token names.
func (l *loop) dispatch(c *engine.Completion) {
	if c.Token.Op() == engine.OpAccept {
		l.acceptors[c.Token.Slot()].accepted(c)
		return
	}
	conn := l.find(c.Token)
	switch {
	case conn == nil: // cannot be: a slot is freed when nothing of it is in flight
		l.stats.Stale++
		l.engine.Recycle(c)
	case c.Token.Op() == engine.OpReceive:
		conn.received(c)
	default:
		conn.sent(c)
	}
}

func (l *loop) find(t engine.Token) *conn {
	if int(t.Slot()) >= len(l.slots) {
		return nil
	}
	s := &l.slots[t.Slot()]
	if s.generation != t.Generation() {
		return nil
	}
	return s.conn
}

// join ends connections for good that were terminated in this turn and have nothing in flight. What has, joins with its completion.
func (l *loop) join() {
	for i := 0; i < len(l.ending); i++ { // the end of one may be the end of another
		l.ending[i].settle()
	}
	clear(l.ending)
	l.ending = l.ending[:0]
}

// flush hands one send for each dirty connection to the engine.
func (l *loop) flush() {
	for _, c := range l.dirty {
		c.flush()
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

// armStarved arms receives again that had found no memory, first come first served, and not more than there are buffers: all of
// them at once would find the same, again and again.
func (l *loop) armStarved() {
	if len(l.starved) == 0 {
		return
	}
	n, armed := 0, 0
	for buffers := l.engine.Buffers(); n < len(l.starved) && armed < buffers; n++ {
		c := l.starved[n]
		c.starved = false
		c.settle()
		armed += boolInt(c.receiving) // others have ended, or do not want it any more
	}
	l.starved = slices.Delete(l.starved, 0, n)
}

// readNotes does what other goroutines have asked for.
func (l *loop) readNotes() {
	notes, since := l.inbox.take()
	if len(notes) == 0 {
		return
	}
	l.stats.Notices++
	l.stats.WakeNanos += uint64(max(l.engine.Now()-since, 0))
	for _, n := range notes {
		switch {
		case n.c != nil:
			n.c.pump()
		case n.do != nil:
			n.do()
		default:
			l.open(n.ln, n.fd)
		}
	}
}

// post gives the loop a note. It is called from any goroutine, and reports false when the loop has ended.
func (l *loop) post(n note) bool { return l.inbox.post(n) }

// share makes the loop ready for connections of a listener. It is called before the loop hears of any.
func (l *loop) share(ln *listener) {
	cfg := &ln.shared[l.index]
	*cfg = reactor.Config{
		Pool:            l.pool,
		MaxBufferLength: ln.cfg.MaxBufferLength,
		MaxOutbound:     ln.cfg.MaxOutbound,
		MaxQueued:       ln.cfg.MaxQueuedOutboundMessages,
		MaxMessages:     turnMessages,
	}
	l.post(note{do: func() { l.shares = append(l.shares, cfg) }})
}

// open makes a connection of a descriptor.
func (l *loop) open(ln *listener, fd int) {
	var index uint32
	if l.free.len() > 0 {
		index = l.free.pop()
	} else {
		index = uint32(len(l.slots))
		l.slots = append(l.slots, slot{generation: firstGeneration})
	}
	s := &l.slots[index]
	l.nextID++
	c := &conn{loop: l, listener: ln, fd: int32(fd), slot: index, generation: s.generation, active: l.now}
	c.id = uint64(l.index)<<48 | l.nextID
	c.timer.owner = c
	s.conn = c
	l.stats.Accepted++
	l.stats.Conns++
	c.open()
	switch { // it was on its way here
	case l.closing:
		l.server.cut.Add(1)
		c.terminate(ErrClosed)
	case l.overdue:
		l.cutOff(c)
	}
}

// firstGeneration is a variable for tests, which let generations begin near their end.
var firstGeneration uint32 = 1

// release takes back the slot of a connection of which nothing is in flight.
func (l *loop) release(c *conn) {
	s := &l.slots[c.slot]
	s.conn = nil
	s.generation++
	l.free.push(c.slot)
	l.wheel.stop(&c.timer)
	l.engine.CloseSocket(int(c.fd))
	l.stats.Conns--
	l.load.Add(-1)
	l.server.released()
}

// drain begins the end: nothing new is accepted, and each connection is told.
func (l *loop) drain() {
	if l.draining {
		return
	}
	l.draining = true
	for _, a := range l.acceptors {
		a.end()
	}
	if d := l.server.cfg.DrainTimeout; d > 0 {
		l.wheel.set(&l.deadline, l.now+int64(d))
	}
	l.each(func(c *conn) { c.drain() })
}

// close ends everything now.
func (l *loop) close() {
	l.draining, l.closing = true, true
	for _, a := range l.acceptors {
		a.end()
	}
	l.each(func(c *conn) {
		if !c.dead {
			l.server.cut.Add(1)
			c.terminate(ErrClosed)
		}
	})
}

// each calls f for each connection; f may end it.
func (l *loop) each(f func(*conn)) {
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil {
			f(c)
		}
	}
}

// drainTimer is the loop when the drain's deadline comes.
type drainTimer loop

func (t *drainTimer) due(int64) {
	l := (*loop)(t)
	l.overdue = true
	l.each(l.cutOff)
}

// cutOff ends a connection at the drain's deadline.
func (l *loop) cutOff(c *conn) {
	switch {
	case c.dead:
	case c.finished: // all was sent; only the peer's word is missing
		c.terminate(nil)
	default:
		l.stats.CutOff++
		l.server.cut.Add(1)
		c.terminate(ErrDrainTimeout)
	}
}

// trimTimer is the loop when it looks for memory to give back.
type trimTimer loop

func (t *trimTimer) due(now int64) {
	l := (*loop)(t)
	released := l.pool.Trim()
	if again := l.engine.Trim(); again || released > 0 || l.pool.Idle() > 0 {
		l.wheel.set(&l.trimmer, now+trimEvery)
	}
}

// finished says whether the loop was told to end and has nothing left. From then on it takes no notes.
func (l *loop) finished() bool {
	if !l.draining || l.stats.Conns > 0 || len(l.dirty) > 0 {
		return false
	}
	for _, a := range l.acceptors {
		if a.fd >= 0 {
			return false
		}
	}
	return l.inbox.closeIfEmpty()
}

// abandon reports the end to connections that are left when the engine has failed.
func (l *loop) abandon(err error) {
	for _, n := range l.inbox.close() {
		if n.ln != nil {
			l.engine.CloseSocket(n.fd)
		}
	}
	l.each(func(c *conn) {
		c.dead, c.receiving, c.sending = true, false, false
		c.err = err
		c.join()
	})
	for _, a := range l.acceptors {
		a.abandon()
	}
	l.publishStats()
}

// publishStats lets others see the counts: before the loop sleeps, and now and then while it does not.
func (l *loop) publishStats() {
	if l.engine == nil {
		return
	}
	l.publish = l.now + publishEvery
	s := &l.stats
	e := l.engine.Counters()
	s.Enters, s.SQEs, s.CQEs, s.Overflows, s.NoBufs = e.Enters, e.SQEs, e.CQEs, e.Overflows, e.NoBufs
	s.Wakes, s.Spins, s.Sleeps, s.Held = e.Wakes, e.Spins, e.Sleeps, e.Held
	s.Carried = l.pool.Carried
	s.ReceiveMem = uint64(l.engine.Memory())
	s.Memory = uint64(l.pool.Resident()) + s.ReceiveMem
	s.Messages = 0
	for _, cfg := range l.shares {
		s.Messages += cfg.Messages
	}
	l.public.store(s)
}

// log queues a line about a connection or the loop.
func (l *loop) log(level slog.Level, text string, attrs ...slog.Attr) {
	l.server.log.log(level, text, append(attrs, slog.Int("loop", l.index))...)
}

// A fifo is a queue of slots.
type fifo struct {
	items []uint32
	head  int
}

func (q *fifo) len() int      { return len(q.items) - q.head }
func (q *fifo) push(x uint32) { q.items = append(q.items, x) }

func (q *fifo) pop() uint32 {
	x := q.items[q.head]
	if q.head++; q.head*2 > len(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
	return x
}
