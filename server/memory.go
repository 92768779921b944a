package server

import (
	"cmp"
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
	over    int64        // since when the process is beyond its bound; 0 while it is not
	timer   timer        // of the next look, while one is needed though nothing may happen
	holders []holder     // scratch
}

type holder struct {
	c     *conn
	bytes int
}

// due does nothing: the turn that it makes looks at the memory.
func (m *memory) due(int64) {}

const (
	memoryEvery    = int64(5 * time.Millisecond)
	memoryStep     = 1 << 20 // bytes of growth that are looked at at once, also within a turn
	memoryPatience = int64(time.Second)
)

// checkGrowth looks at the memory within a turn, in which hundreds of connections may begin to produce.
func (l *loop) checkGrowth() {
	if l.pool.Used()-l.memory.checked >= memoryStep {
		l.checkMemory()
	}
}

// checkMemory keeps the process within its bound. Beyond it, each loop answers for its part: connections that hold most do not receive
// any more; if that does not help for a while, or at once when an eighth more than the bound is held, they are closed.
func (l *loop) checkMemory() {
	m := &l.memory
	used := l.pool.Used()
	if diff := used - m.checked; l.now < m.next && diff < memoryStep && diff > -memoryStep {
		return
	}
	m.next = l.now + memoryEvery
	bound := int64(l.server.cfg.MaxMemory)
	total := l.tally()
	if total > bound && l.pool.TrimAll() > 0 {
		total = l.tally()
	}
	switch {
	case total > bound:
		if m.over == 0 {
			m.over = l.now
			l.nudge()
		}
		own := m.held.Load()
		l.relieve(int((total-bound)*own/total), total > bound+bound/8)
		l.wheel.set(&m.timer, m.next)
	case len(l.held) > 0 && total < bound-bound/8:
		m.over = 0
		for _, c := range l.held {
			c.held = false
			c.settle()
		}
		clear(l.held)
		l.held = l.held[:0]
	case len(l.held) > 0:
		m.over = 0
		l.pool.TrimAll() // what has become free must not keep them waiting
		l.wheel.set(&m.timer, m.next)
	default:
		m.over = 0
	}
	m.checked = l.pool.Used() // growth counts from what was left, not from what there was
}

// tally publishes what this loop holds and returns what all do.
func (l *loop) tally() (total int64) {
	l.memory.held.Store(int64(l.pool.Resident() + l.engine.Memory()))
	for _, other := range l.server.loops {
		total += other.memory.held.Load()
	}
	return total
}

// nudge makes the other loops look at their part, which may be asleep.
func (l *loop) nudge() {
	for _, other := range l.server.loops {
		if other != l {
			other.post(note{do: func() { other.memory.next = 0 }})
		}
	}
}

// relieve holds the connections that hold most, until they make up for the excess, and closes them where holding does not do. What a
// connection holds of which a send is in flight is free only when that has been cancelled: until then the memory is not there,
// and those that can be closed at once are, in its place.
func (l *loop) relieve(excess int, hard bool) {
	m := &l.memory
	m.holders = m.holders[:0]
	later := excess // what is still too much when all that is on its way has gone
	l.each(func(c *conn) {
		switch n := c.holds(); {
		case c.dead:
			later -= n
		case n > 0:
			m.holders = append(m.holders, holder{c, n})
		}
	})
	slices.SortFunc(m.holders, func(a, b holder) int { return cmp.Compare(b.bytes, a.bytes) })
	impatient := l.now-m.over >= memoryPatience
	for _, h := range m.holders {
		now := hard && excess > 0 && !h.c.sending
		if !now && later <= 0 {
			continue
		}
		if !h.c.held {
			h.c.hold()
		} else if impatient {
			m.over, impatient = l.now, false // one at a time: its end may be enough
			now = true
		}
		if later -= h.bytes; now || hard {
			h.c.shed(h.bytes)
			if !h.c.sending {
				excess -= h.bytes
			}
		}
	}
	clear(m.holders)
}

// shed closes the connection for memory. What the kernel does not read any more is free at once.
func (c *conn) shed(bytes int) {
	c.loop.log(slog.LevelWarn, "MaxMemory is reached: a connection that holds much is closed",
		slog.Int("bytes", bytes), slog.Uint64("conn", c.id))
	c.loop.stats.Shed++
	c.terminate(ErrMemory)
	c.carry.Drop(c.loop.pool)
	if !c.sending {
		c.session.Output().Discard(c.loop.pool)
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
	c.held = false
	if i := slices.Index(l.held, c); i >= 0 {
		l.held = slices.Delete(l.held, i, i+1)
	}
}
