package server

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// memory is a loop's part in keeping the process within MaxMemory.
type memory struct {
	held    atomic.Int64 // bytes that the loop holds, for the others
	checked int          // the pool's use when it was last looked at
	next    int64        // when it is looked at again in any case
	patient int64        // until when the largest holder may remain, held, before it is closed
}

const (
	memoryEvery    = int64(5 * time.Millisecond)
	memoryStep     = 1 << 20 // bytes of change that are looked at at once
	memoryPatience = int64(time.Second)
)

// checkMemory holds connections when the process is beyond its bound, and lets them go on when it is well below. It looks when the
// pool has changed much, or some time has gone by.
func (l *loop) checkMemory() {
	m := &l.memory
	used := l.pool.Used()
	if diff := used - m.checked; l.now < m.next && diff < memoryStep && diff > -memoryStep {
		return
	}
	m.checked, m.next = used, l.now+memoryEvery
	m.held.Store(int64(used + l.pool.Idle() + l.engine.Memory()))
	total, most := int64(0), int64(0)
	for _, other := range l.server.loops {
		n := other.memory.held.Load()
		total += n
		most = max(most, n)
	}
	bound := int64(l.server.cfg.MaxMemory)
	switch {
	case total > bound:
		l.pool.Trim()
		l.pool.Trim() // the second gives back what the first has found to be free
		if m.held.Load() == most {
			l.relieve(total > bound+bound/8)
		}
	case len(l.held) > 0 && total < bound-bound/8:
		for _, c := range l.held {
			c.held = false
			c.settle()
		}
		clear(l.held)
		l.held = l.held[:0]
	}
}

// relieve holds the connection that holds most, and closes it if that has not helped for a while, or cannot wait.
func (l *loop) relieve(now bool) {
	var largest *conn
	most := 0
	l.each(func(c *conn) {
		if n := c.holds(); n > most && !c.dead {
			largest, most = c, n
		}
	})
	if largest == nil {
		return
	}
	if !largest.held {
		largest.hold()
		l.memory.patient = l.now + memoryPatience
		if !now {
			return
		}
	}
	if now || l.now >= l.memory.patient {
		l.log(slog.LevelWarn, "MaxMemory is reached: the connection that holds most is closed",
			slog.Int("bytes", most), slog.Uint64("conn", largest.id))
		l.stats.Shed++
		largest.terminate(ErrMemory)
		largest.settle()
	}
}

// holds returns the bytes that the connection's carry and output take.
func (c *conn) holds() int { return c.carry.Held() + c.session.Output().Held() }

// hold stops receiving, for memory.
func (c *conn) hold() {
	c.held = true
	c.loop.held = append(c.loop.held, c)
	if c.receiving && !c.stopping {
		c.stop()
	}
}

// unhold takes a connection that ends out of the list.
func (l *loop) unhold(c *conn) {
	if i := slices.Index(l.held, c); i >= 0 {
		l.held = slices.Delete(l.held, i, i+1)
	}
}
