package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// A conn is the outer half of a connection: a socket, what is in flight on it, and the bytes between two receives. The inner half is
// its session. It belongs to its loop's goroutine; only Wake is called from others.
//
// It ends in three steps, in this order: terminate cancels what is in flight; join waits until nothing is; then the socket is
// closed, the slot is free, and the reactor is told.
type conn struct {
	loop     *loop
	listener *listener
	session  session
	id       uint64
	fd       int32
	slot     uint32

	generation uint32
	turn       uint32 // the last one in which input was decoded
	turnInput  int    // bytes decoded in it
	handed     int    // bytes of the send that is in flight
	carry      buffers.Carry
	timer      timer
	active     int64  // when bytes last moved
	moved      int64  // when the peer last took bytes of the output, as far as is known; of a finished one, when it lingers no more
	progress   uint64 // the engine's count of these bytes, then

	err error // why it ends; nil for an end that was asked for

	receiving bool // true exactly while a receive is armed whose last completion was not handled
	stopping  bool // a cancel of it was asked for
	sending   bool // true exactly while a send is in flight whose completion was not handled
	marked    bool // in loop.dirty
	queued    bool // in loop.ready
	starved   bool // in loop.starved
	held      bool // in loop.held: it does not receive, for memory
	more      bool // the carry holds something to decode as soon as the session accepts
	ended     bool // the peer has ended its side
	cut       bool // within a message
	armed     bool // a receive was armed before
	doubtful  bool // what came last was answered with nothing, so that no send will show that the peer has reset the connection: see doubt
	finished  bool // all is sent and the peer was told; what it still sends is dropped
	dead      bool // terminate was called
	gone      bool // the reactor was told of the end
}

const (
	joinStep     = 512                    // bytes by which a cut message of unknown size is joined at first
	stashMax     = 256 << 10              // bytes that a connection whose reactor does not accept may hold before its receive is cancelled
	lingerTime   = int64(2 * time.Second) // for the peer to end its side, after all was sent
	lingerQuiet  = int64(time.Second)     // silence after which a connection that drains is closed without that
	maxSegments  = 64                     // of a send
	maxSendBytes = 1 << 30                // of a send: a result has 32 bits
)

// Wake is called by the Sender, from any goroutine.
func (c *conn) Wake() { c.loop.post(note{c: c}) }

