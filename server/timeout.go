package server

import (
	"os"
	"time"
)

const (
	doubtTime    = int64(time.Second)     // silence after which it is looked whether an end was missed
	deafTime     = int64(2 * time.Second) // between two looks at a connection that receives nothing
	writeSamples = 4                      // looks at the peer's progress in a WriteTimeout
)

// schedule sets the timer to what is due first. Activity does not move it: due looks at what has happened meanwhile.
func (c *conn) schedule() {
	at := int64(-1)
	first := func(t int64) {
		if at < 0 || t < at {
			at = t
		}
	}
	if c.finished {
		first(c.moved)
	} else {
		if d := c.listener.cfg.IdleTimeout; d > 0 {
			first(c.active + int64(d))
		}
		if c.doubtful {
			first(c.active + doubtTime)
		}
		if c.deaf() {
			first(c.loop.now + deafTime)
		}
		if d := c.listener.cfg.WriteTimeout; d > 0 && c.sending {
			first(c.loop.now + int64(d)/writeSamples)
		}
	}
	if at >= 0 {
		c.loop.wheel.set(&c.timer, at)
	}
}

// due is called by the wheel.
func (c *conn) due(now int64) {
	if c.dead {
		return
	}
	write, idle := int64(c.listener.cfg.WriteTimeout), int64(c.listener.cfg.IdleTimeout)
	if c.sending {
		if p := c.loop.engine.Progress(int(c.fd)); p != c.progress {
			c.progress, c.moved, c.active = p, now, now
		}
	}
	switch {
	case c.finished:
		if now >= c.moved {
			c.terminate(nil)
		}
	case c.sending && write > 0 && now-c.moved >= write:
		c.loop.stats.TimedOut++
		c.terminate(ErrWriteTimeout)
	case idle > 0 && now-c.active >= idle:
		c.loop.stats.TimedOut++
		c.terminate(ErrIdleTimeout)
	}
	if c.doubtful && now-c.active >= doubtTime {
		c.doubtful = false
		if c.receiving && !c.stopping && !c.dead && c.loop.engine.Missed(int(c.fd)) {
			c.loop.stats.Missed++
			c.stop() // its completion arms the next
		}
	}
	if !c.dead && c.deaf() {
		if err := c.loop.engine.Failed(int(c.fd)); err != nil {
			c.terminate(os.NewSyscallError("recv", err))
		}
	}
	if !c.dead {
		c.schedule()
	}
	c.settle()
}

// deaf says that no receive is armed, because the reactor pauses, or the peer has sent its end: nothing would tell that the peer is gone.
func (c *conn) deaf() bool { return !c.receiving && !c.finished }

// look sees to it that a connection that receives nothing is looked at.
func (c *conn) look() {
	if c.deaf() && !c.dead && !c.timer.before(c.loop.now+deafTime) {
		c.schedule()
	}
}

// doubt sees to it that the socket is looked at if nothing follows. A multishot receive may stay silent for ever: where the peer's bytes
// and its reset come before the kernel looks, it tells of the bytes, and takes the reset for told (seen on 6.18, about once in 3,000
// such connections; a FIN is not lost). A receive that is new finds it.
func (c *conn) doubt() {
	c.doubtful = !c.marked && !c.sending
	if c.doubtful && !c.dead && !c.timer.before(c.loop.now+doubtTime) {
		c.schedule()
	}
}
