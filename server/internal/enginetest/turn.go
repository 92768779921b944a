package enginetest

import (
	"math"
	"slices"
	"time"

	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

const (
	turnMost  = 256 // completions of a turn
	shotsMost = 32  // of one receive: the kernel's own limit for a multishot operation is the same
)

// Wait is of engine.Engine. It does not block: while another engine has something to do, it returns for nothing.
func (e *Engine) Wait(timeout time.Duration) error {
	if e.closed {
		e.fail("wait after Close")
	}
	if len(e.done) > 0 {
		e.fail("wait with %d completions not taken", len(e.done))
	}
	e.counters.Enters++
	e.Idle, e.asleep = false, false
	if e.World != nil {
		e.callWorld()
	}
	if e.chance(e.cfg.Faults.Spurious) {
		return nil
	}
	n := min(len(e.late), e.cfg.Queue)
	e.done = append(e.done, e.late[:n]...)
	e.late = slices.Delete(e.late, 0, n)
	e.complete(false)
	e.elsewhere()
	if len(e.done) > 0 || e.woken || timeout == 0 {
		e.countLate()
		return nil
	}
	e.counters.Sleeps++
	if e.complete(true); len(e.done) > 0 {
		e.countLate()
		return nil
	}
	if e.elsewhere(); e.woken { // between the last look and the sleep
		e.counters.Wakes++
		return nil
	}
	e.asleep, e.wakeAt = true, math.MaxInt64
	if timeout >= 0 {
		e.wakeAt = e.now + int64(timeout)
	}
	e.pass()
	return nil
}

func (e *Engine) countLate() {
	if len(e.late) > 0 {
		e.counters.Overflows++
	}
}

func (e *Engine) completed() int { return len(e.done) + len(e.late) }

// sleeping says whether a wait that has begun would go on.
func (e *Engine) sleeping() bool {
	return e.asleep && !e.woken && len(e.late) == 0 && !slices.ContainsFunc(e.ops, (*op).ready)
}

// ready says whether the operation would move on.
func (o *op) ready() bool {
	s := o.sock
	switch {
	case o.ended:
		return false
	case o.cancelled:
		return true
	case s.listener:
		return len(s.queue) > 0
	case o.token.Op() == engine.OpReceive:
		return len(s.in) > 0 || s.inEnd || s.reset
	default:
		return s.reset || s.room() > 0
	}
}

// complete moves operations on, in any order. With force set there are no delays.
func (e *Engine) complete(force bool) {
	ops := slices.Clone(e.ops)
	e.rand.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	for _, o := range ops {
		if e.completed() >= turnMost {
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

// finish puts a completion into the queue, or, when that is full, behind what is late: the kernel keeps the order.
func (e *Engine) finish(o *op, c engine.Completion) {
	c.Token = o.token
	o.ended = !c.More
	o.waiting++
	if q := e.cfg.Queue; q > 0 && (len(e.late) > 0 || len(e.done) >= q) {
		e.late = append(e.late, entry{o, c})
		return
	}
	e.done = append(e.done, entry{o, c})
}

func (e *Engine) accept(o *op, force bool) {
	s := o.sock
	for !o.ended && e.completed() < turnMost {
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
	for shots := 0; !o.ended && e.completed() < turnMost && shots < shotsMost; shots++ {
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