// Dirty is called by the session when there is output.
func (c *conn) Dirty() {
	if !c.marked && !c.dead {
		c.marked = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// OnRing says whether the caller runs on the loop's goroutine.
func (c *conn) OnRing() bool { return c.loop.engine.OnThread() }

func (c *conn) token(op engine.Op) engine.Token {
	return engine.MakeToken(c.slot, c.generation, op)
}

// open makes the session and tells it.
func (c *conn) open() {
	var err error
	if c.guard(func() { c.session, err = c.listener.connect(c) }); c.session == nil {
		if err != nil {
			c.err = err
			c.logEnd()
		}
		c.dead, c.gone = true, true
		c.loop.release(c)
		return
	}
	c.guard(c.session.Open)
	if c.loop.draining && !c.dead {
		c.guard(c.session.Drain)
	}
	c.schedule()
	c.settle()
}

// guard calls f, in which a panic ends this connection only.
func (c *conn) guard(f func()) {
	defer c.recovered()
	f()
}

// recovered is deferred around each call of user code.
func (c *conn) recovered() {
	if c.loop.server.cfg.OnPanic == PanicCrashes {
		return
	}
	v := recover()
	if v == nil {
		return
	}
	c.loop.stats.Panics++
	c.loop.log(slog.LevelError, "panic: the connection is closed", slog.String("reactor", c.listener.name),
		slog.Uint64("conn", c.id), slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
	c.terminate(fmt.Errorf("%w: %v", ErrPanic, v))
}

// received handles a completion of the receive.
func (c *conn) received(comp *engine.Completion) {
	if !comp.More {
		c.receiving, c.stopping = false, false
	}
	switch {
	case comp.Err == 0 && comp.Res > 0:
		c.loop.stats.Receives++
		c.loop.stats.BytesIn += uint64(comp.Res)
		c.active = c.loop.now
		if !c.dead && !c.finished && c.session.Status() < reactor.Drain {
			c.input(comp.View)
			c.doubt()
		}
	case comp.Err == 0:
		c.ended = true
		if c.finished {
			c.terminate(nil)
		}
	case comp.Err == unix.ENOBUFS:
		if !c.starved && !c.dead {
			c.starved = true
			c.loop.starved = append(c.loop.starved, c)
		}
	case comp.Err == unix.ECANCELED || comp.Err == unix.EINTR || comp.Err == unix.EAGAIN:
	default:
		c.ended = true
		if c.finished {
			c.terminate(nil)
		} else {
			c.terminate(os.NewSyscallError("recv", comp.Err))
		}
	}
	c.loop.engine.Recycle(comp)
	c.settle()
	c.look()
}

// input decodes what was received. Whole messages are decoded where they lie; a cut one is joined in the carry, and only that: what
// follows it is decoded in place again.
func (c *conn) input(view []byte) {
	if c.turn != c.loop.turn {
		c.turn, c.turnInput = c.loop.turn, 0
	}
	if c.more || !c.session.Accepts() || c.turnInput >= turnBytes {
		c.stash(view)
		return
	}
	c.turnInput += len(view)
	if c.carry.Len() > 0 {
		if view = c.join1(view); len(view) == 0 {
			return
		}
	}
	used, more := c.inbound(view)
	if rest := view[used:]; len(rest) > 0 && !c.dead && c.session.Status() < reactor.Drain {
		c.more = more
		c.keep(rest)
	}
}

// join1 completes the message in the carry and returns what is left of view.
func (c *conn) join1(view []byte) []byte {
	for len(view) > 0 {
		had, need := c.carry.Len(), c.session.Need()
		n := min(len(view), max(had, joinStep))
		if need > had+1 { // one more than there is says that the size is not known: not a decoder call for each byte
			n = min(len(view), need-had)
		}
		c.keep(view[:n])
		used, more := c.inbound(c.carry.Bytes())
		switch {
		case c.dead:
			return nil
		case used >= had && n < len(view): // what is left in the carry lies in view as well
			c.carry.Drop(c.loop.pool)
			view = view[used-had:]
			if more {
				c.stash(view)
				return nil
			}
			return view
		case used > 0:
			c.carry.Consume(c.loop.pool, used)
		}
		view = view[n:]
		if more {
			c.more = c.carry.Len() > 0
			if len(view) > 0 {
				c.stash(view)
			}
			return nil
		}
		if c.carry.Len() == 0 {
			return view
		}
	}
	return nil
}

// keep copies bytes into the carry.
func (c *conn) keep(b []byte) {
	c.carry.Append(c.loop.pool, b, c.session.Need(), c.listener.cfg.MaxBufferLength)
}

// stash keeps bytes for later: the reactor does not accept, or has had its share of the turn. Receiving stops if that lasts. (Not at
// once: nearly always the next completion is that of the send, and cancelling and arming again cost more than one carry.)
func (c *conn) stash(view []byte) {
	c.more = true
	c.keep(view)
	if c.receiving && !c.stopping && (c.sending || c.held || c.session.Status() == reactor.Pause || c.carry.Len() >= stashMax) {
		c.stop()
	}
}

func (c *conn) stop() {
	c.stopping = true
	c.loop.engine.Cancel(c.token(engine.OpReceive))
}

// inbound gives bytes to the session.
func (c *conn) inbound(b []byte) (used int, more bool) {
	defer c.recovered()
	used, more, err := c.session.Inbound(b)
	if err != nil {
		c.terminate(err)
	}
	return used, more
}

// resume decodes what is in the carry: the connection had more to do than its share of a turn, or was held up.
func (c *conn) resume() {
	if c.dead || !c.more {
		return
	}
	if c.carry.Len() > 0 && c.session.Accepts() {
		b := c.carry.Bytes()
		b = b[:min(len(b), turnBytes+c.session.Need())] // at least one whole message
		used, more := c.inbound(b)
		if c.dead {
			return
		}
		more = more || len(b) < c.carry.Len()
		if used > 0 {
			c.carry.Consume(c.loop.pool, used)
		}
		c.more = more && c.carry.Len() > 0
	}
	c.settle()
}

// pump sends what waits in the Sender's queue.
func (c *conn) pump() {
	if c.dead {
		return
	}
	c.guard(c.session.Pump)
	c.settle()
}

// drain tells the reactor that the server is going down.
func (c *conn) drain() {
	if c.dead {
		return
	}
	c.guard(c.session.Drain)
	c.settle()
}

// flush hands the output to the engine, as one send. There is one in flight at a time: two on a full socket would mix their bytes.
func (c *conn) flush() {
	c.marked = false
	if c.dead {
		return
	}
	c.session.Flushed()
	if c.sending {
		return // its completion looks for more
	}
	l := c.loop
	l.segs = c.session.Output().AppendSegments(l.segs[:0], maxSegments, maxSendBytes)
	if len(l.segs) == 0 {
		return
	}
	c.sending = true
	c.moved, c.progress = l.now, 0
	if d := c.listener.cfg.WriteTimeout; d > 0 && !c.timer.before(l.now+int64(d)) {
		c.schedule()
	}
	l.stats.Sends++
	size := 0
	for _, seg := range l.segs {
		size += len(seg)
	}
	c.handed = size
	l.engine.Send(c.token(engine.OpSend), int(c.fd), l.segs, size < c.session.Output().Len() || c.session.AwaitsRoom())
	clear(l.segs)
}

// sent handles the completion of the send.
func (c *conn) sent(comp *engine.Completion) {
	c.sending = false
	if comp.Err == 0 {
		c.loop.stats.BytesOut += uint64(comp.Res)
		c.active = c.loop.now
	}
	switch {
	case c.dead:
		if comp.Err == 0 { // the end is told what was not sent
			c.session.Output().Sent(c.loop.pool, comp.Res)
		}
	case comp.Err == 0:
		c.tookOutput(comp.Res)
	case comp.Err == unix.EINTR || comp.Err == unix.EAGAIN || comp.Err == unix.ENOBUFS || comp.Err == unix.ENOMEM || comp.Err == unix.ECANCELED:
	default:
		c.terminate(os.NewSyscallError("send", comp.Err))
	}
	if !c.dead && c.session.Output().Len() > 0 {
		c.loop.stats.ShortSends += uint64(boolInt(comp.Err == 0 && comp.Res < c.handed)) // else it is more that came meanwhile
		c.Dirty()
	}
	c.settle()
}

func (c *conn) tookOutput(n int) {
	defer c.recovered()
	c.session.Sent(n)
}

// settle looks at what the connection has come to, after everything that happens to it, and asks the engine for what follows.
func (c *conn) settle() {
	if !c.dead {
		c.decide()
	}
	if c.dead {
		c.join()
	}
}

func (c *conn) decide() {
	status := c.session.Status()
	if status == reactor.Continue && c.ended && !c.more {
		c.cut = c.carry.Len() > 0 || c.session.Skipping() > 0
		c.guard(c.session.End)
		status = c.session.Status()
	}
	if c.dead {
		return
	}
	switch status {
	case reactor.Close:
		c.terminate(nil)
		return
	case reactor.Drain:
		c.more = false
		if !c.sending && c.session.Output().Len() == 0 && c.session.Queued() == 0 && !c.finish() {
			return
		}
	}
	if accepts := c.session.Accepts(); accepts && c.more && !c.queued && !c.held {
		c.queued = true
		c.loop.ready = append(c.loop.ready, c)
	}
	if c.wantsInput(status) && !c.receiving && !c.starved {
		c.receiving = true
		c.loop.stats.Rearms += uint64(boolInt(c.armed))
		c.armed = true
		c.loop.engine.Receive(c.token(engine.OpReceive), int(c.fd))
	}
}

// wantsInput says whether a receive should be armed.
func (c *conn) wantsInput(status reactor.Status) bool {
	switch {
	case c.ended:
		return false
	case c.finished:
		return true
	}
	return status == reactor.Continue && !c.more && !c.held && c.session.Accepts()
}

// finish ends a connection that has sent everything. The peer is told, and its end is waited for, for a while: closing a socket with
// unread input resets the connection, and the peer may lose what it has not read yet. It reports whether the connection lives.
func (c *conn) finish() bool {
	if c.finished {
		return true
	}
	c.finished = true
	quiet := c.receiving && c.loop.now-c.active > lingerQuiet // and no input is left unread, as it may be where none is armed
	if c.ended || (c.loop.draining && quiet) {
		c.terminate(nil)
		return false
	}
	c.carry.Drop(c.loop.pool)
	c.loop.engine.EndOutput(int(c.fd))
	c.moved = c.loop.now + lingerTime
	c.schedule()
	return true
}

// terminate ends the connection now. err is nil for an end that was asked for.
func (c *conn) terminate(err error) {
	if c.dead {
		return
	}
	c.dead, c.err = true, err
	if c.receiving && !c.stopping {
		c.stop()
	}
	if c.sending {
		c.loop.engine.Cancel(c.token(engine.OpSend))
	}
	c.loop.ending = append(c.loop.ending, c) // to join when whoever called is done with this connection
}

// join ends the connection for good, once nothing of it is in flight.
func (c *conn) join() {
	if c.receiving || c.sending || c.gone {
		return
	}
	c.gone = true
	if c.err == nil && c.cut {
		c.err = io.ErrUnexpectedEOF
	}
	if c.held {
		c.loop.unhold(c)
	}
	c.loop.release(c)
	c.carry.Drop(c.loop.pool)
	c.loop.stats.Closed++
	c.logEnd()
	c.guard(func() { c.session.Closed(c.err) })
}

// logEnd writes a line for an end that nobody asked for.
func (c *conn) logEnd() {
	if c.err == nil || errors.Is(c.err, ErrPanic) || errors.Is(c.err, ErrClosed) {
		return
	}
	level := slog.LevelWarn
	if errors.Is(c.err, unix.ECONNRESET) || errors.Is(c.err, unix.EPIPE) || errors.Is(c.err, io.ErrUnexpectedEOF) {
		level = slog.LevelInfo // the peer's own doing
	}
	c.loop.log(level, "connection ended", slog.String("reason", c.err.Error()), slog.Uint64("conn", c.id),
		slog.String("listener", c.listener.addr.String()), slog.String("reactor", c.listener.name))
}
