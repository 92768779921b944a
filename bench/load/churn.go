package load

import (
	"fmt"

	"github.com/protoring/protoring/bench/result"
	"golang.org/x/sys/unix"
)

// dialed is a connection that was opened, or not, on another goroutine: connecting may take a while, and requests are due.
type dialed struct {
	c     *conn
	fd    int
	err   error
	nanos int64 // that it took
}

// churnDue has the connections leave whose time it is.
func (w *worker) churnDue(now int64) error {
	for w.churn.next <= now {
		w.churn.advance()
		for range w.conns { // the next one that is there
			c := w.conns[w.leaver%len(w.conns)]
			if w.leaver++; c.state == live {
				c.state = leaving
				if err := w.settle(c); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// settle goes on with a connection that leaves, when nothing of it is in flight.
func (w *worker) settle(c *conn) error {
	if c.state == leaving && c.asked.n == 0 && !c.sending && c.fill.size == 0 {
		w.shut(c)
	}
	if c.state < closing || c.state == dialing || c.receiving || c.sending || c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
	if g := w.using[c]; g != nil {
		delete(w.using, c)
		w.gathers = append(w.gathers, g)
	}
	if err != nil || c.state == dead {
		return err
	}
	c.state = dialing
	w.dialing++
	go func() {
		start := w.run.now()
		fd, err := w.run.dial()
		w.dials <- dialed{c, fd, err, w.run.now() - start}
	}()
	return nil
}

// takeDialed takes connections that were opened.
func (w *worker) takeDialed(now int64) error {
	for {
		select {
		case d := <-w.dials:
			w.dialing--
			if d.err != nil {
				d.c.state = dead
				w.alive--
				w.count("connect", fmt.Errorf("a new connection: %w", d.err))
				continue
			}
			if w.run.measured(now) {
				result.Record(w.connects, d.nanos)
			}
			d.c.fd, d.c.state, d.c.pos = d.fd, live, 0
			d.c.fill.reset()
			d.c.flight.reset()
			if err := w.arm(d.c); err != nil {
				return err
			}
			w.mark(d.c)
		default:
			return nil
		}
	}
}
